# cython: annotation_typing=False, show_performance_hints=False
"""What all processes see at once: one memory map made before the first fork.

```
 header      16 words            arbiter writes     number of worker rows, changes of backends; the turn
 workers     rows x 8 words      that worker        heartbeat, connections, load, state
 counters    rows x counters     that worker        see stats.counters; outlive the worker
 histograms  rows x histograms   that worker        see stats.histograms; outlive the worker
 overrides   rows x 64 words     that worker        uses by reason, see server.overrides; outlive the worker
 cells       rows x backends x 4 that worker        in flight, requests, failures, successes
 backends    backends x 2 words  arbiter            state, ramp
```

Every word is 64 bits, aligned, and has one writer, so a plain store is enough and a reader sees the old or the new
value, never a mixture. What a kill -9 leaves: a dead worker's gauges (connections, in flight) stand until the arbiter,
now the row's only owner, clears them with `clear_gauges`; its counters and uses stay and its successor counts on. The
round-robin turn is the one thing that all workers change: by an atomic step, or, where the compiled part is missing, as
the offset of a memfd whose open file all of them inherited, which `lseek(fd, 1, SEEK_CUR)` moves under the kernel's own
lock. No killed process can hold either. Compiled, if it can be, as `origin.wire` is.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Callable
from enum import IntEnum
from functools import partial

from accel.config import MOST_WORKERS
from accel.stats.counters import ROW_WORDS, CounterRow, site_outcomes, totals
from accel.stats.histograms import ROW_WORDS as _HISTOGRAM_WORDS
from accel.stats.histograms import Histograms, HistogramWords, read

WORKER_ROWS = MOST_WORKERS
BACKEND_ROWS = 512
OVERRIDE_SLOTS = 64
"""The last one is what those share that have none of their own."""
_HEADER_WORDS, _WORKER_WORDS, _CELL_WORDS, _BACKEND_WORDS = 16, 8, 4, 2

_WORKERS_AT = _HEADER_WORDS
_COUNTERS_AT = _WORKERS_AT + WORKER_ROWS * _WORKER_WORDS
_HISTOGRAMS_AT = _COUNTERS_AT + WORKER_ROWS * ROW_WORDS
_OVERRIDES_AT = _HISTOGRAMS_AT + WORKER_ROWS * _HISTOGRAM_WORDS
_CELLS_AT = _OVERRIDES_AT + WORKER_ROWS * OVERRIDE_SLOTS
_BACKENDS_AT = _CELLS_AT + WORKER_ROWS * BACKEND_ROWS * _CELL_WORDS
_WORDS = _BACKENDS_AT + BACKEND_ROWS * _BACKEND_WORDS

_ROWS_USED, _BACKEND_CHANGES, _TURN = range(3)
_HEARTBEAT_NS, _CONNECTIONS, _LOAD, _STATE = range(4)
_FRESH_NS = 750_000_000
"""A heartbeat older than three beats: its worker takes no part in sharing connections."""
_IN_FLIGHT, _REQUESTS, _FAILURES, _SUCCESSES = range(4)
_BACKEND_STATE, _RAMP = range(2)


class WorkerState(IntEnum):
    """Where a worker is in its life."""

    NONE = 0  # no process has this row
    STARTING = 1  # forked, not accepting yet
    ACCEPTING = 2  # serving
    LEAVING = 3  # accepts no more, finishes what it has


class BackendState(IntEnum):
    """Whether a backend is given requests."""

    UNUSED = 0  # no backend has this row
    UP = 1  # in rotation
    DOWN = 2  # out of rotation: probes or fetches failed
    DRAINING = 3  # out of rotation because an operator said so


class Scoreboard:
    """The map, with what any process may read; made once, by the arbiter."""

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, _WORDS * 8)
        self._words = memoryview(self._map).cast("Q")
        self.next_turn = _turns(self._map)
        """Returns the next number of a sequence that all processes share."""

    # Workers.

    def use_rows(self, count: int) -> None:
        """Say that rows 0 to `count` - 1 may be in use; never shrinks. Arbiter only."""
        self._words[_ROWS_USED] = max(count, self._words[_ROWS_USED])

    def rows_used(self) -> int:
        """Return how many worker rows were ever in use."""
        return self._words[_ROWS_USED]

    def worker(self, row: int) -> memoryview:
        """Return the words of one worker row."""
        start = _WORKERS_AT + row * _WORKER_WORDS
        return self._words[start : start + _WORKER_WORDS]

    def worker_state(self, row: int) -> WorkerState:
        """Return the state of the worker of `row`."""
        return WorkerState(self.worker(row)[_STATE])

    def heartbeat_ns(self, row: int) -> int:
        """Return the monotonic time, in ns, of the last heartbeat of `row`."""
        return self.worker(row)[_HEARTBEAT_NS]

    def connections(self, row: int) -> int:
        """Return the client connections that the worker of `row` holds."""
        return self.worker(row)[_CONNECTIONS]

    def counters(self, row: int) -> CounterRow:
        """Return the counters of one row."""
        start = _COUNTERS_AT + row * ROW_WORDS
        return self._words[start : start + ROW_WORDS]

    def counter_sums(self) -> dict[str, int]:
        """Return every counter added up over all rows, the dead ones too."""
        return totals(self._counter_rows())

    def site_sums(self, slot: int) -> dict[str, int]:
        """Return the requests of one site and how they were answered, over all rows, the dead ones too."""
        return site_outcomes(self._counter_rows(), slot)

    def _counter_rows(self) -> list[CounterRow]:
        return [self.counters(row) for row in range(self.rows_used())]

    def histograms(self, row: int) -> HistogramWords:
        """Return the histograms of one row."""
        start = _HISTOGRAMS_AT + row * _HISTOGRAM_WORDS
        return self._words[start : start + _HISTOGRAM_WORDS]

    def histogram_sums(self) -> Histograms:
        """Return the histograms over all rows, the dead ones too."""
        return read([self.histograms(row) for row in range(self.rows_used())])

    def override_uses(self, row: int) -> memoryview:
        """Return the uses of overrides that one row counted, by slot."""
        start = _OVERRIDES_AT + row * OVERRIDE_SLOTS
        return self._words[start : start + OVERRIDE_SLOTS]

    def override_sums(self) -> list[int]:
        """Return the uses of overrides by slot, added up over all rows, the dead ones too."""
        rows = [self.override_uses(row) for row in range(self.rows_used())]
        return [sum(row[slot] for row in rows) for slot in range(OVERRIDE_SLOTS)]

    def assign(self, row: int) -> None:
        """Prepare `row` for a process about to be forked. Arbiter only, while no process has the row."""
        words = self.worker(row)
        words[_HEARTBEAT_NS] = time.monotonic_ns()
        words[_STATE] = WorkerState.STARTING

    def clear_gauges(self, row: int) -> None:
        """Take back what a dead worker's row still claims; its counters stay. Arbiter only, after its death."""
        words = self.worker(row)
        words[_CONNECTIONS] = words[_LOAD] = words[_STATE] = 0
        for backend in range(BACKEND_ROWS):
            self._words[_cell(row, backend)] = 0

    # Backends.

    def backend_state(self, row: int) -> BackendState:
        """Return whether backend `row` is in rotation."""
        return BackendState(self._words[_BACKENDS_AT + row * _BACKEND_WORDS + _BACKEND_STATE])

    def set_backend(self, row: int, state: BackendState, ramp: int) -> None:
        """Publish a backend's state and its slow-start ramp in permille. Arbiter only."""
        start = _BACKENDS_AT + row * _BACKEND_WORDS
        self._words[start + _RAMP] = ramp
        self._words[start + _BACKEND_STATE] = state
        self._words[_BACKEND_CHANGES] += 1

    def backend_changes(self) -> int:
        """Return a number that moves after each change of a backend's state or ramp."""
        return self._words[_BACKEND_CHANGES]

    def is_available(self, row: int) -> bool:
        """Whether backend `row` is in rotation."""
        return self._words[_BACKENDS_AT + row * _BACKEND_WORDS] == BackendState.UP

    def ramp(self, row: int) -> int:
        """Return the share of its weight, in permille, that backend `row` gets while it starts."""
        return self._words[_BACKENDS_AT + row * _BACKEND_WORDS + _RAMP]

    def in_flight(self, row: int) -> int:
        """Return the fetches under way to backend `row` over all workers."""
        return self._cell_sum(row, _IN_FLIGHT)

    def backend_requests(self, row: int) -> int:
        """Return the fetches ever begun to backend `row`."""
        return self._cell_sum(row, _REQUESTS)

    def backend_failures(self, row: int) -> int:
        """Return the fetches to backend `row` that failed."""
        return self._cell_sum(row, _FAILURES)

    def backend_successes(self, row: int) -> int:
        """Return the fetches to backend `row` that brought a good head."""
        return self._cell_sum(row, _SUCCESSES)

    def clear_backend(self, row: int) -> None:
        """Forget the numbers of a backend that left the configuration. Arbiter only, when no worker has it."""
        for worker in range(self.rows_used()):
            start = _cell(worker, row)
            for word in range(_CELL_WORDS):
                self._words[start + word] = 0

    def _cell_sum(self, row: int, word: int) -> int:
        start = _cell(0, row) + word
        stride = BACKEND_ROWS * _CELL_WORDS
        return sum(self._words[start : start + self._words[_ROWS_USED] * stride : stride])


class WorkerBoard:
    """The board as one worker uses it: reads everything, writes its own row. Serves `origin.balancer.BackendBoard`."""

    __slots__ = (
        "_board",
        "_cells_at",
        "_on_failure",
        "_own",
        "_row",
        "_words",
        "counters",
        "histograms",
        "in_flight",
        "is_available",
        "next_turn",
        "override_uses",
        "ramp",
    )

    def __init__(self, board: Scoreboard, row: int, on_failure: Callable[[int, str], None]) -> None:
        self._board = board
        self._words = board._words
        self._row = row
        self._own = board.worker(row)
        self._on_failure = on_failure
        self._cells_at = _cell(row, 0)
        self.counters = board.counters(row)
        self.histograms = board.histograms(row)
        self.override_uses = board.override_uses(row)
        self.next_turn = board.next_turn
        self.is_available = board.is_available
        self.ramp = board.ramp
        self.in_flight = board.in_flight

    def changes(self) -> int:
        """Return a number that moves after each change of a backend's state or ramp."""
        return self._words[_BACKEND_CHANGES]

    def beat(self) -> None:
        """Say that the event loop turns."""
        self._own[_HEARTBEAT_NS] = time.monotonic_ns()

    def set_state(self, state: WorkerState) -> None:
        """Publish where this worker is in its life."""
        self._own[_STATE] = state

    def set_connections(self, count: int) -> None:
        """Publish how many client connections this worker holds."""
        self._own[_CONNECTIONS] = count

    def set_load(self, load: int) -> None:
        """Publish what this worker took on: its connections and those it accepted lately."""
        self._own[_LOAD] = load

    def fair_load(self) -> float:
        """Return the mean load over the workers that accept and whose heartbeat is fresh."""
        oldest_ns = time.monotonic_ns() - _FRESH_NS
        loads = [
            row[_LOAD]
            for row in map(self._board.worker, range(self._board.rows_used()))
            if row[_STATE] == WorkerState.ACCEPTING and row[_HEARTBEAT_NS] > oldest_ns
        ]
        return sum(loads) / len(loads) if loads else 0.0

    def add_in_flight(self, row: int, delta: int) -> None:
        """Count a fetch to backend `row` in (+1) or out (-1)."""
        cell = self._cells_at + row * _CELL_WORDS
        self._words[cell + _IN_FLIGHT] += delta
        if delta > 0:
            self._words[cell + _REQUESTS] += delta

    def note_success(self, row: int) -> None:
        """Count a good head from backend `row`."""
        self._words[self._cells_at + row * _CELL_WORDS + _SUCCESSES] += 1

    def note_failure(self, row: int, why: str) -> None:
        """Count a failed fetch to backend `row` and tell the arbiter, which judges the backend's health."""
        self._words[self._cells_at + row * _CELL_WORDS + _FAILURES] += 1
        self._on_failure(row, why)


def _turns(board: mmap.mmap) -> Callable[[], int]:
    """Return what takes turns over all processes that inherit it."""
    try:
        from accel.store._numbers import SharedWords
    except ImportError:
        return partial(os.lseek, os.memfd_create("accel-turn"), 1, os.SEEK_CUR)
    return partial(SharedWords(memoryview(board)).next, _TURN)


def _cell(worker: int, backend: int) -> int:
    return _CELLS_AT + (worker * BACKEND_ROWS + backend) * _CELL_WORDS
