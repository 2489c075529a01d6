"""What a rehearsal's small cache holds: responses by key and variant, and what purges make of them.

Owns keeping, finding and dropping, as `proxy.cache` does them over the store. Decides nothing about freshness.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from accel.caching import ban
from accel.caching.freshness import current_age
from accel.caching.invalidation import Purge, What
from accel.caching.key import primary_key, selecting_values, variant_names
from accel.caching.stored import Stored, decode, encode
from accel.caching.tags import ANY
from accel.http.message import Request


@dataclass(slots=True)
class Kept:
    """One stored response."""

    head: bytes
    """Encoded, as the store has it."""
    body: bytes
    is_soft_purged: bool = False

    @property
    def stored(self) -> Stored:
        """The head, decoded."""
        stored = decode(self.head)
        assert isinstance(stored, Stored)
        return stored


@dataclass(slots=True)
class _Shelf:
    """What is stored under one primary key."""

    names: tuple[bytes, ...]
    variants: dict[bytes, Kept] = field(default_factory=dict)
    """By selecting values."""


class Shelves:
    """Everything that is stored."""

    def __init__(self) -> None:
        self._shelves: dict[bytes, _Shelf] = {}

    def found(self, asked: Request) -> Kept | None:
        """Return what is stored for a request."""
        shelf = self._shelves.get(primary_key(asked.host, asked.target))
        if shelf is None or (not shelf.names and asked.key_extra):
            return None
        return shelf.variants.get(selecting_values(asked, shelf.names))

    def put(self, asked: Request, stored: Stored, body: bytes) -> None:
        """Store a response to a request."""
        names = variant_names(asked, stored.fields)
        assert names is not None
        primary = primary_key(asked.host, asked.target)
        shelf = self._shelves.get(primary)
        if shelf is None or not set(names) <= set(shelf.names):
            every = tuple(sorted({*names, *(shelf.names if shelf is not None else ())}))
            shelf = self._shelves[primary] = _Shelf(every)
        shelf.variants[selecting_values(asked, shelf.names)] = Kept(encode(stored), body)

    def invalidate(self, purge: Purge, now: float) -> int:
        """Drop what a purge names, or note that it is stale; return how many responses that were.

        Raises ValueError if it is a ban that cannot be read.
        """
        expression = ban.parse(purge.names[0].decode("utf-8", "replace")) if purge.what is What.BAN else None
        count = 0
        for primary, shelf in self._shelves.items():
            for values, kept in list(shelf.variants.items()):
                if not _is_named(purge, expression, primary, kept.stored, now):
                    continue
                count += 1
                kept.is_soft_purged = True
                if not purge.is_soft:
                    del shelf.variants[values]
        return count


def _is_named(purge: Purge, expression: ban.Ban | None, primary: bytes, stored: Stored, now: float) -> bool:
    if expression is not None:
        host, target, *_ = primary.split(b"\0", 2)
        subject = ban.Subject(host, target, stored.status, current_age(stored, now), lambda: stored.fields)
        return expression.matches(subject)
    if purge.what is What.TAG:
        return not {*purge.names, ANY}.isdisjoint(stored.tags)
    return purge.what is What.ALL or primary in purge.names
