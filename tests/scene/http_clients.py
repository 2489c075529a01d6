"""Clients of the scenes: one answer by http.client, raw sockets, and a load that goes on whatever a test does."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import uvloop
from accel_process import Accel
from children import SOON_S, eventually

HOST = "scene"
"""All clients ask for this host, unless a test says otherwise: one key for one target."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response; field names are lower case."""

    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def is_hit(self) -> bool:
        """Whether accel answered it from its store (RFC 9211 §2.1)."""
        return self.cache_status.startswith("accel; hit")

    @property
    def cache_status(self) -> str:
        """What accel says of how it came about; `accel` is the last cache of the list."""
        return self.fields["cache-status"]

    @property
    def served(self) -> str:
        """The origin's own name for the turn in which it made this response."""
        return self.fields["x-served"]


class Client:
    """One kept-alive connection of a well-behaved client, which never asks twice."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SOON_S)

    def ask(self, target: str, method: str = "GET", body: bytes | None = None, **fields: str) -> Answer:
        """Return the answer; `if_none_match` in `fields` is If-None-Match. Raises what http.client does."""
        self.begin(target, method, body, **fields)
        return self.answer()

    def begin(self, target: str, method: str = "GET", body: bytes | None = None, **fields: str) -> None:
        """Send a request."""
        lines = {"host": HOST} | {name.replace("_", "-"): value for name, value in fields.items()}
        self._connection.request(method, target, body, lines)

    def answer(self) -> Answer:
        """Read the whole answer of what was sent."""
        response = self._connection.getresponse()
        named = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, named, response.read())

    def open_answer(self) -> http.client.HTTPResponse:
        """Return the answer of what was sent, its body to be read piece by piece."""
        return self._connection.getresponse()

    def close(self) -> None:
        """Close."""
        self._connection.close()


def ask(accel: Accel, target: str, method: str = "GET", body: bytes | None = None, **fields: str) -> Answer:
    """Return the answer on a connection of its own."""
    client = Client(accel.port)
    try:
        return client.ask(target, method, body, **fields)
    finally:
        client.close()


def wait_stale(accel: Accel, target: str) -> None:
    """Wait until what is stored for a target is no longer fresh, asking for nothing but the store's word."""
    fresh = "only-if-cached, max-stale=0"
    eventually(f"{target} is stale", lambda: ask(accel, target, cache_control=fresh).status == 504)


@contextlib.contextmanager
def several_clients(accel: Accel, count: int) -> Iterator[list[Client]]:
    """Return so many clients, which connect with their first request."""
    clients = [Client(accel.port) for _ in range(count)]
    try:
        yield clients
    finally:
        for client in clients:
            client.close()


@contextlib.contextmanager
def clients_of_every_worker(accel: Accel, least: int = 16) -> Iterator[list[Client]]:
    """Open so many connections that every worker holds some of them; each has asked for /warm once."""
    opened: list[Client] = []

    def has_opened_enough() -> bool:
        newcomers = [Client(accel.port) for _ in range(least)]
        opened.extend(newcomers)
        for client in newcomers:
            client.begin("/warm")
        for client in newcomers:
            client.answer()
        return all(accel.connections())

    try:
        eventually("every worker holds connections", has_opened_enough)
        yield opened
    finally:
        for client in opened:
            client.close()


class Raw:
    """A socket that says exactly what a test wants."""

    def __init__(self, port: int, receive_buffer: int = 0) -> None:
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(SOON_S)
        self.socket.connect(("127.0.0.1", port))

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *exc: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send everything."""
        self.socket.sendall(data)

    def get(self, target: str) -> None:
        """Send a GET and close the sending side of nothing."""
        self.send(f"GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())

    def receive(self, size: int = 65536) -> bytes:
        """Return what is there, waiting for at least a byte; empty at the end."""
        return self.socket.recv(size)

    def receive_until(self, end: bytes) -> bytes:
        """Return everything up to and with `end`; fails if the connection ends before."""
        data = b""
        while not data.endswith(end):
            piece = self.receive(1)
            assert piece, data
            data += piece
        return data

    def receive_all(self) -> bytes:
        """Return everything up to a clean end; raises ConnectionResetError at another."""
        data = bytearray()
        while piece := self.receive():
            data += piece
        return bytes(data)

    def discard(self, size: int) -> int:
        """Read and drop `size` bytes; return how many came before the end."""
        buffer, taken = memoryview(bytearray(1 << 20)), 0
        while taken < size:
            got = self.socket.recv_into(buffer, min(size - taken, len(buffer)))
            if not got:
                break
            taken += got
        return taken

    def ended(self) -> bool:
        """Whether the other side closes without another byte; waits for it."""
        try:
            return not self.receive(1)
        except ConnectionResetError:
            return True


@dataclass(frozen=True, slots=True)
class Failure:
    """An exchange of a load that had no whole answer."""

    client: int
    why: str
    answers: int
    """How many it had had on that connection: none if the connection was new."""


class Load:
    """Good clients that ask without pause, each on a kept-alive connection, in a thread of their own.

    A client that was told `Connection: close` opens another connection. One whose connection closes without that word,
    or in the middle of an answer, has a failure, and opens another all the same.
    """

    def __init__(self, port: int, targets: Sequence[str], connections: int = 16) -> None:
        self.done = 0
        self.failures: list[Failure] = []
        self.statuses: Counter[int] = Counter()
        self.answered: Counter[str] = Counter()
        """By target."""
        self.reconnects = 0
        self._port = port
        self._targets = targets
        self._connections = connections
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="load")

    def __enter__(self) -> Load:
        self._thread.start()
        self.wait_more(self._connections)
        return self

    def __exit__(self, *exc: object) -> None:
        self._is_over = True
        self._thread.join()

    def wait_more(self, count: int) -> None:
        """Wait until so many more requests were answered."""
        target = self.done + count
        eventually(f"{count} more answers", lambda: self.done >= target)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._all())

    async def _all(self) -> None:
        await asyncio.gather(*(self._client(number) for number in range(self._connections)))

    async def _client(self, number: int) -> None:
        while not self._is_over:
            writer = None
            answered = Counter[int]()
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                await self._ask_on(number, reader, writer, answered)
            except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                self.failures.append(Failure(number, repr(error), answered.total()))
            finally:
                if writer is not None:
                    writer.close()

    async def _ask_on(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answered: Counter[int]
    ) -> None:
        """Ask until the answer says that the connection closes, counting answers by status."""
        turn = number
        while not self._is_over:
            target = self._targets[turn % len(self._targets)]
            turn += 1
            async with asyncio.timeout(SOON_S):
                writer.write(f"GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0]))
            status = int(head.split(b" ", 2)[1])
            answered[status] += 1
            self.statuses[status] += 1
            self.answered[target] += 1
            self.done += 1
            if b"\r\nconnection: close" in head:
                self.reconnects += 1
                return
