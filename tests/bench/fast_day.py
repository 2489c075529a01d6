"""A day's worth of log records in fast motion: the memory of everything that reads them, which must not grow.

    python tests/bench/fast_day.py [--records 10000000]

Two workers push made-up records (`pushing_accel.py`) into their rings, as fast as `accelctl log --follow` in each of
its formats has them: 10^7 are 115 requests a second for a day. All the while the arbiter writes the access log, which
is rotated, a client reads the status page's stream and asks what the page asks, another scrapes `/metrics`, and
`accelctl top`, `hist --watch` and `stat --watch` show what comes, five times as often as usual.

Each process's own memory (RssAnon of proc(5): the rings, which are shared, are no part of it) is read a hundred times.
Ends with 1 if that of the last quarter is more than 2 % above that of the second, medians, or if a record is missing:
each reader must have had every one that it does not say it lost, and the access log's files as well. Needs 3 GB of disk
for a moment and, on two cores, half an hour. `--smoke`: few records, and no word on memory.
"""

from __future__ import annotations

import argparse
import signal
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import IO

sys.path.insert(0, str(Path(__file__).parents[1] / "scene"))

from accel_process import Accel
from children import own_bytes
from observers import Page, Tool, heed_interrupts

from accel.ctl_top import KEYS, RANKINGS

RECORDS, SMOKE_RECORDS = 10_000_000, 10_000
WORKERS = 2
WINDOW = 40_000
"""So many records may be pushed before the slowest formats have been printed: less than the rings hold."""
LOG_MEMORY = "32m"
SAMPLES, ROTATIONS, SCRAPES = 100, 20, 5760
"""A day has so many scrapes, one in 15 s."""
MOST_GROWTH = 0.02
STALLED_S = 60.0
READING_S = 0.2
FROM_NOW = ("log", "--follow", "--since", "1d")
PRINTED = {
    "log combined": ((*FROM_NOW, "--format", "combined"), b"\n"),
    "log json": ((*FROM_NOW, "--format", "json"), b"\n"),
    "log long": ((*FROM_NOW, "--format", "long"), b"\n\n"),
}
"""What prints every record, and what a record ends with."""
FILTERED = (*FROM_NOW, "-q", 'status >= 500 or (cache == miss and path under "/news/" and client in 10.0.0.0/9)')
TOP = ("top", *(part for ranking in (*RANKINGS, KEYS) for part in ("--by", ranking)))
SHOWN = {"top": TOP, "hist": ("hist", "--watch"), "stat": ("stat", "--watch")}
"""What draws on a terminal."""


class AccessLog:
    """The file that the arbiter writes, and those that it was renamed to."""

    def __init__(self, directory: Path) -> None:
        self.path, self.lines, self.rotated = directory / "access.log", 0, 0

    def rotate(self, accel: Accel) -> None:
        """Rename the file, have it opened anew; what was renamed before is whole now: count and drop it."""
        self.count_rotated()
        self.rotated += 1
        self.path.rename(self.path.with_suffix(f".{self.rotated}"))
        accel.send(signal.SIGUSR1)

    def count_rotated(self) -> None:
        """Count the lines of renamed files."""
        for path in self.path.parent.glob("access.[0-9]*"):
            self._take(path)

    def count_all(self) -> None:
        """Count what is left, when accel has ended."""
        self.count_rotated()
        self._take(self.path)

    def _take(self, path: Path) -> None:
        with path.open("rb") as log:
            self.lines += sum(block.count(b"\n") for block in _blocks(log))
        path.unlink()


def _blocks(log: IO[bytes]) -> Iterator[bytes]:
    while block := log.read(1 << 20):
        yield block


class Day:
    """accel, everybody who looks at it, and how much memory each has had."""

    def __init__(self, stack: ExitStack, records: int) -> None:
        self.records = records
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        gate = directory / "gate"
        gate.write_bytes(bytes(8 * WORKERS))
        self._gate = gate.open("r+b", buffering=0)
        stack.callback(self._gate.close)
        self.log = AccessLog(directory)
        flags = ("--access-log", str(self.log.path), "--log-memory", LOG_MEMORY)
        program = (str(Path(__file__).with_name("pushing_accel.py")), str(gate))
        self.accel = Accel(directory, ["127.0.0.1:9"], *flags, workers=WORKERS, program=program)
        stack.callback(self.accel.end)
        self.accel.wait_ready()
        self.tools: dict[str, Tool] = {}
        for name, (arguments, ending) in PRINTED.items():
            self._begin(stack, directory, name, arguments, ending)
        self._begin(stack, directory, "log -q", FILTERED, b"\n")
        for name, arguments in SHOWN.items():
            self._begin(stack, directory, name, arguments, b"\n", on_terminal=True)
        self.page = Page(self.accel.admin_path)
        self.scrapes = 0
        self.memory: dict[str, list[int]] = {name: [] for name in ("arbiter", *self.tools)}

    def _begin(
        self, stack: ExitStack, directory: Path, name: str, arguments: tuple[str, ...], ending: bytes,
        on_terminal: bool = False,
    ) -> None:  # fmt: skip
        tool = Tool(self.accel.admin_path, arguments, directory / f"{name}.err", ending, on_terminal, READING_S)
        stack.callback(tool.process.kill)
        self.tools[name] = tool

    def run(self) -> None:
        """Have every record pushed, and printed."""
        done, moved_mono = 0, time.monotonic()
        while done < self.records:
            self._allow(min(self.records, done + WINDOW))
            before, done = done, min(self.tools[name].records for name in PRINTED)
            now = time.monotonic()
            moved_mono = now if done > before else moved_mono
            if now - moved_mono > STALLED_S:
                raise SystemExit(f"stalled at {done:,}: {self.said()}\n{self.accel.log}")
            self._along(done / self.records)
            time.sleep(0.01)

    def _allow(self, records: int) -> None:
        each, rest = divmod(records, WORKERS)
        self._gate.seek(0)
        self._gate.write(struct.pack(f"{WORKERS}Q", *(each + (row < rest) for row in range(WORKERS))))

    def _along(self, part: float) -> None:
        """Do what falls due when this part of the day is over."""
        if self.scrapes < part * SCRAPES:
            self.scrapes += 1
            self.accel.metrics()
        if self.log.rotated < part * ROTATIONS:
            self.log.rotate(self.accel)
        taken = len(self.memory["arbiter"])
        if taken < int(part * SAMPLES):
            self._sample()
            if taken % 10 == 9:
                print(f"{part:4.0%}  {self.said()}", file=sys.stderr, flush=True)

    def _sample(self) -> None:
        self.memory["arbiter"].append(own_bytes(self.accel.child.pid))
        for name, tool in self.tools.items():
            self.memory[name].append(own_bytes(tool.process.pid))

    def said(self) -> str:
        """Return how much memory each has now."""
        return ", ".join(f"{name} {seen[-1] / 2**20:.1f}" for name, seen in self.memory.items() if seen) + " MiB"

    def end(self) -> list[str]:
        """End everybody; return what is not as it must be."""
        wrong = [f"{name} ended with {code}" for name, tool in self.tools.items() if (code := tool.end())]
        self.page.end()
        lost = self.accel.counter("log_records_lost")
        self.accel.stop()
        self.log.count_all()
        if self.log.lines + lost != self.records:
            wrong.append(f"the access log has {self.log.lines:,} lines, {lost:,} are said to be lost")
        for name in PRINTED:
            if (seen := self.tools[name].records) != self.records:
                wrong.append(f"{name} printed {seen:,} records")
        return wrong


def quarters(seen: list[int]) -> tuple[float, float]:
    """Return the medians of the second and of the last quarter."""
    size = max(1, len(seen) // 4)
    return median(seen[size : 2 * size] or seen), median(seen[-size:])


def show(day: Day, took_s: float) -> float:
    """Print what was seen; return the most growth."""
    print(f"{day.records:,} records in {took_s:.0f} s, {day.page.events:,} events, {day.scrapes:,} scrapes,"
          f" {day.log.lines:,} lines in the access log, {ROTATIONS} files")  # fmt: skip
    print(f"{'own memory, MiB':16}{'2nd quarter':>12}{'last':>8}{'grew by':>9}   lost")
    most = 0.0
    for name, seen in day.memory.items():
        second, last = quarters(seen)
        most = max(most, last / second - 1)
        lost = f"{day.tools[name].lost():,}" if name.startswith("log") else ""
        print(f"{name:16}{second / 2**20:12.2f}{last / 2**20:8.2f}{last / second - 1:9.2%}   {lost}")
    return most


def main() -> None:
    """Let a day pass."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--records", type=int, default=RECORDS)
    options.add_argument("--smoke", action="store_true", help="few records, no figures judged")
    chosen = options.parse_args()
    began = time.monotonic()
    heed_interrupts()
    with ExitStack() as stack:
        day = Day(stack, SMOKE_RECORDS if chosen.smoke else chosen.records)
        day.run()
        wrong = day.end()
        most = show(day, time.monotonic() - began)
    if most > MOST_GROWTH and not chosen.smoke:
        wrong.append(f"memory grew by {most:.2%}")
    print("\n".join(wrong) or "every record was read")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
