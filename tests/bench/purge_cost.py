"""What invalidations cost: a look-up while one tag is purged 100,000 times a second, and a sweep of many records.

    python tests/bench/purge_cost.py [--records 100000] [--rate 100000] [--seconds 4]

A look-up is `Cache.find` of a stored page with four tags: get, decoded head, check against the numbers. Another process
purges, paced, a tag of the page's (`own`, softly, so that the page stays) or one that it does not carry (`foreign`);
both move the world, so every look-up looks at all words again. Costs are CPU time, medians of slices of 20,000.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

from accel.caching.freshness import LifetimeSource, Terms
from accel.caching.invalidation import What
from accel.caching.stored import Stored, encode
from accel.http.message import Fields, Request
from accel.proxy.cache import Cache
from accel.proxy.covering import tag_names
from accel.proxy.sweeping import Job, Sweep
from accel.stats.counters import private_row
from accel.store.numbers import Numbers
from accel.store.shared import SharedArena, SharedStore

SLICE = 20_000
TAGS = (b"news", b"shop", b"de", b"page-17")
BURST = 100
"""Purges between two looks at the clock."""


def meta(tags: tuple[bytes, ...]) -> bytes:
    """Return a page's head with some usual fields."""
    fields = Fields([(b"content-type", b"text/html"), (b"etag", b'"a"'), (b"cache-control", b"max-age=600")])
    return encode(Stored(200, b"OK", fields, 0.0, 0.0, 0.0, Terms(600.0, LifetimeSource.MAX_AGE), 0, tags))


def cost_us(once: Callable[[], object], seconds: float) -> float:
    """Return the CPU time of a call, the median over slices."""
    slices, until = [], time.monotonic() + seconds
    while time.monotonic() < until or not slices:
        began = time.process_time()
        for _ in range(SLICE):
            once()
        slices.append((time.process_time() - began) / SLICE * 1e6)
    return statistics.median(slices)


def purging(numbers: Numbers, tag: bytes, rate: int) -> int:
    """Begin to purge a tag softly, `rate` times a second, in a child; return its pid."""
    pid = os.fork()
    if pid:
        return pid
    parent, cells, began, done = os.getppid(), [*map(numbers.cell, tag_names((tag,)))], time.monotonic(), 0
    while os.getppid() == parent:
        for _ in range(BURST):
            numbers.invalidate(cells, soft=True)
        done += BURST
        time.sleep(max(0.0, began + done / rate - time.monotonic()))
    os._exit(0)


def look_ups(arena: SharedArena, rate: int, seconds: float) -> None:
    """Print what a look-up costs while nobody, or somebody, purges."""
    store = SharedStore(arena, 0)
    cache = Cache(store, arena.numbers, private_row(), 32)
    store.put(b"a\0/", meta(TAGS), b"x" * 1024)
    request = Request(b"GET", b"/", b"a", b"a")
    assert cache.find(request, 1.0).entry is not None
    print(f"{'purged meanwhile':24}{'a second':>12}{'us a look-up':>14}")
    print(f"{'nothing':24}{0:>12,}{cost_us(lambda: cache.find(request, 1.0), seconds):>14.2f}")
    for name, tag in (("a foreign tag", b"foreign"), ("a tag of the page", TAGS[2])):
        pid = purging(arena.numbers, tag, rate)
        before, began = arena.numbers.sequence(), time.monotonic()
        cost = cost_us(lambda: cache.find(request, 1.0), seconds)
        done = (arena.numbers.sequence() - before) / (time.monotonic() - began)
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        print(f"{name:24}{round(done):>12,}{cost:>14.2f}")
    print(f"{'nothing':24}{0:>12,}{cost_us(lambda: cache.find(request, 1.0), seconds):>14.2f}")


def sweeps(arena: SharedArena, records: int) -> None:
    """Print what a sweep of so many records costs, by kind."""
    store = SharedStore(arena, 0)
    for number in range(records):
        store.put(b"a\0/page/%d" % number, meta((b"news", b"t%d" % (number % 100))))
    print(f"{records:,} records, {arena.map.count_records():,} stored")
    number = arena.numbers.invalidate((), soft=True)
    arena.numbers.ban("field.etag == x")
    [ban] = arena.numbers.bans()
    jobs = {
        "a tag of 1 %": Job(What.TAG, number, (b"t7",), True),
        "a tag of all": Job(What.TAG, number, (b"news",), True),
        "a ban by field": Job(What.BAN, ban.number, ban=ban),
        "everything, dropped": Job(What.ALL, number),
    }
    for name, job in jobs.items():
        sweep, began = Sweep([job]), time.process_time()
        arena.sweep(sweep.judge, sweep.settle)
        print(f"{name:24}{sweep.counts[0]:>12,} hit{(time.process_time() - began) * 1e3:>10.0f} ms")


def main() -> None:
    """Run both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--rate", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=4.0)
    chosen = parser.parse_args()
    arena = SharedArena(256 << 20, 2)
    look_ups(arena, chosen.rate, chosen.seconds)
    sweeps(arena, chosen.records)


if __name__ == "__main__":
    main()
