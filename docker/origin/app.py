"""The origin behind accel in the compose file: says which port served, with and without leave to store it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Any

CACHE_CONTROL = {"/": "max-age=60", "/uncached": "no-store", "/healthz": "no-store"}


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer any path (WSGI, PEP 3333)."""
    body = f"gunicorn on port {os.environ['PORT']}, {time.strftime('%H:%M:%S')}\n".encode()
    fields = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", CACHE_CONTROL.get(environ["PATH_INFO"], "no-cache")),
    ]
    start_response("200 OK", fields)
    return [body]
