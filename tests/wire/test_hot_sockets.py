"""Replays over loopback sockets and uvloop, straight to the socket: as much as it takes, the rest by its transport."""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
from typing import Any

import pytest
import uvloop
from doors import KINDS, Door
from hot_pair import assert_unpinned, close_arena, heated
from wire_scene import Scene

from accel.store.shared import SharedArena

SIZES = (1, 100, 16_000, 16_384, 16_385, 60_000, 300_000, 1 << 20, 4 << 20)


async def replayed(kind: Any, seed: int, window: int, pause_each: int) -> None:
    """Ask for bodies of all sizes in pipelines, read them slowly by a small window, and compare each."""
    chance = random.Random(seed)
    bodies = {f"/{size}": chance.randbytes(size) for size in SIZES}
    scene = Scene(arena=SharedArena(64 << 20, 1), is_logging=False)
    heated(scene)
    loop = asyncio.get_running_loop()
    door = Door(scene.clients, kind)
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    peer.setblocking(False)
    await loop.sock_connect(peer, door.address)
    reader, writer = await asyncio.open_connection(sock=peer, limit=window)
    await scene.until(lambda: bool(len(scene.clients)))
    (connection,) = scene.clients.connections
    for target, body in bodies.items():
        scene.origin.page(target, body)
        for _ in range(3):
            await scene.get(target, host="a", connection="close")
    order = chance.choices(list(bodies), k=40)
    for at in range(0, len(order), 4):
        group = order[at : at + 4]
        writer.write(b"".join(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode() for target in group))
        for number, target in enumerate(group):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            if number % pause_each == 0:
                await scene.settle()
            body = await reader.readexactly(len(bodies[target]))
            assert hashlib.sha256(body).digest() == hashlib.sha256(bodies[target]).digest()
    assert len(order) - connection.exchanges >= len(order) // 4, "hardly any was a replay"
    writer.transport.abort()
    door.close()
    scene.clients.abort()
    await scene.until(lambda: not len(scene.clients))
    assert not scene.failures, scene.failures
    assert_unpinned(scene)
    close_arena(scene)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("window", [4_096, 1 << 16, 1 << 20])
@pytest.mark.parametrize("pause_each", [1, 3])
def test_bodies_of_all_sizes_arrive_as_they_are(kind: Any, window: int, pause_each: int) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(replayed(kind, window, window, pause_each), 60))


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_client_that_reads_nothing_is_held_until_it_does(kind: Any) -> None:
    async def run() -> None:
        scene = Scene(arena=SharedArena(64 << 20, 1), is_logging=False)
        heated(scene)
        door = Door(scene.clients, kind)
        reader, writer = await asyncio.open_connection(*door.address, limit=1 << 12)
        await scene.until(lambda: bool(len(scene.clients)))
        (connection,) = scene.clients.connections
        scene.origin.page("/", b"x" * 16_000)
        for _ in range(3):
            await scene.get(host="a", connection="close")
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 3_000)
        for received in range(3_000):
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(16_000) == b"x" * 16_000
            assert connection.transport.get_write_buffer_size() < 1 << 18, received
        assert connection.exchanges < 2_997
        writer.transport.abort()
        door.close()
        scene.clients.abort()
        await scene.until(lambda: not len(scene.clients))
        close_arena(scene)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(run(), 60))
