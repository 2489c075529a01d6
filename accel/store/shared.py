"""One store for all workers, in memory that all of them map: the Python face of `_shared.pyx`.

Owns the arena's making and what of it is told to operators. Why it needs no lock and no repair, and what a kill -9
leaves, stands in `layout`. Invariant: an arena is made before the first fork and never grows; each worker writes by
its own row, and a row is given again only after `forget_worker`.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from accel.errors import AccelError
from accel.store import backing, header, layout
from accel.store._shared import FINGERPRINT, Core, Inspector, Map, Revival
from accel.store.numbers import Numbers, table_bytes

if FINGERPRINT != layout.FINGERPRINT:
    raise ImportError("accel.store._shared was built for another memory map: install again to build it anew")

WRITER_BYTES = 16 * 1024 * 1024
"""What one worker's writers hold of bodies that are no whole record yet: a hundred long ones at once, or more short."""
DECODED_RECORDS = 8192
"""Records whose meta a worker keeps decoded, least recently used out first: some 2 KiB each.

An OrderedDict, since cachetools' look-up, in Python, costs 0.9 us and this one 0.1 (CPython 3.11, 2026-11)."""


class Unfit(AccelError):
    """A predecessor's arena cannot be gone on with: says why."""


@dataclass(frozen=True, slots=True)
class Revived:
    """What a warm start found in the file."""

    records: int
    dropped: int
    """Slots that led to nothing whole."""
    seconds: float


class SharedArena:
    """The memory, made and kept by the arbiter; workers inherit it, and a successor may adopt it."""

    def __init__(
        self,
        memory_bytes: int,
        row_count: int,
        segment_bytes: int | None = None,
        *,
        path: Path | None = None,
        replaces: bool = False,
    ) -> None:
        """Take `memory_bytes` for `row_count` workers, in memory or in the file `path`, warm if what it holds fits.

        `replaces`: a predecessor still uses the file of that name and keeps it, without the name. Raises StartError
        when there is not as much to be had, `backing.InUse` when another program has the file.
        """
        plan = layout.plan(memory_bytes, row_count, segment_bytes)
        fd, self.cold_why = _memory(plan, path, replaces)
        """Why a file was begun anew; empty if it was not, or there is none."""
        self.revived: Revived | None = None
        """What was found in the file, if it was used as it was."""
        self._map_in(fd, plan, memory_bytes, 0)
        if path is None or self.cold_why:
            header.write_new(self.mapping, plan)
        else:
            header.begin_epoch(self.mapping)
            self.revived = _revived(self.mapping)
        if path is not None and replaces:
            backing.put_in_place(path)
        self._look_in()

    @classmethod
    def adopt(cls, fd: int, memory_bytes: int, row_count: int, side: int, segment_bytes: int | None = None) -> Self:
        """Go on with the living arena of a predecessor, which has the other side. Raises Unfit: `fd` stays open."""
        plan = layout.plan(memory_bytes, row_count, segment_bytes)
        why = header.why_unfit(header.read(fd), plan)
        if why:
            raise Unfit(why)
        arena = cls.__new__(cls)
        arena.cold_why, arena.revived = "", None
        arena._map_in(fd, plan, memory_bytes, side)
        arena._look_in()
        arena.map.forget_side(side)  # a successor that failed had it, or whoever was retired long ago
        return arena

    def _map_in(self, fd: int, plan: layout.Plan, memory_bytes: int, side: int) -> None:
        self.fd = fd
        """Stays open, and a file's lock with it; not inherited by other programs unless it is passed on."""
        self.side = side
        """Which half of the rows is ours."""
        self.plan, self.memory_bytes = plan, memory_bytes
        self.mapping = mmap.mmap(fd, plan.size)

    def _look_in(self) -> None:
        plan = self.plan
        header.enter(self.mapping, self.side)
        self.map = Map(self.mapping)
        region = memoryview(self.mapping)[plan.numbers_at :][: table_bytes(plan.number_cells)]
        self.numbers = Numbers(region, header.secret(self.mapping), is_shared=True)
        """What was invalidated, and when: as old as the records that it covers."""
        self._inspector_row = layout.SIDES * plan.row_count + self.side
        self._inspector = Inspector(self.map, self._inspector_row)

    @property
    def is_warm(self) -> bool:
        """Whether a former program's records are in it."""
        return self.revived is not None

    def row(self, row: int) -> int:
        """Return the map's row of a row of our own; ValueError if we have no such row."""
        if not 0 <= row < self.plan.row_count:
            raise ValueError(f"there is no row {row}")
        return self.side * self.plan.row_count + row

    def forget_worker(self, row: int) -> None:
        """Take back what the worker of `row`, one of ours, held. Arbiter only, once that process is dead."""
        self.map.forget(self.row(row))

    def forget_other_side(self) -> None:
        """Take back what the other program held. Arbiter only, once every process of it is dead."""
        self.map.forget_side(1 - self.side)
        header.leave_for(self.mapping, 1 - self.side)

    def leave(self) -> None:
        """Have all of a file written. Arbiter only, once every worker of ours is dead: nothing may be stored after."""
        header.leave(self.mapping, self.side)

    def stat(self) -> dict[str, float]:
        """Return segments by state and kind, filled bytes, pins, records, and what the workers did."""
        revived = self.revived or Revived(0, 0, 0.0)
        kept = {"epoch": self.map.epoch, "kept": revived.records, "lost": revived.dropped}
        return self._inspector.figures() | kept

    def glimpse(self) -> dict[str, Any]:
        """Return what may be asked for each second: a byte for each segment, bytes, records about, the workers' sums.

        A byte is fill in 16ths | is main << 4 | `layout.State` << 5.
        """
        return self._inspector.glimpse()

    def sweep(self, judge: Callable[[bytes, bytes], bool], settle: Callable[[], None]) -> None:
        """Show `judge` key and meta of every record and drop those that it says True of; `settle` after each."""
        self._inspector.sweep(judge, settle)

    def forget_walker(self) -> None:
        """Take back what a walk pinned, whatever it died of. Arbiter only, once its child is dead."""
        self.map.forget(self._inspector_row)

    def check(self) -> Check:
        """Walk everything and prove it; may run beside working workers."""
        counts, faults = self._inspector.check()
        return Check(**counts, faults=tuple(faults))


@dataclass(frozen=True, slots=True)
class Check:
    """What a walk over the whole arena found."""

    records: int
    """Records in segments, whether or not anything points to them."""
    pieces: int
    """Pieces of long bodies, the same."""
    live_bytes: int
    """Bytes of what something points to."""
    dead_bytes: int
    """Bytes of what was replaced, dropped or given up, and goes with its segment."""
    reachable: int
    """Slots that lead to a record."""
    twins: int
    """Slots that nobody reads, since a lower one has their key: what a kill at one place can leave."""
    broken: int
    """Long bodies that lost a piece: they are misses."""
    torn: int
    """Records and pieces with a wrong byte that came with a file and nobody has used since: they will be misses."""
    faults: tuple[str, ...]
    """What must never be, the first few; none in a sound arena."""


class SharedStore(Core):
    """The store of one worker: `store.Store` over an arena that it shares with the others."""

    def __new__(cls, arena: SharedArena, row: int, max_body_bytes: int | None = None, **_: int) -> SharedStore:
        """Take the row's hands on the arena."""
        return super().__new__(cls, arena.map, arena.row(row))  # type: ignore[return-value]

    def __init__(
        self,
        arena: SharedArena,
        row: int,
        max_body_bytes: int | None = None,
        *,
        writer_bytes: int = WRITER_BYTES,
        decoded_records: int = DECODED_RECORDS,
    ) -> None:
        """`max_body_bytes` None means an eighth of the arena."""
        most = arena.memory_bytes // layout.LARGEST_SHARE if max_body_bytes is None else max_body_bytes
        super().__init__(most, writer_bytes, decoded_records)


def _memory(plan: layout.Plan, path: Path | None, replaces: bool) -> tuple[int, str]:
    """Return memory or a file for an arena, and why a file's content is not used; see `SharedArena`."""
    if path is None:
        return backing.anonymous(plan.size), ""
    mend = "lower --memory, or let --store name a directory with more room"
    if replaces:
        return backing.beside(path, plan.size, mend), "the file is new"
    fd = backing.locked(path)
    why = _why_cold(fd, plan)
    os.truncate(fd, 0 if why else plan.size)
    backing.allocate(fd, plan.size, mend)
    return fd, why


def _why_cold(fd: int, plan: layout.Plan) -> str:
    """Return why a file must be begun anew; "": it need not."""
    size = os.fstat(fd).st_size
    if size == 0:
        return "the file is new"
    first = header.read(fd)
    why = header.why_unfit(first, plan)
    if not why and size != plan.size:
        return "it was cut short or grew"
    if not why and header.has_lost_pages(first):
        return "the machine went down while it was in use"
    return why


def _revived(mapping: mmap.mmap) -> Revived:
    """Make a file's map one that workers may use, and say what is in it."""
    began = time.monotonic()
    mapping.madvise(mmap.MADV_WILLNEED)
    revival = Revival(Map(mapping))
    revival.run()
    return Revived(revival.kept, revival.dropped, time.monotonic() - began)
