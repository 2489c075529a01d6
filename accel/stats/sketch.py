"""The heaviest of endlessly many names, in memory that does not grow: the space-saving algorithm.

Invariants: the weights of all entries add up to the weight of all that was added; an entry's true weight is between
`weight - excess` and `weight`; whatever weighs more than the whole divided by the capacity is an entry.

Source: A. Metwally, D. Agrawal, A. El Abbadi, "Efficient computation of frequent and top-k elements in data streams"
(2005). The least entry is found by a heap whose weights may be of before: an entry that grew since is pushed down when
it comes up.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heapreplace


@dataclass(slots=True)
class Entry:
    """What is known of one name."""

    name: str
    weight: float
    """At most by `excess` too much."""
    excess: float


class SpaceSaving:
    """At most `capacity` names."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._entries: dict[str, Entry] = {}
        self._heap: list[tuple[float, str]] = []
        """Each name once, with a weight that it had."""
        self.total = 0.0

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, name: str, weight: float = 1.0) -> str | None:
        """Count a name; a weight is not negative. Return the name that was given up for it, if one was."""
        self.total += weight
        entry = self._entries.get(name)
        if entry is not None:
            entry.weight += weight
        elif len(self._entries) < self._capacity:
            self._entries[name] = Entry(name, weight, 0.0)
            self._heap.append((weight, name))
            if len(self._heap) == self._capacity:
                heapify(self._heap)
        else:
            least = self._entries.pop(self._least())
            self._entries[name] = Entry(name, least.weight + weight, least.weight)
            heapreplace(self._heap, (least.weight + weight, name))
            return least.name
        return None

    def top(self, count: int) -> list[Entry]:
        """Return the heaviest, the first one first; those that may have come to nothing are left out."""
        sure = [entry for entry in self._entries.values() if entry.weight > entry.excess]
        return sorted(sure, key=lambda entry: (-entry.weight, entry.name))[:count]

    def _least(self) -> str:
        while True:
            weight, name = self._heap[0]
            now = self._entries[name].weight
            if now == weight:
                return name
            heapreplace(self._heap, (now, name))
