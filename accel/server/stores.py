"""Which store the workers use: one in shared memory, or one each.

Runs in the arbiter before the first fork (`make_arena`) and in each worker (`make_store`). The compiled part is
imported only when it is wanted, so that accel runs, with a private store a worker, where it could not be built.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from accel.config import Config, StoreKind
from accel.errors import StartError
from accel.proxy.service import Coalescer
from accel.server.scoreboard import WORKER_ROWS
from accel.store.private import PrivateStore
from accel.store.store import Store

if TYPE_CHECKING:
    from accel.store.flights import FlightArena
    from accel.store.shared import SharedArena


def make_arena(config: Config) -> SharedArena | None:
    """Return the memory that all workers share, None for private stores.

    Raises StartError if a shared store is demanded and was not built, or the machine has not as much memory to give.
    """
    if config.store_kind is StoreKind.PRIVATE:
        return None
    try:
        from accel.store.shared import SharedArena
    except ImportError as error:
        if config.store_kind is StoreKind.AUTO:
            return None
        mend = "install accel where there is a C compiler, or use --store-kind private"
        raise StartError(f"--store-kind shared: the compiled part is missing ({error}); {mend}") from error
    return SharedArena(config.memory_bytes, WORKER_ROWS)


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


def make_store(config: Config, arena: SharedArena | None, row: int, on_evict: Callable[[], None]) -> Store:
    """Return the store that the worker of `row` uses."""
    most = config.caching.max_body_bytes
    if arena is None:
        return PrivateStore(share(config), most, on_evict)
    from accel.store.shared import SharedStore

    return SharedStore(arena, row, most)


def resize_store(store: Store, config: Config) -> None:
    """Follow the number of workers: a private store has its part of the memory, the shared one is all of it."""
    if isinstance(store, PrivateStore):
        store.resize(share(config))


def share(config: Config) -> int:
    """Return one worker's part of the memory, in bytes."""
    return config.memory_bytes // config.server.workers
