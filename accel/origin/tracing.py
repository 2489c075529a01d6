"""Trace context on the way to an origin (W3C Trace Context §3): what a client began goes on; if asked to, one begins.

A request's own `traceparent` is passed on as it is: accel records no span, so it is no part of the trace. With
`--trace` a request without one, or with one that cannot be read, gets one that says sampled: a tracer at the origin
that follows its caller would record nothing otherwise. A `tracestate` without its `traceparent` means nothing (§3.3).
"""

from __future__ import annotations

import re
from secrets import token_hex

from accel.http.message import Fields

_PARENT, _STATE = b"traceparent", b"tracestate"
_WELL_FORMED = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")


def begin(fields: Fields) -> None:
    """Give a request a trace of its own, if it has none."""
    if _WELL_FORMED.fullmatch(fields.get(_PARENT) or b""):
        return
    fields.remove((_PARENT, _STATE))
    fields.add(_PARENT, f"00-{token_hex(16)}-{token_hex(8)}-01".encode())
