"""An origin that does what a test scripts, right or wrong, and records what it was asked.

It runs asyncio in a thread of the test process, so that a test sets scripts and reads records directly. A script is a
coroutine over a `Talk`, one request of one connection; it returns whether the connection stays open. Barriers are
gates: a script that waits at the gate goes on when the test opens it.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from children import SOON_S, eventually

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with time 0: close sends RST


@dataclass(slots=True)
class Seen:
    """One request as the origin saw it."""

    method: str
    target: str
    fields: dict[str, str]
    body_bytes: int = 0
    is_gone: bool = False
    """Whether the other side closed before the script had ended."""


class Talk:
    """One request, from the script's side."""

    def __init__(
        self, origin: FaultOrigin, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.origin = origin
        self.seen = seen
        self._reader = reader
        self._writer = writer

    async def read_body(self) -> None:
        """Read the request's body to its end, counting it."""
        if "chunked" in self.seen.fields.get("transfer-encoding", ""):
            while size := int(await self._reader.readline(), 16):
                await self._take(size)
                await self._reader.readline()
            await self._reader.readline()
        else:
            await self._take(int(self.seen.fields.get("content-length", "0")))

    async def _take(self, size: int) -> None:
        while size:
            data = await self._reader.read(min(size, 65536))
            if not data:
                raise ConnectionError("body cut short")
            self.seen.body_bytes += len(data)
            size -= len(data)

    async def send(self, data: bytes) -> None:
        """Send, waiting until the kernel took it."""
        self._writer.write(data)
        await self._writer.drain()

    async def gate(self) -> None:
        """Wait until the test opens the gate, or the other side closes (ConnectionError)."""
        opened = asyncio.ensure_future(self.origin.opened.wait())
        closed = asyncio.ensure_future(self._reader.read(1))
        try:
            await asyncio.wait((opened, closed), return_when=asyncio.FIRST_COMPLETED)
            if not opened.done():
                raise ConnectionError("gone while waiting")
        finally:
            opened.cancel()
            closed.cancel()
            await asyncio.gather(opened, closed, return_exceptions=True)

    async def closed(self) -> None:
        """Wait until the other side closes, dropping what it sends."""
        while await self._reader.read(65536):
            pass

    def reset(self) -> None:
        """Close with RST."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._writer.transport.abort()


Script = Callable[[Talk], Awaitable[bool]]


@dataclass(slots=True)
class FaultOrigin:
    """One port of 127.0.0.1, its scripts by path, and what it saw."""

    port: int = 0
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0
    scripts: dict[str, Script] = field(default_factory=dict)
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _thread: threading.Thread | None = None
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    # What a test says.

    def start(self) -> FaultOrigin:
        """Listen, on the same port again after `stop`."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._loop.run_forever, name="fault-origin")
            self._thread.start()
        self._do(self._listen())
        return self

    def stop(self) -> None:
        """Listen no more and drop every connection, as a killed process would."""
        self._do(self._drop())

    def end(self) -> None:
        """Stop for good; idempotent."""
        if self._thread is not None:
            self.stop()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._thread = None
            self._loop.close()

    def on(self, path: str, script: Script) -> None:
        """Use a script for requests whose target, without its query, is `path`."""
        self.scripts[path] = script

    def open_gate(self) -> None:
        """Let every script go on that waits at the gate, now and later."""
        self._loop.call_soon_threadsafe(self.opened.set)

    @property
    def backend(self) -> str:
        """The address for `--backend`."""
        return f"127.0.0.1:{self.port}"

    def asked(self, path: str) -> list[Seen]:
        """Return the requests for a path."""
        return [seen for seen in list(self.seen) if seen.target.partition("?")[0] == path]

    def wait_asked(self, path: str, count: int = 1) -> list[Seen]:
        """Wait for so many requests for a path."""
        eventually(f"{count} requests for {path}", lambda: len(self.asked(path)) >= count)
        return self.asked(path)

    # What its thread does.

    def _do(self, work: Awaitable[None]) -> None:
        async def run() -> None:
            await work

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(SOON_S)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, backlog=4096)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _drop(self) -> None:
        if self._server is None:
            return
        for sock in self._server.sockets:
            self._loop.remove_reader(sock.fileno())
        await _settle()  # a connection that was just accepted becomes a task
        self._server.close()
        self._server = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await _settle()  # the transports close

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while await self._serve(reader, writer):
                pass
        except asyncio.CancelledError:
            writer.transport.abort()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").strip().split("\r\n")
        method, target, _ = first.split(" ")
        pairs = (line.partition(":") for line in lines)
        seen = Seen(method, target, {name.lower(): value.strip() for name, _, value in pairs})
        self.seen.append(seen)
        script = self.scripts.get(target.partition("?")[0], MISSING)
        try:
            return await script(Talk(self, seen, reader, writer))
        except ConnectionError:
            seen.is_gone = True
            raise


async def _settle() -> None:
    """Let the loop do what it already has to do, and what follows from that."""
    for _ in range(5):
        await asyncio.sleep(0)


# Scripts.


def head(status: int, *lines: str) -> bytes:
    """Return a response's head."""
    return "\r\n".join([f"HTTP/1.1 {status} Scripted", *lines, "", ""]).encode()


def reply(body: bytes = b"", *lines: str, status: int = 200) -> Script:
    """Answer by the rules, saying from which port and in which turn; 304 to the entity tag that `lines` has."""

    async def script(talk: Talk) -> bool:
        await talk.read_body()
        own = (f"X-Origin: {talk.origin.port}", f"X-Served: {len(talk.origin.seen)}")
        wanted = talk.seen.fields.get("if-none-match")
        if wanted is not None and f"ETag: {wanted}" in lines:
            await talk.send(head(304, *lines, *own))
        else:
            sized = head(status, *lines, *own, f"Content-Length: {len(body)}")
            await talk.send(sized if talk.seen.method == "HEAD" else sized + body)
        return True

    return script


def raw(answer: bytes) -> Script:
    """Answer with exactly these bytes, then close."""

    async def script(talk: Talk) -> bool:
        await talk.read_body()
        await talk.send(answer)
        return False

    return script


def cut(answer: bytes, by_reset: bool = False) -> Script:
    """Answer with these bytes when the gate is open, then close, or reset."""

    async def script(talk: Talk) -> bool:
        await talk.send(answer)
        await talk.gate()
        if by_reset:
            talk.reset()
        return False

    return script


def gated(after: Script) -> Script:
    """Answer nothing before the gate is open: a slow first byte, or none at all."""

    async def script(talk: Talk) -> bool:
        await talk.gate()
        return await after(talk)

    return script


def halved(body: bytes, *lines: str) -> Script:
    """Answer with half a body, and with the rest when the gate is open."""

    async def script(talk: Talk) -> bool:
        half = len(body) // 2
        await talk.send(head(200, *lines, f"Content-Length: {len(body)}") + body[:half])
        await talk.gate()
        await talk.send(body[half:])
        return True

    return script


def endless(*lines: str) -> Script:
    """Answer with chunks for as long as somebody reads."""

    async def script(talk: Talk) -> bool:
        await talk.send(head(200, *lines, "Transfer-Encoding: chunked"))
        while True:
            await talk.send(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")

    return script


def early(status: int) -> Script:
    """Answer before the request's body was read, and close when the other side has."""

    async def script(talk: Talk) -> bool:
        await talk.send(head(status, "Content-Length: 5", "Cache-Control: no-store") + b"early")
        await talk.closed()
        return False

    return script


def ordered(*scripts: Script) -> Script:
    """Use each script once, in turn, and the last one for ever."""
    turns = iter(scripts[:-1])

    async def script(talk: Talk) -> bool:
        return await next(turns, scripts[-1])(talk)

    return script


MISSING = reply(b"not scripted", "Cache-Control: no-store", status=404)


StartFaultOrigin = Callable[[], FaultOrigin]
"""The fixture `start_fault_origin`."""
