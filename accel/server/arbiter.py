"""The arbiter: the parent of all workers. It binds, forks, watches, judges and never touches a client.

Its life is one loop: keep as many workers as wanted (`server.crew`), run the event loop until something happened (a
signal, a dead child, a tick), act on it. Signals are Unicorn's: TERM and QUIT stop gracefully, a second TERM or INT
at once; HUP reads the configuration again; TTIN, TTOU one worker more or less; USR1 reopens logs.

Invariant: whatever an operator gets wrong in a running accel, the configuration in force serves on. If the first
workers cannot even start, the arbiter gives up: exit code 1. What its own kill -9 leaves: workers that read end of
file on their channels, finish what they have and leave.

It imports no uvloop: stdlib asyncio forks well between two runs of its loop, libuv does not.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import sdnotify
from setproctitle import setproctitle

from accel import __version__
from accel.config import Address, Config, LogOptions
from accel.errors import AccelError, StartError
from accel.server import admin, listeners
from accel.server.channel import (
    BackendFailed,
    Channel,
    Configure,
    Configured,
    Drop,
    Dropped,
    Invalidate,
    Invalidated,
    Message,
)
from accel.server.control import ArbiterControl
from accel.server.crew import HANDLED, Child, Crew
from accel.server.invalidator import Invalidations
from accel.server.journal import note
from accel.server.pool_health import PoolHealth
from accel.server.privileges import ids, make_log
from accel.server.reloading import with_kept
from accel.server.scoreboard import WORKER_ROWS, Scoreboard
from accel.server.stores import make_arena, make_flights, note_start, share
from accel.server.worker import Birth

if TYPE_CHECKING:
    from accel.store.flights import FlightArena
    from accel.store.shared import SharedArena

TICK_S = 0.1
_AFTER_GRACE_S = 2.0
"""How long workers may outlive the graceful timeout before they are killed."""


def run(config: Config, reread: Callable[[], Config]) -> int:
    """Serve until stopped; return the exit code. Raises StartError if serving cannot begin."""
    return Arbiter(config, reread).run()


class Arbiter:
    """The parent process."""

    def __init__(self, config: Config, reread: Callable[[], Config]) -> None:
        self.config = config
        self.generation = 1
        self.since = time.time()
        self.wanted = config.server.workers
        """How many workers there should be."""
        self.sockets: list[socket.socket] = []
        self.addresses: tuple[Address, ...] = ()
        """Where clients connect, or connected: the sockets close when a stop begins."""
        self._unix_paths: list[str] = []
        """Of the unix sockets that we made: those that systemd passed are not even to be touched."""
        self.board = Scoreboard()
        self.arena: SharedArena | None = None
        """The shared store's memory; None for private stores."""
        self._flights: FlightArena | None = None
        self.health = PoolHealth(self.board)
        self.invalidations = Invalidations(self.board, self._channels)
        self._loop = asyncio.new_event_loop()
        self.crew = Crew(self, self.board, self._loop, config.server.worker_timeout_s)
        self._own_sockets: dict[int, list[socket.socket]] = {}
        """With --reuseport, the sockets of each row but the first: a successor finds what waited for the dead."""
        self._reread = reread
        self._unconfirmed: set[Channel | None] = set()
        """Workers that were told the configuration in force and have not said that they use it."""
        self._happened = asyncio.Event()
        self._pending: list[signal.Signals] = []
        self._stopping_since: float | None = None
        self._exit_code = 0
        self._admin: admin.AdminServer | None = None
        self._pid_file: Path | None = None
        self._systemd = sdnotify.SystemdNotifier()

    def run(self) -> int:
        """See `run`."""
        server = self.config.server
        setproctitle(f"accel: arbiter {server.name}")
        ids(server.user, server.group)
        asyncio.set_event_loop(self._loop)
        self.health.configure(self.config.origin.backends, self.config.probe)
        is_ours = not listeners.are_passed(os.environ)
        self.sockets = listeners.bind(server)
        self.addresses = tuple(map(listeners.address_of, self.sockets))
        self._unix_paths = [address.path for address in self.addresses if address.path and is_ours]
        try:
            self.arena = make_arena(self.config)
            self._flights = make_flights(self.arena)
            self._admin = self._loop.run_until_complete(admin.serve(ArbiterControl(self), server.admin))
            self._prepare_log(self.config.log)
            self._write_pid_file()
            for number in HANDLED:
                self._loop.add_signal_handler(number, self._note_signal, number)
            self._tell_facts()
            self._live()
        finally:
            self._clean_up()
        note("stopped", exit_code=self._exit_code)
        return self._exit_code

    # The life.

    def _live(self) -> None:
        while self._stopping_since is None or len(self.crew):
            if self._stopping_since is None:
                self.crew.keep(self.wanted)
            self._loop.run_until_complete(self._wait())
            for number in self._taken_signals():
                self._act_on(number)
            self._look_after_crew(time.monotonic())

    async def _wait(self) -> None:
        """Return when something happened, at the latest after a tick."""
        self.health.tick(time.monotonic())
        try:
            async with asyncio.timeout(TICK_S):
                await self._happened.wait()
        except TimeoutError:
            return
        self._happened.clear()

    def _look_after_crew(self, now: float) -> None:
        failed = self.crew.reap()
        if failed is not None and self._stopping_since is None:
            self._exit_code = 1
            note("start-failed", why=f"worker {failed.row + 1} could not start, see above")
            self._stop(gracefully=False)
        if self.crew.watch(now, self.wanted):
            self._systemd.notify("READY=1")
            note("ready", workers=len(self.crew))
        grace_s = self.config.server.graceful_timeout_s + _AFTER_GRACE_S
        if self._stopping_since is not None and now - self._stopping_since > grace_s:
            self.crew.signal(signal.SIGKILL)

    def _note_signal(self, number: signal.Signals) -> None:
        self._pending.append(number)
        self._happened.set()

    def _taken_signals(self) -> list[signal.Signals]:
        taken, self._pending = self._pending, []
        return taken

    def _act_on(self, number: signal.Signals) -> None:
        match number:
            case signal.SIGTERM | signal.SIGQUIT:
                self._stop(gracefully=self._stopping_since is None)
            case signal.SIGINT:
                self._stop(gracefully=False)
            case signal.SIGHUP:
                self.reload()
            case signal.SIGTTIN:
                self._want(self.wanted + 1)
            case signal.SIGTTOU:
                self._want(self.wanted - 1)
            case signal.SIGUSR1:
                self._reopen_logs()
            case signal.SIGUSR2 | signal.SIGWINCH:
                note("signal-ignored", signal=number.name, why="upgrade in place is not available yet")
            case _:
                return

    def _stop(self, gracefully: bool) -> None:
        if self._stopping_since is None:
            self._stopping_since = time.monotonic()
            self.crew.is_stopping = True
            self._systemd.notify("STOPPING=1")
            self._close_sockets()
            self._close_own_sockets(*list(self._own_sockets))
            note("stopping", gracefully=str(gracefully).lower())
        self.crew.signal(signal.SIGTERM if gracefully else signal.SIGINT)

    def _want(self, count: int) -> None:
        if not 1 <= count <= WORKER_ROWS:
            note("worker-count-refused", wanted=count, least=1, most=WORKER_ROWS)
            return
        self.wanted = count
        note("workers-wanted", count=count)
        self._configure_workers()

    # What the crew asks.

    def birth(self, row: int, channel: Channel) -> Birth:
        """See `crew.Parent`."""
        return Birth(
            row=row,
            config=self._workers_config(),
            backend_rows=self.health.rows,
            sockets=self._sockets_of(row),
            board=self.board,
            arena=self.arena,
            flights=self._flights,
            channel=channel,
        )

    def leave_behind(self, birth: Birth) -> None:
        """See `crew.Parent`. The event loop is not touched: its epoll set is the parent's."""
        if self._admin is not None:
            self._admin.forget()
        self._close_own_sockets(*(self._own_sockets.keys() - {birth.row}))
        for sock in self.sockets:
            if sock not in birth.sockets:
                sock.close()

    def heard(self, child: Child, message: Message) -> None:
        """See `crew.Parent`."""
        match message:
            case BackendFailed(row, why):
                self.health.failed(row, why)
            case Invalidate():
                self.invalidations.asked(child.channel, message)
            case Dropped():
                self.invalidations.dropped(child.channel, message)
            case Configured(generation):
                if generation == self.generation:
                    self._confirmed(child.channel)
            case Invalidated() | Drop() | Configure():
                note("message-misplaced", worker=child.row + 1, message=type(message).__name__)

    def lost(self, child: Child) -> None:
        """See `crew.Parent`."""
        self.invalidations.lost(child.channel)
        self._confirmed(child.channel)
        if self.arena is not None:
            self.arena.forget_worker(child.row)
        if self._flights is not None:
            self._flights.forget_worker(child.row)
        if child.is_retiring:
            self._close_own_sockets(child.row)

    def _channels(self) -> list[Channel]:
        return [child.channel for child in self.crew.children]

    def _sockets_of(self, row: int) -> list[socket.socket]:
        """Return what the worker of `row` listens on: what all do, or with --reuseport its own."""
        if row == 0 or not self.config.server.reuseport:
            return self.sockets
        if row not in self._own_sockets:
            tcp = [sock for sock in self.sockets if sock.family != socket.AF_UNIX]
            own = [listeners.bind_address(listeners.address_of(sock), reuseport=True) for sock in tcp]
            self._own_sockets[row] = [sock for bound in own for sock in bound]
        shared = [sock for sock in self.sockets if sock.family == socket.AF_UNIX]
        return self._own_sockets[row] + shared

    def _close_sockets(self) -> None:
        for sock in self.sockets:
            sock.close()

    def _close_own_sockets(self, *rows: int) -> None:
        for row in rows:
            for sock in self._own_sockets.pop(row, ()):
                sock.close()

    # Configuration.

    def reload(self) -> str | None:
        """Read the configuration again and use it everywhere; returns why not, if it is refused."""
        self._systemd.notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            config = self._reread()
            if config.log != self.config.log:
                self._prepare_log(config.log)
            self.health.configure(config.origin.backends, config.probe)
        except AccelError as error:
            note("reload-refused", why=error)
            return str(error)
        else:
            self._take_over(config)
            return None
        finally:
            self._systemd.notify("READY=1")

    def _take_over(self, config: Config) -> None:
        old = self.config
        self.config, waiting = with_kept(old, config)
        if waiting:
            note("reload-needs-restart", options=",".join(waiting))
        self.crew.timeout_s = config.server.worker_timeout_s
        if config.server.workers != old.server.workers:
            self._want(config.server.workers)
        else:
            self._configure_workers()
        note("reloaded", generation=self.generation)

    def _configure_workers(self) -> None:
        """Tell every worker the configuration in force; the number of workers sets each one's part of the memory."""
        self.generation += 1
        message = Configure(self.generation, self._workers_config(), self.health.rows)
        self._unconfirmed = {channel for channel in self._channels() if channel.send(message)}
        self._confirmed(None)

    def _confirmed(self, channel: Channel | None) -> None:
        """A worker uses the configuration in force, or is gone: after the last one nobody asks backends that left."""
        self._unconfirmed.discard(channel)
        if not self._unconfirmed:
            self.health.forget_removed()

    def _workers_config(self) -> Config:
        return replace(self.config, server=replace(self.config.server, workers=self.wanted))

    def _reopen_logs(self) -> None:
        try:
            self._prepare_log(self.config.log)
        except StartError as error:
            note("log-open-failed", why=error)
        self.crew.signal(signal.SIGUSR1)
        note("logs-reopened")

    # Beginning and end.

    def _prepare_log(self, log: LogOptions) -> None:
        """Make the access log and give it to the user that the workers run as. Raises StartError."""
        path = log.path
        if path is None or path == "-":
            return
        try:
            make_log(path, *ids(self.config.server.user, self.config.server.group))
        except OSError as error:
            raise StartError(f"--access-log: cannot write {path}: {error.strerror}") from error

    def _write_pid_file(self) -> None:
        path = self.config.server.pid_file
        if path is None:
            return
        try:
            Path(path).write_text(f"{os.getpid()}\n")
        except OSError as error:
            raise StartError(f"--pid: cannot write {path}: {error.strerror}") from error
        self._pid_file = Path(path)

    def _tell_facts(self) -> None:
        config = self.config
        note("accel", version=__version__, pid=os.getpid(), name=config.server.name)
        for address in self.addresses:
            note("listening", address=address)
        note("workers", count=self.wanted)
        for backend in config.origin.backends:
            note("backend", address=backend.address, weight=backend.weight, balance=config.origin.balance.value)
        if self.arena is not None:
            note("memory", bytes=config.memory_bytes, store="shared")
            note_start(self.arena)
        else:
            note("memory", bytes=config.memory_bytes, store="private", each_worker=share(self._workers_config()))
        for admin_address in self._admin.addresses if self._admin is not None else ():
            note("admin", address=admin_address)

    def _clean_up(self) -> None:
        self.crew.end()
        if self.arena is not None:
            self.arena.leave()
        self._close_sockets()
        for path in self._unix_paths:
            listeners.unlink(path)  # only now: while workers lived, somebody answered there
        if self._admin is not None:
            self._admin.close()
        if self._pid_file is not None:
            self._pid_file.unlink(missing_ok=True)
        self.health.close()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()
