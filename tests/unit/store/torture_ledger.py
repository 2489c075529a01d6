"""What a torture's processes and their arbiter share: how large it is, and how far each process is.

The ledger lies in memory that outlives whoever writes it, and each of its words has one writer: the process of the row.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from enum import IntEnum

STAMP_BYTES = 24
"""Every body begins with so much that says which it is."""
TAGS = 12


class Verb(IntEnum):
    """What an operation is."""

    GET = 0  # a look-up, every byte compared
    PUT = 1  # a whole record at once, over what was there
    APPEND = 2  # a long body's next part
    COMMIT = 3  # its end
    FRESHEN = 4  # other meta, the same body
    REMOVE = 5  # a purge of one key
    CLAIM = 6  # lead or follow a fetch
    COVER = 7  # an invalidation of a tag, by its number
    SHOW = 8  # what has come of a long body, for others to read


@dataclass(frozen=True, slots=True)
class Scale:
    """How large a torture is."""

    processes: int
    keys: int
    arena_bytes: int
    segment_bytes: int | None = None

    @property
    def longest_bytes(self) -> int:
        """The longest body: what the store takes at most, or 8 MiB."""
        return min(8 << 20, self.arena_bytes // 8) - STAMP_BYTES

    @property
    def writer_bytes(self) -> int:
        """What the writers of one process may hold."""
        return self.arena_bytes // 64


class Ledger:
    """Operations by process and verb, the dearest of each in CPU time, and which tags were covered when."""

    def __init__(self, processes: int) -> None:
        self._stride = 2 * len(Verb) + TAGS
        self._words = memoryview(mmap.mmap(-1, (1 + processes * self._stride) * 8)).cast("Q")
        self._processes = processes

    def end(self) -> None:
        """Tell everybody to come to an end."""
        self._words[0] = 1

    @property
    def is_over(self) -> bool:
        """Whether everybody shall come to an end."""
        return self._words[0] != 0

    def note(self, row: int, verb: Verb, cpu_ns: int) -> None:
        """Count one operation of a process."""
        at = 1 + row * self._stride + verb * 2
        self._words[at] += 1
        self._words[at + 1] = max(self._words[at + 1], cpu_ns)

    def operations(self, row: int) -> int:
        """Return how many operations a process, with its predecessors, has done."""
        first = 1 + row * self._stride
        return sum(self._words[first : first + len(Verb) * 2 : 2])

    def cover(self, row: int, tag: int, at_ns: int) -> None:
        """Note that an invalidation by a process, begun at `at_ns`, is done."""
        self._words[1 + row * self._stride + 2 * len(Verb) + tag] = at_ns

    def covered_at_ns(self, tag: int) -> int:
        """Return when the last invalidation of a tag that is done was begun: nothing older may be used."""
        places = range(1 + 2 * len(Verb) + tag, len(self._words), self._stride)
        return max(self._words[place] for place in places)

    def figures(self) -> dict[Verb, tuple[int, float]]:
        """Return count and greatest CPU time, in ms, by verb."""
        found = {}
        for verb in Verb:
            places = [1 + row * self._stride + verb * 2 for row in range(self._processes)]
            found[verb] = (
                sum(self._words[at] for at in places),
                max(self._words[at + 1] for at in places) / 1e6,
            )
        return found
