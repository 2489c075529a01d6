"""The shared store under eight processes that are killed by -9 all the time: nothing wrong, nothing blocked or leaked.

    python tests/bench/torture.py [--operations 10000000] [--seconds N] [--processes 8] [--memory-mib 64]

Random gets, puts of 100 B to 8 MiB (an eighth of the memory at most), long bodies in parts, purges, freshenings,
records held for long, fetches led and followed. Every pause a random process is killed, and now and then another one
is stopped until all the others got on. Ends with 0 and figures, or with the first thing that was wrong. The short run
of the same code is tests/unit/store/test_shared_torture.py.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "store"))

from torture_keeper import Keeper
from torture_ledger import Scale


class Progress:
    """A line now and then, until the time is over."""

    def __init__(self, keeper: Keeper, seconds: float) -> None:
        self.keeper, self.began, self.next, self.seconds = keeper, time.monotonic(), 0.0, seconds

    def __call__(self) -> bool:
        now = time.monotonic()
        if now >= self.next:
            self.next, keeper = now + 10, self.keeper
            print(
                f"{now - self.began:6.0f} s {keeper.operations:10,} operations, {keeper.outcome.kills} killed,"
                f" {keeper.outcome.stops} stopped, {keeper.outcome.checks} checks",
                flush=True,
            )
        return now - self.began < self.seconds


def show(keeper: Keeper, took_s: float) -> None:
    """Print what it came to."""
    print(f"{keeper.operations:,} operations in {took_s:.0f} s by {keeper.scale.processes} processes: {keeper.outcome}")
    for verb, (count, worst_ms) in keeper.ledger.figures().items():
        print(f"  {verb.name.lower():8} {count:11,}   dearest {worst_ms:8.2f} ms of CPU")
    figures, found = keeper.arena.stat(), keeper.arena.check()
    print("  " + ", ".join(f"{name} {value:,.0f}" for name, value in figures.items() if name != "oldest_at"))
    print(f"  {found}")


def main() -> None:
    """Run it; exit code 1 when something was left behind."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--operations", type=int, default=10_000_000)
    options.add_argument("--seconds", type=float, default=math.inf)
    options.add_argument("--processes", type=int, default=8)
    options.add_argument("--memory-mib", type=int, default=64)
    options.add_argument("--keys", type=int, default=4000)
    options.add_argument("--pause-ms", type=int, default=100)
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    keeper = Keeper(Scale(chosen.processes, chosen.keys, chosen.memory_mib << 20), chosen.seed)
    began = time.monotonic()
    try:
        keeper.run(chosen.operations, 0, chosen.pause_ms / 1000, Progress(keeper, chosen.seconds))
        outcome = keeper.finish()
        show(keeper, time.monotonic() - began)
    finally:
        keeper.end_all()
    sys.exit(1 if outcome.leaks else 0)


if __name__ == "__main__":
    main()
