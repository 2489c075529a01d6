"""What makes keys many: query parameters, and fields that responses vary on, by their different values in misses.

Owns what of a record is a part of the key. Invariant: memory does not grow with the traffic: `capacity` names are kept
by space saving (`sketch`), each with a kilobyte that counts its values (`distinct`), and a name is short. A name that
comes back after it was given up begins anew.

The target is the one that an origin was asked for, so a parameter that rules drop is no part. Of a field's values the
record has hashes (`LogRecord.varies`), and only where other variants were stored already: the first is not counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from accel.stats.distinct import Distinct
from accel.stats.records import TEXTS, LogRecord
from accel.stats.sketch import SpaceSaving

MOST_PARAMETERS = 32
"""Of one target: more are not looked at."""
NAME_BYTES = 64
_NEW_KEYS = frozenset({"uri-miss", "vary-miss"})
"""Of other misses the key was there."""
_JOINED = b":key"
"""As `caching.key.EXTRA`."""
_VARIES_CUT = 1 << TEXTS.index("varies")


@dataclass(frozen=True, slots=True)
class Part:
    """One part of keys, over all misses."""

    name: str
    """`parameter NAME`, `field NAME`, or what rules join."""
    values: int
    """Different ones, about."""
    misses: float
    """That have it, at most by `excess` too many."""
    excess: float


class Fragments:
    """Counts the parts of keys."""

    def __init__(self, capacity: int) -> None:
        self._misses = SpaceSaving(capacity)
        self._values: dict[str, Distinct] = {}

    def __len__(self) -> int:
        return len(self._values)

    def add(self, one: LogRecord, weight: float = 1.0) -> None:
        """Count a record's parts; one that is no miss has none."""
        for name, value in parts_of(one):
            given_up = self._misses.add(name, weight)
            if given_up is not None:
                del self._values[given_up]
            if name not in self._values:
                self._values[name] = Distinct()
            self._values[name].add(value)

    def top(self, count: int) -> list[Part]:
        """Return those with the most values, the first one first."""
        parts = [
            Part(entry.name, self._values[entry.name].estimate(), entry.weight, entry.excess)
            for entry in self._misses.top(len(self._values))
        ]
        return sorted(parts, key=lambda part: (-part.values, part.name))[:count]


def parts_of(one: LogRecord) -> Iterator[tuple[str, bytes]]:
    """Yield name and value of each part of a miss's key that others may not have."""
    if one.outcome != "miss" or one.reason not in _NEW_KEYS:
        return
    _, _, query = (one.asked or one.target).partition(b"?")
    for parameter in query.split(b"&", MOST_PARAMETERS)[:MOST_PARAMETERS]:
        name, _, value = parameter.partition(b"=")
        if name:
            yield "parameter " + name[:NAME_BYTES].decode("latin-1"), value
    fields = one.varies.split()[1:]
    for field in fields[:-1] if one.cut & _VARIES_CUT else fields:
        name, _, value = field.partition(b"=")
        yield "what rules join" if name == _JOINED else "field " + name[:NAME_BYTES].decode("latin-1"), value
