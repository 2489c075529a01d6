"""accel: a caching HTTP accelerator. Start at DESIGN.md in this folder; a request's way starts in proxy/connection."""

__version__ = "0.1.0"
