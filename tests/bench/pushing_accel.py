"""`accel` whose workers make up exchanges and push their records as fast as they may: for fast_day.py.

Run as `python pushing_accel.py GATE OPTIONS`; but for where the records come from it is the product as it is. GATE is a
file with a 64-bit word for each worker: how many records it may have pushed by now. Each one is counted and measured,
too. They vary as a day's do: half of the URLs, most clients and many referers come once and never again.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import sys
import time
from collections.abc import Callable
from math import nan
from random import Random

from accel.cli import main
from accel.proxy.outcome import Outcome
from accel.server import watchers, worker
from accel.stats.histograms import record
from accel.stats.records import OUTCOMES, REASONS
from accel.stats.ring import RingWriter, Writer

AT_ONCE = 200
"""Records between two turns of the worker's loop."""
PAUSE_S = 0.002
EVENTS_EVERY_S = 0.02
"""The status page's stream is in fast motion, too."""
AGENTS = [b"Mozilla/5.0 (X11; Linux x86_64; rv:%d.0) Gecko/20100101 Firefox/%d.0" % (n, n) for n in range(40, 140)]
USUAL = [b"/news/%d" % number for number in range(3000)]
BACKENDS = [f"127.0.0.1:{port}" for port in range(8001, 8009)]
OUTCOME_OF = dict(zip(OUTCOMES, Outcome, strict=True))
MOSTLY = ("hit",) * 14 + ("miss",) * 3 + OUTCOMES
"""An exchange's outcome is one of these."""
_gate = ""


class Pusher:
    """One worker's exchanges."""

    def __init__(self, log: Writer, birth: worker.Birth) -> None:
        self._log, self._row = log, birth.row
        self._counters, self._histograms = birth.board.counters(birth.row), birth.board.histograms(birth.row)
        self._random = Random(birth.row).random
        self._pushed = 0
        fd = os.open(_gate, os.O_RDONLY)
        self._allowed = memoryview(mmap.mmap(fd, 0, prot=mmap.PROT_READ)).cast("Q")
        os.close(fd)

    async def run(self) -> None:
        """Push what the gate allows, until the worker ends."""
        while True:
            count = min(AT_ONCE, self._allowed[self._row] - self._pushed)
            for _ in range(count):
                self._push()
            await asyncio.sleep(0 if count else PAUSE_S)

    def _push(self) -> None:
        self._pushed += 1
        some, word = self._random, MOSTLY[int(self._random() * len(MOSTLY))]
        outcome = OUTCOME_OF[word]
        first_s, total_s, size = some() ** 4, some() ** 4 + 1, int(some() ** 8 * 1e6)
        is_fetched = word in ("miss", "pass")
        self._counters[outcome.counter] += 1
        if outcome.histogram is not None:
            record(self._histograms, outcome.histogram, first_s, total_s, size)
        self._log.write(
            time.time() - total_s, first_s, total_s, first_s if is_fetched else 0.0, nan, nan,
            int(some() * 2**63), size, 0, 0, 503 if word == "error" else 200, 1, OUTCOMES.index(word),
            int(some() * len(REASONS)) if is_fetched else 0, 0, self._client(some), b"GET", b"www.example.org",
            self._target(some), self._referer(some), AGENTS[int(some() * len(AGENTS))],
            BACKENDS[self._pushed % 8] if is_fetched else "", "a.policy:12" if is_fetched else "", b"",
            self._target(some) if is_fetched else b"", b"3 accept=%08x" % int(some() * 2**32) if is_fetched else b"",
        )  # fmt: skip

    def _client(self, some: Callable[[], float]) -> str:
        number = int(some() ** 3 * 2**24)
        return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"

    def _target(self, some: Callable[[], float]) -> bytes:
        chance = some()
        if chance < 0.5:
            return USUAL[int(chance * chance * 4 * len(USUAL))]
        filling = b"x" * int(some() ** 16 * 1500)  # some are long
        return b"/page/%d-%d?n%d=%b" % (self._row, self._pushed, int(some() ** 4 * 1e5), filling)

    def _referer(self, some: Callable[[], float]) -> bytes:
        chance = some()
        return b"" if chance < 0.5 else b"https://elsewhere.example/%d" % int(chance * 2**40)


class PushingWorker(worker.Worker):
    """A worker that pushes beside what it does anyway."""

    def __init__(self, birth: worker.Birth) -> None:
        super().__init__(birth)
        assert birth.log is not None
        self._pusher = Pusher(RingWriter(birth.log), birth)

    async def serve(self) -> None:
        """See `Worker`."""
        pushing = asyncio.get_running_loop().create_task(self._pusher.run())
        await super().serve()
        pushing.cancel()


if __name__ == "__main__":
    _gate = sys.argv.pop(1)
    watchers.EVERY_S = EVENTS_EVERY_S
    worker.Worker = PushingWorker  # type: ignore[misc]
    main()
