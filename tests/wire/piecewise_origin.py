"""An origin on a socket, in the loop of the test: what a script says, byte for byte and read for read.

It has no tasks, so that scenes can demand that none is left. On a unix socket what was sent is delivered when `send`
returns; only TCP has resets. A piece is sent when all before it was read, so each is a read of its own over there.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from accel.config import Address

_PATIENCE = 60
"""Turns of the loop that a piece waits for the one before it to be read: the other side may have closed."""


class End(Enum):
    """What an origin does behind its pieces."""

    KEEP = "it leaves the connection open, and reads on"
    CLOSE = "it closes in order"
    RESET = "it closes with a reset"


@dataclass(frozen=True)
class Reply:
    """What an origin does with one request; without pieces and kept open, it stalls."""

    pieces: tuple[bytes, ...] = ()
    end: End = End.KEEP


def said(*lines: bytes, body: bytes = b"", status: bytes = b"200 OK") -> bytes:
    """Return a response with a body of stated length."""
    head = [b"HTTP/1.1 " + status, *lines, b"Content-Length: %d" % len(body)]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


STALLED = Reply()


class PiecewiseOrigin:
    """Answers by target: a `Reply`, or several, the last one for ever; what is not scripted stalls."""

    def __init__(self, path: Path | None, read_bytes: Callable[[], int]) -> None:
        """`path`: of its unix socket, None for TCP; `read_bytes`: how much the other side has read so far."""
        self.address = Address(path="" if path is None else str(path))
        self.heads: list[bytes] = []
        """All requests, in the order in which they came."""
        self.script: dict[bytes, tuple[Reply, ...]] = {}
        self.connections: list[Conversation] = []
        self.read_bytes = read_bytes
        self.sent_bytes = 0
        self._asked: dict[bytes, int] = {}
        self._server: asyncio.Server

    async def start(self) -> None:
        """Listen."""
        loop = asyncio.get_running_loop()
        if self.address.path:
            self._server = await loop.create_unix_server(lambda: Conversation(self), self.address.path)
            return
        self._server = await loop.create_server(lambda: Conversation(self), "127.0.0.1", 0)
        self.address = Address("127.0.0.1", self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Listen no more, and close all."""
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """Close all connections."""
        for conversation in self.connections:
            conversation.transport.abort()

    def answers(self, script: Mapping[bytes, Reply | tuple[Reply, ...]]) -> None:
        """Answer these targets so from now on."""
        for target, replies in script.items():
            self.script[target] = replies if isinstance(replies, tuple) else (replies,)
            self._asked.pop(target, None)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is left to be sent."""
        return not any(conversation.pending for conversation in self.connections)

    @property
    def last(self) -> Conversation:
        """The connection on which the last request came."""
        return max(self.connections, key=lambda conversation: conversation.asked_at)

    def taken(self, head: bytes) -> Reply:
        """Note a request and return what is done with it."""
        self.heads.append(head)
        target = head.split(b" ", 2)[1]
        replies = self.script.get(target, (STALLED,))
        turn = self._asked.get(target, 0)
        self._asked[target] = turn + 1
        return replies[min(turn, len(replies) - 1)]


class Conversation(asyncio.Protocol):
    """One connection, from the origin's side."""

    transport: asyncio.Transport

    def __init__(self, origin: PiecewiseOrigin) -> None:
        self._origin = origin
        self._received = b""
        self.pending: deque[bytes | End] = deque()
        self._is_sending = False
        self.asked_at = -1
        """How many requests had come, on all connections, when the last one came on this."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._origin.connections.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._origin.connections.remove(self)
        self.pending.clear()

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            reply = self._origin.taken(head + b"\r\n\r\n")
            self.asked_at = len(self._origin.heads)
            self.send(*reply.pieces, end=reply.end)

    def send(self, *pieces: bytes, end: End = End.KEEP) -> None:
        """Send pieces, each to be read by itself, then end so."""
        self.pending.extend(pieces)
        if end is not End.KEEP:
            self.pending.append(end)
        if not self._is_sending:
            self._next(_PATIENCE)

    def _next(self, patience: int) -> None:
        """Send the next piece if all before it was read."""
        self._is_sending = bool(self.pending) and not self.transport.is_closing()
        if not self._is_sending:
            self.pending.clear()
            return
        if self._origin.read_bytes() < self._origin.sent_bytes and patience:
            asyncio.get_running_loop().call_soon(self._next, patience - 1)
            return
        self._origin.sent_bytes = self._origin.read_bytes()
        match self.pending.popleft():
            case End.CLOSE:
                self.transport.close()
            case End.RESET:
                linger = struct.pack("ii", 1, 0)
                self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.transport.abort()
            case bytes() as piece:
                self._origin.sent_bytes += len(piece)
                self.transport.write(piece)
        asyncio.get_running_loop().call_soon(self._next, _PATIENCE)
