"""Sockets of our own behave as the event loop's transports do: everything here holds for both."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import struct
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from accel.net._sockets import Poller

RESET = struct.pack("ii", 1, 0)


class Recorder(asyncio.Protocol):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.data = bytearray()
        self.keeps_open = False
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.on_data: Callable[[bytes], object] = lambda data: None
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.heard.append("made")

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.on_data(data)

    def eof_received(self) -> bool:
        self.heard.append("eof")
        return self.keeps_open

    def pause_writing(self) -> None:
        self.heard.append("pause")

    def resume_writing(self) -> None:
        self.heard.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.heard.append("lost")
        self.lost.set_result(exc)


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - what the kernel does raises no event
            await asyncio.sleep(0.001)


class Line:
    """Two ends: a recorder's, and a plain socket that does not block."""

    def __init__(self, recorder: Recorder, outside: socket.socket) -> None:
        self.recorder, self.outside = recorder, outside

    @property
    def transport(self) -> asyncio.Transport:
        return self.recorder.transport

    async def read(self, size: int) -> bytes:
        """Return so many bytes from outside, fewer at the end."""
        got = bytearray()
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(10):
            while len(got) < size:
                data = await loop.sock_recv(self.outside, min(1 << 16, size - len(got)))
                if not data:
                    break
                got += data
        return bytes(got)


@pytest.fixture(params=["ours", "the loop's"])
async def line(request: pytest.FixtureRequest) -> AsyncIterator[Line]:
    """Return a connection over loopback."""
    loop = asyncio.get_running_loop()
    recorder, outside = Recorder(), socket.socket()
    poller = Poller(loop)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        outside.connect(listening.getsockname())
        if request.param == "ours":
            fd, peer = poller.accept(listening.fileno())
            poller.attach(fd, recorder, peer)
        else:
            inside, _ = listening.accept()
            inside.setblocking(False)
            await loop.connect_accepted_socket(lambda: recorder, inside)
    outside.setblocking(False)
    yield Line(recorder, outside)
    outside.close()
    if not recorder.lost.done():
        recorder.transport.abort()
    await asyncio.sleep(0.01)
    poller.close()


async def test_what_comes_is_read_and_what_is_written_goes_out(line: Line) -> None:
    line.outside.send(b"ask")
    await until(lambda: line.recorder.data == b"ask")
    line.transport.write(b"ans")
    line.transport.writelines([b"w", bytearray(b"e"), memoryview(b"r")])

    assert await line.read(6) == b"answer"
    assert line.transport.get_extra_info("peername") == line.outside.getsockname()


async def test_while_reading_is_paused_nothing_comes(line: Line) -> None:
    line.transport.pause_reading()
    line.outside.send(b"later")
    await asyncio.sleep(0.02)
    assert (bytes(line.recorder.data), line.transport.is_reading()) == (b"", False)

    line.transport.resume_reading()

    await until(lambda: line.recorder.data == b"later")


async def test_reading_may_be_paused_from_within_a_read(line: Line) -> None:
    line.recorder.on_data = lambda data: line.transport.pause_reading()
    line.outside.send(b"one")
    await until(lambda: line.recorder.data == b"one")
    line.outside.send(b"two")
    await asyncio.sleep(0.02)
    assert line.recorder.data == b"one"

    line.transport.resume_reading()

    await until(lambda: line.recorder.data == b"onetwo")


@pytest.mark.parametrize("by", ["write", "writelines"])
async def test_what_the_socket_does_not_take_waits_and_the_protocol_is_told(line: Line, by: str) -> None:
    pieces = [os.urandom(1 << 16) for _ in range(200)]
    line.transport.set_write_buffer_limits(high=1 << 16)
    if by == "write":
        for piece in pieces:
            line.transport.write(piece)
    else:
        line.transport.writelines(pieces)
    await asyncio.sleep(0.01)
    assert line.transport.get_write_buffer_size() > 1 << 16
    assert line.recorder.heard == ["made", "pause"]

    line.transport.write(b"end")

    assert await line.read((200 << 16) + 3) == b"".join(pieces) + b"end"
    await until(lambda: not line.transport.get_write_buffer_size())
    assert line.recorder.heard == ["made", "pause", "resume"]


async def test_what_waits_may_be_changed_by_who_wrote_it(line: Line) -> None:
    fill = bytes(16 << 20)
    mine = bytearray(b"as it was")
    line.transport.write(fill)
    line.transport.write(mine)
    mine[:] = b"otherwise"

    assert (await line.read(len(fill) + 9))[-9:] == b"as it was"


async def test_buffers_are_let_go_when_they_are_sent(line: Line) -> None:
    class Owner(bytearray):
        pass

    owner = Owner(16 << 20)
    gone = weakref.ref(owner)
    line.transport.writelines([memoryview(owner).toreadonly()])
    del owner

    await line.read(16 << 20)
    await until(lambda: not line.transport.get_write_buffer_size())

    gc.collect()
    assert gone() is None


async def test_the_clients_end_closes_behind_what_was_written(line: Line) -> None:
    fill = bytes(16 << 20)
    line.transport.write(fill)
    line.outside.shutdown(socket.SHUT_WR)
    await until(lambda: "eof" in line.recorder.heard)
    assert (line.transport.is_closing(), line.recorder.lost.done()) == (True, False)

    assert await line.read(len(fill) + 1) == fill
    assert await line.recorder.lost is None
    assert [word for word in line.recorder.heard if word in ("eof", "lost")] == ["eof", "lost"]


async def test_a_protocol_may_go_on_after_the_clients_end(line: Line) -> None:
    line.recorder.keeps_open = True
    line.outside.shutdown(socket.SHUT_WR)
    await until(lambda: "eof" in line.recorder.heard)
    line.transport.write(b"still here")

    assert await line.read(10) == b"still here"
    assert not line.transport.is_closing()
    await asyncio.sleep(0.02)
    assert line.recorder.heard == ["made", "eof"]


async def test_our_end_comes_behind_what_was_written(line: Line) -> None:
    fill = bytes(16 << 20)
    line.transport.write(fill)
    line.transport.write_eof()
    line.transport.write_eof()
    with pytest.raises(RuntimeError):
        line.transport.write(b"more")

    assert await line.read(len(fill) + 1) == fill
    line.outside.send(b"heard")
    await until(lambda: line.recorder.data == b"heard")


async def test_close_is_told_once_and_later(line: Line) -> None:
    line.transport.close()
    line.transport.close()
    line.transport.abort()
    assert (line.recorder.heard, line.transport.is_closing()) == (["made"], True)

    assert await line.recorder.lost is None
    assert line.recorder.heard == ["made", "lost"]
    assert await line.read(1) == b""


async def test_after_the_end_nothing_is_written_and_nobody_minds(line: Line) -> None:
    line.transport.abort()
    line.transport.write(b"x")
    line.transport.writelines([b"x"])
    await line.recorder.lost
    line.transport.write(b"x")
    line.transport.pause_reading()
    assert line.transport.get_write_buffer_size() == 0
    assert await line.read(1) == b""


async def test_a_reset_is_told(line: Line) -> None:
    line.outside.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    line.outside.close()

    assert isinstance(await line.recorder.lost, ConnectionResetError)


async def test_a_reset_while_reading_is_paused_does_not_keep_the_loop_busy(line: Line) -> None:
    line.transport.pause_reading()
    line.outside.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    line.outside.close()
    before = os.times().user
    await asyncio.sleep(0.3)
    assert os.times().user - before < 0.2

    line.transport.resume_reading()
    await line.recorder.lost


async def test_ours_can_reset(line: Line) -> None:
    line.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    assert line.transport.get_extra_info("socket").family == socket.AF_INET
    line.transport.abort()

    with pytest.raises(ConnectionResetError):
        await line.read(1)


async def test_a_protocol_that_raises_is_reported_and_its_connection_closed(line: Line) -> None:
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))

    def fail(data: bytes) -> None:
        raise ZeroDivisionError

    line.recorder.on_data = fail
    line.outside.send(b"x")

    await line.recorder.lost
    assert [type(context["exception"]) for context in reported] == [ZeroDivisionError]


@pytest.fixture
async def ours() -> AsyncIterator[tuple[Poller, Callable[[Recorder], socket.socket]]]:
    """Return a poller, and what gives a recorder to it and returns the other end of its connection."""
    poller, outsides = Poller(asyncio.get_running_loop()), []
    listening = socket.create_server(("127.0.0.1", 0), backlog=400)

    def connect(recorder: Recorder) -> socket.socket:
        outsides.append(socket.create_connection(listening.getsockname()))
        poller.attach(poller.accept(listening.fileno())[0], recorder)
        outsides[-1].setblocking(False)
        return outsides[-1]

    yield poller, connect
    for end in (listening, *outsides):
        end.close()
    await asyncio.sleep(0.01)
    poller.close()


Ours = tuple[Poller, Callable[[Recorder], socket.socket]]


@pytest.mark.parametrize("at", ["connection_made", "eof_received", "resume_writing"])
async def test_wherever_a_protocol_raises_its_connection_is_closed(ours: Ours, at: str) -> None:
    reported: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context["exception"]))

    def fail(*args: Any) -> bool:
        raise ZeroDivisionError

    recorder = Recorder()
    vars(recorder)[at] = fail
    outside = ours[1](recorder)
    if at == "eof_received":
        outside.shutdown(socket.SHUT_WR)
    elif at == "resume_writing":
        recorder.transport.write(bytes(16 << 20))
        left = 16 << 20
        while left:
            left -= len(await asyncio.get_running_loop().sock_recv(outside, left)) or left

    assert isinstance(await asyncio.wait_for(recorder.lost, 10), ZeroDivisionError)
    assert list(map(type, reported)) == [ZeroDivisionError]


async def test_who_pauses_or_writes_hears_nothing_of_what_cannot_be_watched(ours: Ours) -> None:
    recorders = [Recorder(), Recorder()]
    outsides = [ours[1](recorder) for recorder in recorders]
    ours[0].close()
    recorders[0].transport.pause_reading()
    recorders[1].transport.write(bytes(16 << 20))

    for recorder in recorders:
        assert isinstance(await recorder.lost, OSError)
    with pytest.raises(OSError):
        ours[1](Recorder())
    assert all(outside.fileno() >= 0 for outside in outsides)


@pytest.mark.parametrize("end", ["abort", "close", "behind what waits", "client's", "reset"])
async def test_an_ended_connection_leaves_nothing_to_the_collector(ours: Ours, end: str) -> None:
    gc.collect()
    gc.disable()
    try:
        recorder = Recorder()
        outside, gone = ours[1](recorder), weakref.ref(recorder)
        if end in ("abort", "close"):
            getattr(recorder.transport, end)()
        if end == "behind what waits":
            recorder.transport.write(bytes(16 << 20))
            recorder.transport.close()
        if end == "reset":
            outside.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        outside.close()
        await asyncio.wait({recorder.lost}, timeout=10)
        del recorder
        await until(lambda: gone() is None)
        assert not [one for one in gc.get_objects() if type(one).__name__ == "SocketTransport"]
    finally:
        gc.enable()


async def test_whoever_always_sends_gets_its_turn_and_no_more(ours: Ours) -> None:
    recorders = [Recorder() for _ in range(300)]
    reads: list[int] = [0] * 300
    for number, recorder in enumerate(recorders):
        recorder.on_data = lambda data, number=number: reads.__setitem__(number, reads[number] + 1)  # type: ignore[misc]
        ours[1](recorder).send(bytes(1 << 20))
    for _ in range(7):
        ours[0].turn()

    assert sum(reads) == 7 * 128
    assert max(reads) - min(reads) <= 1


async def test_another_protocol_may_take_over(line: Line) -> None:
    other = Recorder()
    line.transport.set_protocol(other)
    line.outside.send(b"for you")
    await until(lambda: other.data == b"for you")
    line.transport.abort()

    assert await other.lost is None
    assert line.recorder.heard == ["made"]


async def test_who_is_closed_by_a_neighbour_in_the_same_turn_is_not_read() -> None:
    loop = asyncio.get_running_loop()
    poller, recorders, outsides = Poller(loop), [], []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        for _ in range(8):
            outsides.append(socket.create_connection(listening.getsockname()))
            recorder = Recorder()
            recorders.append(recorder)
            poller.attach(poller.accept(listening.fileno())[0], recorder)

    def close_all(data: bytes) -> None:
        for recorder in recorders:
            recorder.transport.abort()
        outsides.append(socket.socket())  # takes a number that has just become free

    for recorder in recorders:
        recorder.on_data = close_all
    for outside in outsides[:8]:
        outside.send(b"x")

    await asyncio.wait_for(asyncio.gather(*(recorder.lost for recorder in recorders)), 10)
    assert sum(len(recorder.data) for recorder in recorders) == 1
    for outside in outsides:
        outside.close()
    poller.close()


async def test_many_more_sockets_than_there_were_places() -> None:
    loop = asyncio.get_running_loop()
    poller, recorders, outsides = Poller(loop), [], []
    with socket.create_server(("127.0.0.1", 0), backlog=300) as listening:
        for _ in range(200):
            outsides.append(socket.create_connection(listening.getsockname()))
            recorders.append(Recorder())
            poller.attach(poller.accept(listening.fileno())[0], recorders[-1])
    for number, outside in enumerate(outsides):
        outside.send(b"%d" % number)
    await until(lambda: all(recorder.data for recorder in recorders))
    assert [int(recorder.data) for recorder in recorders] == list(range(200))
    for outside in outsides:
        outside.close()
    await asyncio.wait_for(asyncio.gather(*(recorder.lost for recorder in recorders)), 10)
    poller.close()


async def test_nobody_waits() -> None:
    poller = Poller(asyncio.get_running_loop())
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            poller.accept(listening.fileno())


@pytest.mark.parametrize("family", [socket.AF_INET6, socket.AF_UNIX])
async def test_who_came_by_other_families(family: int, tmp_path: Any) -> None:
    poller = Poller(asyncio.get_running_loop())
    address: Any = ("::1", 0) if family == socket.AF_INET6 else str(tmp_path / "s")
    with socket.socket(family) as listening, socket.socket(family) as outside:
        listening.bind(address)
        listening.listen()
        outside.connect(listening.getsockname())
        fd, peer = poller.accept(listening.fileno())
        assert not os.get_blocking(fd)
        os.close(fd)
        assert peer == (outside.getsockname()[:2] if family == socket.AF_INET6 else "")
