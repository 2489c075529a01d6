"""Taking connections from a shared socket: in batches, fairly, and through a shortage of descriptors."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from accel.net._sockets import Poller
from accel.net.pollers import make_poller
from accel.proxy.clients import Clients
from accel.server import acceptor as module
from accel.server import opening
from accel.server.acceptor import Acceptor
from accel.server.opening import Opener, make_opener
from accel.server.scoreboard import WorkerBoard


class FakeConnection(asyncio.Protocol):
    """What a client connection is to the acceptor: a protocol that tells its clients."""

    def __init__(self, clients: FakeClients, address: object) -> None:
        self._clients = clients
        clients.accepted.append(address)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._clients.transports.append(transport)
        self._clients.on_change(len(self._clients.transports))
        self._clients.changed.set()


class FakeClients:
    """Counts connections."""

    def __init__(self) -> None:
        self.transports: list[asyncio.BaseTransport] = []
        self.accepted: list[object] = []
        self.service = SimpleNamespace(hot=None)
        self.changed = asyncio.Event()
        self.on_change: Callable[[int], None] = lambda count: None


class FakeBoard:
    """Keeps what was published; the others' load is what the test says."""

    def __init__(self) -> None:
        self.mean = 1000.0
        self.connections = self.load = 0

    def fair_load(self) -> float:
        """The mean over all workers."""
        return self.mean

    def set_connections(self, count: int) -> None:
        """Keep a gauge."""
        self.connections = count

    def set_load(self, load: int) -> None:
        """Keep a gauge."""
        self.load = load


class Door:
    """A listening socket with an acceptor."""

    def __init__(self, poller: Poller | None) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.listening.setblocking(False)
        self.address = self.listening.getsockname()
        self.clients, self.board = FakeClients(), FakeBoard()
        self.outside: list[socket.socket] = []
        self.opener = make_opener(cast(Clients, self.clients), poller)
        self.attend(self.opener)

    def attend(self, opener: Opener) -> None:
        """Have an acceptor."""
        clients, board = cast(Clients, self.clients), cast(WorkerBoard, self.board)
        self.acceptor = Acceptor([self.listening], clients, board, opener)

    def knock(self, count: int) -> None:
        """Connect from outside; the kernel takes it before anybody accepts."""
        self.outside += [socket.create_connection(self.address) for _ in range(count)]

    async def held(self, count: int) -> None:
        """Wait until so many connections are held."""
        async with asyncio.timeout(10):
            while len(self.clients.transports) < count:
                self.clients.changed.clear()
                await self.clients.changed.wait()

    def close(self) -> None:
        """Close everything."""
        self.acceptor.close()
        self.listening.close()
        for end in self.outside:
            end.close()
        for transport in self.clients.transports:
            cast(asyncio.Transport, transport).abort()


@pytest.fixture(params=[make_poller, lambda: None], ids=["ours", "the loop's"])
async def door(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Door]:
    """Return a door that is still shut, of both kinds."""
    monkeypatch.setattr(opening, "ClientConnection", FakeConnection)
    door = Door(request.param())
    yield door
    door.close()
    await asyncio.sleep(0)


async def test_all_who_wait_are_taken_and_counted(door: Door) -> None:
    door.knock(20)
    door.acceptor.open()
    await door.held(20)
    assert door.board.connections == 20
    assert door.board.load >= 20


async def test_a_connection_is_told_who_came(door: Door) -> None:
    door.knock(3)
    door.acceptor.open()
    await door.held(3)

    assert [transport.get_extra_info("peername") for transport in door.clients.transports] == door.clients.accepted
    assert door.clients.accepted == [end.getsockname() for end in door.outside]


async def test_recent_accepts_weigh_for_about_a_second(door: Door) -> None:
    door.acceptor.open()
    door.knock(8)
    await door.held(8)
    assert door.board.load == 16
    for _ in range(20):
        door.acceptor.beat()
    assert door.board.load == 8


async def test_a_worker_above_its_share_looks_away_and_then_takes_some_in_any_case(door: Door) -> None:
    door.board.mean = -1000.0
    door.knock(20)
    door.acceptor.open()
    await door.held(20)


async def test_after_closing_nothing_is_taken(door: Door) -> None:
    door.acceptor.open()
    door.knock(1)
    await door.held(1)
    other = door.listening.dup()
    door.acceptor.close()
    door.acceptor.close()
    door.knock(1)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(door.clients.transports) == 1
    taken, _ = other.accept()
    taken.close()
    other.close()


async def test_a_client_gone_before_it_was_taken_is_no_failure(door: Door) -> None:
    door.knock(3)
    for end in door.outside:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        end.close()
    door.knock(1)
    door.acceptor.open()
    await door.held(1)


class Exhausted:
    """An opener for which there is no descriptor at first."""

    def __init__(self, opener: Opener, failures: Iterable[int]) -> None:
        self._opener, self._failures = opener, iter(failures)

    def take(self, listening: socket.socket) -> None:
        """Fail, or take one."""
        for number in self._failures:
            raise OSError(number, "too many")
        self._opener.take(listening)

    async def settled(self) -> None:
        """As the other one."""
        await self._opener.settled()


async def test_a_want_of_descriptors_is_waited_out(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_EXHAUSTED_S", 0.001)
    door.attend(Exhausted(door.opener, [errno.EMFILE, errno.ENFILE]))
    door.knock(2)
    door.acceptor.open()
    await door.held(2)


class FakeLoop:
    """Readers and timers that a test fires."""

    def __init__(self) -> None:
        self.readers: dict[int, tuple[Callable[..., None], tuple[Any, ...]]] = {}
        self.timers: list[tuple[Callable[..., None], tuple[Any, ...]]] = []

    def add_reader(self, fd: int, callback: Callable[..., None], *args: Any) -> None:
        """Watch a descriptor."""
        self.readers[fd] = callback, args

    def remove_reader(self, fd: int) -> None:
        """Watch it no more."""
        self.readers.pop(fd, None)

    def call_later(self, delay_s: float, callback: Callable[..., None], *args: Any) -> None:
        """Set a timer."""
        self.timers.append((callback, args))


async def test_a_lasting_want_of_descriptors_costs_one_try_at_a_time(door: Door) -> None:
    door.attend(Exhausted(door.opener, [errno.EMFILE] * 1000))
    loop = FakeLoop()
    door.acceptor._loop = cast(asyncio.AbstractEventLoop, loop)
    door.acceptor.open()
    callback, args = loop.readers[door.listening.fileno()]
    callback(*args)
    for _ in range(5):
        assert (len(loop.readers), len(loop.timers)) == (0, 1)
        callback, args = loop.timers.pop()
        callback(*args)
