"""Invalidation: which stored targets an unsafe request has made untrue (RFC 9111 §4.4).

Owns the reading of Location and Content-Location for that purpose. Invariant: only targets of the request's
own host are named, so that no origin can empty another's part of the cache.
RFC 9110 §9.2.1; RFC 3986 §5.
"""

from __future__ import annotations

import re

from accel.http.message import Request, Response

SAFE_METHODS = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE"})
"""Methods that change nothing; of any other, known or not, it must be assumed (RFC 9110 §9.2.1)."""

_REFERENCE = re.compile(
    rb"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*):)?"
    rb"(?://(?P<authority>[^/?#\0- \x7f]*))?(?P<path>[^?#\0- \x7f]*)(?P<query>\?[^#\0- \x7f]*)?(?:#.*)?"
)
"""RFC 3986, appendix B, without control characters and spaces: those are in no target."""
_AUTHORITY = re.compile(rb"(?P<host>\[[0-9a-f:.]+\]|[^:@\[\]]+)(?::(?P<port>\d*))?")
_DEFAULT_PORT = {b"http": b"80", b"https": b"443"}


def targets(request: Request, response: Response) -> list[tuple[bytes, bytes]]:
    """Return the (host, target) pairs, in key form, that the response to `request` invalidates."""
    if request.method in SAFE_METHODS or not 200 <= response.status < 400:
        return []
    found = [(request.host, request.target)]
    for name in (b"location", b"content-location"):
        reference = response.fields.get(name)
        target = None if reference is None else _same_host_target(request, reference)
        if target is not None and (request.host, target) not in found:
            found.append((request.host, target))
    return found


def _same_host_target(request: Request, reference: bytes) -> bytes | None:
    """Return the target of a URI reference, or None if it leads to another host (RFC 3986 §5.2.2)."""
    parts = _REFERENCE.fullmatch(reference)
    if parts is None:
        return None
    scheme = (parts["scheme"] or b"http").lower()
    path, query = parts["path"], parts["query"] or b""
    if parts["authority"] is not None:
        if _key_host(scheme, parts["authority"]) != request.host:
            return None
        return _without_dots(path or b"/") + query
    if parts["scheme"] is not None:
        return None
    base_path, question, base_query = request.target.partition(b"?")
    if not path:
        return base_path + (query or question + base_query)
    if not path.startswith(b"/"):
        path = base_path[: base_path.rfind(b"/") + 1] + path
    return _without_dots(path) + query


def _key_host(scheme: bytes, authority: bytes) -> bytes | None:
    """Return an authority in the form that `Request.host` has, or None if it is not one of the web's."""
    parts = _AUTHORITY.fullmatch(authority.lower())
    if parts is None or scheme not in _DEFAULT_PORT:
        return None
    host = parts["host"].removesuffix(b".")
    port = parts["port"]
    return host if port in (None, b"", _DEFAULT_PORT[scheme]) else host + b":" + port


def _without_dots(path: bytes) -> bytes:
    """Return a path that starts with `/` without its `.` and `..` segments (RFC 3986 §5.2.4)."""
    segments = path.split(b"/")
    kept: list[bytes] = []
    for segment in segments[1:]:
        if segment == b"..":
            del kept[-1:]
        elif segment != b".":
            kept.append(segment)
    if segments[-1] in (b".", b".."):
        kept.append(b"")
    return b"/" + b"/".join(kept)
