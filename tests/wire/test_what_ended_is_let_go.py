"""What has ended holds nothing that is stored: no circle keeps it, and so a pin, until the collector comes by."""

from __future__ import annotations

import gc
import os
from collections.abc import AsyncIterator, Iterator

import pytest
from two_workers import NAMED, SIZE, Machine, follow
from wire_scene import MakeScene, Scene

from accel.errors import NoBackend, OriginTimeout
from accel.store.shared import SharedArena


@pytest.fixture(autouse=True)
def without_collector() -> Iterator[None]:
    """Let only counts of references free what is let go."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
async def stale(make_scene: MakeScene) -> AsyncIterator[Scene]:
    """Return a worker with a stale page, whose origin stalls from now on."""
    arena = SharedArena(16 << 20, 1, 1 << 20)
    scene = make_scene(arena=arena)
    await _let_be_stale(scene)
    yield scene
    os.close(arena.fd)


async def _let_be_stale(scene: Scene) -> None:
    scene.origin.page("/", b"stored", cache_control="max-age=5", etag='"a"')
    await scene.get()
    await scene.after(10)
    scene.origin.script.clear()


def _pins(scene: Scene) -> int:
    assert scene.machine.arena is not None
    return int(scene.machine.arena.stat()["pins"])


@pytest.mark.parametrize("failure", [OriginTimeout("no answer in time"), NoBackend("no backend is up")])
async def test_who_was_failed(stale: Scene, failure: OriginTimeout | NoBackend) -> None:
    client = stale.client()
    client.ask()
    (await stale.call()).fail(failure)
    await stale.settle()

    assert [answer.status for answer in client.answers] == [failure.status]
    assert _pins(stale) == 0


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("count", [1, 2])
async def test_who_left_the_wait_for_a_fetch(stale: Scene, method: str, count: int) -> None:
    """The second one waits for the fetch that the first has begun."""
    clients = [stale.client() for _ in range(count)]
    for client in clients:
        client.ask(method=method)
        await stale.settle()
    for client in clients:
        client.transport.lose()
        await stale.settle()

    assert _pins(stale) == 0


async def test_who_left_the_wait_for_another_workers_fetch(machine: Machine) -> None:
    await _let_be_stale(machine.leading)
    machine.following.now = machine.leading.now
    clients = [scene.client() for scene in (machine.leading, machine.following)]
    for client in clients:
        client.ask()
        await machine.settle()
    for client in reversed(clients):
        client.transport.lose()
        await machine.settle()

    assert len(machine.leading.origin.calls) == 2
    assert _pins(machine.leading) == 0


async def test_who_left_the_second_fetch_of_a_body(machine: Machine) -> None:
    """It was to be validated, by a worker that died, and then by the one of those who had a part."""
    await machine.send_all(await machine.begin(machine.leading.client(), cache_control="max-age=5", etag='"old"'))
    for scene in (machine.leading, machine.following):
        scene.now += 10
    machine.leading.client().ask("/big")
    first = (await machine.leading.call()).begin(**NAMED)
    (client,) = follow(machine.following)
    await machine.send(first, 0, SIZE // 2)
    await machine.kill()
    second = await machine.following.call()
    assert len(machine.leading.origin.calls) == 3

    client.transport.lose()
    await machine.settle()
    second.fail(OriginTimeout("no answer in time"))
    first.cut()
    await machine.settle()

    machine.arena.forget_worker(0)
    assert _pins(machine.leading) == 0
