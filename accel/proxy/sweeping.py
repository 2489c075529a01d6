"""Sweeps: finding, over everything stored, what invalidations cover, to free it and to count it.

Owns the judgement of one record; whoever walks shows it each. Correctness never waits for a sweep of tags or of all:
their numbers hold from the moment they are published. A ban is different: it may end only after a sweep.
Invariant: what `judge` calls dead is covered by an invalidation of the sweep; what it cannot read is dead too.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from accel.caching.invalidation import What
from accel.caching.stored import Glimpse, Incomplete, decode, glimpse
from accel.caching.tags import ANY
from accel.proxy.covering import standing
from accel.store.numbers import PendingBan


@dataclass(frozen=True, slots=True)
class Job:
    """One invalidation that a sweep applies."""

    what: What
    number: int
    names: tuple[bytes, ...] = ()
    """Tags."""
    is_soft: bool = False
    ban: PendingBan | None = None


class Sweep:
    """Judges records one after another: `judge`, then `settle` once what it said was done."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.counts = [0] * len(jobs)
        """Responses that each job covered."""
        self.dropped = 0
        """Responses that went."""
        self._jobs = jobs
        self._newest = max((job.number for job in jobs), default=0)
        self._by_tag: defaultdict[bytes, list[int]] = defaultdict(list)
        for index, job in enumerate(jobs):
            for tag in (*job.names, ANY) if job.what is What.TAG else ():
                self._by_tag[tag].append(index)
        self._all = [index for index, job in enumerate(jobs) if job.what is What.ALL]
        self._all_dropped = max((jobs[index].number for index in self._all if not jobs[index].is_soft), default=0)
        bans = [(index, job.ban) for index, job in enumerate(jobs) if job.ban is not None]
        self._bans = list(zip([index for index, _ in bans], standing(tuple(ban for _, ban in bans)), strict=True))
        self._hit: set[int] = set()
        self._is_dead = False

    def judge(self, key: bytes, meta: bytes) -> bool:
        """Whether a record is to go."""
        self._hit = set()
        try:
            seen = glimpse(meta)
            self._is_dead = self._judge_response(key, seen) if seen is not None else self._is_dead_other(meta)
        except (ValueError, struct.error):
            self._is_dead = True
        return self._is_dead

    def settle(self) -> None:
        """What was judged last is gone, or stays, as it was judged."""
        for index in self._hit:
            self.counts[index] += 1
        self.dropped += bool(self._hit) and self._is_dead

    def _judge_response(self, key: bytes, seen: Glimpse) -> bool:
        if seen.number >= self._newest:
            return False
        found = {index for tag in seen.tags for index in self._by_tag.get(tag, ())}
        found.update(self._all)
        found.update(index for index, ban in self._bans if ban.covers(key, seen))
        self._hit = {index for index in found if seen.number < self._jobs[index].number}
        return any(not self._jobs[index].is_soft for index in self._hit)

    def _is_dead_other(self, meta: bytes) -> bool:
        """Whether a variant list or a mark is to go: they have no tags, and nobody counts them.

        What is still coming stays, for those who began to read it before; nobody else may (`proxy.joining`).
        """
        if not self._all_dropped:
            return False
        one = decode(meta)
        return one.number < self._all_dropped and not isinstance(one, Incomplete)
