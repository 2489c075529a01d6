"""An origin on a real loopback socket that does what a test's script says, byte for byte."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable

from accel.config import Address


class Conversation:
    """One accepted connection, from the script's side."""

    def __init__(
        self, origin: ScriptedOrigin, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._origin = origin
        self._reader = reader
        self._writer = writer

    async def receive_head(self) -> bytes:
        """Return the next request's head; b"" if the peer closed instead."""
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""
        self._origin.heads.append(head)
        return head

    async def receive(self, size: int) -> bytes:
        """Return exactly `size` bytes."""
        return await self._reader.readexactly(size)

    async def receive_until(self, end: bytes) -> bytes:
        """Return everything up to and with `end`."""
        return await self._reader.readuntil(end)

    async def send(self, data: bytes) -> None:
        """Send, waiting until the kernel took it."""
        self._writer.write(data)
        await self._writer.drain()

    async def closed(self) -> None:
        """Wait until the peer closes, dropping what it still sends."""
        try:
            while await self._reader.read(65536):
                pass
        except ConnectionError:
            return

    async def hang_up(self) -> None:
        """Close in order."""
        self._writer.close()
        await self._writer.wait_closed()

    def reset(self) -> None:
        """Close with RST."""
        linger = struct.pack("ii", 1, 0)
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._writer.transport.abort()


Script = Callable[[Conversation], Awaitable[None]]


class ScriptedOrigin:
    """Runs `script` for each connection and closes it when the script returns."""

    def __init__(self) -> None:
        self.script: Script = answering(response(b"hello"))
        self.heads: list[bytes] = []
        self.connections = 0
        self.address = Address()
        self._server: asyncio.Server
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, path: str = "") -> None:
        """Listen on a free port, or on a unix socket."""
        if path:
            self._server = await asyncio.start_unix_server(self._accept, path)
            self.address = Address(path=path)
            return
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.address = Address("127.0.0.1", self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Listen no more and end every script."""
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            await self.script(Conversation(self, reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()


def response(body: bytes, *lines: bytes) -> bytes:
    """Return a sized 200 with extra field lines."""
    head = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *lines]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def answering(*answers: bytes) -> Script:
    """Return a script that gives `answers` in turn to requests without body, the last one for ever."""

    async def script(talk: Conversation) -> None:
        turn = 0
        while await talk.receive_head():
            await talk.send(answers[min(turn, len(answers) - 1)])
            turn += 1

    return script


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
