"""What invalidations cover: their numbers and bans, as one process looks them up.

Owns which names a stored thing has and the order of looking. Invariant: what `is_dropped` let pass was not covered by
any invalidation that had been published when it was called; a thing looked at again costs one load and a compare
until something is published (`store.numbers` says why that is safe).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from accel.caching.ban import Ban, Subject, parse
from accel.caching.freshness import current_age
from accel.caching.stored import Glimpse, Stored
from accel.caching.tags import ANY
from accel.store.numbers import Cells, PendingBan

_KEY, _TAG = b"k", b"t"
"""What a name begins with: a key and a tag of the same bytes are two names."""


class Numbers(Protocol):
    """The machine's invalidation numbers; see `store.numbers.Numbers`."""

    def sequence(self) -> int:
        """Return the number of the latest invalidation."""
        ...

    def world(self) -> int:
        """Return a number that moves after each invalidation."""
        ...

    def cell(self, name: bytes) -> int:
        """Return where the words of a name lie."""
        ...

    def hard(self, cells: Cells) -> int:
        """Return the number of the latest hard invalidation of any of these names."""
        ...

    def soft(self, cells: Cells) -> int:
        """Return the number of the latest soft invalidation of any of these names."""
        ...

    def edition(self) -> int:
        """Return a number that moves with each change of the bans."""
        ...

    def bans(self) -> tuple[PendingBan, ...]:
        """Return the bans that are pending."""
        ...

    def swept(self) -> int:
        """Return the largest number of a ban that has ended."""
        ...


class Covered:
    """Something stored that invalidations may cover, with what is known of that in this process."""

    __slots__ = ("cells", "edition", "is_soft_purged", "number", "seen")

    def __init__(self, number: int) -> None:
        self.number = number
        """The invalidation number that its fetch began with."""
        self.seen = -1
        """The world in which it was last found uncovered."""
        self.edition = -1
        """The bans that it was last found unmatched by."""
        self.cells: Cells | None = None
        self.is_soft_purged = False
        """Whether a soft invalidation covers it."""


class CoveredResponse(Covered):
    """A stored response: it has tags, and bans may match it."""

    __slots__ = ("stored",)

    def __init__(self, stored: Stored) -> None:
        super().__init__(stored.number)
        self.stored = stored


@dataclass(frozen=True, slots=True)
class StandingBan:
    """A pending ban, parsed."""

    number: int
    at: float
    """Wall seconds when it was published: `age` is meant as of then."""
    ban: Ban

    def covers(self, key: bytes, stored: Stored | Glimpse) -> bool:
        """Whether the ban matches a stored response that is not newer; `key` begins with its primary key."""
        if stored.number >= self.number:
            return False
        host, target, *_ = key.split(b"\0", 2)
        age_s = current_age(stored, self.at)
        return self.ban.matches(Subject(host, target, stored.status, age_s, lambda: stored.fields))


class Covering:
    """One process's look at the numbers."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers
        self._world = numbers.world
        self.sequence = numbers.sequence
        self._edition = -1
        self._bans: tuple[StandingBan, ...] = ()

    def is_dropped(self, primary: bytes, one: Covered) -> bool:
        """Whether a hard invalidation covers what lies under `primary`; notes whether a soft one does."""
        world = self._world()
        if one.seen == world:
            return False
        if one.cells is None:
            one.cells = self._cells(primary, one)
        if one.number < self._numbers.hard(one.cells) or self._is_banned(primary, one):
            return True
        one.is_soft_purged = one.number < self._numbers.soft(one.cells)
        one.seen = world
        return False

    def may_appear(self, primary: bytes, one: Covered) -> bool:
        """Whether something fetched may be stored now: no invalidation came since its fetch began that covers it.

        The bans are looked at first and those that ended after: a ban is one or the other. What was under way before
        a ban that has ended is not stored, whatever the ban matched.
        """
        return not self.is_dropped(primary, one) and one.number >= self._numbers.swept()

    def may_join(self, primary: bytes, number: int) -> bool:
        """Whether a request that comes now may share a fetch of `primary` that began at `number`, its tags unknown."""
        newest_ban = max((ban.number for ban in self.bans()), default=0)
        covered_to = self._numbers.hard((self._numbers.cell(_KEY + primary),))
        return number >= max(newest_ban, self._numbers.swept(), covered_to)

    def bans(self) -> tuple[StandingBan, ...]:
        """Return the pending bans; one that this version cannot read covers everything that is not newer."""
        edition = self._numbers.edition()
        if edition != self._edition:
            self._bans = standing(self._numbers.bans())
            self._edition = edition
        return self._bans

    def _is_banned(self, primary: bytes, one: Covered) -> bool:
        """Whether a pending ban matches; each is asked once."""
        bans = self.bans()
        if one.edition == self._edition or not isinstance(one, CoveredResponse):
            return False
        if any(ban.covers(primary, one.stored) for ban in bans):
            return True
        one.edition = self._edition
        return False

    def _cells(self, primary: bytes, one: Covered) -> Cells:
        tags = one.stored.tags if isinstance(one, CoveredResponse) else ()
        return tuple(map(self._numbers.cell, (_KEY + primary, *(_TAG + tag for tag in tags))))


def key_names(keys: tuple[bytes, ...]) -> list[bytes]:
    """Return the names by which primary keys are invalidated."""
    return [_KEY + key for key in keys]


def tag_names(tags: tuple[bytes, ...]) -> list[bytes]:
    """Return the names by which tags are invalidated: also that of responses whose tags are not all kept."""
    return [_TAG + tag for tag in (*tags, ANY)]


def standing(bans: tuple[PendingBan, ...]) -> tuple[StandingBan, ...]:
    """Parse pending bans."""
    return tuple(StandingBan(ban.number, ban.at, _parsed(ban.text)) for ban in bans)


def _parsed(text: str) -> Ban:
    try:
        return parse(text)
    except ValueError:
        return Ban(text, ())  # another version's, in an upgrade: what it means is not known here
