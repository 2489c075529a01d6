"""What one program has that the next may take, and what tells the world which of the two is in charge.

Owns the admin server, the pid file, the process's title and the word to systemd. Serves `upgrade.Program`; when charge
changes hands is decided there. Invariant: of two programs one is in charge, and it alone answers the admin and has its
id in the pid file; both keep the admin's sockets open, so an operator's question waits for whoever takes over.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

import sdnotify
from setproctitle import setproctitle

from accel.config import Address, ServerOptions
from accel.errors import StartError
from accel.server import admin
from accel.server.admin_routes import Control
from accel.server.handover import HandedArena, Handover
from accel.server.journal import note
from accel.server.pid_file import PidFile
from accel.server.pool_health import PoolHealth
from accel.server.sockets import Sockets
from accel.server.upgrade import Belongings

if TYPE_CHECKING:
    from accel.proxy.limit_table import LimitTable
    from accel.store.shared import SharedArena


class Charge:
    """One program's belongings and its standing."""

    def __init__(
        self, options: ServerOptions, loop: asyncio.AbstractEventLoop, sockets: Sockets, health: PoolHealth
    ) -> None:
        self._options = options
        self._loop = loop
        self._sockets = sockets
        self._health = health
        self.arena: SharedArena | None = None
        """The shared store's memory; None for private stores."""
        self.limits: LimitTable | None = None
        self._admin: admin.AdminServer | None = None
        self._pid_file = PidFile(options.pid_file)
        self._systemd = sdnotify.SystemdNotifier()

    def begin(self, control: Control, given: Handover | None) -> None:
        """Have the admin's sockets, and be in charge unless a predecessor is. Raises StartError."""
        setproctitle(f"accel: arbiter {self._options.name}")
        self._admin = admin.bind(control, self._options.admin, given.admin if given else ())
        if given is None:
            self._take()

    @property
    def admin_addresses(self) -> tuple[Address, ...]:
        """Where operators ask."""
        return self._admin.addresses if self._admin is not None else ()

    def belongings(self) -> Belongings:
        """See `upgrade.Program`."""
        return Belongings(
            sockets=tuple(self._sockets.handed()),
            admin=tuple(self._admin.handed()) if self._admin is not None else (),
            arena=None if self.arena is None else HandedArena(self.arena.fd, self.arena.side),
            backends=self._health.handed(),
            limits_fd=None if self.limits is None else self.limits.fd,
        )

    def give_charge(self, pid: int) -> None:
        """See `upgrade.Program`."""
        if self._admin is not None:
            self._admin.pause()
        self._pid_file.step_aside()
        setproctitle(f"accel: old arbiter {self._options.name}")
        self._systemd.notify(f"MAINPID={pid}")

    def take_charge(self, drained: frozenset[str] | None) -> None:
        """See `upgrade.Program`."""
        try:
            self._take()
        except StartError as error:
            note("pid-file-failed", why=error)
        setproctitle(f"accel: arbiter {self._options.name}")
        self._systemd.notify(f"MAINPID={os.getpid()}\nREADY=1")
        if drained is not None:
            self._health.drain_exactly(drained)

    def _take(self) -> None:
        assert self._admin is not None
        self._loop.run_until_complete(self._admin.open())
        self._pid_file.write()

    def other_gone(self, pid: int) -> None:
        """See `upgrade.Program`."""
        if self.arena is not None:
            self.arena.forget_other_side()
        self._pid_file.forget_old(pid)

    # The word to systemd.

    def tell_ready(self) -> None:
        """All is well: at the start, and after a reload."""
        self._systemd.notify("READY=1")

    def tell_reloading(self) -> None:
        """The configuration is read again."""
        self._systemd.notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def tell_stopping(self) -> None:
        """The service ends: to be said only by the program in charge."""
        self._systemd.notify("STOPPING=1")

    # The end.

    def forget(self) -> None:
        """In a worker: let go of the admin's sockets, and of nothing that its parent still uses."""
        if self._admin is not None:
            self._admin.forget()

    def close(self) -> None:
        """Leave nothing behind that says this program lives."""
        if self._admin is not None:
            self._admin.close()
        self._pid_file.remove()
