"""A worker's client protocol in memory: bytes in, bytes out, what the origin saw, on a clock that tests turn.

Everything between the socket and the origin's connection is real: the parser, the policy, the cache and its store,
the exchanges. `Scene.end` holds for every scene what must hold after any: all that was begun has ended, every
response of an origin was closed, no store writer is left, and each request was counted once, under one outcome.
"""

from __future__ import annotations

import asyncio
import mmap
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

from answers import Answer, read_answers
from fake_transport import FakeTransport
from memory_origin import Call, MemoryOrigin

from accel.caching import ban
from accel.caching.invalidation import Purge, What
from accel.config import LOOPBACK, CachingOptions, ClientTimeouts, Limits
from accel.errors import OriginError
from accel.origin.fetch import Origin
from accel.policy.built_in import built_in_sites
from accel.policy.decision import Override, OverrideName
from accel.policy.sites import Sites
from accel.proxy.cache import Cache
from accel.proxy.clients import Clients
from accel.proxy.connection import ClientConnection
from accel.proxy.covering import key_names, tag_names
from accel.proxy.flights import Flights
from accel.proxy.limit_table import TABLE_BYTES, LimitTable
from accel.proxy.limiter import Limiter
from accel.proxy.refreshing import Refreshing, share_of
from accel.proxy.service import Coalescer, Receipt, Service
from accel.proxy.sweeping import Job, Sweep
from accel.stats import histograms
from accel.stats.counters import private_row, totals
from accel.stats.records import LogRecord, records_of
from accel.stats.ring import LogRings, RingWriter, Writer
from accel.store.numbers import SECRET_BYTES, Numbers, PlainWords, table_bytes
from accel.store.private import PrivateStore
from accel.store.shared import SharedArena, SharedStore

NOW = 1_700_000_000.0
"""Tue, 14 Nov 2023 22:13:20 GMT: when every scene begins."""
_TURNS = 20
_OUTCOMES = ("hits", "misses", "passes", "synthetic", "errors")


def private_numbers() -> Numbers:
    """Return numbers whose secret is always the same: else two names of a scene share a cell now and then."""
    return Numbers(mmap.mmap(-1, table_bytes(4096)), bytes(SECRET_BYTES), is_shared=False)


def _limit_table() -> LimitTable:
    return LimitTable(PlainWords(memoryview(mmap.mmap(-1, TABLE_BYTES)).cast("B").cast("Q")), NOW, b"")


class Machine:
    """The arbiter's part of one process's invalidations: real numbers. Serves as an `Invalidator`."""

    def __init__(self, arena: SharedArena | None) -> None:
        self.numbers = private_numbers() if arena is None else arena.numbers
        self.arena = arena
        self.cache: Cache
        self.store: PrivateStore | SharedStore
        self.frees = True
        """False: as in a worker that has not been told yet, and knows the numbers alone."""

    async def invalidate(self, purge: Purge, counted: bool) -> Receipt:
        """As `Invalidator.invalidate`, for one worker; the answer takes a turn of the loop."""
        count = self._apply(purge)
        await asyncio.sleep(0)
        return Receipt(count, 1, 1)

    def _apply(self, purge: Purge) -> int:
        numbers = self.numbers
        match purge.what:
            case What.URL:
                numbers.invalidate(map(numbers.cell, key_names(purge.names)), purge.is_soft)
                hit = self.cache.count if purge.is_soft else self.cache.drop
                return sum(map(hit, purge.names)) if self.frees else 1
            case What.TAG:
                number = numbers.invalidate(map(numbers.cell, tag_names(purge.names)), purge.is_soft)
                return self._swept(Job(What.TAG, number, purge.names, purge.is_soft))
            case What.ALL:
                return self._swept(Job(What.ALL, numbers.invalidate_all(purge.is_soft), is_soft=purge.is_soft))
            case What.BAN:
                text = purge.names[0].decode()
                ban.parse(text)
                number = numbers.ban(text)
                return self._swept(Job(What.BAN, number, ban=numbers.bans()[-1]))

    def _swept(self, job: Job) -> int:
        """Walk the store, as a worker does; a ban ends after that."""
        if not self.frees:
            return 1
        sweep = Sweep([job])
        if self.arena is not None:
            self.arena.sweep(sweep.judge, sweep.settle)
        elif isinstance(self.store, PrivateStore):
            for key in self.store.all_keys():
                self.store.sweep(key, sweep.judge, sweep.settle)
        if job.ban is not None:
            self.numbers.end_ban(job.number)
        return sweep.counts[0]


class MemoryUses:
    """Uses of overrides, by name."""

    def __init__(self) -> None:
        self.counted: Counter[OverrideName] = Counter()

    def used(self, override: Override) -> None:
        """As `OverrideUses.used`."""
        self.counted[override.name] += 1


class SceneLog:
    """A worker's ring, and what was read from it."""

    def __init__(self) -> None:
        self._rings = LogRings(4 << 20)
        memory = self._rings.memory(0)
        assert memory is not None
        self.writer: Writer = RingWriter(memory)
        self._records: list[LogRecord] = []
        self._offset = 0

    @property
    def records(self) -> list[LogRecord]:
        """All records so far."""
        reader = self._rings.readers()[0]
        while self._offset != reader.head():
            chunk, self._offset = reader.read(self._offset)
            self._records += records_of(chunk)
        return self._records


class Client:
    """One client: what it sends and what it got."""

    def __init__(self, clients: Clients, peer: str) -> None:
        self.connection = ClientConnection(clients)
        self.transport = FakeTransport(self.connection, peer)
        self.methods: list[bytes] = []
        self._seen = 0
        self.connection.connection_made(self.transport)

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.transport.receive(data)

    def ask(self, target: str = "/", method: str = "GET", body: bytes = b"", **fields: str) -> None:
        """Send one request; names have `_` for `-`, and Host is there unless given."""
        self.send(self.request(target, method, body=body, **fields))

    def request(
        self, target: str = "/", method: str = "GET", version: str = "1.1", body: bytes = b"", **fields: str
    ) -> bytes:
        """Return one request's bytes, whose answer is read as that of its method."""
        self.methods.append(method.encode())
        named = {"host": "example.org"} | {name.replace("_", "-"): value for name, value in fields.items()}
        if body and "transfer-encoding" not in named:
            named["content-length"] = str(len(body))
        lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
        return f"{method} {target} HTTP/{version}\r\n{lines}\r\n".encode("latin-1") + body

    @property
    def received(self) -> bytes:
        """All bytes so far."""
        return bytes(self.transport.sent)

    @property
    def answers(self) -> list[Answer]:
        """All responses so far."""
        has_ended = self.transport.has_eof and not self.transport.is_cut
        return list(read_answers(self.received, self.methods, has_ended))

    @property
    def is_open(self) -> bool:
        """Whether the connection is kept."""
        return not self.transport.has_eof and not self.transport.is_lost


class Scene:
    """One worker between its clients and its origins."""

    def __init__(
        self,
        limits: Limits | None = None,
        timeouts: ClientTimeouts | None = None,
        caching: CachingOptions | None = None,
        connections: int = 1000,
        memory_bytes: int = 64 << 20,
        max_body_bytes: int | None = None,
        arena: SharedArena | None = None,
        row: int = 0,
        coalescer: Coalescer | None = None,
        beside: Scene | None = None,
        policies: Sites | None = None,
        is_logging: bool = True,
    ) -> None:
        """With an `arena` the worker stores there, by its `row`; `beside` is another worker of the same machine."""
        limits = limits or Limits()
        self.now, self.mono = NOW, 1000.0
        self.counters = private_row()
        self.histograms = histograms.private_row()
        self.origin = beside.origin if beside is not None else MemoryOrigin()
        self.machine = Machine(arena)
        self.log = SceneLog()
        self.overrides = MemoryUses()
        self.store: PrivateStore | SharedStore = PrivateStore(memory_bytes, max_body_bytes)
        if arena is not None:
            self.store = SharedStore(arena, row, max_body_bytes)
        self.cache = Cache(self.store, self.machine.numbers, self.counters, limits.variants)
        self.machine.cache, self.machine.store = self.cache, self.store
        self.flights = Flights()
        self.refreshing = Refreshing()
        self.service = Service(
            policies=policies or built_in_sites(caching or CachingOptions(), LOOPBACK),
            cache=self.cache,
            origins={"": cast(Origin, self.origin)},
            flights=self.flights,
            refreshing=self.refreshing,
            invalidator=self.machine,
            coalescer=coalescer,
            limiter=Limiter(_limit_table(), 1, self.counters),
            counters=self.counters,
            histograms=self.histograms,
            overrides=self.overrides,
            limits=limits,
            caching=caching or CachingOptions(),
            log=self.log.writer if is_logging else None,
            now=lambda: self.now,
        )
        self.refreshing.use(self.service, share_of(self.service.caching.refreshes, workers=1))
        self.clients = Clients(self.service, limits, timeouts or ClientTimeouts(), connections)
        self.clients.now_mono = lambda: self.mono
        self.failures: list[dict[str, Any]] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self.failures.append(context))
        self.every_client: list[Client] = []
        self._tasks_before = asyncio.all_tasks()

    def hold_clock(self) -> None:
        """Let the loop's own timers go by the time that the test turns: they fire in `after`."""
        asyncio.get_running_loop().time = lambda: self.mono  # type: ignore[method-assign]

    def client(self, peer: str = "127.0.0.1") -> Client:
        """Connect a client."""
        client = Client(self.clients, peer)
        self.every_client.append(client)
        return client

    async def get(self, target: str = "/", method: str = "GET", client: Client | None = None, **fields: str) -> Answer:
        """Ask and return the answer to it, on a connection of its own unless one is given."""
        client = client or self.client()
        client.ask(target, method, **fields)
        await self.settle()
        return client.answers[-1]

    async def settle(self) -> None:
        """Let everything happen that needs no time and no word of the test."""
        for _ in range(_TURNS):
            await asyncio.sleep(0)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Turn the loop until a condition holds."""
        for _ in range(10_000):
            if condition():
                return
            await asyncio.sleep(0)
        raise AssertionError("the condition never held")

    async def call(self, number: int = -1) -> Call:
        """Return one of the origin's calls once all that can happen has happened."""
        await self.settle()
        return self.origin.calls[number]

    async def after(self, seconds: float, step_s: float = 0.25) -> None:
        """Let time pass as a worker lives it: limits are checked four times a second."""
        await self.settle()
        for _ in range(round(seconds / step_s)):
            self.now += step_s
            self.mono += step_s
            self.clients.check()
            await self.settle()

    def count(self, name: str) -> int:
        """Return a counter."""
        return totals([self.counters])[name]

    def counts(self, *names: str) -> tuple[int, ...]:
        """Return several counters."""
        return tuple(map(self.count, names))

    async def end(self) -> None:
        """Check what must hold after every scene."""
        self.assert_balanced()
        for client in self.every_client:
            client.transport.lose()
        await self.settle()
        for call in self.origin.calls:
            if call.reply is not None and not call.reply.is_closed:
                call.reply.cut()
            elif not call.is_over:
                call.fail(OriginError("the scene is over"))
        await self.settle()
        assert not self.failures, self.failures
        assert not self.origin.unclosed, "an origin's response was never closed"
        assert not self.flights._flights, "a flight never ended"
        assert not asyncio.all_tasks() - self._tasks_before - {asyncio.current_task()}, "a task never ended"
        held = self.store._writers_bytes if isinstance(self.store, PrivateStore) else self.store.buffered_bytes
        assert held == 0, "a store writer never ended"
        assert not len(self.clients)
        self.assert_balanced()

    def assert_balanced(self) -> None:
        """Each request has exactly one outcome and one record."""
        assert self.count("requests") == sum(self.counts(*_OUTCOMES))
        assert self.service.log is None or self.count("requests") == len(self.log.records)


MakeScene = Callable[..., Scene]
"""The fixture `make_scene`: a maker of scenes with other options."""
