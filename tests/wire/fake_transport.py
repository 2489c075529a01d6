"""A socket in memory: what a connection writes is kept, what the client sends waits while reading is paused.

It is as strict as the loop's own transports: nothing can be written after `write_eof`, and a connection hears of its
end in a later turn of the loop, once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any


class FakeTransport(asyncio.Transport):
    """The loop's end of one client connection, with a client that reads all at once unless it is told not to."""

    def __init__(self, protocol: asyncio.Protocol, peer: str) -> None:
        super().__init__()
        self.protocol = protocol
        self.sent = bytearray()
        """All that was written and reached the client."""
        self.is_reading = True
        self.is_cut = False
        """Whether the connection ended with a reset instead of an end of file."""
        self.is_lost = False
        self.has_eof = False
        """Whether the client sees an end of file behind what was sent."""
        self._peer = peer
        self._high = 64 * 1024
        self._unread = bytearray()  # written, but the client does not read
        self.is_stuck = False
        """Whether the client does not read what comes."""
        self._is_write_paused = False
        self._closing = self._has_received_eof = False
        self._incoming: list[bytes] = []  # sent by the client while we do not read

    # What a connection calls.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return (self._peer, 40000) if name == "peername" and self._peer else default

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self.protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = self._high if high is None else high

    def get_write_buffer_size(self) -> int:
        return len(self._unread)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing:
            return
        assert not self.has_eof, "a write after write_eof"
        if not self.is_stuck:
            self.sent += data
            return
        self._unread += data
        if len(self._unread) > self._high and not self._is_write_paused:
            self._is_write_paused = True
            self.protocol.pause_writing()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        for data in list_of_data:
            self.write(data)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.has_eof = True

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = self.has_eof = True
            if not self._unread:
                self._lose()

    def abort(self) -> None:
        if not self.is_lost:
            self.is_cut = not self.has_eof or bool(self._unread)
            self._closing = True
            self._lose()

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True
        asyncio.get_running_loop().call_soon(self._deliver)

    # What the client does.

    def receive(self, data: bytes) -> None:
        """The client sends."""
        assert not self._has_received_eof
        self._incoming.append(data)
        self._deliver()

    def receive_eof(self) -> None:
        """The client ends its side."""
        self._has_received_eof = True
        if not self._closing and not self.protocol.eof_received():
            self.close()

    def lose(self) -> None:
        """The client resets the connection."""
        self._closing = True
        self._lose()

    def lose_at_once(self) -> None:
        """The connection hears of its end in this turn of the loop: the loop had noted it before."""
        self._closing = self.is_lost = True
        self.protocol.connection_lost(None)

    def stick(self) -> None:
        """The client reads no more."""
        self.is_stuck = True

    def drain(self, count: int | None = None) -> None:
        """The client reads `count` bytes of what waits for it; None: all, and goes on reading."""
        taken = len(self._unread) if count is None else count
        self.sent += self._unread[:taken]
        del self._unread[:taken]
        if count is None:
            self.is_stuck = False
        if self._is_write_paused and len(self._unread) <= self._high // 4:
            self._is_write_paused = False
            self.protocol.resume_writing()
        if self._closing and not self._unread:
            self._lose()

    @property
    def waiting_bytes(self) -> int:
        """What the client sent and nobody has read."""
        return sum(map(len, self._incoming))

    def _deliver(self) -> None:
        while self._incoming and self.is_reading and not self._closing:
            self.protocol.data_received(self._incoming.pop(0))

    def _lose(self) -> None:
        if not self.is_lost:
            self.is_lost = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)
