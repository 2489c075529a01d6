"""The request as the origin sees it: canonical, without what belongs to one connection, and without known poison.

Invariant: whatever a client says about who it is and how it came here is replaced by what we know, so an origin may
trust these fields, and an unkeyed one cannot poison a stored response (RFC 9110 §7.6, RFC 7239's predecessors).
"""

from __future__ import annotations

from accel.http.fields import hop_by_hop
from accel.http.message import Fields, Line, Request
from accel.origin.fetch import BodySource, OriginRequest

VIA = b"1.1 accel"

_POISON = frozenset(
    {
        b"expect",
        b"forwarded",
        b"http2-settings",
        b"proxy",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-prefix",
        b"x-forwarded-proto",
        b"x-forwarded-scheme",
        b"x-forwarded-server",
        b"x-http-method",
        b"x-http-method-override",
        b"x-method-override",
        b"x-original-host",
        b"x-original-url",
        b"x-real-ip",
        b"x-rewrite-url",
        b"content-length",
        b"transfer-encoding",
    }
)
CONDITIONS = frozenset(
    {b"if-none-match", b"if-modified-since", b"if-match", b"if-unmodified-since", b"if-range", b"range"}
)
"""What a client asks of one response; a fetch for the cache asks for the whole."""


def origin_request(
    request: Request,
    client_ip: str,
    body: BodySource | None = None,
    whole: bool = False,
    conditions: list[Line] | None = None,
) -> OriginRequest:
    """Return what is sent on; `whole` drops the client's conditions, `conditions` are our own for a validation."""
    drop = hop_by_hop(request.fields.get(b"connection")) | _POISON
    if whole:
        drop |= CONDITIONS
    lines = [(b"host", request.authority)]
    lines += [line for line in request.fields.lines if line[0] not in drop]
    lines += conditions or ()
    lines.append((b"via", VIA))
    if client_ip:
        lines.append((b"x-forwarded-for", client_ip.encode()))
    lines.append((b"x-forwarded-proto", b"http"))
    if request.authority:
        lines.append((b"x-forwarded-host", request.authority))
    return OriginRequest(
        method=request.method,
        target=request.target,
        fields=Fields(lines),
        body=body,
        upgrade=request.upgrade,
    )
