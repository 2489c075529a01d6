"""One store for all workers, in memory that all of them map: the Python face of `_shared.pyx`.

Owns the arena's making and what of it is told to operators. Why it needs no lock and no repair, and what a kill -9
leaves, stands in `layout`. Invariant: an arena is made before the first fork and never grows; each worker writes by
its own row, and a row is given again only after `forget_worker`.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
import struct
import time
from dataclasses import asdict, dataclass

from accel.errors import StartError
from accel.store import layout
from accel.store._shared import FINGERPRINT, Core, Inspector, Map

if FINGERPRINT != layout.FINGERPRINT:
    raise ImportError("accel.store._shared was built for another memory map: install again to build it anew")

WRITER_BYTES = 16 * 1024 * 1024
"""What one worker's writers hold of bodies that are no whole record yet: a hundred long ones at once, or more short."""
DECODED_RECORDS = 8192
"""Records whose meta a worker keeps decoded, least recently used out first: some 2 KiB each.

An OrderedDict, since cachetools' look-up, in Python, costs 0.9 us and this one 0.1 (CPython 3.11, 2026-11)."""


class SharedArena:
    """The memory, made and kept by the arbiter; workers inherit it."""

    def __init__(self, memory_bytes: int, row_count: int, segment_bytes: int | None = None) -> None:
        """Take `memory_bytes` for `row_count` workers; StartError when the machine has not as much to give."""
        self.plan = layout.plan(memory_bytes, row_count, segment_bytes)
        self.memory_bytes = memory_bytes
        fd = _allocated(self.plan.size)
        self.mapping = mmap.mmap(fd, self.plan.size)
        os.close(fd)
        _write_header(self.mapping, self.plan)
        self.map = Map(self.mapping)
        self._inspector = Inspector(self.map, row_count)

    def forget_worker(self, row: int) -> None:
        """Take back what the worker of `row` held. Arbiter only, once that process is dead."""
        self.map.forget(row)

    def stat(self) -> dict[str, float]:
        """Return segments by state and kind, filled bytes, pins, records, and what the workers did."""
        return self._inspector.figures()

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
    faults: tuple[str, ...]
    """What must never be, the first few; none in a sound arena."""


class SharedStore(Core):
    """The store of one worker: `store.Store` over an arena that it shares with the others."""

    def __new__(cls, arena: SharedArena, row: int, max_body_bytes: int | None = None, **_: int) -> SharedStore:
        """Take the row's hands on the arena."""
        return super().__new__(cls, arena.map, row)  # type: ignore[return-value]

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


def _allocated(size: int) -> int:
    """Return a memfd whose every page is there already and whose size nobody can change."""
    fd = os.memfd_create("accel-store", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.posix_fallocate(fd, 0, size)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    except OSError as error:
        os.close(fd)
        raise StartError(f"the store's {size >> 20} MiB could not be had ({error.strerror}): lower --memory") from error
    return fd


def _write_header(mapping: mmap.mmap, plan: layout.Plan) -> None:
    values = asdict(plan) | {
        "magic": layout.MAGIC,
        "version": layout.VERSION,
        "fingerprint": layout.FINGERPRINT,
        "secret_low": secrets.randbits(64),
        "secret_high": secrets.randbits(64),
        "made_at_ns": time.time_ns(),
        "sequence": 1,
    }
    words = [values.get(field.name, 0) for field in layout.HEADER]
    mapping[: len(words) * 8] = struct.pack(f"={len(words)}Q", *words)
