"""Five hundred clients on one cold page over all workers: how many fetches it takes, and how long they wait.

    python tests/bench/one_fetch.py [--clients 500] [--workers 4] [--rounds 5]

The page takes a while at the origin. Then it may be stored, or may not, or the origin closes without an answer, or the
worker that leads the fetch is killed by -9 meanwhile. Times in ms, each the median and the worst of all rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "scene"))

from accel_process import Accel
from checked_origin import CheckedOrigin
from children import eventually
from crowd import ask_at_once
from under_fire import client_ports, is_replaced


class Bench:
    """accel before the origin, and a crowd."""

    def __init__(self, stack: ExitStack, chosen: argparse.Namespace) -> None:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        self.clients, self.workers, self.rounds = chosen.clients, chosen.workers, chosen.rounds
        self.origin = CheckedOrigin(directory)
        stack.callback(self.origin.end)
        never_down = ("--probe-fall", "1000000")  # one backend, and it fails on purpose
        self.accel = Accel(directory, [self.origin.backend], *never_down, workers=chosen.workers)
        stack.callback(self.accel.end)
        self.accel.wait_ready()

    def show(self, what: str, target: Callable[[int], str], kill: bool = False) -> None:
        """Ask in rounds, each for another page, and print a line."""
        spreads, lasts, fetches, taken_over, others = [], [], [], [], []
        for number in range(self.rounds):
            page = target(number)
            killed = Killed(self, page) if kill else None
            got = ask_at_once(self.accel.port, self.clients, page, killed)
            arrivals = self.origin.arrivals(page)
            spreads.append(got.spread_s)
            lasts.append(got.last_s)
            fetches.append(len(arrivals))
            others.append(f"{dict(got.statuses)}" + (f" lost {got.lost}" if got.lost else ""))
            if killed is not None:
                taken_over += [mono - killed.at_mono for mono in arrivals if mono > killed.at_mono][:1]
                killed.wait_replaced()
        line = f"{what:34} fetches {sorted(fetches)}; first to last {ms(spreads)}; last after {ms(lasts)}"
        print(line + (f"; taken over after {ms(taken_over)}" if taken_over else ""))
        print(f"{'':34} " + ", ".join(sorted(set(others))))


class Killed:
    """Kills the worker that leads, which is the first client's."""

    def __init__(self, bench: Bench, page: str) -> None:
        self.bench, self.page, self.at_mono, self.victim = bench, page, 0.0, 0

    def prepare(self, leader_port: int) -> None:
        """Find the victim: that takes too long while clients wait."""
        accel = self.bench.accel
        [self.victim] = [pid for pid in accel.accepting_pids() if leader_port in client_ports(pid, accel.port)]

    async def led(self) -> None:
        """Wait until its request is at the origin."""
        await asyncio.to_thread(eventually, "a fetch", lambda: self.bench.origin.arrivals(self.page))

    async def strike(self) -> None:
        """Kill once the others' requests are with their workers, and none gave up waiting."""
        await asyncio.sleep(0.1)
        self.at_mono = time.monotonic()
        os.kill(self.victim, signal.SIGKILL)

    def wait_replaced(self) -> None:
        """Wait for the replacement."""
        while not is_replaced(self.bench.accel, self.victim, self.bench.workers):
            time.sleep(0.01)


def ms(times_s: Sequence[float]) -> str:
    """Return median and worst."""
    return f"{1000 * statistics.median(times_s):.0f} ({1000 * max(times_s):.0f}) ms"


def teach(bench: Bench, folder: str) -> None:
    """Let every worker learn that the pages of a folder may be stored: it takes a few of them."""
    for number in range(5):
        ask_at_once(bench.accel.port, 16 * bench.workers, f"{folder}/lesson-{number}")


def main() -> None:
    """Print a line a kind of page."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--clients", type=int, default=500)
    options.add_argument("--workers", type=int, default=4)
    options.add_argument("--rounds", type=int, default=5)
    chosen = options.parse_args()
    with ExitStack() as stack:
        bench = Bench(stack, chosen)
        print(f"{chosen.clients} clients, {chosen.workers} workers, {chosen.rounds} rounds: median (worst)")
        bench.show("stored, takes 50 ms", lambda number: f"/stored/50/a{number}/page")
        bench.show("stored, takes 1 s, nothing known", lambda number: f"/stored/1000/b{number}/page")
        teach(bench, "/stored/1000/known")
        bench.show("stored, takes 1 s, its kin known", lambda number: f"/stored/1000/known/page-{number}")
        bench.show("own, takes 1 s, nothing known", lambda number: f"/own/1000/c{number}/page")
        bench.show("the same pages again", lambda number: f"/own/1000/c{number}/page")
        bench.show("fails after 300 ms, nothing known", lambda number: f"/stored/300/d{number}/failing")
        teach(bench, "/stored/300/known")
        bench.show("fails after 300 ms, its kin known", lambda number: f"/stored/300/known/failing-{number}")
        bench.show("stored, 1 s; the leader is killed", lambda number: f"/stored/1000/known/e{number}", kill=True)


if __name__ == "__main__":
    main()
