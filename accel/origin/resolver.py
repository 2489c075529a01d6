"""Names of backends to IP addresses, looked up again every few seconds.

Owns a bounded cache of look-ups, running ones included, so that a burst of connects asks once. An address
that is numeric already is never looked up.
"""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from ipaddress import ip_address

from cachetools import TTLCache

NAMES = 256
TTL_S = 10.0
"""getaddrinfo tells no TTL: short enough to follow a moved name, long enough not to load the resolver."""


class Resolver:
    """Looks names up for one worker."""

    def __init__(self) -> None:
        self._lookups: TTLCache[str, asyncio.Task[list[str]]] = TTLCache(NAMES, TTL_S)

    async def resolve(self, host: str) -> list[str]:
        """Return the numeric addresses of `host` in the order to try; raises OSError."""
        if _is_numeric(host):
            return [host]
        lookup = self._lookups.get(host)
        if lookup is None:
            lookup = asyncio.ensure_future(_look_up(host))
            self._lookups[host] = lookup
            lookup.add_done_callback(partial(self._forget_failed, host))
        return await asyncio.shield(lookup)

    def _forget_failed(self, host: str, lookup: asyncio.Task[list[str]]) -> None:
        """Let the next connect ask again; also where a failure is seen that nobody waited for any more."""
        if (lookup.cancelled() or lookup.exception() is not None) and self._lookups.get(host) is lookup:
            del self._lookups[host]


async def _look_up(host: str) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _is_numeric(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
