"""Clients that ask a `checked_origin` through accel without pause and compare every byte of every answer.

Owns what is a failure: an exchange without a whole, right answer. It is named by the client's own port and by the time
that its connection lasted, so that a test can say whether that belonged to a process that it killed.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from dataclasses import dataclass, field

import httptools
import uvloop
from checked_origin import LANGUAGES, body_of, varies
from children import SOON_S, eventually
from http_clients import HOST

ITEMS = 1500


@dataclass(frozen=True, slots=True)
class Lost:
    """An exchange that had no whole answer."""

    client_port: int
    opened_mono: float
    """When its connection was about to be opened."""
    lost_mono: float
    what: str
    why: str


@dataclass(slots=True)
class Seen:
    """What the clients saw."""

    answers: int = 0
    hits: int = 0
    body_bytes: int = 0
    wrong: list[str] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    closed: int = 0
    """Connections that ended after an answer that said so."""
    longest_gap_s: float = 0.0
    """Between two answers, whoever got them."""
    last_mono: float = 0.0

    def hit_ratio_since(self, answers: int, hits: int) -> float:
        """Return the share of hits among the answers since there were so many."""
        return (self.hits - hits) / max(1, self.answers - answers)


class Connection(asyncio.Protocol):
    """One kept-alive connection."""

    def __init__(self) -> None:
        self.target, self.body = "", bytearray()
        self._parser: httptools.HttpResponseParser | None = None
        self._answer: asyncio.Future[None] | None = None
        self.port = 0
        self.is_open = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    async def ask(self, target: str, language: str) -> None:
        """Send a request and wait for its whole answer; raises ConnectionError."""
        if not self.is_open:
            raise ConnectionResetError("closed between two exchanges")
        self.target, self.body = target, bytearray()
        self.cache_status, self.status = b"", 0
        self._answer = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        request = f"GET {target} HTTP/1.1\r\nHost: {HOST}\r\nAccept-Language: {language}\r\n\r\n"
        self._transport.write(request.encode())  # type: ignore[attr-defined]
        await self._answer

    def close(self) -> None:
        """Close."""
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        assert self._parser is not None, "bytes that nobody asked for"
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"cache-status":
            self.cache_status = value

    def on_body(self, part: bytes) -> None:
        self.body += part

    def on_message_complete(self) -> None:
        assert self._parser is not None and self._answer is not None
        self.status = self._parser.get_status_code()
        self.is_open = self.is_open and self._parser.should_keep_alive()
        if not self._answer.done():
            self._answer.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError(f"closed in an exchange: {error!r}"))


def warm_all(port: int, items: int) -> None:
    """Ask once for everything that a load with so many items may ask for."""

    async def ask_all() -> None:
        _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
        for item in range(items):
            for language in LANGUAGES if varies(item) else LANGUAGES[:1]:
                await connection.ask(f"/item/{item}", language)
                assert connection.body == body_of(item, language), connection.status
        connection.close()

    uvloop.run(ask_all())


class CheckedLoad:
    """So many clients in a thread of their own, from `with` to its end."""

    def __init__(self, port: int, clients: int = 24, items: int = ITEMS, seed: int = 1) -> None:
        self.seen = Seen()
        self._port, self._clients, self._items, self._seed = port, clients, items, seed
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="checked-load")

    def __enter__(self) -> CheckedLoad:
        self._thread.start()
        self.wait_more(self._clients)
        return self

    def __exit__(self, *exc: object) -> None:
        self._is_over = True
        self._thread.join()

    def wait_more(self, count: int, within_s: float = SOON_S) -> None:
        """Wait until so many more requests were answered."""
        wanted = self.seen.answers + count
        eventually(f"{count} more answers", lambda: self.seen.answers >= wanted, within_s)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._all())

    async def _all(self) -> None:
        self.seen.last_mono = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(self._clients):
                group.create_task(self._client(random.Random(self._seed * 1000 + number)))

    async def _client(self, chance: random.Random) -> None:
        """Ask on one connection after the other; one that ended without a word is a failure."""
        while not self._is_over:
            opened_mono, connection = time.monotonic(), None
            try:
                _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", self._port)
                async with asyncio.timeout(None) as patience:
                    while connection.is_open and not self._is_over:
                        patience.reschedule(asyncio.get_running_loop().time() + SOON_S)
                        await self._ask(connection, chance)
                self.seen.closed += not connection.is_open
            except (OSError, TimeoutError) as error:
                self._note_lost(connection, opened_mono, error)
            finally:
                if connection is not None:
                    connection.close()

    def _note_lost(self, connection: Connection | None, opened_mono: float, error: Exception) -> None:
        port, what = 0, "no connection"
        if connection is not None:
            port, what = connection.port, f"{connection.target} after {len(connection.body):,} bytes"
        self.seen.lost.append(Lost(port, opened_mono, time.monotonic(), what, repr(error)))

    async def _ask(self, connection: Connection, chance: random.Random) -> None:
        item, language = int(self._items * chance.random() ** 2), chance.choice(LANGUAGES)
        await connection.ask(f"/item/{item}", language)
        now, seen = time.monotonic(), self.seen
        seen.longest_gap_s, seen.last_mono = max(seen.longest_gap_s, now - seen.last_mono), now
        if connection.status != 200 or connection.body != body_of(item, language):
            seen.wrong.append(f"item {item} in {language}: {connection.status}, {len(connection.body)} bytes")
        seen.body_bytes += len(connection.body)
        seen.hits += connection.cache_status.startswith(b"accel; hit")
        seen.answers += 1
