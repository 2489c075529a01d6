"""New connections in one worker: taken from the listening sockets that all workers share, and taken fairly.

Invariant: a connection that waits in a listening socket is taken by whichever worker is free; one that is stuck takes
none with it. A worker whose load (connections, and those accepted within about a second) is above the mean of all
looks away for a millisecond, so that a burst spreads; after that it takes some in any case, so nobody starves when the
others are busy.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Sequence

from accel.proxy.clients import Clients
from accel.server.journal import note
from accel.server.opening import Opener
from accel.server.scoreboard import WorkerBoard

_BATCH = 8
_SOME = 4
"""What a worker takes that has looked away in vain: the others are busy."""
_LAST = 256
"""What a leaving worker takes at most, share or not."""
_SLACK = 1
"""Connections above 1.1 of the mean that are no reason to look away. More of it left a whole burst of 8 or 16
kept-alive connections with one of two workers."""
_LOOK_AWAY_S = 0.001
_EXHAUSTED_S = 0.1
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ENOSPC})
"""ENOSPC: the user watches as many sockets as /proc/sys/fs/epoll allows."""
_FADING = 0.75
"""What is left of the memory of recent accepts after each beat (0.25 s)."""


class Acceptor:
    """One worker's readers of the shared listening sockets."""

    def __init__(
        self, sockets: Sequence[socket.socket], clients: Clients, board: WorkerBoard, opener: Opener
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sockets = list(sockets)
        self._board = board
        self._opener = opener
        self._recent = 0.0
        self._is_open = False
        self._held = 0
        clients.on_change = self._changed

    def open(self) -> None:
        """Begin to accept."""
        self._is_open = True
        for sock in self._sockets:
            if sock.family in (socket.AF_INET, socket.AF_INET6):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted sockets inherit it
            self._loop.add_reader(sock.fileno(), self._readable, sock)

    def close(self) -> None:
        """Take what waits, then no more: when all workers leave, the kernel resets what none of them took."""
        if not self._is_open:
            return
        self._is_open = False
        for sock in self._sockets:
            self._loop.remove_reader(sock.fileno())
            self._take(sock, _LAST)
            sock.close()

    async def settled(self) -> None:
        """Wait until each connection that was taken is one of the clients."""
        await self._opener.settled()

    def beat(self) -> None:
        """Let the memory of recent accepts fade."""
        self._recent *= _FADING
        self._publish()

    def _readable(self, sock: socket.socket) -> None:
        room = 1.1 * self._board.fair_load() + _SLACK - self._load()
        if room < 0:
            self._look_away(sock, _LOOK_AWAY_S)
        else:
            self._take(sock, min(_BATCH, 1 + int(room / 2)))  # each one is load twice: held, and recent

    def _take(self, sock: socket.socket, most: int) -> None:
        try:
            for _ in range(most):
                self._opener.take(sock)
                self._recent += 1
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            pass
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            note("accept-failed", why=error.strerror, mend="raise the open-file limit")
            self._look_away(sock, _EXHAUSTED_S)
        self._publish()

    def _look_away(self, sock: socket.socket, seconds: float) -> None:
        self._loop.remove_reader(sock.fileno())
        self._loop.call_later(seconds, self._look_again, sock)

    def _look_again(self, sock: socket.socket) -> None:
        if self._is_open:
            self._loop.add_reader(sock.fileno(), self._readable, sock)
            self._take(sock, _SOME)  # behind it: a want of descriptors takes the reader out again

    def _changed(self, held: int) -> None:
        self._held = held
        self._board.set_connections(held)
        self._publish()

    def _load(self) -> int:
        return self._held + int(self._recent)

    def _publish(self) -> None:
        self._board.set_load(self._load())
