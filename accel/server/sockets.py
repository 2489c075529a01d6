"""What clients connect to, as the arbiter keeps it: sockets for all workers, or with --reuseport one set a worker row.

Owns this program's copies of them: bound here, passed by systemd, or taken from the program that this one replaces.
Invariant: while any program of an upgrade holds a socket its queue is kept, so closing a copy refuses nobody; a unix
socket's path leaves the disk with the last program that listens there (`listeners.unlink` asks), and never if
systemd made it.
"""

from __future__ import annotations

import os
import socket
from collections import defaultdict
from collections.abc import Iterable, Iterator

from accel.config import Address, ServerOptions
from accel.server import listeners
from accel.server.handover import Handed
from accel.server.listeners import Bound


class Sockets:
    """The listening sockets of one program."""

    def __init__(self) -> None:
        self._has_own = False
        self._bound: list[Bound] = []
        self._own: dict[int, list[socket.socket]] = {}
        """With --reuseport, the sockets of each row but the first: a successor finds what waited for the dead."""
        self._spare: dict[int, list[Bound]] = defaultdict(list)
        """What was inherited and not taken, by row."""
        self.shared: list[socket.socket] = []
        self.addresses: tuple[Address, ...] = ()
        """Where clients connect, or connected: the sockets close when a stop begins."""

    def open(self, options: ServerOptions, inherited: Iterable[Handed] | None = None) -> None:
        """Take what is inherited and still asked for (None: there is no predecessor); bind the rest.

        Raises StartError.
        """
        for handed in inherited or ():
            self._spare[handed.row].append(adopted(handed))
        self._has_own = options.reuseport
        if inherited is None:
            self._bound = listeners.bind(options, os.environ)
        else:
            self._bound = listeners.bind_or_take(options, self._spare[0])
        self.shared = [one.sock for one in self._bound]
        for sock in self.shared:
            if self._has_own and sock.family != socket.AF_UNIX:  # who bound it may not have wanted others beside it
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.addresses = tuple(map(listeners.address_of, self.shared))

    def of(self, row: int) -> list[socket.socket]:
        """Return what the worker of `row` listens on: what all do, or with --reuseport its own."""
        if row == 0 or not self._has_own:
            return self.shared
        unix = [sock for sock in self.shared if sock.family == socket.AF_UNIX]
        if row not in self._own:
            tcp = [listeners.address_of(sock) for sock in self.shared if sock not in unix]
            self._own[row] = [sock for address in tcp for sock in self._taken_or_bound(row, address)]
        return self._own[row] + unix

    def _taken_or_bound(self, row: int, address: Address) -> list[socket.socket]:
        taken = [one.sock for one in listeners.take(address, self._spare[row])]
        return taken or listeners.bind_address(address, reuseport=True)

    def handed(self) -> Iterator[Handed]:
        """Yield what a successor may take."""
        for one in self._bound:
            asked = None if one.asked is None else (one.asked.host, one.asked.port, one.asked.path)
            yield Handed(one.sock.fileno(), asked)
        for row, own in self._own.items():
            for sock in own:
                address = listeners.address_of(sock)
                yield Handed(sock.fileno(), (address.host, address.port, address.path), row)

    def leave_spare(self) -> None:
        """Close what was inherited and is not asked for: its queue is the old program's."""
        for spare in self._spare.values():
            for one in spare:
                one.sock.close()
        self._spare.clear()

    def keep_only(self, kept: Iterable[socket.socket]) -> None:
        """In a worker: close what is not its own."""
        mine = set(kept)
        every = [*self.shared, *(sock for own in self._own.values() for sock in own)]
        for sock in every:
            if sock not in mine:
                sock.close()
        self.leave_spare()

    def close_own(self, *rows: int) -> None:
        """Close what the workers of some rows alone listened on."""
        for row in rows:
            for sock in self._own.pop(row, ()):
                sock.close()

    def close(self) -> None:
        """Stop listening; the paths stay while workers accept what waits. Idempotent."""
        for sock in self.shared:
            sock.close()
        self.close_own(*list(self._own))
        self.leave_spare()

    def unlink(self) -> None:
        """Take the unix sockets' paths off the disk, unless somebody answers there."""
        for one in self._bound:
            if one.asked is not None and one.asked.path:
                listeners.unlink(one.asked.path)


def adopted(handed: Handed) -> Bound:
    """Return a socket that this process was started with."""
    return Bound(listeners.adopted(handed.fd), None if handed.asked is None else Address(*handed.asked))
