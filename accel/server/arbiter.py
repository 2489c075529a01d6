"""The arbiter: the parent of all workers. It binds, forks, watches, judges and never touches a client.

Its life is one loop: keep as many workers as wanted, run the event loop until something happened (a signal, a dead
child, a tick), act on it. Forks happen between two runs of the event loop, never inside one, so that a child inherits
no running loop; signals are blocked over a fork, so that none is taken twice. What is where:

- signals (Unicorn's): TERM, QUIT stop gracefully, a second TERM or INT at once; HUP reads the configuration again;
  TTIN, TTOU one worker more or less; USR1 reopens logs.
- a dead worker is replaced at once, its gauges cleared; one that died within half a second of its start is replaced
  with growing delay. If the first workers cannot even start, the arbiter gives up: exit code 1.
- a stuck worker (heartbeat older than `--worker-timeout`) gets SIGABRT, which prints its stacks (faulthandler), and
  SIGCONT in case it was stopped; then SIGKILL. If the arbiter itself stood still (a suspended machine, SIGSTOP) nobody
  is judged until every worker had a full timeout again.
- a killed arbiter: its workers read end of file on their channels, finish what they have and leave.

It imports no uvloop: stdlib asyncio forks well between runs, libuv does not.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import sdnotify
from setproctitle import setproctitle

from accel import __version__
from accel.config import Config
from accel.errors import AccelError, StartError
from accel.server import admin, listeners, worker
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
from accel.server.invalidator import Invalidations
from accel.server.journal import note
from accel.server.pool_health import PoolHealth
from accel.server.privileges import ids
from accel.server.scoreboard import WORKER_ROWS, Scoreboard, WorkerState

TICK_S = 0.1
_STOOD_STILL_S = 1.0
"""A tick that comes so much late means that the arbiter was stopped: heartbeats prove nothing."""
_QUICK_DEATH_S = 0.5
_LONGEST_BACKOFF_S = 8.0
_DUMP_S = 0.3
"""Between SIGABRT, for the stacks, and SIGKILL."""
_SIGNALS = (
    signal.SIGTERM,
    signal.SIGQUIT,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
    signal.SIGCHLD,
)
_FIXED = ("listen", "reuseport", "name", "user", "group", "pid_file", "admin")
"""Options of the server that a reload cannot change."""


@dataclass(slots=True)
class Child:
    """A worker as the arbiter knows it."""

    row: int
    pid: int
    channel: Channel
    started_mono: float
    is_retiring: bool = False
    condemned_mono: float | None = None
    """When it was found stuck and got SIGABRT."""


def run(config: Config, reread: Callable[[], Config]) -> int:
    """Serve until stopped; return the exit code. Raises StartError before anything is served."""
    return Arbiter(config, reread).run()


class Arbiter:
    """The parent process."""

    def __init__(self, config: Config, reread: Callable[[], Config]) -> None:
        self.config = config
        self.generation = 1
        self.since = time.time()
        self.board = Scoreboard()
        self.health = PoolHealth(self.board)
        self.children: dict[int, Child] = {}
        self.restarts = [0] * WORKER_ROWS
        self.sockets: list[socket.socket] = []
        self.invalidations = Invalidations(self.board, self._channels)
        self._reread = reread
        self._wanted = config.server.workers
        self._loop = asyncio.new_event_loop()
        self._happened = asyncio.Event()
        self._pending: list[signal.Signals] = []
        self._stopping_since: float | None = None
        self._quick_deaths = 0
        self._no_fork_before = 0.0
        self._has_served = False
        self._exit_code = 0
        self._last_tick = time.monotonic()
        self._judge_after = 0.0
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
        self.sockets = listeners.bind(server)
        try:
            self._admin = self._loop.run_until_complete(admin.serve(ArbiterControl(self), server.admin))
            self._prepare_log()
            self._write_pid_file()
            for number in _SIGNALS:
                self._loop.add_signal_handler(number, self._note_signal, number)
            self._tell_facts()
            self._live()
        finally:
            self._clean_up()
        note("stopped", exit_code=self._exit_code)
        return self._exit_code

    # The life.

    def _live(self) -> None:
        while self._stopping_since is None or self.children:
            if self._stopping_since is None:
                self._keep_workers()
            self._loop.run_until_complete(self._wait())
            for number in self._taken_signals():
                self._act_on(number)
            self._reap()
            self._watch(time.monotonic())

    async def _wait(self) -> None:
        """Return when something happened, at the latest after a tick."""
        self.health.tick(time.monotonic())
        try:
            async with asyncio.timeout(TICK_S):
                await self._happened.wait()
        except TimeoutError:
            return
        self._happened.clear()

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
                self._want(self._wanted + 1)
            case signal.SIGTTOU:
                self._want(self._wanted - 1)
            case signal.SIGUSR1:
                self._reopen_logs()
            case signal.SIGUSR2 | signal.SIGWINCH:
                note("signal-ignored", signal=number.name, why="upgrade in place is not available yet")
            case _:
                return

    # Workers.

    def _keep_workers(self) -> None:
        """Fork until there are as many workers as wanted. The event loop does not run meanwhile."""
        staying = [child for child in self.children.values() if not child.is_retiring]
        for child in sorted(staying, key=lambda child: child.row)[self._wanted :]:
            child.is_retiring = True
            self._signal(child, signal.SIGTERM)
        missing = self._wanted - len(staying)
        while missing > 0 and time.monotonic() >= self._no_fork_before:
            row = next((row for row in range(WORKER_ROWS) if row not in self.children), None)
            if row is None:
                return
            self._fork(row)
            missing -= 1

    def _fork(self, row: int) -> None:
        self.board.use_rows(row + 1)
        self.board.assign(row)
        ours, theirs = Channel.pair()
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        pid = os.fork()
        if pid == 0:
            self._be_worker(row, theirs, ours)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        theirs.forget()
        child = Child(row, pid, ours, time.monotonic())
        self.children[row] = child
        ours.listen(self._loop, partial(self._heard, child), lambda: None)

    def _be_worker(self, row: int, channel: Channel, parents_end: Channel) -> None:
        """Become a worker: close what is the arbiter's, serve, and end the process. Never returns."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_IGN if number in _NOT_FOR_WORKERS else signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            parents_end.forget()
            for child in self.children.values():
                child.channel.forget()
            if self._admin is not None:
                self._admin.forget()
            asyncio.set_event_loop(None)
            rows = self.health.rows
            code = worker.run(
                worker.Birth(row, self._workers_config(), self.generation, rows, self.sockets, self.board, channel)
            )
        except KeyboardInterrupt:
            code = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stderr.flush()
            sys.stdout.flush()
            os._exit(code)

    def _workers_config(self) -> Config:
        """Return the configuration as workers see it: with the number of workers that share the memory."""
        return replace(self.config, server=replace(self.config.server, workers=max(1, self._wanted)))

    def _reap(self) -> None:
        """Take note of dead workers; waits for none but our own."""
        for child in list(self.children.values()):
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                self._bury(child, os.waitstatus_to_exitcode(status))

    def _bury(self, child: Child, code: int) -> None:
        state = self.board.worker_state(child.row)
        self.board.clear_gauges(child.row)
        self.invalidations.lost(child.channel)
        child.channel.close()
        del self.children[child.row]
        if child.is_retiring or self._stopping_since is not None:
            return
        if state is WorkerState.STARTING and not self._has_served:
            self._exit_code = 1
            note("start-failed", why=f"worker {child.row + 1} could not start, see above")
            self._stop(gracefully=False)
            return
        self.restarts[child.row] += 1
        why = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        note("worker-died", worker=child.row + 1, pid=child.pid, why=why)
        self._back_off(time.monotonic() - child.started_mono)

    def _back_off(self, lived_s: float) -> None:
        if lived_s > _QUICK_DEATH_S:
            self._quick_deaths = 0
            return
        self._quick_deaths += 1
        delay = min(_LONGEST_BACKOFF_S, 0.125 * 2**self._quick_deaths)
        self._no_fork_before = time.monotonic() + delay
        note("crash-loop", next_worker_in_s=delay)

    def _watch(self, now: float) -> None:
        """Judge heartbeats and the time that stopping takes."""
        if now - self._last_tick > _STOOD_STILL_S:
            self._judge_after = now + self.config.server.worker_timeout_s
        self._last_tick = now
        for child in list(self.children.values()):
            self._note_serving(child)
            if child.condemned_mono is not None:
                if now - child.condemned_mono > _DUMP_S:
                    self._signal(child, signal.SIGKILL)
            elif now >= self._judge_after and self._is_stuck(child, now):
                self._condemn(child, now)
        if self._stopping_since is not None:
            self._enforce_stop(now)

    def _is_stuck(self, child: Child, now: float) -> bool:
        silent_s = now - self.board.heartbeat_ns(child.row) / 1e9
        return silent_s > self.config.server.worker_timeout_s

    def _condemn(self, child: Child, now: float) -> None:
        note("worker-stuck", worker=child.row + 1, pid=child.pid, mend="see its stacks below")
        child.condemned_mono = now
        self._signal(child, signal.SIGABRT)
        self._signal(child, signal.SIGCONT)

    def _note_serving(self, child: Child) -> None:
        """The first time that all workers accept: ready."""
        if self._has_served or self.board.worker_state(child.row) is not WorkerState.ACCEPTING:
            return
        states = [self.board.worker_state(other.row) for other in self.children.values()]
        if len(states) >= self._wanted and all(state is WorkerState.ACCEPTING for state in states):
            self._has_served = True
            self._systemd.notify("READY=1")
            note("ready", workers=len(states))

    def _signal(self, child: Child, number: signal.Signals) -> None:
        os.kill(child.pid, number)  # not reaped yet, so the pid is still its own

    def _want(self, count: int) -> None:
        if not 1 <= count <= WORKER_ROWS:
            note("worker-count-refused", wanted=count, least=1, most=WORKER_ROWS)
            return
        self._wanted = count
        note("workers-wanted", count=count)

    # What workers say.

    def _channels(self) -> list[Channel]:
        return [child.channel for child in self.children.values()]

    def _heard(self, child: Child, message: Message) -> None:
        match message:
            case BackendFailed(row, why):
                self.health.failed(row, why)
            case Invalidate():
                self.invalidations.asked(child.channel, message)
            case Dropped():
                self.invalidations.dropped(child.channel, message)
            case Configured():
                return
            case Invalidated() | Drop() | Configure():
                note("message-misplaced", worker=child.row + 1, message=type(message).__name__)

    # What an operator says.

    @property
    def wanted(self) -> int:
        """How many workers there should be."""
        return self._wanted

    def reload(self) -> str | None:
        """Read the configuration again and use it everywhere; returns why not, if it is refused."""
        self._systemd.notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            config = self._reread()
            self.health.configure(config.origin.backends, config.probe)
        except AccelError as error:
            note("reload-refused", why=error)
            self._systemd.notify("READY=1")
            return str(error)
        self._take_over(config)
        self._systemd.notify("READY=1")
        return None

    def _take_over(self, config: Config) -> None:
        old = self.config
        kept = {name: getattr(old.server, name) for name in _FIXED}
        changed = [name for name, value in kept.items() if getattr(config.server, name) != value]
        if config.memory_bytes != old.memory_bytes:
            changed.append("memory")
        if changed:
            note("reload-needs-restart", options=",".join(changed))
        if config.server.workers != old.server.workers:
            self._want(config.server.workers)
        self.config = replace(config, server=replace(config.server, **kept), memory_bytes=old.memory_bytes)
        self.generation += 1
        for channel in self._channels():
            channel.send(Configure(self.generation, self._workers_config(), self.health.rows))
        note("reloaded", generation=self.generation)

    def _reopen_logs(self) -> None:
        self._prepare_log()
        for child in self.children.values():
            self._signal(child, signal.SIGUSR1)
        note("logs-reopened")

    def _stop(self, gracefully: bool) -> None:
        if self._stopping_since is None:
            self._stopping_since = time.monotonic()
            self._systemd.notify("STOPPING=1")
            listeners.close(self.sockets)
            note("stopping", gracefully=str(gracefully).lower())
        for child in self.children.values():
            self._signal(child, signal.SIGTERM if gracefully else signal.SIGINT)

    def _enforce_stop(self, now: float) -> None:
        """Kill what is left when the graceful timeout and some seconds are over."""
        assert self._stopping_since is not None
        if now - self._stopping_since > self.config.server.graceful_timeout_s + 2:
            for child in self.children.values():
                self._signal(child, signal.SIGKILL)

    # Beginning and end.

    def _prepare_log(self) -> None:
        """Make the access log and give it to the user that the workers run as. Raises StartError."""
        path = self.config.log.path
        if path is None or path == "-":
            return
        uid, gid = ids(self.config.server.user, self.config.server.group)
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644))
            if uid is not None or gid is not None:
                os.chown(path, -1 if uid is None else uid, -1 if gid is None else gid)
        except OSError as error:
            if self._has_served:
                note("log-open-failed", path=path, why=error.strerror)
                return
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
        for sock in self.sockets:
            note("listening", address=listeners.address_of(sock))
        note("workers", count=self._wanted)
        for backend in config.origin.backends:
            note("backend", address=backend.address, weight=backend.weight, balance=config.origin.balance.value)
        each = config.memory_bytes // max(1, self._wanted)
        note("memory", bytes=config.memory_bytes, store="private", each_worker=each)
        for address in self._admin.addresses if self._admin is not None else ():
            note("admin", address=address)

    def _clean_up(self) -> None:
        for child in self.children.values():
            self._signal(child, signal.SIGKILL)
            os.waitpid(child.pid, 0)
        listeners.close(self.sockets)
        if self._admin is not None:
            self._admin.close()
        if self._pid_file is not None:
            self._pid_file.unlink(missing_ok=True)
        self.health.close()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()


_NOT_FOR_WORKERS = frozenset(
    {signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR2, signal.SIGWINCH, signal.SIGUSR1}
)
