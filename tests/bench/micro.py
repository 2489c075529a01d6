"""What the pieces of a hit cost, one by one: to find where a regression came in.

    taskset -c 1 python tests/bench/micro.py [--pieces parse,hot] [--turns 20000]
    python tests/bench/micro.py --instructions [--turns 500]
    python tests/bench/micro.py --smoke

CPU time of one process, in microseconds: the median of nine rounds, with the turn of an empty loop taken off. Where
others use the machine, `--instructions` is the better figure: counted by valgrind's callgrind in user space, the same
from run to run (Debian: apt-get install valgrind gcc). `--smoke` runs everything once and asserts nothing about times.

The pieces work on one worker in memory, that of tests/wire, over a shared store; answers are thrown away, so neither
recv nor send is in any figure.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1] / "wire"))
sys.path.insert(0, str(Path(__file__).parent))

from side.counting import Collected, count_instructions
from side.pieces import Worker, many_rules

ROUNDS = 9


def cpu_us(call: Callable[[], object], turns: int) -> float:
    """Return the CPU time of a call, the loop's own included."""
    rounds = []
    for _ in range(ROUNDS):
        began = time.process_time_ns()
        for _ in range(turns):
            call()
        rounds.append((time.process_time_ns() - began) / turns / 1000)
    return median(rounds)


def shown_times(pieces: dict[str, Callable[[], object]], turns: int) -> None:
    """Print microseconds."""
    empty = cpu_us(lambda: None, turns)
    for name, call in pieces.items():
        print(f"{name:44}{cpu_us(call, turns) - empty:9.2f} us", flush=True)


def collected(pieces: dict[str, Callable[[], object]], turns: int, into: Collected) -> None:
    """Run under valgrind: count each piece's instructions apart."""
    for name, call in {"": _nothing, **pieces}.items():
        call()
        into.begin()
        for _ in range(turns):
            call()
        into.end(name)


def _nothing() -> None:
    return


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pieces", default="", help="only those whose names begin with one of these, by commas")
    parser.add_argument("--turns", type=int, default=0)
    parser.add_argument("--instructions", action="store_true", help="count them, by valgrind")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--collect-by", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


async def run(chosen: argparse.Namespace) -> None:
    """Do with the pieces what was asked."""
    worker, ruled = await Worker.made(), await Worker.made(many_rules())
    begins = tuple(chosen.pieces.split(","))
    pieces = {**worker.pieces(), **ruled.hot_hits(" under 500 rules")}
    pieces = {name: call for name, call in pieces.items() if name.startswith(begins)}
    if chosen.smoke:
        for call in pieces.values():
            call()
        print(f"{len(pieces)} pieces ran")
    elif chosen.collect_by:
        collected(pieces, chosen.turns, Collected(Path(chosen.collect_by)))
    else:
        shown_times(pieces, chosen.turns or 20_000)


def main() -> None:
    """Measure in this process, or have a child under valgrind count."""
    chosen = options()
    if not chosen.instructions:
        asyncio.run(run(chosen))
        return
    turns = chosen.turns or 500
    for name, count in count_instructions([__file__, "--pieces", chosen.pieces], turns).items():
        print(f"{name:44}{count:9,.0f} instructions")


if __name__ == "__main__":
    main()
