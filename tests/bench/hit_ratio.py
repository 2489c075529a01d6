"""Hit ratio of the shared store's eviction beside LRU, SIEVE, S3-FIFO and Belady's optimum, by object and by byte.

    python tests/bench/hit_ratio.py [--memory 16m] [--requests 400000] [--trace FILE.csv]

Traces: Zipf with exponents 0.7 to 1.2 over ten times as many keys as fit, the same with a scan of new keys mixed in,
and any file of lines `time,key,size` (seconds, text, bytes). The store is the real one, written by one worker; the
others are simulated with the same number of bytes, a record's overhead counted alike. Sources: cachetools (LRU), SIEVE
(NSDI 24), S3-FIFO (SOSP 23), Belady (IBM Systems Journal 1966).
"""

from __future__ import annotations

import argparse
import bisect
import csv
import heapq
import itertools
import random
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from pathlib import Path

from cachetools import LRUCache

from accel.store.shared import SharedArena, SharedStore

Request = tuple[bytes, int]
META = b"m" * 200
OVERHEAD = 64 + 200 + 32
"""A record's head, meta and key, about."""


def zipf(exponent: float, keys: int, count: int, seed: int) -> Iterator[Request]:
    """Yield requests for `keys` objects of 1,000 bytes with popularity 1/rank**exponent."""
    chance = random.Random(seed)
    weights = list(itertools.accumulate(1 / rank**exponent for rank in range(1, keys + 1)))
    for _ in range(count):
        rank = bisect.bisect_left(weights, chance.random() * weights[-1])
        yield b"z%d" % rank, 1000


def scanned(exponent: float, keys: int, count: int, seed: int) -> Iterator[Request]:
    """Yield a Zipf trace in which every third request is for a key that comes once."""
    fresh = itertools.count()
    for number, request in enumerate(zipf(exponent, keys, count, seed)):
        yield (b"s%d" % next(fresh), 1000) if number % 3 == 2 else request


def from_file(path: Path) -> Iterator[Request]:
    """Yield the requests of a CSV file of time, key, size."""
    with path.open(newline="") as lines:
        for _, key, size in csv.reader(lines):
            yield key.encode(), int(size)


def accel(memory_bytes: int) -> Callable[[bytes, int], bool]:
    """Return the real store as a function: whether it was a hit, storing it if not."""
    store = SharedStore(SharedArena(memory_bytes, 1), 0, memory_bytes)

    def ask(key: bytes, size: int) -> bool:
        if store.get(key) is not None:
            return True
        store.put(key, META, b"b" * size)
        return False

    return ask


def lru(memory_bytes: int) -> Callable[[bytes, int], bool]:
    """Return least recently used."""
    cache: LRUCache[bytes, int] = LRUCache(memory_bytes, getsizeof=lambda size: size + OVERHEAD)

    def ask(key: bytes, size: int) -> bool:
        if cache.get(key) is not None:
            return True
        if size + OVERHEAD <= memory_bytes:
            cache[key] = size
        return False

    return ask


def sieve(memory_bytes: int) -> Callable[[bytes, int], bool]:
    """Return SIEVE: a queue with one bit an object, and a hand that skips and clears the bits."""
    visited: OrderedDict[bytes, bool] = OrderedDict()  # oldest first
    sizes: dict[bytes, int] = {}
    order: deque[bytes] = deque()  # what lies before the hand, up to the newest
    used = 0

    def evict() -> int:
        while True:
            if not order:
                order.extend(visited)
            key = order.popleft()
            if key not in visited:
                continue
            if not visited[key]:
                del visited[key]
                return sizes.pop(key)
            visited[key] = False

    def ask(key: bytes, size: int) -> bool:
        nonlocal used
        if key in visited:
            visited[key] = True
            return True
        while used + size + OVERHEAD > memory_bytes:
            used -= evict() + OVERHEAD
        visited[key], sizes[key] = False, size
        order.append(key)
        used += size + OVERHEAD
        return False

    return ask


def s3_fifo(memory_bytes: int) -> Callable[[bytes, int], bool]:
    """Return S3-FIFO: a small queue of 10 %, a main queue with reinsertion, a ghost queue."""
    small: OrderedDict[bytes, int] = OrderedDict()
    main: OrderedDict[bytes, int] = OrderedDict()
    ghosts: OrderedDict[bytes, None] = OrderedDict()
    uses: Counter[bytes] = Counter()
    held = {"small": 0, "main": 0}

    def from_small() -> None:
        key, size = small.popitem(last=False)
        held["small"] -= size + OVERHEAD
        if uses[key] > 1:
            main[key] = size
            held["main"] += size + OVERHEAD
            return
        del uses[key]
        ghosts[key] = None
        while len(ghosts) > max(1, len(main)):
            ghosts.popitem(last=False)

    def from_main() -> None:
        while True:
            key, size = main.popitem(last=False)
            if uses[key] > 0:
                uses[key] -= 1
                main[key] = size
                continue
            held["main"] -= size + OVERHEAD
            del uses[key]
            return

    def ask(key: bytes, size: int) -> bool:
        if key in small or key in main:
            uses[key] = min(3, uses[key] + 1)
            return True
        while sum(held.values()) + size + OVERHEAD > memory_bytes:
            if small and (held["small"] >= memory_bytes // 10 or not main):
                from_small()
            else:
                from_main()
        queue, name = (main, "main") if key in ghosts else (small, "small")
        ghosts.pop(key, None)
        queue[key] = size
        uses[key] = 0
        held[name] += size + OVERHEAD
        return False

    return ask


def belady(trace: list[Request], memory_bytes: int) -> Callable[[bytes, int], bool]:
    """Return the optimum for objects of one size: what is needed farthest in the future goes."""
    following: list[int] = [0] * len(trace)
    last: dict[bytes, int] = {}
    for number in range(len(trace) - 1, -1, -1):
        following[number] = last.get(trace[number][0], len(trace))
        last[trace[number][0]] = number
    needed: dict[bytes, int] = {}
    sizes: dict[bytes, int] = {}
    farthest: list[tuple[int, bytes]] = []
    state = {"now": -1, "used": 0}

    def ask(key: bytes, size: int) -> bool:
        state["now"] += 1
        hit = key in needed
        needed[key] = following[state["now"]]
        heapq.heappush(farthest, (-needed[key], key))
        if not hit:
            sizes[key] = size
            state["used"] += size + OVERHEAD
        while state["used"] > memory_bytes:
            when, victim = heapq.heappop(farthest)
            if needed.get(victim) == -when:
                del needed[victim]
                state["used"] -= sizes.pop(victim) + OVERHEAD
        return hit

    return ask


def ratios(trace: list[Request], ask: Callable[[bytes, int], bool]) -> tuple[float, float]:
    """Return the hit ratio by object and by byte over the second half of a trace: the first warms the cache."""
    warm = len(trace) // 2
    hits = hit_bytes = every_byte = 0
    for number, (key, size) in enumerate(trace):
        hit = ask(key, size)
        if number >= warm:
            every_byte += size
            hits += hit
            hit_bytes += size * hit
    return hits / (len(trace) - warm), hit_bytes / every_byte


def main() -> None:
    """Run every trace through every policy and print a table."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--memory", default="16m")
    options.add_argument("--requests", type=int, default=400_000)
    options.add_argument("--trace", type=Path, action="append", default=[])
    chosen = options.parse_args()
    memory_bytes = int(chosen.memory.removesuffix("m")) * 1024 * 1024
    keys = 10 * memory_bytes // (1000 + OVERHEAD)
    traces: dict[str, list[Request]] = {}
    for exponent in (0.7, 0.8, 0.9, 1.0, 1.1, 1.2):
        traces[f"zipf {exponent}"] = list(zipf(exponent, keys, chosen.requests, 1))
    for exponent in (0.8, 1.0):
        traces[f"zipf {exponent} with a scan"] = list(scanned(exponent, keys, chosen.requests, 2))
    traces |= {path.name: list(from_file(path)) for path in chosen.trace}
    print(f"{chosen.memory}, {chosen.requests} requests, {keys} keys: hits by object % (by byte %)")
    print(f"{'':22}" + "".join(f"{name:>16}" for name in ("accel", "LRU", "SIEVE", "S3-FIFO", "Belady")))
    for name, trace in traces.items():
        policies = (accel, lru, sieve, s3_fifo)
        found = [ratios(trace, policy(memory_bytes)) for policy in policies]
        found.append(ratios(trace, belady(trace, memory_bytes)))
        print(f"{name:22}" + "".join(f"{100 * one:7.2f} ({100 * byte:5.2f})" for one, byte in found), flush=True)


if __name__ == "__main__":
    main()
