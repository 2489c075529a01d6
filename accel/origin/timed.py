# cython: annotation_typing=False, show_performance_hints=False
"""A deadline that is set anew many times a second: one timer serves it, without an object each time.

The timer that is armed is kept while it is due before the deadline, and armed again when it fires early. Knows nothing
of what is late. Compiled where there is a compiler, with the types of `timed.pxd`: see `wire`.
"""

from __future__ import annotations

import asyncio
from math import inf

_TICK_S = 0.001
"""uvloop rounds timers to milliseconds: one that fires this much early is in time."""


class Timed:
    """Whatever is to hear when something is late that it waits for."""

    __slots__ = ("_deadline", "_due", "_latest", "_loop", "_now", "_timer", "_why")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time
        self._timer: asyncio.TimerHandle | None = None
        self._due = inf  # of the timer
        self._deadline = inf
        self._latest = inf  # for every deadline until that is set again
        self._why = ""

    def _late(self, why: str) -> None:
        """The deadline has passed that was set with `why`."""
        raise NotImplementedError

    def _end_within(self, whole_s: float) -> None:
        """Begin with no deadline; none that is set from now on is later than in `whole_s`."""
        self._latest = inf if whole_s == inf else self._now() + whole_s
        self._deadline = inf

    def _arm(self, timeout_s: float, why: str) -> None:
        """Set the deadline; touch the timer only if it is due too late or not at all."""
        deadline = min(self._now() + timeout_s, self._latest)
        self._deadline, self._why = deadline, why
        if self._due > deadline:
            self._set_timer(deadline)

    def _disarm(self) -> None:
        """Nothing is waited for."""
        self._deadline = inf

    def _set_timer(self, due: float) -> None:
        self._cancel_timer()
        self._due = due
        self._timer = self._loop.call_at(due, self._on_timer)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._due = None, inf

    def _on_timer(self) -> None:
        self._timer, self._due = None, inf
        if self._deadline == inf:
            return
        if self._deadline - self._now() > _TICK_S:
            self._set_timer(self._deadline)
        else:
            self._late(self._why)
