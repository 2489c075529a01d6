"""What the shared store's verbs cost, in microseconds: a get and a put of 1 KiB, and the dearest puts in a full arena.

    taskset -c 1 python tests/bench/store_costs.py [--memory-mib 256 1024]

A put in a full arena walks old segments, one or two at once, which is what its tail shows. Two clocks: CPU time of the
thread (what it costs the worker) and wall time (with what the machine did meanwhile: compare with an empty call). The
first time over the arena each page is also mapped into the process. Medians of a verb come from batches, so that the
clocks' own cost does not count.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from resource import RUSAGE_SELF, getrusage

from accel.store.shared import SharedArena, SharedStore

BODY = b"b" * 1024
META = b"m" * 200
BATCH, BATCHES = 1000, 200
RECORD_BYTES = 64 + 1024 + 200 + 32
KEYS = 20_000


def batch_us(call: Callable[[int], object]) -> list[float]:
    """Return the CPU time of one call, for each of many batches."""
    found = []
    for first in range(0, BATCHES * BATCH, BATCH):
        began = time.process_time_ns()
        for number in range(first, first + BATCH):
            call(number)
        found.append((time.process_time_ns() - began) / BATCH / 1000)
    return found


def show_batches(name: str, call: Callable[[int], object]) -> None:
    """Print a line for calls that cost about the same each time."""
    empty = statistics.median(batch_us(lambda number: None))
    taken = sorted(us - empty for us in batch_us(call))
    print(f"{name:42} median {statistics.median(taken):6.2f}  mean {statistics.fmean(taken):6.2f}  "
          f"worst batch {taken[-1]:7.2f}")  # fmt: skip


def show_tail(name: str, call: Callable[[int], object], count: int, after: Callable[[int], object]) -> None:
    """Print two lines, by CPU and by wall time, for calls that cost much now and then; `after` is not timed."""
    cpu, wall, faults = [], [], getrusage(RUSAGE_SELF).ru_minflt
    for number in range(count):
        began_wall, began = time.perf_counter_ns(), time.thread_time_ns()
        call(number)
        cpu.append(time.thread_time_ns() - began)
        wall.append(time.perf_counter_ns() - began_wall)
        after(number)
    for clock, taken in (("CPU", sorted(cpu)), ("wall", sorted(wall))):
        median, high, highest = (taken[int(count * share)] / 1000 for share in (0.5, 0.999, 0.9999))
        print(f"{name + ', ' + clock:42} median {median:6.2f}  p99.9 {high:7.1f}  p99.99 {highest:7.1f}  "
              f"max {taken[-1] / 1000:7.1f}  over 2 ms {sum(ns > 2_000_000 for ns in taken)}")  # fmt: skip
    print(f"{'':42} {getrusage(RUSAGE_SELF).ru_minflt - faults:,} page faults")


def nothing(number: int) -> None:
    """Do what an empty call costs."""


def show_full(what: str, arena: SharedArena, store: SharedStore, uses: int, turns: float) -> None:
    """Print the lines for puts that fill the arena so many times over, each record used so often before its walk."""
    before, name = arena.stat(), what.encode()

    def put(number: int) -> None:
        store.put(b"%s %d" % (name, number), META, BODY)

    def use(number: int) -> None:
        for _ in range(uses):
            store.get(b"%s %d" % (name, number))

    show_tail(f"put, {what}", put, int(turns * arena.memory_bytes / RECORD_BYTES), use)
    after = arena.stat()
    print(f"{'':42} " + ", ".join(f"{key} {after[key] - before[key]:,.0f}" for key in ("walked", "moved", "evicted")))


def measure(memory_bytes: int) -> None:
    """Print one arena's table."""
    arena = SharedArena(memory_bytes, 2)
    store = SharedStore(arena, 0)
    print(f"\n{memory_bytes >> 20} MiB, segments of {arena.plan.segment_bytes >> 10} KiB; us")
    keys = [b"http://www.example.org/page/%d" % number for number in range(KEYS)]
    for key in keys:
        store.put(key, META, BODY)
    show_batches("get of one 1 KiB record", lambda number: store.get(keys[0]))
    show_batches(f"get of {KEYS:,} in turn", lambda number: store.get(keys[number % KEYS]))
    show_batches("get of what is not there", lambda number: store.get(b"http://www.example.org/none"))
    show_batches(f"put over one of {KEYS:,}", lambda number: store.put(keys[number % KEYS], META, BODY))
    show_tail("an empty call", nothing, 200_000, nothing)
    show_full("the first time over", arena, store, 2, 1.5)
    show_full("full, all that is walked goes", arena, store, 0, 1)
    show_full("full, all that is walked stays", arena, store, 2, 2)
    show_batches("put when full", lambda number: store.put(b"last %d" % number, META, BODY))


def main() -> None:
    """Measure arenas of each size."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--memory-mib", type=int, nargs="+", default=[256, 1024])
    chosen = options.parse_args()
    print(f"cores allowed: {sorted(os.sched_getaffinity(0))}")
    for memory_mib in chosen.memory_mib:
        measure(memory_mib << 20)


if __name__ == "__main__":
    main()
