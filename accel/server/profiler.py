"""A worker's own profiler: for some seconds it looks where the main thread is; at every other time it does not exist.

Two clocks, since one alone lies. **Running**: a timer of CPU time (setitimer, ITIMER_PROF) interrupts whatever runs,
and the handler notes the stack. So a thread of our own, which gets the interpreter only when the main thread lets go of
it, has no part in that: it would see a busy event loop at rest, each time. **Waiting**: such a thread looks 20 times a
second, and a stack that is in the middle of something although hardly any CPU time has passed since is blocked: on a
file, a name server, a lock. What is left of the time was spent in the loop, waiting for something to happen.

What the timer says is scaled to the CPU time that was really used, since kernels round it. A handler runs between two
instructions of Python: time in compiled code is counted at the line that called it, or, where the event loop did, at
the next callback. That is said in the result (`accelctl profile`), and py-spy has no such limit.
"""

from __future__ import annotations

import asyncio
import resource
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any

CPU_INTERVAL_S = 0.004
"""Of CPU time, between two looks: a tick of most kernels. One costs about 20 us: 0.5 %."""
LOOK_INTERVAL_S = 0.05
_BLOCKED_SHARE = 0.1
"""With less CPU time than this part of the interval, a stack stood still."""
_DEEPEST = 120
_LOOP = "event loop"


class Profiler:
    """At most one profile at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._profile: _Profile | None = None

    def begin(self, seconds: float, tell: Callable[[dict[str, Any]], None]) -> bool:
        """Profile for some seconds, then tell; False if one is under way. Called in the main thread."""
        if self._profile is not None:
            return False
        self._profile = _Profile()
        self._loop.call_later(seconds, self._end, tell)
        return True

    def _end(self, tell: Callable[[dict[str, Any]], None]) -> None:
        assert self._profile is not None
        profile, self._profile = self._profile, None
        tell(profile.end())


class _Profile:
    """One profile, from now on."""

    def __init__(self) -> None:
        self._running: Counter[str] = Counter()
        self._blocked: Counter[str] = Counter()
        self._main = threading.get_ident()
        self._cpu_clock = time.pthread_getcpuclockid(self._main)
        self._ended = threading.Event()
        self._wall_began, self._cpu_began = time.monotonic(), time.clock_gettime(self._cpu_clock)
        self._usage_began = _switches()
        signal.signal(signal.SIGPROF, self._interrupted)
        signal.siginterrupt(signal.SIGPROF, False)
        signal.setitimer(signal.ITIMER_PROF, CPU_INTERVAL_S, CPU_INTERVAL_S)
        self._thread = threading.Thread(target=self._look_on, name="profiler", daemon=True)
        self._thread.start()

    def end(self) -> dict[str, Any]:
        """Stop, and return what was seen, in seconds."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, signal.SIG_IGN)  # one may be on its way, and its default ends the process
        wall_s = time.monotonic() - self._wall_began
        cpu_s = time.clock_gettime(self._cpu_clock) - self._cpu_began
        self._ended.set()
        self._thread.join()
        samples = sum(self._running.values())
        stacks = {f"running;{stack}": cpu_s * seen / samples for stack, seen in self._running.items()}
        if not samples:
            stacks[f"running;{_LOOP}"] = cpu_s
        blocked = {f"waiting;{stack}": LOOK_INTERVAL_S * seen for stack, seen in self._blocked.items()}
        rest_s = max(0.0, wall_s - cpu_s - sum(blocked.values()))
        stacks |= blocked | {f"waiting;{_LOOP}": rest_s}
        voluntary, forced = (after - before for after, before in zip(_switches(), self._usage_began, strict=True))
        return {
            "wall_s": round(wall_s, 3),
            "cpu_s": round(cpu_s, 3),
            "samples": samples,
            "switches": {"voluntary": voluntary, "forced": forced},
            "stacks": {stack: round(seconds, 5) for stack, seconds in stacks.items()},
        }

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        """The handler: so much CPU time has passed. In the main thread."""
        self._running[_stack(frame)] += 1

    def _look_on(self) -> None:
        """In the thread: find stacks that stand still."""
        cpu_before = time.clock_gettime(self._cpu_clock)
        while not self._ended.wait(LOOK_INTERVAL_S):
            stack = _stack(sys._current_frames().get(self._main))
            cpu = time.clock_gettime(self._cpu_clock)
            if stack != _LOOP and cpu - cpu_before < LOOK_INTERVAL_S * _BLOCKED_SHARE:
                self._blocked[stack] += 1
            cpu_before = cpu


def _stack(frame: FrameType | None) -> str:
    """Return a stack as flame graphs take it: names from the outermost on, by semicolons; without what starts the loop.

    The runner's frames are below every stack of a worker: what is left of one that shows nothing else is the loop.
    """
    names: list[str] = []
    while frame is not None and len(names) < _DEEPEST:
        module = frame.f_globals.get("__name__", "?")
        if module in _BELOW:
            break
        names.append(f"{module}.{frame.f_code.co_qualname}".replace(";", ","))
        frame = frame.f_back
    return ";".join(reversed(names)) or _LOOP


_BELOW = frozenset({"asyncio.runners", "uvloop"})
"""Modules whose frames start the loop."""


def _switches() -> tuple[int, int]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_nvcsw, usage.ru_nivcsw
