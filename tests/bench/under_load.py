"""What clients lose while workers are killed, configurations reloaded: figures of a load that compares every byte.

    python tests/bench/under_load.py kill [--seconds 60] [--workers 4] [--clients 32] [--memory 64m]
    python tests/bench/under_load.py reload [--times 100]

The clients, the origin and what is done to accel are those of the scenes (tests/scene/test_checked_load_scenes.py):
bodies of 100 B to 4 MiB, a third of them with Vary. Ends with 1 when something was lost that may not be.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.request import urlopen

sys.path.insert(0, str(Path(__file__).parents[1] / "scene"))

from accel_process import Accel
from checked_load import CheckedLoad
from checked_origin import CheckedOrigin
from under_fire import kill_workers, left_in_store, miscounted, reload_often

WARM_S = 10.0


class Bench:
    """accel before a checked origin, under a checked load."""

    def __init__(self, stack: ExitStack, chosen: argparse.Namespace) -> None:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        self.origin = CheckedOrigin(directory)
        stack.callback(self.origin.end)
        self.accel = Accel(directory, [self.origin.backend], "--memory", chosen.memory, workers=chosen.workers)
        stack.callback(self.accel.end)
        self.accel.wait_ready()
        self.load = CheckedLoad(self.accel.port, chosen.clients)

    def hit_ratio_over(self, seconds: float) -> float:
        """Return the hit ratio of some seconds, after as many to warm up."""
        time.sleep(seconds)
        answers, hits = self.load.seen.answers, self.load.seen.hits
        time.sleep(seconds)
        return self.load.seen.hit_ratio_since(answers, hits)

    def show(self, before: float, during: float, took_s: float) -> None:
        """Print what the clients saw."""
        seen = self.load.seen
        print(f"{seen.answers:,} answers, {seen.body_bytes >> 20:,} MiB of bodies; {took_s:.1f} s of it under fire")
        print(f"hit ratio before {100 * before:.2f} %, during {100 * during:.2f} %")
        print(f"wrong {len(seen.wrong)}, lost {len(seen.lost)}, longest without any answer {seen.longest_gap_s:.3f} s")
        for what in [*seen.wrong[:5], *{lost.why for lost in seen.lost}]:
            print(f"  {what}")


def kill(bench: Bench, chosen: argparse.Namespace) -> bool:
    """Kill a worker every second."""
    before, seen = bench.hit_ratio_over(WARM_S), bench.load.seen
    answers, hits, began = seen.answers, seen.hits, time.monotonic()
    killing = kill_workers(bench.accel, bench.load, chosen.seconds, 1.0)
    bench.show(before, seen.hit_ratio_since(answers, hits), time.monotonic() - began)
    strangers = [lost for lost in seen.lost if lost.client_port not in killing.in_flight]
    replaced = sorted(killing.replaced_s)
    print(f"{killing.kills} killed, which held {len(killing.in_flight)} connections; lost on others: {len(strangers)}")
    print(f"replaced after {statistics.median(replaced):.3f} s in the median, {replaced[-1]:.3f} s at most")
    return not strangers and replaced[-1] < 1.0


def reload(bench: Bench, chosen: argparse.Namespace) -> bool:
    """HUP so many times."""
    before, seen = bench.hit_ratio_over(WARM_S), bench.load.seen
    answers, hits, began = seen.answers, seen.hits, time.monotonic()
    reload_often(bench.accel, bench.load, chosen.times, 100)
    bench.show(before, seen.hit_ratio_since(answers, hits), time.monotonic() - began)
    print(f"{chosen.times} reloads; connections closed by accel: {seen.closed}")
    return not seen.lost


def ask_origin(origin: CheckedOrigin) -> int:
    """Return how many items the origin was asked for."""
    with urlopen(f"http://{origin.backend}/asked") as answer:
        return int(answer.read())


WAYS = {"kill": kill, "reload": reload}


def main() -> None:
    """Warm up, do it, look what is left."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("way", choices=sorted(WAYS))
    options.add_argument("--seconds", type=int, default=60)
    options.add_argument("--times", type=int, default=100)
    options.add_argument("--workers", type=int, default=4)
    options.add_argument("--clients", type=int, default=32)
    options.add_argument("--memory", default="64m")
    chosen = options.parse_args()
    with ExitStack() as stack:
        bench = Bench(stack, chosen)
        with bench.load:
            is_good = WAYS[chosen.way](bench, chosen)
        faults, missing = left_in_store(bench.accel), miscounted(bench.accel)
        print(f"store check: {faults or 'sound'}, no pins; requests without an outcome: {missing}")
        print(f"fetched from the origin: {ask_origin(bench.origin):,} items")
    sys.exit(0 if is_good and not faults and not bench.load.seen.wrong else 1)


if __name__ == "__main__":
    main()
