"""The writing half of a client's connection: what is written, when it goes out, and whether the client takes it.

Owns the transport, what waits to be written with what comes next, and the count of bytes. Knows no request. Invariant:
bytes leave in the order in which they were written, and nothing is written after the connection is lost.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import cast

from accel.config import ClientTimeouts
from accel.errors import ClientGone
from accel.proxy.client_end import ClientEnd
from accel.proxy.pace import ReadingPace
from accel.stats.counters import CounterRow, index

_BYTES_OUT = index("client_bytes_out")
_JOINED_BYTES = 16 * 1024
"""Up to here several buffers go out as one: copying is cheaper than a second one."""
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with time 0: close sends RST


class Output(ClientEnd, asyncio.Protocol):
    """What a client is sent."""

    __slots__ = ("_corked", "_counters", "_pace", "_writable", "_written_bytes", "is_lost")

    def __init__(self, counters: CounterRow) -> None:
        self._counters = counters
        self._corked = b""  # an answer's head that waits for the first piece of its body
        self._pace: ReadingPace | None = None  # made when anything waits for the client
        self._writable: asyncio.Future[None] | None = None
        self._written_bytes = 0
        self.is_lost = False

    def open(self, transport: asyncio.BaseTransport, window_bytes: int) -> None:
        """Begin; the client may leave `window_bytes` unread before it is waited for."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=window_bytes)

    @property
    def is_held(self) -> bool:
        """Whether the client leaves more than a window unread."""
        return self._writable is not None

    # What the event loop calls.

    def pause_writing(self) -> None:
        """The client does not read."""
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """The client has read, or is gone."""
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    # What an exchange calls.

    def write(self, data: bytes | memoryview) -> None:
        """Send; raises ClientGone if the connection is lost."""
        if self._corked:
            self.writelines([data])
            return
        if self.is_lost:
            raise ClientGone("connection lost")
        self._count_out(len(data))
        self.transport.write(data)

    def write_soon(self, data: bytes) -> None:
        """Send together with what is written next, at the latest in the loop's next turn: a write is dear."""
        self.uncork()
        self._corked = data
        asyncio.get_running_loop().call_soon(self.uncork)

    def writelines(self, buffers: list[bytes | memoryview]) -> None:
        """Send several buffers, long ones without joining them; raises ClientGone if the connection is lost."""
        if self._corked:
            buffers, self._corked = [self._corked, *buffers], b""
        if self.is_lost:
            raise ClientGone("connection lost")
        size = sum(map(len, buffers))
        self._count_out(size)
        if size <= _JOINED_BYTES:
            self.transport.write(b"".join(buffers))
        else:
            self.transport.writelines(buffers)

    async def drain(self) -> None:
        """Wait until the client has read enough for more to be written; raises ClientGone."""
        if self._writable is not None:
            await self._writable
        if self.is_lost:
            raise ClientGone("connection lost")

    # What the connection calls.

    def uncork(self) -> None:
        """Send what waits for something to be sent with."""
        corked, self._corked = self._corked, b""
        if corked and not self.is_lost:
            self.write(corked)

    def reset(self) -> None:
        """Close so that the client takes nothing for whole that is not: an end of file could end a body."""
        sock = self.transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    def is_too_slow(self, now: float, timeouts: ClientTimeouts) -> bool:
        """Whether the client reads nothing, or below the least rate; to be asked a few times a second."""
        held = self.transport.get_write_buffer_size()
        if self._pace is None:
            if not held:
                return False
            self._pace = ReadingPace()
        return self._pace.is_too_slow(now, held, self._written_bytes - held, timeouts)

    def _count_out(self, size: int) -> None:
        self._written_bytes += size
        self._counters[_BYTES_OUT] += size


def ip_of(address: object) -> str:
    """Return a peer's IP address, an IPv4 one without its IPv6 clothes; empty for a unix socket."""
    return str(address[0]).partition("%")[0].removeprefix("::ffff:") if isinstance(address, tuple) else ""
