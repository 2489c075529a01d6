"""The arbiter of a torture: starts the tormentors, kills and stops them, and says what is left at the end.

Owns the processes. Invariants that it watches: whoever is not stopped gets on, whatever happened to the others; the
arena never holds more than its bytes; at the end nothing is pinned, open, claimed, in limbo for good, or led.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from tormentor import BEAT_OPERATIONS, PATTERN, SHARED_KEYS, SIDES, torment
from torture_ledger import Ledger, Scale

from accel.store import layout
from accel.store.flights import FlightArena, SharedFlights
from accel.store.shared import SharedArena, SharedStore

DEADLINE_S = 60.0
"""How long it may take, on a busy machine, until a process that nobody stopped has done a beat."""
STOP_SHARE = 0.3
TICK_S = 0.005
PR_SET_PDEATHSIG = 1
ROUNDS = 10
"""After so many arenas full of new records every segment must have been used again."""


@dataclass(slots=True)
class Outcome:
    """What a torture came to."""

    kills: int = 0
    stops: int = 0
    checks: int = 0
    most_taken_bytes: int = 0
    leaks: list[str] = field(default_factory=list)


class Keeper:
    """Several tormentors on one arena."""

    def __init__(self, scale: Scale, seed: int = 1) -> None:
        self.scale, self.random, self.outcome = scale, random.Random(seed), Outcome()
        self.arena = SharedArena(scale.arena_bytes, scale.processes, scale.segment_bytes)
        self.successor = SharedArena.adopt(self.arena.fd, scale.arena_bytes, scale.processes, 1, scale.segment_bytes)
        self.flights = FlightArena(scale.processes)
        self.ledger = Ledger(scale.processes)
        self.stopped: dict[int, list[int]] = {}
        """Who is stopped, and how far each must be before it goes on."""
        self.seen = [(0, time.monotonic())] * scale.processes
        """How far each was, and when it got so far."""
        self.pids = [self._start(row) for row in range(scale.processes)]

    def _start(self, row: int) -> int:
        seed = self.random.getrandbits(32)
        pid = os.fork()
        if pid:
            return pid
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # dies with us, even if it is stopped then
        gc.freeze()  # what was inherited: a collection of it would count as the dearest operation of the store
        try:
            asyncio.run(torment(self._arena_of(row), self.flights, row, seed, self.scale, self.ledger))
            os._exit(0)
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
            os._exit(1)

    def _arena_of(self, row: int) -> SharedArena:
        return (self.arena, self.successor)[row % len(SIDES)]

    def _forget(self, row: int) -> None:
        self.flights.forget_worker(row)
        self._arena_of(row).forget_worker(row // len(SIDES))

    @property
    def operations(self) -> int:
        """How many operations were done."""
        return sum(map(self.ledger.operations, range(self.scale.processes)))

    def run(self, operations: int, kills: int, pause_s: float, tell: Callable[[], bool] = lambda: True) -> None:
        """Kill one every `pause_s` and stop others, until so many operations and so many kills are done.

        `tell` is called after each kill; False ends it before.
        """
        while tell() and (self.operations < operations or self.outcome.kills < kills):
            self._kill(self.random.randrange(self.scale.processes))
            if len(self.stopped) < 2 and self.random.random() < STOP_SHARE:
                self._stop(self.random.randrange(self.scale.processes))
            until = time.monotonic() + pause_s
            while time.monotonic() < until:
                self._watch()
                time.sleep(TICK_S)
        for row in list(self.stopped):
            self._go_on(row)

    def _kill(self, row: int) -> None:
        os.kill(self.pids[row], signal.SIGKILL)
        _, status = os.waitpid(self.pids[row], 0)
        assert os.WIFSIGNALED(status), f"process {row} found something wrong"
        self.stopped.pop(row, None)
        self._forget(row)
        self.pids[row] = self._start(row)
        self.outcome.kills += 1

    def _stop(self, row: int) -> None:
        os.kill(self.pids[row], signal.SIGSTOP)
        self.stopped[row] = [self.ledger.operations(other) + BEAT_OPERATIONS for other in range(self.scale.processes)]
        self.outcome.stops += 1

    def _go_on(self, row: int) -> None:
        os.kill(self.pids[row], signal.SIGCONT)
        self.stopped.pop(row)

    def _watch(self) -> None:
        """Fail if somebody does not get on; let the stopped go on once all the others have got on without them."""
        now, done = time.monotonic(), [self.ledger.operations(row) for row in range(self.scale.processes)]
        for row, count in enumerate(done):
            if count != self.seen[row][0] or row in self.stopped:
                self.seen[row] = count, now
            assert now - self.seen[row][1] < DEADLINE_S, f"process {row} does not get on; stopped: {self.stopped}"
        for row, wanted in list(self.stopped.items()):
            if all(done[other] >= wanted[other] for other in range(len(done)) if other not in self.stopped):
                self._look()
                self._go_on(row)

    def _look(self) -> None:
        """While one is stopped in the middle of something, all that can be seen is sound, and no more than it may."""
        assert self.arena.check().faults == ()
        self.outcome.checks += 1
        taken = int(self.arena.stat()["taken_bytes"])
        assert taken <= self.scale.arena_bytes
        self.outcome.most_taken_bytes = max(taken, self.outcome.most_taken_bytes)

    def finish(self) -> Outcome:
        """Let everybody end, and find what they left behind."""
        self.ledger.end()
        for row, pid in enumerate(self.pids):
            _, status = os.waitpid(pid, 0)
            assert status == 0, f"process {row} found something wrong"
            self._forget(row)
        self.pids.clear()
        self.arena.forget_other_side()
        self._look()
        figures = self.arena.stat()
        self.outcome.leaks += [f"{figures[name]} {name}" for name in ("pins", "open", "claimed") if figures[name]]
        self.outcome.leaks += asyncio.run(self._standing_claims())
        self.outcome.leaks += self._unused_segments()
        return self.outcome

    async def _standing_claims(self) -> list[str]:
        flights, found = SharedFlights(self.flights, 0), []
        for key in range(SHARED_KEYS):
            claim = flights.claim(b"%d" % key)
            if claim is None or not claim.leads:
                found.append(f"the fetch of key {key} is led by nobody who lives")
        asyncio.get_running_loop().remove_reader(self.flights.bells[0])
        return found

    def _unused_segments(self) -> list[str]:
        """Fill the arena until each segment was used again; return those that never were."""
        before, store = self._generations(), SharedStore(self.arena, 0)
        for number in range(ROUNDS * self.scale.arena_bytes // 6000):
            assert store.put(b"after-%d" % number, b"", PATTERN[:6000]) is not None
            for _ in range(layout.PROMOTE_AT):  # so that it moves to the main segments, which so turn too
                store.get(b"after-%d" % number)
            if number % 500 == 0 and all(map(int.__lt__, before, self._generations())):
                break
        del store
        self.arena.forget_worker(0)
        assert self.arena.check().faults == ()
        after = self._generations()
        left = [number for number in range(len(after)) if after[number] == before[number]]
        return [f"segment {number} is never used again" for number in left]

    def _generations(self) -> list[int]:
        """Return the segments' generations, read as `layout` draws them."""
        words = memoryview(self.arena.mapping).cast("Q")
        shift, step = layout.STATE_BITS + layout.KIND_BITS + layout.OWNER_BITS, layout.structure_bytes("segment") // 8
        first = self.arena.plan.segments_at // 8
        return [words[first + number * step] >> shift for number in range(self.arena.plan.segment_count)]

    def end_all(self) -> None:
        """Leave no process behind, whatever it came to."""
        for pid in self.pids:
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        for bell in self.flights.bells:
            os.close(bell)
