"""Invalidation by number: one sequence for the whole machine, in memory that lives as long as what it covers.

Owns the table and the order in which it is written and read; knows neither HTTP nor what a ban's text means.
Invariant: what was fetched under number n may be seen only while no word that covers it is larger than n.

```
 head     16 words             sequence, world, all hard, all soft, swept, edition
 bans     64 x 512 bytes       number (0: free), length, wall time in ns, UTF-8 text
 cells    [cell][2] words      the number of the last hard and of the last soft invalidation of each hash
```

A fetch notes `sequence` before it is sent. An invalidation takes the next number, raises the words that it covers to
it, and moves `world` last. A reader loads `world` first and the words after; then it may remember that it looked up to
that world, and one load and a compare do until the world moves: had it missed a word, it would also have loaded
`world` from before that word's invalidation, and looks again. Loaded the other way round, an invalidation in between
would be missed for ever.

Names (primary keys, tags) hash into cells with a secret that lives as long as the table, so an outsider cannot aim at
one. Two names may share a cell: then one purge covers both, which costs a fetch and is never wrong.

Bans. A ban covers what its text matches among all that was fetched under a smaller number. It is pending while its
slot holds its number; nobody may see what it matches meanwhile. `end_ban` is for whoever made sure that nothing it
matches is stored any more: it raises `swept` first and frees the slot then. A storer looks at the bans first and at
`swept` after: so it sees a ban pending, and matches; or ended, and stores nothing fetched under a number below
`swept`. `edition` moves with each change of the list. A slot's text is read between two loads of its number, which is
never given twice: unchanged means whole.

Who writes. Over a shared arena two arbiters may write at once, while one program takes over from another: `sequence`,
`world` and `edition` by fetch-and-add, the other words by a compare-and-swap that only ever raises them, a slot by
whoever swapped its number from 0 to a claim with its own pid. A private store's table has one arbiter, which writes
plain (`PlainWords`): Python's own stores and loads, in program order on x86-64.

What a kill -9 leaves
---------------------
 after the number is taken      a number that covers nothing
 between words and world        an invalidation that some see and some not yet; nobody was told that it is done, and
                                the next one makes all look
 with a slot claimed            a claim of a dead pid: the next ban takes it over
 between `swept` and the slot   a ban that stays pending until somebody ends it again
"""

from __future__ import annotations

import mmap
import os
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
from typing import Protocol

from accel.errors import AccelError

Cells = tuple[int, ...]
"""Where the hard words of some names lie; a soft word follows its hard one."""

SEQUENCE, WORLD, ALL_HARD, ALL_SOFT, _SWEPT, EDITION = 0, 1, 2, 3, 4, 5
"""Places of words; those without an underscore are also read by `proxy._hot`, in the order that is told here."""
_HEAD_WORDS = 16
_BAN_SLOTS, _BAN_WORDS = 64, 64
_NUMBER, _LENGTH, _AT_NS, _TEXT = range(4)
_BANS_AT = _HEAD_WORDS
_CELLS_AT = _BANS_AT + _BAN_SLOTS * _BAN_WORDS
_CLAIMED = 1 << 63

MOST_BANS = _BAN_SLOTS
BAN_TEXT_BYTES = (_BAN_WORDS - _TEXT) * 8
SHAPE = (_HEAD_WORDS, _BAN_SLOTS, _BAN_WORDS, _CELLS_AT)
"""Changes whenever the table is laid out in another way."""
SECRET_BYTES = 16
_LEAST_CELLS = 4096
_MEMORY_A_CELL = 4096
"""A cell (16 bytes) for so many bytes of memory: a 256th of it, and as many cells as there are likely to be records."""


class Words(Protocol):
    """The steps on words; see `_numbers.SharedWords`."""

    def load(self, at: int) -> int:
        """Return a word."""
        ...

    def store(self, at: int, value: int) -> None:
        """Set a word."""
        ...

    def next(self, at: int) -> int:
        """Add one; return the sum."""
        ...

    def swap_if(self, at: int, was: int, value: int) -> bool:
        """Set a word if it is `was`; whether it is set."""
        ...

    def raise_to(self, at: int, value: int) -> None:
        """Set a word unless it is larger."""
        ...

    def highest(self, places: tuple[int, ...]) -> int:
        """Return the largest of several words."""
        ...


class PlainWords:
    """Words that one process writes."""

    def __init__(self, words: memoryview) -> None:
        self._words = words
        self.load = words.__getitem__
        self.store = words.__setitem__

    def next(self, at: int) -> int:
        """See `Words`."""
        self._words[at] += 1
        return self._words[at]

    def swap_if(self, at: int, was: int, value: int) -> bool:
        """See `Words`."""
        if self._words[at] != was:
            return False
        self._words[at] = value
        return True

    def raise_to(self, at: int, value: int) -> None:
        """See `Words`."""
        self._words[at] = max(value, self._words[at])

    def highest(self, places: tuple[int, ...]) -> int:
        """See `Words`."""
        return max(map(self._words.__getitem__, places), default=0)


@dataclass(frozen=True, slots=True)
class PendingBan:
    """A ban that is not known to be applied to everything stored."""

    number: int
    at: float
    """Wall seconds when it was published."""
    text: str


class TooManyBans(AccelError):
    """Every slot holds a ban that is still pending."""


def table_bytes(cells: int) -> int:
    """Return the bytes that a table of so many cells takes, a multiple of 512."""
    return -(-(_CELLS_AT + 2 * cells) * 8 // 512) * 512


def cell_count(memory_bytes: int) -> int:
    """Return how many cells a store of so many bytes should have: a power of two."""
    return max(_LEAST_CELLS, 1 << (memory_bytes // _MEMORY_A_CELL).bit_length() - 1)


class Numbers:
    """The table, as every process sees it."""

    def __init__(self, memory: mmap.mmap | memoryview, secret: bytes, *, is_shared: bool) -> None:
        """Use `table_bytes(cells)` writable bytes, zero at first; `is_shared`: another program may write too."""
        self._bytes = memoryview(memory).cast("B")
        self.memory = self._bytes.toreadonly()
        """The table, for compiled readers."""
        self._cell_count = (len(self._bytes) // 8 - _CELLS_AT) // 2
        self._secret = secret
        self._words = _words_of(self._bytes, is_shared)
        self.load = self._words.load

    @classmethod
    def alone(cls, cells: int = _LEAST_CELLS) -> Numbers:
        """Return a table of one arbiter and its forks, to be made before the first of them."""
        return cls(mmap.mmap(-1, table_bytes(cells)), secrets.token_bytes(SECRET_BYTES), is_shared=False)

    # Any process.

    def sequence(self) -> int:
        """Return the number of the latest invalidation: for a fetch to note before it is sent."""
        return self.load(SEQUENCE)

    def world(self) -> int:
        """Return a number that moves after each invalidation; load it before the words."""
        return self.load(WORLD)

    def cell(self, name: bytes) -> int:
        """Return where the words of a name lie; give each kind of name a first byte of its own."""
        hashed = int.from_bytes(blake2b(name, digest_size=8, key=self._secret).digest(), "little")
        return _CELLS_AT + 2 * (hashed % self._cell_count)

    def hard(self, cells: Cells) -> int:
        """Return the number of the latest hard invalidation of any of these names, or of all."""
        return self._words.highest((ALL_HARD, *cells))

    def soft(self, cells: Cells) -> int:
        """Return the number of the latest soft invalidation of any of these names, or of all."""
        return self._words.highest((ALL_SOFT, *[cell + 1 for cell in cells]))

    def swept(self) -> int:
        """Return the largest number of a ban that has ended; load it after `bans`."""
        return self.load(_SWEPT)

    def edition(self) -> int:
        """Return a number that moves with each change of the bans; load it before `bans`."""
        return self.load(EDITION)

    def bans(self) -> tuple[PendingBan, ...]:
        """Return the bans that are pending, oldest first."""
        found = filter(None, map(self._ban_in, range(_BAN_SLOTS)))
        return tuple(sorted(found, key=lambda ban: ban.number))

    # Arbiters.

    def invalidate(self, cells: Iterable[int], soft: bool) -> int:
        """Cover what was fetched so far under these names; return the number."""
        return self._raise(chain(cells), int(soft))

    def invalidate_all(self, soft: bool) -> int:
        """Cover everything that was fetched so far; return the number."""
        return self._raise((ALL_HARD,), int(soft))

    def ban(self, text: str) -> int:
        """Cover what `text` matches of all that was fetched so far; return the number.

        Raises TooManyBans if there is no slot; ValueError if the text is over BAN_TEXT_BYTES.
        """
        encoded = text.encode()
        if len(encoded) > BAN_TEXT_BYTES:
            raise ValueError(f"{len(encoded)} bytes are more than {BAN_TEXT_BYTES}")
        slot = self._claimed_slot()
        start = (slot + _TEXT) * 8
        self._bytes[start : start + len(encoded)] = encoded
        self._words.store(slot + _LENGTH, len(encoded))
        self._words.store(slot + _AT_NS, time.time_ns())
        number = self._words.next(SEQUENCE)
        self._words.store(slot + _NUMBER, number)
        self._words.next(EDITION)
        self._words.next(WORLD)
        return number

    def end_ban(self, number: int) -> None:
        """Forget a ban: nothing that it matches is stored, nor under way into the store but by a fetch from before."""
        self._words.raise_to(_SWEPT, number)
        for slot in range(_BANS_AT, _CELLS_AT, _BAN_WORDS):
            if self._words.swap_if(slot + _NUMBER, number, 0):
                self._words.next(EDITION)

    def _raise(self, places: Iterable[int], shift: int) -> int:
        number = self._words.next(SEQUENCE)
        for place in places:
            self._words.raise_to(place + shift, number)
        self._words.next(WORLD)
        return number

    def _claimed_slot(self) -> int:
        """Return a slot of our own: a free one, or one whose claimer died over it."""
        claim = _CLAIMED | os.getpid()
        for slot in range(_BANS_AT, _CELLS_AT, _BAN_WORDS):
            there = self.load(slot + _NUMBER)
            is_free = there == 0 or (there & _CLAIMED and not _is_alive(there & ~_CLAIMED))
            if is_free and self._words.swap_if(slot + _NUMBER, there, claim):
                return slot
        raise TooManyBans

    def _ban_in(self, index: int) -> PendingBan | None:
        """Return the ban of a slot; None if it has none, or was changed meanwhile."""
        slot = _BANS_AT + index * _BAN_WORDS
        number = self.load(slot + _NUMBER)
        if number == 0 or number & _CLAIMED:
            return None
        start, length = (slot + _TEXT) * 8, min(self.load(slot + _LENGTH), BAN_TEXT_BYTES)
        text, at_ns = bytes(self._bytes[start : start + length]), self.load(slot + _AT_NS)
        if self.load(slot + _NUMBER) != number:
            return self._ban_in(index)
        return PendingBan(number, at_ns / 1e9, text.decode(errors="replace"))


def _words_of(memory: memoryview, is_shared: bool) -> Words:
    if not is_shared:
        return PlainWords(memory.cast("Q"))
    from accel.store._numbers import SharedWords

    return SharedWords(memory)


def _is_alive(pid: int) -> bool:
    """Whether a claim's process may still be at it; our own is not, for nobody claims two slots at once."""
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
