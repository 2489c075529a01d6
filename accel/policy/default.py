"""The policy that is in force when the operator wrote none: RFC 9111 and nothing else.

GET and HEAD are looked up, every other method passes, a websocket is piped, PURGE is for allowed addresses.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import ip_address

from accel.caching.freshness import Terms
from accel.config import Network
from accel.http.cache_status import Forward
from accel.http.message import Request, Response
from accel.policy.verdict import Action, RequestVerdict

_LOOKUP = RequestVerdict(Action.LOOKUP)
_METHOD = RequestVerdict(Action.PASS, "method", Forward.METHOD)
_PIPE = RequestVerdict(Action.PIPE, "upgrade", Forward.BYPASS)
_PURGE = RequestVerdict(Action.PURGE, "purge")
_PURGE_DENIED = RequestVerdict(Action.DENY, "purge from an address that --purge-from does not name", status=403)
_FORWARDED_PURGE = RequestVerdict(Action.DENY, "purge that another proxy forwarded", status=403)

_FORWARDING_FIELDS = (b"x-forwarded-for", b"forwarded", b"via")


class DefaultPolicy:
    """The built-in rules; serves `policy.verdict.Policy`."""

    def __init__(self, purge_from: Sequence[Network]) -> None:
        self._purge_from = tuple(purge_from)
        self._may_purge = lru_cache(maxsize=1024)(self._is_purger)

    def request(self, request: Request, client_ip: str) -> RequestVerdict:
        """Decide by method and Upgrade alone."""
        method = request.method
        if method == b"GET" or method == b"HEAD":
            return _PIPE if request.upgrade else _LOOKUP
        if method == b"PURGE":
            return self._purge(request, client_ip)
        return _METHOD

    def response(self, request: Request, response: Response, terms: Terms) -> Terms:
        """Take the response at its word."""
        return terms

    def _purge(self, request: Request, client_ip: str) -> RequestVerdict:
        if any(name in request.fields for name in _FORWARDING_FIELDS):
            # The peer is a proxy and speaks for somebody whom we cannot see.
            return _FORWARDED_PURGE
        return _PURGE if self._may_purge(client_ip) else _PURGE_DENIED

    def _is_purger(self, client_ip: str) -> bool:
        if not client_ip:
            return False
        address = ip_address(client_ip.partition("%")[0])
        return any(address in network for network in self._purge_from)
