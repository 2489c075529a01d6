# cython: annotation_typing=False, show_performance_hints=False
"""One backend's connections in one worker: idle ones kept, new ones made.

Knows no HTTP and no choice between backends. Invariant: an idle connection is in exactly one pool's list, and leaves it
when it is checked out or closed; each exchange that ends gives its place on the backend back exactly once. Compiled, if
it can be, as `wire` is.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

from accel.config import OriginOptions
from accel.errors import ConnectFailed
from accel.origin.balancer import Backend
from accel.origin.connection import OriginConnection
from accel.origin.queue import FetchQueue
from accel.origin.resolver import Resolver
from accel.origin.wire import Keeper, Wire
from accel.stats.counters import CounterRow

if TYPE_CHECKING:
    from accel.net._sockets import Poller


class IdleConnections(Keeper):
    """The `Keeper` of every connection to one backend, and of its place there."""

    __slots__ = ("_idle", "_is_closed", "_keeps", "_keeps_s", "_queue", "backend")

    def __init__(self, backend: Backend, queue: FetchQueue, keeps: int, keeps_s: float) -> None:
        """`keeps` connections are kept at most, each for `keeps_s`; `queue` is who takes places back."""
        self.backend = backend
        self._queue = queue
        self._keeps, self._keeps_s = keeps, keeps_s
        self._idle: list[Any] = []  # OriginConnection, the longest idle one first
        self._is_closed = False

    @property
    def idle(self) -> int:
        """Connections kept idle."""
        return len(self._idle)

    def check_out(self) -> OriginConnection | None:
        """Return the connection used last, if one is idle."""
        while self._idle:
            conn: OriginConnection = self._idle.pop()
            if conn.may_begin():
                return conn
        return None

    def check_out_fresh(self, idle_at_most_s: float) -> OriginConnection | None:
        """Return the connection used last, unless that is idle for longer."""
        conn = self.check_out()
        if conn is not None and asyncio.get_running_loop().time() - conn.idle_since > idle_at_most_s:
            self._idle.append(conn)
            return None
        return conn

    def close(self) -> None:
        """Close idle connections now and busy ones when their exchange ends."""
        self._is_closed = True
        while self._idle:
            self._idle.pop().close()

    def exchange_ended(self, conn: Wire, may_reuse: bool) -> None:
        """Keep a connection that may be reused, the longest idle one giving way; give the place back."""
        if may_reuse:
            self._keep(conn)
        self._queue.release(self.backend)

    def connection_ended(self, conn: Wire) -> None:
        """Forget a closed connection."""
        if conn in self._idle:
            self._idle.remove(conn)

    def _keep(self, conn: Wire) -> None:
        if self._is_closed or self._keeps == 0:
            conn.close()
            return
        if len(self._idle) >= self._keeps:
            self._idle.pop(0).close()
        conn.rest(self._keeps_s)
        self._idle.append(conn)


class BackendPool(IdleConnections):
    """Makes connections to one backend, and keeps them."""

    __slots__ = ("_counters", "_options", "_poller", "_resolver", "_scratch")

    def __init__(
        self,
        backend: Backend,
        options: OriginOptions,
        resolver: Resolver,
        counters: CounterRow,
        scratch: bytearray,
        queue: FetchQueue,
        poller: Poller | None = None,
    ) -> None:
        """`poller` has sockets of our own, if there are any."""
        super().__init__(backend, queue, options.keep_alive_connections, options.keep_alive_s)
        self._options = options
        self._resolver = resolver
        self._counters = counters
        self._scratch = scratch
        self._poller = poller

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

    async def _connect(self) -> OriginConnection:
        address = self.backend.address
        if address.path:
            return await self._connect_to(socket.AF_UNIX, address.path)
        hosts = await self._resolver.resolve(address.host)
        for host in hosts[:-1]:
            try:
                return await self._connect_tcp(host)
            except OSError:
                continue  # a name with several addresses: the last one's error is the one to tell
        return await self._connect_tcp(hosts[-1])

    async def _connect_tcp(self, host: str) -> OriginConnection:
        """Connect to one numeric address."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return await self._connect_to(family, (host, self.backend.address.port))

    async def _connect_to(self, family: int, address: str | tuple[str, int]) -> OriginConnection:
        """Connect, by a socket of our own or else by the loop's transport."""
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            if family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().sock_connect(sock, address)
            return await self._attached(sock)
        except BaseException:
            sock.close()
            raise

    async def _attached(self, sock: socket.socket) -> OriginConnection:
        """Return the connection that reads and writes a connected socket."""
        if self._poller is None:
            _, conn = await asyncio.get_running_loop().create_connection(self._new, sock=sock)
            return conn
        conn = self._new()
        self._poller.attach(sock.detach(), conn, most_bytes=len(self._scratch))
        return conn

    def _new(self) -> OriginConnection:
        return OriginConnection(self, self._options.timeouts, self._counters, self._scratch)
