"""How a connection that waits in a listening socket becomes a client: by sockets of our own, or the loop's transports.

Owns that choice: without the compiled part it is the loop's. Knows no fairness (`server.acceptor`).
"""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from typing import TYPE_CHECKING, Protocol

from accel.proxy.clients import Clients
from accel.proxy.connection import ClientConnection

if TYPE_CHECKING:
    from accel.net._sockets import Poller

_STREAM = int(socket.SOCK_STREAM)


class Opener(Protocol):
    """Takes connections."""

    def take(self, listening: socket.socket) -> None:
        """Take one; BlockingIOError: nobody waits; OSError as by accept(2)."""
        ...

    async def settled(self) -> None:
        """Wait until each that was taken is one of the clients."""
        ...


class OwnOpener:
    """Clients are read and written by compiled code, and a hot path sees what they send first."""

    def __init__(self, clients: Clients, poller: Poller) -> None:
        self._clients = clients
        self._poller = poller

    def take(self, listening: socket.socket) -> None:
        """Take one, which is a client at once."""
        fd, address = self._poller.accept(listening.fileno())
        hot = self._clients.service.hot
        reader = None if hot is None else hot.replayer
        self._poller.attach(fd, ClientConnection(self._clients, address), address, reader)

    async def settled(self) -> None:
        """They all are."""


class _Accepted(socket.socket):
    """A socket that makes no enums of its numbers: the event loop asks for them a few times a connection."""

    __slots__ = ()
    family = socket.SocketType.family  # type: ignore[assignment]
    type = socket.SocketType.type  # type: ignore[assignment]


class LoopOpener:
    """Clients are the loop's transports."""

    def __init__(self, clients: Clients) -> None:
        self._loop = asyncio.get_running_loop()
        self._clients = clients
        self._opening: set[asyncio.Task[object]] = set()

    def take(self, listening: socket.socket) -> None:
        """Take one, which is a client some turns later."""
        fd, address = listening._accept()  # type: ignore[attr-defined]  # as `accept`, which makes enums
        accepted = _Accepted(int(listening.family), _STREAM, 0, fd)
        accepted.setblocking(False)
        opening = self._loop.connect_accepted_socket(partial(ClientConnection, self._clients, address), accepted)
        task: asyncio.Task[object] = self._loop.create_task(opening)
        self._opening.add(task)
        task.add_done_callback(self._opened)

    async def settled(self) -> None:
        """Wait until each that was taken is one of the clients."""
        while self._opening:
            await asyncio.wait(self._opening)

    def _opened(self, task: asyncio.Task[object]) -> None:
        self._opening.discard(task)
        if not task.cancelled() and isinstance(task.exception(), OSError):
            return  # the client was gone before its first byte
        task.result()


def make_opener(clients: Clients, poller: Poller | None) -> Opener:
    """Return who takes connections; without `poller` they are the loop's."""
    return LoopOpener(clients) if poller is None else OwnOpener(clients, poller)
