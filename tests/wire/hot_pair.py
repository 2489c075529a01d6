"""Two workers that are told the same, one with a hot path and one without: what the clients of either get.

They have a store each and live the same life, so all that comes out is compared.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from wire_scene import Client, Scene

from accel.caching.invalidation import Purge
from accel.config import LOOPBACK, CachingOptions, Limits
from accel.policy.built_in import built_in
from accel.policy.check import check
from accel.policy.compile import compiled
from accel.policy.parser import parse
from accel.policy.shipped import preset
from accel.policy.sites import Sites
from accel.proxy._hot import Replayer
from accel.proxy.hot import Hot
from accel.stats.counters import index
from accel.store.shared import SharedArena, SharedStore

HITS = index("hits")
_BOUNDARY = re.compile(rb"(?:boundary=|\r\n--)[0-9a-f]{32}")
"""Of parts of a page: a number drawn anew for each answer."""
COMPARED = (
    "requests",
    "hits",
    "hits_stale",
    "misses",
    "passes",
    "synthetic",
    "errors",
    "not_modified",
    "partial",
    "stored",
    "client_bytes_in",
    "client_bytes_out",
    "bad_requests",
    "head_too_large",
)


class Counting(Replayer):
    """Counts its replays: each is a hit."""

    replays = 0

    def answer(self, connection: Any, data: bytes) -> bytes | None:
        """As `Replayer.answer`."""
        before = self.row[HITS]
        rest = super().answer(connection, data)
        self.replays += self.row[HITS] - before
        return rest


def sites(*texts: str) -> Sites:
    """Return policies in force, one a text."""
    caching = CachingOptions()
    files = [parse("policy 1\n" + text, f"{number}.policy") for number, text in enumerate(texts)]
    return Sites([compiled(check(file, preset, str), caching, LOOPBACK) for file in files], built_in(caching, LOOPBACK))


def heated(scene: Scene, entries: int = 1024) -> Counting:
    """Give a scene over an arena a hot path."""
    assert isinstance(scene.store, SharedStore)
    memory = scene.machine.numbers.memory
    replayer = Counting(memory, scene.counters, lambda: scene.now, lambda: scene.mono, entries)
    replayer.row = scene.counters
    scene.service.hot = Hot(replayer, scene.store)
    scene.service.hot.use(scene.service)
    return replayer


class Pair:
    """Both workers, on one clock, and a client of each."""

    def __init__(self, plain: Scene, hot: Scene, entries: int = 1024) -> None:
        self.plain, self.hot = plain, hot
        self.both = (plain, hot)
        self.replayer = heated(hot, entries)
        self.clients: tuple[Client, Client]
        self.connect()

    @property
    def replays(self) -> int:
        """How many requests were answered by a replay."""
        return self.replayer.replays

    def connect(self) -> None:
        """Let both workers have a new client."""
        self.clients = (self.plain.client(), self.hot.client())

    async def settle(self) -> None:
        """Let everything happen that needs no time."""
        for scene in self.both:
            await scene.settle()

    async def send(self, *pieces: bytes) -> None:
        """Send the same to both, in the same pieces; a client that was closed comes anew."""
        for piece in pieces:
            for client in self.clients:
                if not client.transport.is_closing():
                    client.send(piece)
            await self.settle()
        self.compare()
        if not self.clients[0].is_open:
            self.connect()

    def compare(self) -> None:
        """Both clients got the same, and both connections wait for the same."""
        plain, hot = self.clients
        assert _BOUNDARY.sub(b"", hot.received) == _BOUNDARY.sub(b"", plain.received)
        for name in ("has_eof", "is_cut", "is_lost", "is_reading"):
            assert getattr(hot.transport, name) == getattr(plain.transport, name), name
        assert hot.connection.phase is plain.connection.phase
        assert self.hot.counts(*COMPARED) == self.plain.counts(*COMPARED)

    async def after(self, seconds: float) -> None:
        """Let time pass for both."""
        for scene in self.both:
            await scene.after(seconds, step_s=seconds)

    async def purge(self, purge: Purge) -> None:
        """Purge in both."""
        for scene in self.both:
            await scene.machine.invalidate(purge, counted=True)

    def rule(self, policies: Sites, limits: Limits | None = None) -> None:
        """Put other rules into force in both, as a reload does: for connections that are there too."""
        for scene in self.both:
            scene.service.policies = policies
            if limits is not None:
                scene.service.limits = scene.clients.limits = limits
            if scene.service.hot is not None:
                scene.service.hot.use(scene.service)

    async def end(self) -> None:
        """Check what must hold for each."""
        for scene in self.both:
            await scene.end()
            assert_unpinned(scene)
            close_arena(scene)


def twins(options: Callable[[], dict[str, Any]] = dict, memory_bytes: int = 16 << 20, entries: int = 1024) -> Pair:
    """Return two workers with a store each, under one secret: else two names may share a cell in one of them alone."""
    with patch("accel.store.header.secrets.randbits", lambda bits: 0):
        arenas = [SharedArena(memory_bytes, 1, 1 << 20) for _ in range(2)]
    plain, hot = (Scene(arena=arena, is_logging=False, **options()) for arena in arenas)
    return Pair(plain, hot, entries)


def assert_unpinned(scene: Scene) -> None:
    """Nothing that ended still holds a segment, whatever is remembered of what was replayed."""
    assert scene.machine.arena is not None
    assert scene.machine.arena.stat()["pins"] == 0


def close_arena(scene: Scene) -> None:
    """Let go of an arena's memory, which goes with the last object that uses it."""
    assert scene.machine.arena is not None
    os.close(scene.machine.arena.fd)
