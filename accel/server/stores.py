"""Which store the workers use, one in shared memory or one each, and what else they share beside it.

Runs in the arbiter before the first fork (`make_arena` and co) and in each worker (`make_store`). The compiled part is
imported only when it is wanted, so that accel runs, with a private store a worker, where it could not be built.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from accel.config import Config, StoreKind
from accel.errors import StartError
from accel.proxy.limit_table import LimitTable, why_unfit
from accel.proxy.service import Coalescer
from accel.server import holders
from accel.server.journal import note
from accel.server.scoreboard import WORKER_ROWS
from accel.stats.counters import CounterRow
from accel.stats.histograms import HistogramWords
from accel.store.numbers import Numbers, cell_count
from accel.store.private import PrivateStore
from accel.store.store import Store

if TYPE_CHECKING:
    from accel.proxy.hot import Hot
    from accel.proxy.relay import Relays
    from accel.server.handover import Handover
    from accel.store.flights import FlightArena
    from accel.store.shared import SharedArena, SharedStore

_WRITERS_PART, _MOST_WRITERS_BYTES = 16, 256 * 1024 * 1024
"""The writers of all workers together hold at most this part of the memory, and no more than that."""


def make_arena(config: Config, given: Handover | None = None) -> SharedArena | None:
    """Return the memory that all workers share, None for private stores; that of a predecessor if it will do.

    Its size follows from `--memory` alone, so that a file fits however many workers there are next time. Raises
    StartError if a shared store is demanded and was not built, or there is not as much memory to be had, or another
    process has the file.
    """
    if config.store_kind is StoreKind.PRIVATE:
        _leave(given)
        return None
    try:
        from accel.store.backing import InUse
        from accel.store.shared import SharedArena
    except ImportError as error:
        if config.store_kind is StoreKind.AUTO and config.store_directory is None:
            _leave(given)
            return None
        mend = "install accel where there is a C compiler, or leave out --store and use --store-kind private"
        raise StartError(f"no shared store: the compiled part is missing ({error}); {mend}") from error
    path, memory_bytes = store_path(config), config.memory_bytes - _writers_bytes(config)
    try:
        if given is None:
            return SharedArena(memory_bytes, WORKER_ROWS, path=path)
        return _adopted_or_new(given, memory_bytes, path)
    except InUse as error:
        assert path is not None
        mend = "stop that, or give this accel another --name"
        raise StartError(f"--store: {path} is in use by {holders.holder_of_file(path)}; {mend}") from error


def _adopted_or_new(given: Handover, memory_bytes: int, path: Path | None) -> SharedArena:
    """Return a predecessor's arena, or one of our own that says why not."""
    from accel.store.shared import SharedArena, Unfit

    try:
        if given.arena is None:
            raise Unfit("the program before had private stores")
        if _place_of(given.arena.fd) != (path and path.resolve()):
            raise Unfit("--store is another than that of the program before")
        return SharedArena.adopt(given.arena.fd, memory_bytes, WORKER_ROWS, 1 - given.arena.side)
    except Unfit as unfit:
        _leave(given)
        arena = SharedArena(memory_bytes, WORKER_ROWS, path=path, replaces=True)
        arena.cold_why = str(unfit)
        return arena


def _leave(given: Handover | None) -> None:
    """Let go of a predecessor's arena: its memory is to end with that program."""
    if given is not None and given.arena is not None:
        os.close(given.arena.fd)


def _place_of(fd: int) -> Path | None:
    """Return the file that an arena lies in, None if in memory."""
    place = Path(f"/proc/self/fd/{fd}").readlink()
    return None if str(place).startswith("/memfd:") else place


def store_path(config: Config) -> Path | None:
    """Return the file that the shared store lies in, None without `--store`."""
    if config.store_directory is None:
        return None
    return Path(config.store_directory) / f"accel-{config.server.name}.store"


def note_start(arena: SharedArena, given: Handover | None) -> None:
    """Say what a file or a predecessor's memory holds, if there is one."""
    if given is not None and given.arena is not None and given.arena.fd == arena.fd:
        note("store-warm", taken_from=given.pid)
    elif arena.revived is not None:
        found = arena.revived
        note("store-warm", records=found.records, dropped=found.dropped, seconds=round(found.seconds, 3))
    elif arena.cold_why:
        note("store-cold", why=arena.cold_why)


def make_flights(arena: SharedArena | None) -> FlightArena | None:
    """Return the table of fetches under way, None where no store is shared: then nobody can use another's fetch."""
    if arena is None:
        return None
    from accel.store.flights import FlightArena

    return FlightArena(WORKER_ROWS)


def make_coalescer(flights: FlightArena | None, row: int) -> Coalescer | None:
    """Return the hands of the worker of `row` on that table; needs its running event loop."""
    if flights is None:
        return None
    from accel.store.flights import SharedFlights

    return SharedFlights(flights, row)


def make_limits(given: Handover | None = None) -> LimitTable:
    """Return where rate limits are counted: in a predecessor's table, or in one of our own that says why.

    Raises StartError if there is no memory for it.
    """
    if given is None:
        return LimitTable.made()
    fd = given.limits_fd
    why = "the program before handed over no counts" if fd is None else why_unfit(fd)
    if fd is not None and not why:
        return LimitTable.taken(fd)
    if fd is not None:
        os.close(fd)
    note("limits-cold", why=why)
    return LimitTable.made()


def make_store(config: Config, arena: SharedArena | None, row: int, on_evict: Callable[[], None]) -> Store:
    """Return the store that the worker of `row` uses."""
    most = config.caching.max_body_bytes
    if arena is None:
        return PrivateStore(share(config), most, on_evict)
    from accel.store.shared import SharedStore

    return SharedStore(arena, row, most, writer_bytes=_writer_bytes(config))


def make_hot(store: Store, numbers: Numbers, counters: CounterRow, histograms: HistogramWords) -> Hot | None:
    """Return the memory of decisions of the worker that has the store; None if that is a private one, or of the
    compiled parts those of the hot path are missing: then every request takes the general path.
    """
    if isinstance(store, PrivateStore):
        return None
    try:
        from accel.proxy._hot import Replayer
        from accel.proxy.hot import ENTRIES, Hot
    except ImportError:
        return None
    return Hot(Replayer(numbers.memory, counters, None, None, ENTRIES, histograms), cast("SharedStore", store))


def make_relays(
    hot: Hot | None, store: Store, numbers: Numbers, counters: CounterRow, histograms: HistogramWords
) -> Relays | None:
    """Return the memory of forwards of the worker that has `hot`; None if its compiled part is missing."""
    if hot is None:
        return None
    try:
        from accel.proxy.relay import Relays
    except ImportError:
        return None
    return Relays(hot, cast("SharedStore", store), numbers.memory, counters, histograms)


def resize_store(store: Store, config: Config) -> None:
    """Follow the number of workers: each has its part of the memory, or of what all writers may hold of it."""
    if isinstance(store, PrivateStore):
        store.resize(share(config))
    else:
        cast("SharedStore", store).writer_bytes = _writer_bytes(config)


def _writers_bytes(config: Config) -> int:
    """Return what all writers may hold outside the arena, in bytes: part of `--memory` as the arena is."""
    return min(config.memory_bytes // _WRITERS_PART, _MOST_WRITERS_BYTES)


def _writer_bytes(config: Config) -> int:
    return _writers_bytes(config) // config.server.workers


def make_numbers(config: Config, arena: SharedArena | None) -> Numbers:
    """Return the invalidation numbers of whatever the workers store in."""
    return Numbers.alone(cell_count(config.memory_bytes)) if arena is None else arena.numbers


def share(config: Config) -> int:
    """Return one worker's part of the memory, in bytes."""
    return config.memory_bytes // config.server.workers
