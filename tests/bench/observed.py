"""What it costs to look: CPU a hit with `accelctl log`, `top` and the status page open, and with nobody looking.

    python tests/bench/observed.py [--pairs 20] [--seconds 2] [--share 0.5]

accel with one worker has one core, the load generator and the observers have the other; the load is 1 KiB hits at a
rate that keeps the server's core busy for `--share` of its time. Rounds come in pairs, one with the observers and one
while they are stopped (SIGSTOP; the page closed), in alternating order. A pair says how much more CPU a hit took in the
worker, and how much more the arbiter took a second, in parts of what that rate of hits takes. Figures are user and
system time by the scheduler's count (schedstat), medians of the pairs with their quartiles. Ends with 1 if the two come
to more than 3 %. `--smoke`: one short pair, not judged.

Needs gcc, taskset and two cores. The observers run at a low priority, so that the load goes on as before.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

sys.path.insert(0, str(Path(__file__).parents[1] / "scene"))

from children import eventually
from observers import Page, Tool, asked, heed_interrupts
from side.peers import PEERS, Place
from side.processes import LOAD_CORES, SERVER_CORES, Process, cpu_ns, free_port
from side.works import WORKS
from side_by_side import built

CONNECTIONS = 32
MOST = 0.03
SETTLED_S = 1.0
"""After the observers were stopped or went on: by then they have read what had piled up."""
STARTED_S = 30.0
PROBE_REQUESTS, SMOKE_REQUESTS = 30_000, 2000
LOW_PRIORITY = 10
TOOLS = {"log": (("log", "--follow"), False), "top": (("top",), True)}


@dataclass(frozen=True, slots=True)
class Costs:
    """What one round took."""

    worker_us: float
    """A hit."""
    arbiter_ms: float
    """A second."""
    per_second: float
    """Hits: fewer than there should be where the machine is busy with something else."""


class Observers:
    """Everybody who looks."""

    def __init__(self, stack: ExitStack, directory: Path, admin: Path) -> None:
        self._admin = admin
        self._tools = [
            Tool(admin, arguments, directory / f"{name}.err", on_terminal=on_terminal)
            for name, (arguments, on_terminal) in TOOLS.items()
        ]
        self._page: Page | None = None
        for tool in self._tools:
            stack.callback(tool.process.wait)
            stack.callback(tool.process.kill)

    def look(self) -> None:
        """Go on."""
        for tool in self._tools:
            tool.process.send_signal(signal.SIGCONT)
        self._page = Page(self._admin)

    def rest(self) -> None:
        """Look no more for a while."""
        for tool in self._tools:
            tool.process.send_signal(signal.SIGSTOP)
        if self._page is not None:
            self._page.end()
            self._page = None

    def wait_started(self) -> None:
        """Return when everybody shows something."""
        eventually("everybody shows something", lambda: all(tool.records for tool in self._tools), STARTED_S)
        for tool in self._tools:
            os.setpriority(os.PRIO_PROCESS, tool.process.pid, LOW_PRIORITY)


class Bench:
    """accel under load, and who looks at it."""

    def __init__(self, stack: ExitStack, share: float, probe_requests: int) -> None:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        programs = built(directory)
        self._load_program = programs["load"]
        self._template = directory / "request"
        self._template.write_text(WORKS["hit"].request())
        origin = free_port()
        started = Process([str(programs["server"]), str(origin)], LOAD_CORES, directory / "origin.log")
        stack.callback(started.end)
        started.wait_for(origin)
        self._place = Place(directory, free_port(), origin, programs["server"])
        self._admin = directory / "admin"
        self.accel = Process(PEERS["accel"].command(self._place), SERVER_CORES, directory / "accel.log")
        stack.callback(self.accel.end)
        self.accel.wait_for(self._place.port)
        eventually("the admin answers", self._admin.exists)
        self.rate = share * self._capacity(probe_requests)
        load = stack.enter_context(self._load("s:1000000", f"rate={self.rate:.0f}"))
        stack.callback(load.kill)
        self.observers = Observers(stack, directory, self._admin)
        self.observers.wait_started()

    def _load(self, amount: str, *more: str) -> subprocess.Popen[str]:
        command = [str(self._load_program), str(self._place.port), str(CONNECTIONS), amount, str(self._template),
                   str(WORKS["hit"].size), *more]  # fmt: skip
        load = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert load.stdin is not None
        load.stdin.write("go\n")
        load.stdin.flush()
        return load

    def _capacity(self, requests: int) -> float:
        """Return how many hits a second take all of the server's core."""
        for _ in range(2):  # the first time is for warmth
            before = self._now()
            with self._load(f"n:{requests}") as load:
                load.wait()
            costs = self._since(before)
        return 1e6 / costs.worker_us

    def _now(self) -> tuple[int, int, int, int]:
        arbiter, *workers = self.accel.pids()
        requests = asked(self._admin, "GET", "/stat")["requests"]
        return sum(map(cpu_ns, workers)), cpu_ns(arbiter), requests, time.monotonic_ns()

    def _since(self, before: tuple[int, int, int, int]) -> Costs:
        worker, arbiter, requests, passed = (now - then for now, then in zip(self._now(), before, strict=True))
        return Costs(worker / requests / 1e3, arbiter / passed * 1e3, requests / passed * 1e9)

    def round(self, seconds: float, is_observed: bool) -> Costs:
        """Return what a hit costs."""
        if is_observed:
            self.observers.look()
        else:
            self.observers.rest()
        time.sleep(SETTLED_S)
        before = self._now()
        time.sleep(seconds)
        return self._since(before)


def pairs(bench: Bench, count: int, seconds: float) -> list[tuple[Costs, Costs]]:
    """Return so many rounds without and with observers."""
    found = []
    for number in range(count):
        orders = (False, True) if number % 2 else (True, False)
        seen = {is_observed: bench.round(seconds, is_observed) for is_observed in orders}
        found.append((seen[False], seen[True]))
        alone, watched = found[-1]
        print(f"pair {number + 1}: worker {alone.worker_us:.2f} -> {watched.worker_us:.2f} us a hit, arbiter"
              f" {alone.arbiter_ms:.2f} -> {watched.arbiter_ms:.2f} ms a second, hits a second"
              f" {alone.per_second:,.0f} -> {watched.per_second:,.0f}", file=sys.stderr, flush=True)  # fmt: skip
    return found


def shown(what: str, growths: list[float]) -> float:
    """Print the median of the pairs and its quartiles; return it."""
    low, _, high = quantiles(growths, n=4) if len(growths) > 1 else (growths[0],) * 3
    print(f"{what:42} {median(growths):+7.2%}   quartiles {low:+.2%} to {high:+.2%}")
    return median(growths)


def show(bench: Bench, found: list[tuple[Costs, Costs]]) -> float:
    """Print the figures; return how much both grew by."""
    alone, watched = (median(each[place].worker_us for each in found) for place in (0, 1))
    rate = median(one.per_second for each in found for one in each)
    print(f"{len(found)} pairs of {bench.rate:,.0f} hits a second ({rate:,.0f} seen); the worker's CPU a hit:"
          f" {alone:.2f} us alone, {watched:.2f} us observed")  # fmt: skip
    taken_ms = bench.rate * alone / 1e3
    return shown("the worker's CPU a hit grew by", [b.worker_us / a.worker_us - 1 for a, b in found]) + shown(
        "the arbiter's, in parts of the worker's", [(b.arbiter_ms - a.arbiter_ms) / taken_ms for a, b in found]
    )


def main() -> None:
    """Measure in turns, and report."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--pairs", type=int, default=20)
    options.add_argument("--seconds", type=float, default=2.0, help="of each round")
    options.add_argument("--share", type=float, default=0.5, help="of the server's core that the load takes")
    options.add_argument("--smoke", action="store_true", help="one short pair, not judged")
    chosen = options.parse_args()
    heed_interrupts()
    os.sched_setaffinity(0, LOAD_CORES)
    with ExitStack() as stack:
        bench = Bench(stack, chosen.share, SMOKE_REQUESTS if chosen.smoke else PROBE_REQUESTS)
        found = pairs(bench, 1, 0.3) if chosen.smoke else pairs(bench, chosen.pairs, chosen.seconds)
        growth = show(bench, found)
    print("observed")
    sys.exit(1 if growth > MOST and not chosen.smoke else 0)


if __name__ == "__main__":
    main()
