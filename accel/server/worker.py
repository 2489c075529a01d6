"""A worker: one process, one event loop, its share of the clients.

Runs in the child after the arbiter's fork. Owns everything that serves a request here; writes its own row of the
scoreboard. Invariant: it never waits for the arbiter or for another worker to answer a hit, a miss or a pass, and it
leaves when the arbiter is gone (its channel reads end of file).

Life: starting -> accepting -> leaving (TERM or QUIT: exchanges end, the graceful timeout bounds it) -> exit 0.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import resource
import signal
import socket
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, assert_never

import uvloop
from setproctitle import setproctitle

from accel.config import Config, Limits
from accel.net.pollers import make_poller
from accel.origin.fetch import Origin
from accel.policy.sites import Sites
from accel.proxy.cache import Cache
from accel.proxy.clients import Clients
from accel.proxy.flights import Flights
from accel.proxy.limit_table import LimitTable
from accel.proxy.limiter import Limiter
from accel.proxy.refreshing import Refreshing, share_of
from accel.proxy.service import Service
from accel.proxy.sweeping import Job, Sweep
from accel.server.acceptor import Acceptor
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
from accel.server.insight import Insight
from accel.server.invalidator import RemoteInvalidator
from accel.server.journal import note
from accel.server.opening import make_opener
from accel.server.overrides import OverrideRow
from accel.server.policy_parcel import Parcel, unpacked
from accel.server.pools import Pool, pools_of
from accel.server.privileges import drop_privileges
from accel.server.scoreboard import Scoreboard, WorkerBoard, WorkerState
from accel.server.site_slots import number_sites
from accel.server.stores import make_coalescer, make_hot, make_relays, make_store, resize_store
from accel.stats.counters import index
from accel.stats.ring import RingWriter
from accel.store.numbers import Numbers
from accel.store.private import PrivateStore

if TYPE_CHECKING:
    from accel.store.flights import FlightArena
    from accel.store.shared import SharedArena

BEAT_S = 0.25
_SETTLED_S = 1.0
"""Exchanges that began under the old configuration have picked their backend so long after it was replaced."""
_RESERVED_FILES = 64
_WALK_AT_ONCE = 100
"""Records judged between two turns of the loop: half a millisecond."""
_EVICTED = index("evicted")
_FAILURES = index("callback_failures")


@dataclass(frozen=True, slots=True)
class Birth:
    """What the arbiter gives to a new worker."""

    row: int
    config: Config
    sites: Sites
    """The rules, compiled before the fork."""
    parcel: Parcel
    """The same as they would be sent: to see whether what is sent later differs."""
    backend_rows: Mapping[str, tuple[int, ...]]
    """Of each pool."""
    sockets: Sequence[socket.socket]
    board: Scoreboard
    arena: SharedArena | None
    """The shared store's memory; None for private stores."""
    numbers: Numbers
    flights: FlightArena | None
    """Where workers find each other's fetches; None for private stores."""
    limits: LimitTable
    """Where rate limits are counted."""
    log: memoryview | None
    """Its ring; None: nothing is logged."""
    channel: Channel


def run(birth: Birth) -> int:
    """Serve until told to leave; return the exit code. Called once, in the child."""
    setproctitle(f"accel: worker {birth.row + 1} {birth.config.server.name}")
    faulthandler.enable()  # SIGABRT, which a stuck worker gets, prints every stack before it ends the process
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_live(birth))
    except OSError as error:
        note("worker-failed", worker=birth.row + 1, why=error)
        return 1


async def _live(birth: Birth) -> int:
    worker = Worker(birth)
    await worker.serve()
    return 0


class Worker:
    """One worker's parts and its life."""

    def __init__(self, birth: Birth) -> None:
        self._config = birth.config
        self._row = birth.row
        self._sites, self._parcel = birth.sites, birth.parcel
        self._channel = birth.channel
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._note_failure)
        self._poller = make_poller()
        self._board = WorkerBoard(birth.board, birth.row, self._backend_failed)
        self._invalidator = RemoteInvalidator(birth.channel)
        self._flights = Flights()
        self._refreshing = Refreshing()
        drop_privileges(birth.config.server.user, birth.config.server.group)
        self._coalescer = make_coalescer(birth.flights, birth.row)
        self._log = None if birth.log is None else RingWriter(birth.log)
        self._store = make_store(birth.config, birth.arena, birth.row, self._count_eviction)
        self._cache = Cache(self._store, birth.numbers, self._board.counters, self._config.limits.variants)
        self._hot = make_hot(self._store, birth.numbers, self._board.counters, self._board.histograms)
        self._relays = make_relays(
            self._hot, self._store, birth.numbers, self._board.counters, self._board.histograms
        )
        self._limiter = Limiter(birth.limits, self._config.server.workers, self._board.counters)
        self._overrides = OverrideRow(self._board.override_uses)
        self._origins: dict[str, _Reached] = {}
        self._reach(birth.backend_rows)
        service = self._make_service()
        self._clients = Clients(service, service.limits, self._config.timeouts, _connection_limit(self._config))
        self._insight = Insight(birth.channel, self._clients, self._flights)
        opener = make_opener(self._clients, self._poller)
        self._acceptor = Acceptor(birth.sockets, self._clients, self._board, opener)
        self._tasks: set[asyncio.Task[None]] = set()
        self._configuring = asyncio.Lock()
        self._leaving = asyncio.Event()
        self._hurried = asyncio.Event()

    async def serve(self) -> None:
        """Accept, serve, and return when everything has ended."""
        self._listen_to_arbiter()
        self._acceptor.open()
        self._beat()
        self._board.set_state(WorkerState.ACCEPTING)
        gc.collect()
        gc.freeze()
        await self._leaving.wait()
        self._board.set_state(WorkerState.LEAVING)
        self._acceptor.close()
        await self._acceptor.settled()
        self._clients.stop()
        await self._finish_exchanges()
        self._clients.abort()
        for reached in self._origins.values():
            reached.origin.close()

    # Parts.

    def _reach(self, rows: Mapping[str, tuple[int, ...]]) -> None:
        """Have an origin for each pool; one whose pool is as it was keeps its connections."""
        limits, old = self._config.limits, self._origins
        self._origins = {}
        for pool in pools_of(self._config, [policy.checked for policy in self._sites.policies]):
            reached = old.pop(pool.name, None)
            made_of = (pool, rows[pool.name], limits)
            if reached is None or reached.made_of != made_of:
                counters, window = self._board.counters, limits.window_bytes
                origin = Origin(pool.origin, rows[pool.name], self._board, counters, window, limits, self._poller)
                if reached is not None:
                    reached.origin.close()
                reached = _Reached(origin, made_of)
            self._origins[pool.name] = reached
        for reached in old.values():
            reached.origin.close()

    def _make_service(self) -> Service:
        config = self._config
        self._overrides.know([policy.checked for policy in self._sites.policies], self._parcel.slots)
        service = Service(
            policies=self._sites,
            cache=self._cache,
            origins={name: reached.origin for name, reached in self._origins.items()},
            flights=self._flights,
            refreshing=self._refreshing,
            invalidator=self._invalidator,
            coalescer=self._coalescer,
            limiter=self._limiter,
            counters=self._board.counters,
            histograms=self._board.histograms,
            overrides=self._overrides,
            limits=config.limits,
            caching=config.caching,
            log=self._log,
            now=time.time,
            hot=self._hot,
            relays=self._relays,
        )
        if self._hot is not None:
            self._hot.use(service)
        if self._relays is not None:
            self._relays.use(service)
        self._refreshing.use(service, share_of(config.caching.refreshes, config.server.workers))
        return service

    def _count_eviction(self) -> None:
        self._board.counters[_EVICTED] += 1

    # The arbiter's word.

    def _listen_to_arbiter(self) -> None:
        self._channel.listen(self._loop, self._told, self._orphaned)
        actions = {
            signal.SIGTERM: self._leaving.set,
            signal.SIGQUIT: self._leaving.set,
            signal.SIGINT: self._leave_now,
        }
        for number, action in actions.items():
            self._loop.add_signal_handler(number, action)

    def _told(self, message: Message) -> None:
        match message:
            case Drop(ticket, keys, is_soft):
                hit = self._cache.count if is_soft else self._cache.drop_covered
                self._channel.send(Dropped(ticket, tuple(map(hit, keys))))
            case WalkOwn(ticket, jobs):
                self._begin(self._walk_own(ticket, jobs))
            case Invalidated():
                self._invalidator.answered(message)
            case Configure():
                self._begin(self._configure(message))
            case Ask():
                self._insight.asked(message)
            case BackendFailed() | Invalidate() | Dropped() | Configured() | Told():
                raise AssertionError(f"a message that workers send: {message}")
            case _:
                assert_never(message)

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _walk_own(self, ticket: int, jobs: Sequence[Job]) -> None:
        """Apply invalidations to this worker's own store, a little at a time, and say what that did."""
        sweep = Sweep(jobs)
        if jobs and isinstance(self._store, PrivateStore):
            keys = self._store.all_keys()
            for start in range(0, len(keys), _WALK_AT_ONCE):
                for key in keys[start : start + _WALK_AT_ONCE]:
                    self._store.sweep(key, sweep.judge, sweep.settle)
                await asyncio.sleep(0)
        self._channel.send(Dropped(ticket, tuple(sweep.counts), sweep.dropped))

    async def _configure(self, message: Configure) -> None:
        """Use a new configuration as soon as its rules are compiled; several take effect in their order."""
        async with self._configuring:
            old, sites = self._config, self._sites
            if _rules_differ(old, message.config) or self._parcel != message.policies:
                # Compiling a large policy would hold up every client of this worker for as long as it takes.
                sites = await self._loop.run_in_executor(None, unpacked, message.policies.files, message.config)
            self._switch(message, sites)

    def _switch(self, message: Configure, sites: Sites) -> None:
        """Use a new configuration from the next request on; exchanges under way keep theirs."""
        self._config = message.config
        self._sites, self._parcel = sites, message.policies
        number_sites(sites, message.policies.sites)
        self._reach(message.rows)
        resize_store(self._store, message.config)
        self._limiter.configure(message.config.server.workers)
        self._cache.variants_limit = message.config.limits.variants
        service, limit = self._make_service(), _connection_limit(message.config)
        self._clients.configure(service, service.limits, message.config.timeouts, limit)
        self._loop.call_later(_SETTLED_S, self._channel.send, Configured(message.generation))

    def _orphaned(self) -> None:
        note("arbiter-gone", worker=self._row + 1)
        self._leaving.set()

    def _leave_now(self) -> None:
        self._hurried.set()
        self._leaving.set()

    def _backend_failed(self, row: int, why: str) -> None:
        self._channel.send(BackendFailed(row, why))

    # The clock.

    def _beat(self) -> None:
        """Four times a second: heartbeat and time limits."""
        self._board.beat()
        self._clients.check()
        self._acceptor.beat()
        self._loop.call_later(BEAT_S, self._beat)

    async def _finish_exchanges(self) -> None:
        """Wait until no client is left, or the graceful timeout is over, or INT came."""
        ends = [asyncio.ensure_future(self._clients.emptied.wait()), asyncio.ensure_future(self._hurried.wait())]
        timeout = self._config.server.graceful_timeout_s
        _, waiting = await asyncio.wait(ends, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        for end in waiting:
            end.cancel()

    def _note_failure(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Count and report what no layer handled: each one is a defect."""
        self._board.counters[_FAILURES] += 1
        loop.default_exception_handler(context)


@dataclass(frozen=True, slots=True)
class _Reached:
    """A pool as this worker reaches it."""

    origin: Origin
    made_of: tuple[Pool, tuple[int, ...], Limits]


def _rules_differ(old: Config, new: Config) -> bool:
    """Whether rules that were compiled for one configuration are wrong for another."""
    return (old.caching, old.purge_from) != (new.caching, new.purge_from)


def _connection_limit(config: Config) -> int:
    """Return how many clients one worker may hold: half the files that it may open, the rest is for origins."""
    if config.limits.connections is not None:
        return config.limits.connections
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, (files - _RESERVED_FILES) // 2)
