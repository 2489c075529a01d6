"""Two workers that are told the same, one of them with relays: what the clients and the origin of either get.

Each has a store and an origin of its own, over real sockets, and both live on one clock; all that comes out is
compared, and what is left when everything has ended.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hot_pair import close_arena
from piecewise_origin import Reply
from relay_sides import Side, Worker, is_held
from wire_scene import Scene

from accel.caching.invalidation import Purge
from accel.config import Limits
from accel.policy.sites import Sites
from accel.stats.counters import totals
from accel.store.flights import FlightArena, SharedFlights
from accel.store.shared import SharedArena

ROWS = 3
_CHUNK = re.compile(rb"\r\n[0-9a-f]+\r\n")
_WHEN = re.compile(rb"(; ttl=\d+)|(Age: \d+\r\n)|(Date: [^\r]*\r\n)")
_QUIET_TURNS, _MOST_TURNS = 24, 20_000


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
        return self.worker.taken

    @property
    def carried(self) -> int:
        """How many of them the general path had no part in."""
        return self.worker.carried

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
        return any(map(is_held, self.relaying.clients))

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
                same("received", *map(self._undated, (ours.received, theirs.received)))
            for name in ("has_eof", "is_cut", "is_lost", "is_reading"):
                same(name, getattr(ours.transport, name), getattr(theirs.transport, name))
            same("phase", ours.connection.phase, theirs.connection.phase)
        same("heads", relaying.origin.heads, plain.origin.heads)
        same("origin connections", len(relaying.origin.connections), len(plain.origin.connections))
        self.compare_told()
        if not self.is_lax:
            same("histograms", list(relaying.scene.histograms), list(plain.scene.histograms))
        if not self.is_lax:
            same("stored", relaying.stored(), plain.stored())
        same("all received", *[sorted(self._undated(each.received) for each in side.clients) for side in self.sides])
        same("in flight", relaying.board.flights, plain.board.flights)
        same("successes", relaying.board.successes, plain.board.successes)
        same("failures", relaying.board.failures, plain.board.failures)

    def compare_told(self) -> None:
        """The same was counted and logged."""
        if not self.has_broken_off:
            same("counters", *self._counts())
            same("records", *self._records())

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


def same(what: str, ours: object, theirs: object) -> None:
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

