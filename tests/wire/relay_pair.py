"""Two workers that are told the same, one of them with relays: what the clients and the origin of either get.

Each has a store and an origin of its own, over real sockets, and both live on one clock; all that comes out is
compared, and what is left when everything has ended.
"""

from __future__ import annotations

import asyncio
import math
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hot_pair import Counting, assert_unpinned, close_arena
from local_board import LocalBoard
from piecewise_origin import PiecewiseOrigin, Reply
from wire_scene import Client, Scene

from accel.caching.invalidation import Purge
from accel.caching.stored import decode
from accel.config import BackendConfig, Limits, OriginOptions, OriginTimeouts
from accel.http.message import Line
from accel.origin.fetch import Origin
from accel.policy.sites import Sites
from accel.proxy._relay import Carrier, Plan, Relay
from accel.proxy.fill import Fill
from accel.proxy.hot import Hot
from accel.proxy.relay import Relays
from accel.stats.counters import totals
from accel.stats.records import LogRecord
from accel.store.flights import FlightArena, SharedFlights
from accel.store.shared import SharedArena, SharedStore

ROWS = 3
_CHUNK = re.compile(rb"\r\n[0-9a-f]+\r\n")
_WHEN = re.compile(rb"(; ttl=\d+)|(Age: \d+\r\n)|(Date: [^\r]*\r\n)")
_QUIET_TURNS, _MOST_TURNS = 24, 20_000
PATIENT = OriginTimeouts(connect_s=5.0, first_byte_s=15.0, between_bytes_s=15.0)


class CountingCarrier(Carrier):
    """Counts what it takes."""

    taken = 0

    def take(self, connection: Any, data: bytes, signature: bytes) -> bool:
        """As `Carrier.take`."""
        is_taken = super().take(connection, data, signature)
        self.taken += is_taken
        return is_taken


class CountingRelays(Relays):
    """Counts how relays are left."""

    def __init__(self, *rest: Any) -> None:
        self.ways: Counter[str] = Counter()
        self.judged = 0
        with patch("accel.proxy.relay.Carrier", CountingCarrier):
            super().__init__(*rest)

    def may_pass_on(self, plan: Plan, status: int, lines: list[Line]) -> bool:
        """As `Relays.may_pass_on`."""
        self.judged += 1
        return super().may_pass_on(plan, status, lines)

    def hand_over(self, relay: Relay, data: bytes) -> None:
        """As `Relays.hand_over`."""
        if relay.key is None:  # else `fill_of` counts it
            self.ways["connected anew" if relay.conn is None else "failed" if relay.conn.error else "left"] += 1
        super().hand_over(relay, data)

    def fill_of(self, relay: Relay, data: bytes) -> Fill:
        """As `Relays.fill_of`."""
        self.ways["filled"] += 1
        return super().fill_of(relay, data)

    def failed(self, relay: Relay) -> None:
        """As `Relays.failed`."""
        self.ways["cut"] += relay.head_sent
        self.ways["broken off"] += relay.gathered is not None
        super().failed(relay)

    def client_gone(self, relay: Relay) -> None:
        """As `Relays.client_gone`."""
        self.ways["gone"] += 1
        super().client_gone(relay)


class Side:
    """One worker, its origin, and what tells how far that got."""

    def __init__(self, scene: Scene, directory: Path | None, options: dict[str, Any]) -> None:
        self.scene, self.options = scene, options
        self.board = LocalBoard(1)
        path = None if directory is None else directory / "origin"
        self.origin = PiecewiseOrigin(path, lambda: scene.count("origin_bytes_in"))
        self.clients: list[Client] = []
        self.client: Client
        self.beside: list[Scene] = []
        self._told: list[tuple[object, ...]] = []

    async def start(self) -> None:
        """Let the origin listen, and the worker use it."""
        await self.origin.start()
        self.use_origin(self.scene)

    def use_origin(self, scene: Scene) -> None:
        """Give a worker its way to the origin."""
        given = {"backends": (BackendConfig(self.origin.address),), "timeouts": PATIENT} | self.options
        options = OriginOptions(**given)
        limits = scene.service.limits
        origin = Origin(options, range(1), self.board, scene.counters, limits.window_bytes, limits)
        scene.service.origins = {"": origin}

    def connect(self, peer: str = "127.0.0.1") -> None:
        """Let another client come."""
        self.client = self.scene.client(peer)
        self.clients.append(self.client)

    @property
    def seen(self) -> tuple[object, ...]:
        """What moves as long as anything does."""
        received = tuple(len(client.transport.sent) for client in self.clients)
        return received, sum(self.scene.counters), len(self.origin.heads), len(self.origin.connections)

    def records(self) -> list[tuple[object, ...]]:
        """Return what was logged, but for what tells the two workers apart."""
        self._told += map(_comparable, self.scene.log.records[len(self._told) :])
        return list(self._told)

    def stored(self) -> dict[bytes, tuple[object, bytes]]:
        """Return all that is stored: what it is, and its body."""
        found: dict[bytes, tuple[object, bytes]] = {}

        def judge(key: bytes, meta: bytes) -> bool:
            found[key] = (decode(meta), b"")
            return False

        assert self.scene.machine.arena is not None
        self.scene.machine.arena.sweep(judge, lambda: None)
        for key in found:
            record = self.scene.store.get(key)
            body = b"" if record is None else b"".join(map(bytes, record.chunks()))
            found[key] = (found[key][0], body)
        return found

    async def leave(self) -> None:
        """Let everybody go."""
        for client in self.clients:
            client.transport.lose()
        await self.scene.settle()
        await self.origin.stop()
        await self.scene.settle()

    async def end(self) -> None:
        """Check that nothing is left."""
        for scene in (self.scene, *self.beside):
            scene.service.origins[""].close()
            await scene.settle()
        await self.scene.until(lambda: not self.origin.connections)
        for scene in (*self.beside, self.scene):
            await scene.end()
        assert_unpinned(self.scene)
        assert self.board.flights == [0]


def _comparable(record: LogRecord) -> tuple[object, ...]:
    backend = record.backend and "origin"
    told = replace(record, exchange_id=0, number=0, backend=backend)
    return tuple("nan" if isinstance(value, float) and math.isnan(value) else value for value in astuple(told))


@dataclass
class Worker:
    """What makes a worker one with a hot path and relays."""

    replayer: Counting
    relays: CountingRelays

    @classmethod
    def of(cls, scene: Scene) -> Worker:
        """Give a worker over an arena both."""
        assert isinstance(scene.store, SharedStore)
        memory, counters, histograms = scene.machine.numbers.memory, scene.counters, scene.histograms
        replayer = Counting(memory, counters, lambda: scene.now, lambda: scene.mono, 1024, histograms)
        replayer.row = counters
        hot = Hot(replayer, scene.store)
        relays = CountingRelays(hot, scene.store, memory, counters, histograms, lambda: scene.now)
        scene.service.hot, scene.service.relays = hot, relays
        hot.use(scene.service)
        relays.use(scene.service)
        return cls(replayer, relays)


class RelayPair:
    """Both workers, on one clock, and clients of each."""

    def __init__(
        self,
        options: Callable[[], dict[str, Any]] = dict,
        memory_bytes: int = 16 << 20,
        is_tcp: bool = False,
        **origin_options: Any,
    ) -> None:
        """`options` are those of a scene; `origin_options` those of `OriginOptions`."""
        with patch("accel.store.header.secrets.randbits", lambda bits: 0):
            arenas = [SharedArena(memory_bytes, ROWS, 1 << 20) for _ in range(2)]
        self._flights = [FlightArena(ROWS) for _ in range(2)]
        self._directory = Path(tempfile.mkdtemp())
        self.sides: list[Side] = []
        for arena, flights, name in zip(arenas, self._flights, ("plain", "relaying"), strict=True):
            scene = Scene(arena=arena, coalescer=SharedFlights(flights, 0), **options())
            directory = None if is_tcp else self._directory / name
            if directory is not None:
                directory.mkdir()
            self.sides.append(Side(scene, directory, origin_options))
        self.plain, self.relaying = self.sides
        self.worker = Worker.of(self.relaying.scene)
        self._forgiven: dict[str, int] = {}
        self.is_ordered = True
        """Whether records are compared in their order: who waits for one fetch is served in any."""
        self.is_lax = False
        """Whether time has passed while a head waited for its end: when first bytes went out is compared no more."""
        self._loop = asyncio.get_running_loop()
        self._loop.time = lambda: self.plain.scene.mono  # type: ignore[method-assign]

    async def start(self) -> RelayPair:
        """Let the origins listen, and a client of each come."""
        for side in self.sides:
            await side.start()
        self.connect()
        return self

    @property
    def taken(self) -> int:
        """How many requests relays began."""
        carrier = self.worker.relays.carrier
        assert isinstance(carrier, CountingCarrier)
        return carrier.taken

    @property
    def carried(self) -> int:
        """How many of them the general path had no part in."""
        return self.taken - self.ways.total()

    @property
    def ways(self) -> Counter[str]:
        """How the others were left to it."""
        return self.worker.relays.ways

    @property
    def replays(self) -> int:
        """How many requests were answered by replays."""
        return self.worker.replayer.replays

    def connect(self, peer: str = "127.0.0.1") -> None:
        """Let both workers have a new client, which is asked from now on."""
        for side in self.sides:
            side.connect(peer)

    def answers(self, script: Mapping[bytes, Reply | tuple[Reply, ...]]) -> None:
        """Let both origins answer so."""
        for side in self.sides:
            side.origin.answers(script)

    def beside(self) -> list[Scene]:
        """Return another worker of each machine, over the same store and origin; it has no relays."""
        made = []
        for side, flights in zip(self.sides, self._flights, strict=True):
            arena, row = side.scene.machine.arena, 1 + len(side.beside)
            scene = Scene(arena=arena, row=row, coalescer=SharedFlights(flights, row), beside=side.scene)
            side.use_origin(scene)
            scene.now, scene.mono = side.scene.now, side.scene.mono
            scene._tasks_before = side.scene._tasks_before  # those of now it would hold, and what they hold
            side.beside.append(scene)
            made.append(scene)
        return made

    async def settle(self) -> None:
        """Let everything happen that needs no time."""
        seen, quiet = (), 0
        for _ in range(_MOST_TURNS):
            await asyncio.sleep(0)
            before, seen = seen, tuple(side.seen for side in self.sides)
            quiet = quiet + 1 if seen == before and all(side.origin.is_quiet for side in self.sides) else 0
            if quiet == _QUIET_TURNS:
                return
        raise AssertionError("it never became quiet")

    async def send(self, *pieces: bytes) -> None:
        """Send the same to both, in the same pieces; a client that was closed comes anew."""
        for piece in pieces:
            for side in self.sides:
                if not side.client.transport.is_closing():
                    side.client.send(piece)
            await self.settle()
        self.compare()
        if not self.plain.client.is_open:
            self.connect()

    async def each(self, act: Callable[[Side], object]) -> None:
        """Do something on both sides, and compare what comes of it."""
        for side in self.sides:
            act(side)
        await self.settle()
        self.compare()

    async def after(self, seconds: float) -> None:
        """Let time pass for both."""
        await self.settle()
        self.is_lax |= self.is_holding
        for side in self.sides:
            for scene in (side.scene, *side.beside):
                scene.now += seconds
                scene.mono += seconds
        for side in self.sides:
            side.scene.clients.check()
        await self.settle()
        self.compare()

    async def purge(self, purge: Purge) -> None:
        """Purge in both."""
        for side in self.sides:
            await side.scene.machine.invalidate(purge, counted=True)
        await self.settle()

    def rule(self, policies: Sites, limits: Limits | None = None) -> None:
        """Put other rules into force in both, as a reload does: in a service of their own."""
        for side in self.sides:
            scene = side.scene
            service = replace(scene.service, policies=policies, limits=limits or scene.service.limits)
            scene.service = scene.clients.service = service
            scene.clients.limits = service.limits
            if service.hot is not None and service.relays is not None:
                service.hot.use(service)
                service.relays.use(service)

    def stop(self) -> None:
        """Let both workers begin to stop."""
        for side in self.sides:
            side.scene.clients.stop()

    def forgive(self, *names: str) -> None:
        """Compare these counters from now on by what is added to them."""
        for name in names:
            self._forgiven[name] = self.relaying.scene.count(name) - self.plain.scene.count(name)

    def _counts(self) -> tuple[dict[str, int], dict[str, int]]:
        ours, theirs = totals([self.relaying.scene.counters]), totals([self.plain.scene.counters])
        ours = {name: count - self._forgiven.get(name, 0) for name, count in ours.items()}
        for counts in (ours, theirs) if self._is_reframed() else ():
            del counts["client_bytes_out"]
        return ours, theirs

    def _is_reframed(self) -> bool:
        """Whether chunks were cut elsewhere: what came while the general path took over was in two, and became one."""
        framings = [[_CHUNK.findall(client.received) for client in side.clients] for side in self.sides]
        return framings[0] != framings[1]

    def _undated(self, received: bytes) -> bytes:
        """Return what a client got, but for where chunks are cut, and for what says when it came if that may differ."""
        received = _CHUNK.sub(b"", received)
        return _WHEN.sub(b"", received) if self.is_lax else received

    def _records(self) -> list[list[tuple[object, ...]]]:
        made = [side.records() for side in reversed(self.sides)]
        if not self.is_ordered:
            made = [sorted(records, key=repr) for records in made]
        return [[told[:8] + told[9:13] + told[17:] for told in records] for records in made] if self.is_lax else made

    @property
    def is_holding(self) -> bool:
        """Whether a relayed head waits for its end."""
        return any(isinstance(client.connection.current, Relay) and client.connection.current.gathered is not None
                   for client in self.relaying.clients)  # fmt: skip

    @property
    def has_broken_off(self) -> bool:
        """Whether a relayed head has waited for an end that does not come: an error for its client alone."""
        return self.ways["broken off"] > 0

    def compare(self) -> None:
        """Clients and origins of both got the same, and all that was counted, logged and stored is the same."""
        plain, relaying = self.sides
        if self.is_holding or self.has_broken_off:
            return  # the general path has sent the head, and perhaps a part
        for theirs, ours in zip(plain.clients, relaying.clients, strict=True):
            if self.is_ordered:
                _same("received", *map(self._undated, (ours.received, theirs.received)))
            for name in ("has_eof", "is_cut", "is_lost", "is_reading"):
                _same(name, getattr(ours.transport, name), getattr(theirs.transport, name))
            _same("phase", ours.connection.phase, theirs.connection.phase)
        _same("heads", relaying.origin.heads, plain.origin.heads)
        _same("origin connections", len(relaying.origin.connections), len(plain.origin.connections))
        self.compare_told()
        if not self.is_lax:
            _same("histograms", list(relaying.scene.histograms), list(plain.scene.histograms))
        if not self.is_lax:
            _same("stored", relaying.stored(), plain.stored())
        _same("all received", *[sorted(self._undated(each.received) for each in side.clients) for side in self.sides])
        _same("in flight", relaying.board.flights, plain.board.flights)
        _same("successes", relaying.board.successes, plain.board.successes)
        _same("failures", relaying.board.failures, plain.board.failures)

    def compare_told(self) -> None:
        """The same was counted and logged."""
        if not self.has_broken_off:
            _same("counters", *self._counts())
            _same("records", *self._records())

    async def end(self) -> None:
        """Check what must hold for each."""
        await self.settle()
        self.compare()
        for side in self.sides:
            await side.leave()
        for side in self.sides:
            await side.end()
        self.compare_told()
        for side, flights in zip(self.sides, self._flights, strict=True):
            for bell in flights.bells[: 1 + len(side.beside)]:
                self._loop.remove_reader(bell)
            for bell in flights.bells:
                os.close(bell)
            close_arena(side.scene)
        shutil.rmtree(self._directory)


def _same(what: str, ours: object, theirs: object) -> None:
    """Demand that two things are equal, and say in what they are not."""
    if ours == theirs:
        return
    if isinstance(ours, dict) and isinstance(theirs, dict):
        keys = [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]
        ours, theirs = [{key: each.get(key) for key in keys} for each in (ours, theirs)]
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        pairs = [(place, a, b) for place, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b]
        ours, theirs = [pair[:2] for pair in pairs], [(pair[0], pair[2]) for pair in pairs]
    elif isinstance(ours, bytes) and isinstance(theirs, bytes):
        pairs = enumerate(zip(ours, theirs, strict=False))
        start = max(0, next((place for place, (a, b) in pairs if a != b), min(len(ours), len(theirs))) - 200)
        ours, theirs = ours[start:], theirs[start:]
    raise AssertionError(f"{what}: with relays\n{ours!r}\nwithout\n{theirs!r}")


async def relayed_exchange(pair: RelayPair, data: bytes) -> bool:
    """Send a request to both; whether it was carried from end to end."""
    before = pair.carried
    await pair.send(data)
    return pair.carried > before

