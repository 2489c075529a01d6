"""The same worker over loopback sockets and uvloop, by either opener: what only the kernel can show."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import uvloop
from answers import read_answers
from doors import KINDS, Door
from wire_scene import Scene

Play = Callable[[Scene, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


Perform = Callable[[Play], None]


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def perform(request: pytest.FixtureRequest) -> Perform:
    """Return what runs a play on uvloop, with a scene behind a listening socket and one client connected to it."""

    async def run(play: Play) -> None:
        scene = Scene()
        door = Door(scene.clients, request.param)
        reader, writer = await asyncio.open_connection(*door.address, limit=1 << 16)
        try:
            async with asyncio.timeout(20):
                await scene.until(lambda: bool(len(scene.clients)))
                await play(scene, reader, writer)
        finally:
            writer.transport.abort()
            door.close()
            scene.clients.abort()
            await scene.until(lambda: not len(scene.clients))
        assert not scene.failures, scene.failures
        scene.assert_balanced()

    def perform(play: Play) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(play))

    return perform


def test_pipelined_hits_reach_a_client_that_first_sends_all(perform: Perform) -> None:
    async def play(scene: Scene, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        scene.origin.page("/", b"x" * 5_000)
        writer.write(GET)
        await reader.readuntil(b"x" * 5_000)
        writer.write(GET * 5_000)
        (connection,) = scene.clients._connections
        await scene.until(lambda: connection.transport.get_write_buffer_size() > 0)
        received = 0
        while received < 5_000:
            data = await reader.readuntil(b"\r\n\r\n")
            assert data.startswith(b"HTTP/1.1 200 OK\r\n")
            assert await reader.readexactly(5_000) == b"x" * 5_000
            received += 1
            assert connection.transport.get_write_buffer_size() < 1 << 18

    perform(play)


def test_a_large_hit_is_read_at_the_clients_pace(perform: Perform) -> None:
    async def play(scene: Scene, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        scene.origin.page("/", b"x" * 8_000_000)
        await scene.get(host="a", connection="close")
        writer.write(GET)
        await reader.readuntil(b"\r\n\r\n")
        connection = list(scene.clients._connections)[-1]
        left = 8_000_000
        while left:
            left -= len(await reader.readexactly(min(left, 200_000)))
            if connection.transport.get_write_buffer_size():  # the kernel holds the rest: of that we know nothing
                scene.mono += 2
                scene.clients.check()
        assert scene.counts("hits", "idle_timeouts", "write_timeouts") == (1, 0, 0)

    perform(play)


@pytest.mark.parametrize("request_head", [b"BAD\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"])
def test_a_last_answer_arrives_though_the_client_still_sends(perform: Perform, request_head: bytes) -> None:
    async def play(scene: Scene, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        scene.origin.page("/", b"x" * 500_000)
        writer.write(request_head + b"y" * 3_000_000)
        (answer,) = read_answers(await reader.read(-1), [b"GET"], has_ended=True)
        assert answer.is_whole
        assert answer["connection"] == "close"

    perform(play)


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_a_body_cut_short_is_a_reset(perform: Perform, version: bytes) -> None:
    async def play(scene: Scene, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET / HTTP/%b\r\nHost: a\r\n\r\n" % version)
        await scene.until(lambda: bool(scene.origin.calls))
        reply = scene.origin.calls[0].begin(cache_control="no-store").send(b"half")
        await reader.readuntil(b"half")
        reply.cut()
        with pytest.raises(ConnectionResetError):
            await reader.read(-1)

    perform(play)


def test_a_long_upload_goes_up_and_its_answer_comes_down(perform: Perform) -> None:
    async def play(scene: Scene, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        scene.origin.page("/", b"done", cache_control="no-store")
        data = bytes(range(256)) * 20_000
        writer.write(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(data))
        writer.write(data)
        await reader.readuntil(b"done")
        assert scene.origin.calls[0].body == data

    perform(play)


def test_a_client_that_ends_its_side_and_then_reads_nothing_is_let_go(perform: Perform) -> None:
    async def play(scene: Scene, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        scene.origin.page("/", b"x" * 8_000_000)
        await scene.get(host="a", connection="close")
        (connection, *_) = scene.clients.connections
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        await scene.until(lambda: connection.transport.get_write_buffer_size() > 0)
        writer.write_eof()
        await scene.until(connection.transport.is_closing)
        for _ in range(3):
            scene.clients.check()
            await scene.settle()
            scene.mono += 31
        await scene.until(lambda: connection.is_lost)
        assert scene.counts("write_timeouts") == (1,)

    perform(play)


def test_a_client_that_resets_is_noticed(perform: Perform) -> None:
    async def play(scene: Scene, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GET)
        await scene.until(lambda: bool(scene.origin.calls))
        writer.transport.abort()
        await scene.until(lambda: scene.origin.calls[0].was_cancelled)

    perform(play)


@pytest.mark.parametrize("ending", ["stop", "slow reader"])
def test_an_answer_that_ends_with_its_connection_is_reset_when_it_is_broken_off(perform: Perform, ending: str) -> None:
    """An end of file would make half a body a whole one (RFC 9112 §8)."""

    async def play(scene: Scene, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        await scene.until(lambda: bool(scene.origin.calls))
        reply = scene.origin.calls[0].begin(cache_control="no-store").send(b"half")
        await reader.readuntil(b"half")
        if ending == "stop":
            scene.clients.abort()
        else:
            (connection,) = scene.clients._connections
            reply.send(*[b"x" * 1_000_000] * 40).end()
            await scene.until(lambda: connection.transport.get_write_buffer_size() > 0)
            for _ in range(2):
                scene.clients.check()
                scene.mono += 31
            scene.clients.check()
        with pytest.raises(ConnectionResetError):
            await reader.read(-1)

    perform(play)
