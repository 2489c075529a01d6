"""The request as the origin sees it: canonical, without what belongs to one connection, and without known poison.

Invariant: whatever a client says about who it is and how it came here is replaced by what we know, so an origin may
trust these fields, and an unkeyed one cannot poison a stored response (RFC 9110 §7.6, RFC 7239's predecessors).
"""

from __future__ import annotations

from functools import lru_cache

from accel.http.fields import delta_seconds, hop_by_hop
from accel.http.message import Fields, Line, Request
from accel.origin.attempt import OriginRequest
from accel.origin.upload import BodySource

VIA = b"1.1 accel"
VIA_LINE = b"Via: %b\r\n" % VIA
"""The same as a line of an answer's head."""

POISON = frozenset(
    {
        b"accel-explain",
        b"accel-timing",
        b"expect",
        b"forwarded",
        b"front-end-https",
        b"http2-settings",
        b"proxy",
        b"x-forwarded",
        b"x-host",
        b"x-http-host-override",
        b"x-http-method",
        b"x-http-method-override",
        b"x-method-override",
        b"x-original-host",
        b"x-original-url",
        b"x-real-ip",
        b"x-rewrite-url",
        b"x-url-scheme",
        b"content-length",
        b"transfer-encoding",
    }
)
FORWARDED_PREFIX = b"x-forwarded-"

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
    """Return what is sent on; `whole` drops the client's conditions, `conditions` are our own for a validation.

    An empty `client_ip` says nothing of the client: a unix socket's, or one that must not be seen.
    """
    drop = hop_by_hop(request.fields.get(b"connection"))
    if whole:
        drop |= CONDITIONS
    lines = [(b"host", request.host)]
    lines += [line for line in request.fields.lines if line[0] not in drop and not _is_poison(line[0])]
    lines += conditions or ()
    hops = hops_left(request)
    if hops is not None:
        lines = [line for line in lines if line[0] != b"max-forwards"]
        lines.append((b"max-forwards", b"%d" % (hops - 1)))
    lines.append((b"via", b"1.%d accel" % request.minor))
    if client_ip:
        lines.append((b"x-forwarded-for", client_ip.encode()))
    lines.append((b"x-forwarded-proto", b"http"))
    if request.host:
        lines.append((b"x-forwarded-host", request.host))
    return OriginRequest(
        method=request.method,
        target=request.target,
        fields=Fields(lines),
        body=body,
    )


def hops_left(request: Request) -> int | None:
    """Return how many proxies an OPTIONS may still pass, None if it does not say (RFC 9110 §7.6.2)."""
    if request.method != b"OPTIONS":
        return None
    return delta_seconds(request.fields.get(b"max-forwards") or b"")


@lru_cache(maxsize=256)
def _is_poison(name: bytes) -> bool:
    """Whether a field is ours to write or nobody's; CGI and WSGI origins read `_` in a name as `-`."""
    name = name.replace(b"_", b"-")
    return name in POISON or name.startswith(FORWARDED_PREFIX)
