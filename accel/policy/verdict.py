"""The verdicts of the request phase: what may become of a request.

Owns the vocabulary; decides nothing.
"""

from __future__ import annotations

from enum import Enum


class Action(Enum):
    """What becomes of a request."""

    LOOKUP = "answer from the store, or fetch and store"
    PASS = "forward; neither look up nor store"
    PIPE = "forward, and let the protocol change if the origin agrees"
    PURGE = "drop what is stored for the target"
    DENY = "answer with a status of our own"
