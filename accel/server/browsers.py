"""What keeps other sites' pages from using an operator's browser against the admin, and which request is a page's.

Pure. Who may reach the admin may use it, but a browser may be led there by anybody's page. Four things stand against
that: the Host must be a name of ours (DNS rebinding); what a browser says of where a request comes from must be the
admin itself (Fetch Metadata, Origin); a POST must be JSON, which no other site may send unasked (Fetch, CORS
preflight); and one that has an Origin must bring the token that stands in the status page, which no other page can
read. A tool sends neither Origin nor token, and needs none. A probe may ask for health under any name: that says
nothing and changes nothing.

A unix socket may be reached by a browser through `ssh -L`: there a Host with a dot is refused unless it is an address,
since that is what a name must have that somebody else can point here.
"""

from __future__ import annotations

from ipaddress import ip_address
from secrets import compare_digest

from accel.http.message import Request
from accel.server.admin_answers import Refused

ALWAYS_OURS = frozenset({b"localhost", b"127.0.0.1", b"[::1]"})
TOKEN_FIELD = b"accel-token"
_FOR_PROBES = frozenset({b"/healthz", b"/readyz"})
"""An orchestrator asks for these by whatever address a container has."""
_ELSEWHERE = frozenset({b"cross-site", b"same-site"})


def check(request: Request, path: bytes, hosts: frozenset[bytes] | None, token: str) -> None:
    """Raise Refused unless this request may be answered; `hosts` are those of a TCP address, None on a unix socket."""
    if path not in _FOR_PROBES:
        _check_host(request.host, hosts)
    fields = request.fields
    is_navigation = request.method == b"GET" and fields.get(b"sec-fetch-mode") == b"navigate"
    if fields.get(b"sec-fetch-site") in _ELSEWHERE and not is_navigation:
        raise Refused(403, "this was sent by another site's page")
    origin = fields.get(b"origin")
    if origin is not None and origin.lower() != b"http://" + request.host.lower():
        raise Refused(403, "this was sent by another site's page")
    if request.method == b"POST":
        _check_post(request, token if origin is not None else "")


def wants_page(request: Request) -> bool:
    """Whether the sender shows HTML: a browser, not a tool."""
    return b"text/html" in (request.fields.get(b"accept") or b"").lower()


def _check_post(request: Request, token: str) -> None:
    kind = (request.fields.get(b"content-type") or b"").partition(b";")[0].strip().lower()
    if kind != b"application/json":
        raise Refused(415, "send JSON, with Content-Type: application/json")
    if token and not compare_digest(request.fields.get(TOKEN_FIELD) or b"", token.encode()):
        raise Refused(403, "the page is of a program that has been replaced: load it again")


def _check_host(value: bytes, hosts: frozenset[bytes] | None) -> None:
    host, colon, port = value.rpartition(b":")
    name = host if colon and port.isdigit() else value
    if hosts is None and (b"." not in name or _is_address(name)):
        return
    if name not in (hosts or ()):
        raise Refused(421, "use this machine's address, or give --admin the name that you use")


def _is_address(name: bytes) -> bool:
    try:
        ip_address(name.decode().strip("[]"))
    except ValueError:
        return False
    return True
