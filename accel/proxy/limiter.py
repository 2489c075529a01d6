"""Rate limits: how many requests of one client, of one cookie … are granted, counted over all workers.

Owns how a bucket is found and filled; where it lies is `limit_table`'s. Knows neither HTTP nor which rule asks.
Invariant: of one bucket, in any span of t seconds, at most `burst` + t x `rate` requests are granted, whichever
workers of whichever program are asked.

A bucket is one time, at which it is empty again (`policy.rates`): when that has passed, the bucket is the same as none.
So nothing has to be dropped, filled up, or looked after.

Who writes. Whoever grants a request, by one compare-and-swap of one word; a request that is refused writes nothing. A
failed swap means that another worker granted one: look again.

Which word. The one of the set with the key's own tag; if there is none, the one with the least time, if that has
passed, is taken over. Why the least and not the first that has passed: two workers that read the clock at different
moments would see another one first, and a new key could begin two buckets at once. Times only grow. So let A take
word a and B word b for the same key, neither seeing the other: A read b no later than B took it, therefore saw no more
than B found there, and chose a because a was not more; B likewise. Both were equal, and of equals both take the first
in an order that the key gives. They are the same word, and only one swap of it succeeds.

Two programs. During an upgrade the workers of both count in one table. All of the above holds for any processes that
know a key by the same hash, and a bucket's rule by the same rate: were it filled by one rate and judged by another,
the stricter program would take an overfull bucket for a clock set back and put it down to its own brim, and so make
room in it for the other, again with each request. So rate and burst are part of a bucket's name
(`policy.statements`): a rule that the new files change has buckets of its own in each program.

Two keys of a set limit each other if 16 bits of their hashes are equal too: one in 65,536 of those few that have asked
in the last burst/rate seconds and lie in the same set.

When all eight words of a set are in use, this worker counts the key alone, its share of rate and burst (`OwnBuckets`;
the counter `limit_spills`); so do all workers, always, where the compiled part is missing. Such counts end with the
worker.

The clock is the wall's. When it is set back by more than a minute, a bucket's time lies further ahead than any grant
could have put it, also one of a worker that was held up: it is put back to a full bucket, so nobody waits longer than
1/rate for that. Set back by less, it lets those who were at their limit wait as much longer. Words that were in use
stay so until the clock has caught up, which costs room and nothing else.

What a kill -9 leaves: a bucket that counts one request more, or one less, that nobody answered. Nothing to repair.
"""

from __future__ import annotations

from hashlib import blake2b
from math import ceil

from accel.policy.decision import LimitCheck
from accel.policy.rates import OwnBuckets, pace_of, scheduled, wait_us
from accel.proxy.limit_table import SETS, WAYS, LimitTable
from accel.stats.counters import CounterRow, index

_TIME_BITS = 48
_TIME = (1 << _TIME_BITS) - 1
_LIMITED, _SPILLS = index("limited"), index("limit_spills")

_WALKS = tuple(tuple((first + step) % WAYS for step in range(WAYS)) for first in range(WAYS))
"""The order in which a key looks at its set, by the word where it begins."""


class Limiter:
    """One worker's hands on the buckets."""

    def __init__(self, table: LimitTable, workers: int, counters: CounterRow) -> None:
        """`workers`: how many divide among them what is not counted in the table."""
        self._words = table.words
        self._zero_at = table.zero_at
        self._secret = table.secret
        self._own = OwnBuckets(workers)
        self._counters = counters

    def configure(self, workers: int) -> None:
        """Follow the number of workers."""
        self._own.workers = workers

    def admits(self, check: LimitCheck, now: float) -> bool:
        """Count a request at `now`, wall time in s, just read; whether it keeps to the rate."""
        now_us = self._moment(now)
        is_granted = self._count(check, now_us)
        if not is_granted:
            self._counters[_LIMITED] += 1
        return is_granted

    def retry_after_s(self, check: LimitCheck, now: float) -> int:
        """Return after how many whole seconds a request would be granted, 1 at least: for a Retry-After field."""
        now_us, hashed = self._moment(now), _hashed(check, self._secret)
        place, word = self._find(hashed, now_us)
        if place < 0:
            left_us = self._own.wait_us(check, now_us)
        else:
            left_us = wait_us(_due_of(word, hashed), now_us, pace_of(check.rate, check.burst))
        return max(1, ceil(left_us / 1e6))

    def _count(self, check: LimitCheck, now_us: int) -> bool:
        hashed, pace = _hashed(check, self._secret), pace_of(check.rate, check.burst)
        while True:
            place, word = self._find(hashed, now_us)
            if place < 0 or self._words is None:
                self._counters[_SPILLS] += 1
                return self._own.admits(check, now_us)
            due_us = _due_of(word, hashed)
            next_us, is_granted = scheduled(due_us, now_us, pace)
            if next_us == due_us or self._words.swap_if(place, word, _word(hashed, next_us)):
                return is_granted

    def _find(self, hashed: int, now_us: int) -> tuple[int, int]:
        """Return place and word of a key's bucket, or of the one that it may take over; place -1 if there is none."""
        if self._words is None:
            return -1, 0
        load = self._words.load
        tag, first = _tag(hashed), hashed % SETS * WAYS
        least_us, found = now_us + 1, (-1, 0)
        for way in _WALKS[hashed // SETS % WAYS]:
            word = load(first + way)
            if word >> _TIME_BITS == tag:
                return first + way, word
            if word & _TIME < least_us:
                least_us, found = word & _TIME, (first + way, word)
        return found

    def _moment(self, now: float) -> int:
        """Return a time as the words count it, rounded, and from 1 on: 0 is a word that nobody has used."""
        return max(1, int((now - self._zero_at) * 1e6 + 1.5))


def _hashed(check: LimitCheck, secret: bytes) -> int:
    """Return 64 bits that any process with this secret gets for this bucket."""
    key = check.name.encode() + b"\0" + check.value
    return int.from_bytes(blake2b(key, digest_size=8, key=secret).digest(), "little")


def _tag(hashed: int) -> int:
    """Return what stands for a key in its word; never that of a word that nobody has used."""
    return hashed >> _TIME_BITS or 1


def _word(hashed: int, due_us: int) -> int:
    return _tag(hashed) << _TIME_BITS | min(due_us, _TIME)


def _due_of(word: int, hashed: int) -> int:
    """Return when a key's bucket is empty again; 0 if the word is another's whose time has passed."""
    return word & _TIME if word >> _TIME_BITS == _tag(hashed) else 0
