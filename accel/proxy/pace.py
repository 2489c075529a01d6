"""Whether a client reads what is written to it: the slow-read half of the time limits.

Owns two marks, when the client began to leave bytes unread and how many it had taken by then; knows no transport and
no clock. Invariant: only time during which something waited for the client counts against it.
"""

from __future__ import annotations

from accel.config import ClientTimeouts


class ReadingPace:
    """One client's pace; asked again and again, a few times a second."""

    __slots__ = ("_since", "_taken_then")

    def __init__(self) -> None:
        self._since: float | None = None
        self._taken_then = 0

    def is_too_slow(self, now: float, held: int, taken: int, timeouts: ClientTimeouts) -> bool:
        """Whether a client with `held` bytes unread, that has `taken` so many in all, is to be dropped.

        `now` is monotonic, s. Nothing taken: after `write_s`. Something: by `least_rate`, over stretches of at least
        `least_rate_after_s`.
        """
        if not held:
            self._since = None
            return False
        if self._since is None:
            self._begin(now, taken)
            return False
        elapsed = now - self._since
        if taken == self._taken_then:
            return elapsed > timeouts.write_s
        if elapsed <= timeouts.least_rate_after_s:
            return False
        is_slow = taken - self._taken_then < timeouts.least_rate * elapsed
        self._begin(now, taken)
        return is_slow

    def _begin(self, now: float, taken: int) -> None:
        self._since, self._taken_then = now, taken
