"""One worker with an origin of its own, with relays or without: what clients, origin, counters and log got.

Owns what is counted of relays and what is compared of a worker; `relay_pair` has two of them live one life.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hot_pair import Counting, assert_unpinned
from local_board import LocalBoard
from piecewise_origin import PiecewiseOrigin
from wire_scene import Client, Scene

from accel.caching.stored import decode
from accel.config import BackendConfig, OriginOptions, OriginTimeouts
from accel.http.message import Line
from accel.net.pollers import make_poller
from accel.origin.fetch import Origin
from accel.proxy._relay import Carrier, Plan, Relay
from accel.proxy.fill import Fill
from accel.proxy.hot import Hot
from accel.proxy.relay import Relays
from accel.stats.records import LogRecord
from accel.store.shared import SharedStore

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
        window = limits.window_bytes
        origin = Origin(options, range(1), self.board, scene.counters, window, limits, make_poller())
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

    @property
    def taken(self) -> int:
        """How many requests relays began."""
        carrier = self.relays.carrier
        assert isinstance(carrier, CountingCarrier)
        return carrier.taken

    @property
    def carried(self) -> int:
        """How many of them the general path had no part in."""
        return self.taken - self.relays.ways.total()



def is_held(client: Client) -> bool:
    """Whether a head that was relayed for this client waits for its end."""
    current = client.connection.current
    return isinstance(current, Relay) and current.gathered is not None
