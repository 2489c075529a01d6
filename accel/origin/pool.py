"""One backend's connections in one worker: idle ones kept, new ones made.

Knows no HTTP and no choice between backends. Invariant: an idle connection is in exactly one pool's list,
and leaves it when it is checked out or closed; each exchange that ends gives its place on the backend back
exactly once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from accel.config import OriginOptions
from accel.errors import ConnectFailed
from accel.origin.balancer import Backend
from accel.origin.connection import OriginConnection
from accel.origin.resolver import Resolver
from accel.stats.counters import CounterRow


class BackendPool:
    """The `Keeper` of every connection to one backend."""

    def __init__(
        self,
        backend: Backend,
        options: OriginOptions,
        resolver: Resolver,
        counters: CounterRow,
        scratch: memoryview,
        on_release: Callable[[Backend], None],
    ) -> None:
        self.backend = backend
        self._options = options
        self._resolver = resolver
        self._counters = counters
        self._scratch = scratch
        self._on_release = on_release
        self._idle: deque[OriginConnection] = deque()
        self._is_closed = False

    @property
    def idle(self) -> int:
        """Connections kept idle."""
        return len(self._idle)

    def check_out(self, idle_at_most_s: float | None = None) -> OriginConnection | None:
        """Return the connection used last, if one is idle (and not longer than `idle_at_most_s`)."""
        while self._idle:
            conn = self._idle[-1]
            if conn.is_usable and idle_at_most_s is not None:
                idle_s = asyncio.get_running_loop().time() - conn.idle_since
                if idle_s > idle_at_most_s:
                    return None
            self._idle.pop()
            if conn.is_usable:
                return conn
        return None

    async def connect(self) -> OriginConnection:
        """Return a new connection; raises ConnectFailed."""
        timeout_s = self._options.timeouts.connect_s
        try:
            async with asyncio.timeout(timeout_s):
                conn = await self._connect()
        except TimeoutError as error:
            raise ConnectFailed(f"not connected within {timeout_s:g} s") from error
        except OSError as error:
            raise ConnectFailed(error.strerror or str(error)) from error
        if not conn.is_usable:
            raise ConnectFailed("closed as soon as connected")
        return conn

    def close(self) -> None:
        """Close idle connections now and busy ones when their exchange ends."""
        self._is_closed = True
        while self._idle:
            self._idle.pop().close()

    def exchange_ended(self, conn: OriginConnection, may_reuse: bool) -> None:
        """Keep a connection that may be reused, the longest idle one giving way; give the place back."""
        if may_reuse:
            self._keep(conn)
        self._on_release(self.backend)

    def connection_ended(self, conn: OriginConnection) -> None:
        """Forget a closed connection."""
        if conn in self._idle:
            self._idle.remove(conn)

    def _keep(self, conn: OriginConnection) -> None:
        limit = self._options.keep_alive_connections
        if self._is_closed or limit == 0:
            conn.close()
            return
        if len(self._idle) >= limit:
            self._idle.popleft().close()
        conn.rest(self._options.keep_alive_s)
        self._idle.append(conn)

    async def _connect(self) -> OriginConnection:
        address = self.backend.address
        if address.path:
            loop = asyncio.get_running_loop()
            _, conn = await loop.create_unix_connection(self._new, address.path)
            return conn
        hosts = await self._resolver.resolve(address.host)
        for host in hosts[:-1]:
            try:
                return await self._connect_tcp(host)
            except OSError:
                continue  # a name with several addresses: the last one's error is the one to tell
        return await self._connect_tcp(hosts[-1])

    async def _connect_tcp(self, host: str) -> OriginConnection:
        """Connect to one numeric address; both loops set TCP_NODELAY themselves."""
        loop = asyncio.get_running_loop()
        _, conn = await loop.create_connection(self._new, host, self.backend.address.port)
        return conn

    def _new(self) -> OriginConnection:
        return OriginConnection(self, self._options.timeouts, self._counters, self._scratch)
