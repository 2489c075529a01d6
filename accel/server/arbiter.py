"""The arbiter: the parent of all workers. It binds, forks, watches, judges and never touches a client.

Its life is one loop: keep as many workers as wanted (`server.crew`), run the event loop until something happened (a
signal, a dead child, a tick), act on it. Signals are Unicorn's: TERM and QUIT stop gracefully, a second TERM or INT
at once; HUP reads the configuration again; TTIN, TTOU one worker more or less; USR1 reopens logs; USR2, WINCH and
QUIT replace the program in place (`server.upgrade`).

Invariant: whatever an operator gets wrong in a running accel, the configuration in force serves on. If the first
workers cannot even start, the arbiter gives up: exit code 1. What its own kill -9 leaves: workers that read end of
file on their channels, finish what they have and leave.

It imports no uvloop: stdlib asyncio forks well between two runs of its loop, libuv does not.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from accel import __version__
from accel.config import Config, ServerOptions
from accel.server import handover
from accel.server.access_log import AccessLogWriter
from accel.server.channel import (
    Ask,
    BackendFailed,
    Channel,
    Configure,
    Configured,
    Drop,
    Dropped,
    Invalidate,
    Invalidated,
    Message,
    Told,
    WalkOwn,
)
from accel.server.charge import Charge
from accel.server.control import ArbiterControl
from accel.server.crew import HANDLED, Child, Crew
from accel.server.handover import Command, Handover
from accel.server.in_force import Change, InForce
from accel.server.inquiries import Inquiries
from accel.server.invalidator import Invalidations
from accel.server.journal import note
from accel.server.pool_health import PoolHealth
from accel.server.privileges import ids
from accel.server.scoreboard import WORKER_ROWS, Scoreboard, WorkerState
from accel.server.sockets import Sockets
from accel.server.stores import make_arena, make_flights, make_limits, make_numbers, note_start, share
from accel.server.upgrade import Phase, Upgrade
from accel.server.walker import Walker
from accel.server.worker import Birth

if TYPE_CHECKING:
    from accel.store.flights import FlightArena
    from accel.store.shared import SharedArena

TICK_S = 0.1
_AFTER_GRACE_S = 2.0
"""How long workers may outlive the graceful timeout before they are killed."""


def run(config: Config, reread: Callable[[], Config], command: Command | None) -> int:
    """Serve until stopped; return the exit code. Raises StartError if serving cannot begin.

    `command` starts the program that USR2 asks for; None where there can be no second one.
    """
    return Arbiter(config, reread, command, handover.take(os.environ)).run()


class Arbiter:
    """The parent process."""

    def __init__(
        self,
        config: Config,
        reread: Callable[[], Config],
        command: Command | None = None,
        given: Handover | None = None,
    ) -> None:
        self.generation = 1
        self.since = time.time()
        self.wanted = config.server.workers
        """How many workers there should be."""
        self._is_retired = False
        """Whether WINCH sent the workers away, since a successor serves."""
        self._given = given
        self.sockets = Sockets()
        self.board = Scoreboard()
        self.arena: SharedArena | None = None
        """The shared store's memory; None for private stores."""
        self._flights: FlightArena | None = None
        self.access_log = AccessLogWriter(config.log.memory_bytes, self.board)
        self.health = PoolHealth(self.board)
        self.in_force = InForce(config, reread, self.health)
        self._loop = asyncio.new_event_loop()
        self.crew = Crew(self, self.board, self._loop, config.server.worker_timeout_s)
        self.inquiries = Inquiries(self._serving)
        self._unconfirmed: set[Channel | None] = set()
        """Workers that were told the configuration in force and have not said that they use it."""
        self._happened = asyncio.Event()
        self._pending: list[signal.Signals] = []
        self._stopping_since: float | None = None
        self._exit_code = 0
        self._charge = Charge(config.server, self._loop, self.sockets, self.health)
        self.upgrade = Upgrade(self._charge, command, given)

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self.in_force.config

    def run(self) -> int:
        """See `run`."""
        server, given = self.config.server, self._given
        ids(server.user, server.group)
        asyncio.set_event_loop(self._loop)
        self.in_force.begin(is_successor=given is not None)
        self.health.inherit(given.backends if given else ())
        self.sockets.open(server, given.sockets if given else None)
        try:
            self.arena = self._charge.arena = make_arena(self.config, given)
            self._flights = make_flights(self.arena)
            self._limits = self._charge.limits = make_limits(given)
            walker = None if self.arena is None else Walker(self.arena)
            self.invalidations = Invalidations(make_numbers(self.config, self.arena), self._channels, walker)
            self.invalidations.sweeper.is_sharing = lambda: self.upgrade.phase is not Phase.ALONE
            self.access_log.use(self.config.log, server)
            self._charge.begin(ArbiterControl(self), given)
            for number in HANDLED:
                self._loop.add_signal_handler(number, self._note_signal, number)
            self._tell_facts()
            self._live()
            self._loop.run_until_complete(self.invalidations.close())
        finally:
            self._clean_up()
        note("stopped", exit_code=self._exit_code)
        return self._exit_code

    # The life.

    def _live(self) -> None:
        while self._stopping_since is None or len(self.crew):
            if self._stopping_since is None:
                self.crew.keep(0 if self._is_retired else self.wanted)
            self._loop.run_until_complete(self._wait())
            self.upgrade.look(time.monotonic())
            if self._is_retired and self.upgrade.is_in_charge:
                self._come_back()
            for number in self._taken_signals():
                self._act_on(number)
            self._look_after_crew(time.monotonic())

    async def _wait(self) -> None:
        """Return when something happened, at the latest after a tick."""
        self.health.tick(time.monotonic())
        self.invalidations.sweeper.tick(time.monotonic())
        self.access_log.tick(time.monotonic())
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
            self._charge.tell_ready()
            note("ready", workers=len(self.crew))
            self.sockets.leave_spare()
            self.upgrade.ready()
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
                self._come_back() if self._is_retired else self.reload()
            case signal.SIGTTIN:
                self._want(self.wanted + 1)
            case signal.SIGTTOU:
                self._want(self.wanted - 1)
            case signal.SIGUSR1:
                self.access_log.use_again(self.config.log, self.config.server)
                note("logs-reopened")
            case signal.SIGUSR2:
                self.begin_upgrade()
            case signal.SIGWINCH:
                self._retire()
            case _:
                return

    def _stop(self, gracefully: bool) -> None:
        if self._stopping_since is None:
            self._stopping_since = time.monotonic()
            self.crew.is_stopping = True
            if self.upgrade.is_in_charge:
                self._charge.tell_stopping()
            self.upgrade.abandon()
            self.sockets.close()
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
            sites=self.in_force.sites,
            parcel=self.in_force.parcel,
            backend_rows=self.health.rows,
            sockets=self.sockets.of(row),
            board=self.board,
            arena=self.arena,
            numbers=self.invalidations.numbers,
            flights=self._flights,
            limits=self._limits,
            log=self.access_log.rings.memory(row),
            channel=channel,
        )

    def leave_behind(self, birth: Birth) -> None:
        """See `crew.Parent`. The event loop is not touched: its epoll set is the parent's."""
        self._charge.forget()
        self.access_log.forget()
        self.upgrade.forget()
        self.sockets.keep_only(birth.sockets)

    def heard(self, child: Child, message: Message) -> None:
        """See `crew.Parent`."""
        match message:
            case BackendFailed(row, why):
                self.health.failed(row, why)
            case Invalidate():
                self.invalidations.asked(child.channel, message)
            case Dropped():
                self.invalidations.answered(child.channel, message)
            case Configured(generation):
                if generation == self.generation:
                    self._confirmed(child.channel)
            case Told():
                self.inquiries.answered(message)
            case Invalidated() | Drop() | WalkOwn() | Configure() | Ask():
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
            self.sockets.close_own(child.row)

    def _channels(self) -> list[Channel]:
        return [child.channel for child in self.crew.children]

    def _serving(self) -> dict[int, Channel]:
        state, children = self.board.worker_state, self.crew.children
        return {one.row: one.channel for one in children if state(one.row) is WorkerState.ACCEPTING}

    # Upgrade.

    def begin_upgrade(self) -> str | None:
        """Start a successor; return why not."""
        if self._stopping_since is not None:
            return "this one stops"
        return self.upgrade.begin(time.monotonic(), self.config.server.upgrade_timeout_s)

    def _retire(self) -> None:
        """Send the workers away while a successor serves; a terminal that changes its size says WINCH, too."""
        if self.upgrade.phase is not Phase.REPLACED:
            note("signal-ignored", signal="SIGWINCH", why="no new program has taken over")
            return
        self._is_retired = True
        note("workers-retired", count=len(self.crew))

    def _come_back(self) -> None:
        """Serve again, with the configuration in force: what a successor reads may be what is wrong with it."""
        self._is_retired = False
        note("workers-wanted", count=self.wanted)

    # Configuration.

    def reload(self) -> Change:
        """Read configuration and policies again and use them everywhere; if anything is wrong, nothing changes."""
        return self._change(self.in_force.reload)

    def roll_back(self) -> Change:
        """Return everywhere to the policies before these."""
        return self._change(self.in_force.roll_back)

    def _change(self, make: Callable[[], Change]) -> Change:
        old = self.config.server
        self._charge.tell_reloading()
        change = make()
        if not change.error:
            self._take_over(old)
        self._charge.tell_ready()
        return change

    def _take_over(self, old: ServerOptions) -> None:
        server = self.config.server
        self.access_log.use_again(self.config.log, server)
        self.crew.timeout_s = server.worker_timeout_s
        if server.workers != old.workers:
            self._want(server.workers)
        else:
            self._configure_workers()
        note("reloaded", generation=self.generation, policy=self.in_force.versions.current.number)

    def _configure_workers(self) -> None:
        """Tell every worker the configuration in force; the number of workers sets each one's part of the memory."""
        self.generation += 1
        message = Configure(self.generation, self._workers_config(), self.health.rows, self.in_force.parcel)
        self._unconfirmed = {channel for channel in self._channels() if channel.send(message)}
        self._confirmed(None)

    def _confirmed(self, channel: Channel | None) -> None:
        """A worker uses the configuration in force, or is gone: after the last one nobody asks backends that left."""
        self._unconfirmed.discard(channel)
        if not self._unconfirmed:
            self.health.forget_removed()

    def _workers_config(self) -> Config:
        return replace(self.config, server=replace(self.config.server, workers=self.wanted))

    # Beginning and end.

    def _tell_facts(self) -> None:
        config = self.config
        note("accel", version=__version__, pid=os.getpid(), name=config.server.name)
        for address in self.sockets.addresses:
            note("listening", address=address)
        note("workers", count=self.wanted)
        for policy in self.in_force.versions.current.policies:
            note("policy", file=policy.file, hosts=",".join(policy.hosts) or "every-other", tests=len(policy.tests))
        for pool in self.in_force.pools:
            for backend in pool.members:
                balance = pool.origin.balance.value
                note("backend", address=backend.address, weight=backend.weight, balance=balance, pool=pool.name or "-")
        if self.arena is not None:
            note("memory", bytes=config.memory_bytes, store="shared")
            note_start(self.arena, self._given)
        else:
            note("memory", bytes=config.memory_bytes, store="private", each_worker=share(self._workers_config()))
        for admin_address in self._charge.admin_addresses:
            note("admin", address=admin_address)

    def _clean_up(self) -> None:
        self.crew.end()
        self.access_log.close()
        if self.arena is not None:
            self.arena.leave()
        self.sockets.close()
        self.sockets.unlink()  # only now: while workers lived, somebody answered there
        self._charge.close()
        self.upgrade.close()
        self.health.close()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()
