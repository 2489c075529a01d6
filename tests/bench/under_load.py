"""What clients lose while workers are killed, configurations reloaded, programs replaced: a load compares every byte.

    python tests/bench/under_load.py kill [--times 60] [--workers 4] [--clients 32]
    python tests/bench/under_load.py reload [--times 100]
    python tests/bench/under_load.py upgrade [--times 20]
    python tests/bench/under_load.py storm [--times 60]

The clients, the origin and what is done to accel are those of the scenes (tests/scene/test_checked_load_scenes.py):
bodies of 100 B to 4 MiB, a third of them with Vary. Ends with 1 when something was lost that may not be.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

sys.path.insert(0, str(Path(__file__).parents[1] / "scene"))

from accel_process import Accel
from checked_load import ITEMS, CheckedLoad, Lost, Seen, warm_all
from checked_origin import FRESH_S, CheckedOrigin
from under_fire import (
    Killing,
    kill_workers,
    left_in_store,
    miscounted,
    reload_often,
    storm,
    upgrade_often,
    wrongly_lost,
)

WARM_S = 10.0
Result = TypeVar("Result")


class Bench:
    """accel before a checked origin, under a checked load."""

    def __init__(self, stack: ExitStack, chosen: argparse.Namespace, fresh_s: Sequence[int], memory: str) -> None:
        self.chosen = chosen
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        self.origin = CheckedOrigin(directory, fresh_s)
        stack.callback(self.origin.end)
        self.accel = Accel(directory, [self.origin.backend], "--memory", memory, workers=chosen.workers)
        stack.callback(self.accel.end)
        self.accel.wait_ready()
        self.load = CheckedLoad(self.accel.port, chosen.clients)

    def show(self, what: str, since: Seen, took_s: float) -> None:
        """Print what the clients saw since then."""
        seen = self.load.seen
        answers, hits = seen.answers - since.answers, seen.hits - since.hits
        print(
            f"{what:8} {took_s:5.1f} s: {answers:,} answers, {(seen.body_bytes - since.body_bytes) >> 20:,} MiB,"
            f" hits {100 * hits / max(1, answers):.2f} %, wrong {len(seen.wrong) - len(since.wrong)},"
            f" lost {len(seen.lost) - len(since.lost)}, longest without any answer {seen.longest_gap_s:.3f} s"
        )
        for why in [*seen.wrong[:5], *{lost.why for lost in seen.lost}]:
            print(f"  {why}")

    def phase(self, what: str, work: Callable[[], Result]) -> Result:
        """Do something under load and print what the clients saw meanwhile."""
        since, began = copy.deepcopy(self.load.seen), time.monotonic()
        self.load.seen.longest_gap_s = 0.0
        result = work()
        self.show(what, since, time.monotonic() - began)
        return result


    def strangers(self, killing: Killing) -> list[Lost]:
        """Print who lost an exchange, and return those that no killed worker had held."""
        lost, strangers = len(self.load.seen.lost), wrongly_lost(self.load, killing)
        print(
            f"{len(killing.kills)} killed, which held {killing.held_count} connections; lost {lost},"
            f" {lost - len(strangers)} on these and {len(strangers)} on others"
        )
        for stranger in strangers:
            ago_s = [stranger.lost_mono - kill.at_mono for kill in killing.kills if kill.at_mono < stranger.lost_mono]
            print(f"  {stranger.what}: {stranger.why}, {min(ago_s, default=0):.3f} s after the last kill")
        return strangers


def kill(bench: Bench) -> bool:
    """Kill a worker every second; items come and go."""
    chosen, load = bench.chosen, bench.load
    with load:
        bench.phase("warming", lambda: time.sleep(WARM_S))
        bench.phase("before", lambda: time.sleep(WARM_S))
        killing = bench.phase("killing", lambda: kill_workers(bench.accel, load, chosen.times, 1.0))
    replaced = sorted(kill.replaced_s for kill in killing.kills)
    strangers = bench.strangers(killing)
    print(f"replaced after {statistics.median(replaced):.3f} s in the median, {replaced[-1]:.3f} s at most")
    for name in ("joined_resumed", "joined_cut", "waits_given_up", "not_stored_no_room"):
        print(f"{name} {bench.accel.counter(name)}")
    return not strangers and replaced[-1] < 1.0


def reload(bench: Bench) -> bool:
    """HUP so many times; everything is stored and stays so."""
    warm_all(bench.accel.port, ITEMS)
    fetched, load = bench.origin.asked, bench.load
    with load:
        bench.phase("before", lambda: time.sleep(WARM_S))
        bench.phase("reloads", lambda: reload_often(bench.accel, load, bench.chosen.times, 100))
    fetched = bench.origin.asked - fetched
    print(f"{bench.chosen.times} reloads; fetched meanwhile {fetched}, connections closed {load.seen.closed}")
    return not load.seen.lost and fetched == 0


def upgrade(bench: Bench) -> bool:
    """USR2 and QUIT so many times; everything is stored and stays so."""
    warm_all(bench.accel.port, ITEMS)
    fetched, load = bench.origin.asked, bench.load
    with load:
        bench.phase("before", lambda: time.sleep(WARM_S))
        bench.phase("upgrades", lambda: upgrade_often(bench.accel, load, bench.chosen.times, 200))
    fetched = bench.origin.asked - fetched
    print(f"{bench.chosen.times} upgrades; fetched meanwhile {fetched}, connections closed {load.seen.closed}")
    return not load.seen.lost and fetched == 0


def endure(bench: Bench) -> bool:
    """Kills, reloads and upgrades at random; everything is stored and stays so."""
    warm_all(bench.accel.port, ITEMS)
    fetched, load = bench.origin.asked, bench.load
    with load:
        bench.phase("before", lambda: time.sleep(WARM_S))
        killing = bench.phase("storm", lambda: storm(bench.accel, load, bench.chosen.times))
    fetched, strangers = bench.origin.asked - fetched, bench.strangers(killing)
    print(f"{bench.chosen.times} turns; fetched meanwhile {fetched}")
    return not strangers and fetched == 0


LASTING = ((3600,), "512m")
WAYS = {
    "kill": (kill, 60, (FRESH_S, "64m")),
    "reload": (reload, 100, LASTING),
    "upgrade": (upgrade, 20, LASTING),
    "storm": (endure, 60, LASTING),
}
"""What is done, how often, how long items stay fresh, and --memory."""


def main() -> None:
    """Do it, then look what is left."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("way", choices=sorted(WAYS))
    options.add_argument("--times", type=int, default=0)
    options.add_argument("--workers", type=int, default=4)
    options.add_argument("--clients", type=int, default=32)
    chosen = options.parse_args()
    work, times, setting = WAYS[chosen.way]
    chosen.times = chosen.times or times
    with ExitStack() as stack:
        bench = Bench(stack, chosen, *setting)
        is_good = work(bench)
        faults, missing = left_in_store(bench.accel), miscounted(bench.accel)
        print(
            f"store check: {faults or 'sound'}, no pins; requests without an outcome: {missing};"
            f" fetched in all {bench.origin.asked:,}"
        )
    sys.exit(0 if is_good and not faults and not bench.load.seen.wrong else 1)


if __name__ == "__main__":
    main()
