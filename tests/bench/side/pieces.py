"""The pieces of a hit, each as a call without arguments that may be made as often as one likes.

Owns one worker in memory (tests/wire's) with pages stored. What a piece returns or writes goes nowhere.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from itertools import cycle

from policy_costs import NAMES, general, made
from wire_scene import Scene

from accel.caching.key import primary_key
from accel.caching.reuse import judge
from accel.http.message import Fields, Request
from accel.http.request_parser import RequestParser
from accel.policy.sites import Sites
from accel.proxy import deliver
from accel.proxy.asking import Asking
from accel.proxy.connection import ClientConnection
from accel.proxy.exchange import Exchange
from accel.proxy.outcome import Outcome
from accel.server.stores import make_hot
from accel.store.shared import SharedArena
from side.works import BROWSER, COOKIE, SMALL, UNIQUE, ZIPF_URLS

CLIENT = "127.0.0.1"
URLS = 1000
"""Stored beside the page, for draws by Zipf."""
PIPELINED = 16
COOKIES = f"Cookie: {COOKIE.replace(UNIQUE, '0' * 10)}\r\n\r\n".encode()
Piece = Callable[[], object]


def request_bytes(target: str) -> bytes:
    """Return a browser's request."""
    return f"GET {target} HTTP/1.1\n{BROWSER}Connection: keep-alive\n\n".replace("\n", "\r\n").encode()


def anew(request: Request) -> Request:
    """Return the same request, in which no field was looked up yet."""
    return Request(request.method, request.target, host=request.host, fields=Fields(request.fields.lines))


def many_rules() -> Sites:
    """Return 500 rules of every kind; they read some cookies, fields and the client's address."""
    return Sites((), made(NAMES, general(500)))


class Nowhere(asyncio.Transport):
    """A client that takes everything at once; it has no socket, so the hot path writes by the transport."""

    def get_extra_info(self, name: str, default: object = None) -> object:
        return (CLIENT, 40000) if name == "peername" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        return

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        return

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        return


class Requests:
    """Takes what is parsed, keeps the last."""

    request: Request

    def request_begun(self, request: Request) -> None:
        self.request = request

    def body_received(self, data: bytes) -> None:
        return

    def request_ended(self) -> None:
        return


class Worker:
    """One worker that has stored a page, and many."""

    def __init__(self, scene: Scene) -> None:
        """Turn a scene into a worker as it runs by default: its own clock, no log, the hot path where it is built."""
        self.scene, self.service = scene, scene.service
        self.service.now, self.service.log = time.time, None
        self.service.hot = make_hot(scene.store, scene.machine.numbers, scene.counters, scene.histograms)
        if self.service.hot is not None:
            self.service.hot.use(self.service)
        self.page = request_bytes("/page")
        self.sink = Requests()
        self.parser = RequestParser(self.sink, self.service.limits)

    @classmethod
    async def made(cls, policies: Sites | None = None) -> Worker:
        """Return a worker with everything stored, and nothing decided yet; without `policies` it has none."""
        worker = cls(Scene(arena=SharedArena(64 << 20, 1) if find_spec("accel.store._shared") else None))
        worker.service.policies = policies or worker.service.policies
        targets = ["/page", *(f"/{number}" for number in range(URLS))]
        for target in targets:
            worker.scene.origin.page(target, b"x" * SMALL, cache_control="max-age=3600", content_type="text/html")
        connection = worker.connected()
        for target in targets:
            connection.data_received(request_bytes(target))
            await worker.scene.settle()
        assert len(worker.scene.origin.calls) == len(targets) == worker.scene.count("stored")
        return worker

    def connected(self) -> ClientConnection:
        """Return a client's connection."""
        connection = ClientConnection(self.scene.clients)
        connection.connection_made(Nowhere())
        return connection

    def pieces(self) -> dict[str, Piece]:
        """Return every piece, by name."""
        self.parse()
        request = self.sink.request
        cache, now = self.service.cache, self.service.now()
        policy = self.service.policies.of(request.host)
        key = primary_key(request.host, request.target)
        entry = cache.find(request, now).entry
        assert entry is not None
        rules = many_rules()
        ruled = rules.of(request.host)
        return {
            "parse: a browser's head": self.parse,
            "key: of a request": lambda: primary_key(request.host, request.target),
            "store: get": lambda: self.scene.store.get(key),
            "store: get, 1,000 keys in turns": self.gets(),
            "lookup: what lies under the key": lambda: cache.find(request, now),
            "decide: no policy": lambda: policy.request(anew(request), CLIENT),
            "decide: 500 rules": lambda: ruled.request(anew(request), CLIENT),
            "judge: may it be reused": lambda: judge(entry.stored, request.fields, now, self.service.caching),
            "deliver: head and body": self.delivering(request),
            "general: a whole hit": self.general(None),
            "general: a whole hit under 500 rules": self.general(rules),
            **self.hot_pieces(),
        }

    def parse(self) -> None:
        """Parse one head."""
        self.parser.feed(self.page)

    def gets(self) -> Piece:
        """Return a get of another key each time."""
        keys = cycle([primary_key(b"www.example.org", b"/%d" % number) for number in range(URLS)])
        store = self.scene.store
        return lambda: store.get(next(keys))

    def delivering(self, request: Request) -> Piece:
        """Return the writing of a hit's answer."""
        now, policy = self.service.now(), self.service.policies.of(request.host)
        found = self.service.cache.find(request, now)
        exchange = Exchange(self.connected(), self.service, request, lambda may_read: None)
        exchange.asking = Asking(policy, request, policy.request(request, CLIENT))
        exchange.outcome = Outcome.HIT
        assert found.entry is not None and found.record is not None
        entry, record = found.entry, found.record
        return lambda: deliver.send_hit(exchange, entry, record, now)

    def general(self, policies: Sites | None) -> Piece:
        """Return a request's whole way without the hot path, from bytes to bytes."""
        usual, hot = self.service.policies, self.service.hot

        def one() -> None:
            self.service.policies = policies or usual
            self.service.hot = connection._hot = None
            connection.data_received(self.page)
            self.service.policies, self.service.hot = usual, hot

        connection = self.connected()
        return one

    def hot_pieces(self) -> dict[str, Piece]:
        """Return what goes the hot path, where that is built."""
        if self.service.hot is None:
            return {}
        connection, pipeline = self.connected(), self.page * PIPELINED
        chance = random.Random(1)
        drawn = chance.choices(range(URLS), [1 / (number + 1) for number in range(URLS)], k=ZIPF_URLS)
        texts = {number: request_bytes(f"/{number}") for number in set(drawn)}
        for text in (self.page, *texts.values()):
            for _ in range(3):  # the host is made known, the answer learned, and given again
                connection.data_received(text)
        pages = cycle([texts[number] for number in drawn])
        return {
            **self.hot_hits(""),
            f"hot: {PIPELINED} pipelined": lambda: connection.data_received(pipeline),
            "hot: a whole hit, 1,000 URLs by Zipf": lambda: connection.data_received(next(pages)),
        }

    def hot_hits(self, under: str) -> dict[str, Piece]:
        """Return hits of one page by the hot path, without cookies and with some."""
        if self.service.hot is None:
            return {}
        connection, with_cookies = self.connected(), self.page[:-2] + COOKIES
        for text in (self.page, self.page, self.page, with_cookies, with_cookies):
            connection.data_received(text)
        return {
            f"hot: a whole hit{under}": lambda: connection.data_received(self.page),
            f"hot: a whole hit{under}, cookies": lambda: connection.data_received(with_cookies),
        }
