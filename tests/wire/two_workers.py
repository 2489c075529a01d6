"""Two workers of one machine in memory: one fetches a large body, the clients of the other read it as it comes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest
from memory_origin import OriginReply
from wire_scene import Client, MakeScene, Scene

from accel.store.flights import FlightArena, SharedFlights
from accel.store.shared import SharedArena

ETAG = '"one"'
PIECE = 128 * 1024
SIZE = 3 << 20
BODY = os.urandom(SIZE)
ROWS = 3
NAMED: dict[str, Any] = {"length": SIZE, "cache_control": "max-age=60", "etag": ETAG}
"""A response that may be read as it comes, since a second fetch of the same can complete it."""
UNNAMED = {"length": SIZE, "cache_control": "max-age=60"}
"""One that nothing can."""


class Machine:
    """Two workers over one arena, and a third where a test asks for it."""

    def __init__(self, make_scene: MakeScene, flights: FlightArena, **options: Any) -> None:
        """`options` are those of each worker's scene."""
        self.flights, self.arena = flights, SharedArena(128 << 20, ROWS)
        self._make_scene = partial(make_scene, arena=self.arena, **options)
        self.leading = self._make_scene(coalescer=SharedFlights(flights, 0))
        self.following = self._make_scene(row=1, coalescer=SharedFlights(flights, 1), beside=self.leading)

    def third(self, knows_flights: bool = True) -> Scene:
        """Return another worker; in an upgrade those of the other program do not know who fetches here."""
        coalescer = SharedFlights(self.flights, 2) if knows_flights else None
        return self._make_scene(row=2, coalescer=coalescer, beside=self.leading)

    async def kill(self, row: int = 0) -> None:
        """Do what the arbiter does when a worker was killed."""
        self.arena.forget_worker(row)
        self.flights.forget_worker(row)
        await self.settle()

    async def half_read(self) -> Client:
        """Return a client of the second worker that has half a body whose fetch, in the first, has died."""
        reply = await self.begin(self.leading.client())
        (client,) = follow(self.following)
        await self.send(reply, 0, SIZE // 2)
        await self.kill()
        return client

    async def begin(self, client: Client, **fields: Any) -> OriginReply:
        """Let a client ask its worker, and the origin answer with a head: NAMED but for `fields`."""
        client.ask("/big")
        return (await self.leading.call()).begin(**NAMED | fields)

    async def begin_unnamed(self, client: Client, **fields: Any) -> OriginReply:
        """Do the same with UNNAMED."""
        client.ask("/big")
        return (await self.leading.call()).begin(**UNNAMED | fields)

    async def send(self, reply: OriginReply, start: int, stop: int) -> None:
        """Let the origin send a part of BODY."""
        for at in range(start, stop, 65536):
            reply.send(BODY[at : min(at + 65536, stop)])
        await self.settle()

    async def send_all(self, reply: OriginReply) -> None:
        """Let the origin send BODY and end."""
        await self.send(reply, 0, SIZE)
        reply.end()
        await self.settle()

    async def settle(self) -> None:
        """Let everything happen in both."""
        for _ in range(20):
            await self.leading.settle()

    async def after(self, seconds: float) -> None:
        """Let time pass; see `Scene.hold_clock`."""
        await self.settle()
        await self.leading.after(seconds, 0.02)

    @property
    def shown(self) -> int:
        """Records that are stored or shown."""
        return self.leading.store.record_count


def follow(scene: Scene, count: int = 1, **fields: str) -> list[Client]:
    """Return clients that all asked for the body."""
    clients = [scene.client() for _ in range(count)]
    for client in clients:
        client.ask("/big", **fields)
    return clients


MakeMachine = Callable[..., Machine]
"""The fixture `make_machine`: a maker of two workers with other options."""


@pytest.fixture
async def flights() -> AsyncIterator[FlightArena]:
    """Return a table of fetches, closed when the workers have ended."""
    flights = FlightArena(ROWS)
    yield flights
    for bell in flights.bells:
        asyncio.get_running_loop().remove_reader(bell)
        os.close(bell)


@pytest.fixture
async def make_machine(flights: FlightArena, make_scene: MakeScene) -> MakeMachine:
    """Return a maker of two workers with the same options."""
    return partial(Machine, make_scene, flights)


@pytest.fixture
async def machine(make_machine: MakeMachine) -> Machine:
    """Return two workers."""
    return make_machine()
