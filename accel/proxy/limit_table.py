"""The memory that rate limits are counted in: made by one program, shared by its workers, taken over by the next one.

Owns where the buckets lie, and whose table may be gone on with. Knows no rate; how a bucket is found and filled is
`limiter`'s. Invariant: the head is written once, before any other process can have the table, and never again.

```
 head     8 words              magic, version, when it was made (wall, ns), the secret that keys are hashed with (two
                               words); the rest is zero
 bucket   16 bits of the key's hash | 48 bits: when it is empty again, us since the table was made (8.9 years)
 set      8 buckets, one cache line; a key may lie in any of the one set that its hash chooses
 table    16,384 sets: 131,072 buckets, 1 MiB
```

It is a memfd of fixed size. The arbiter makes it before its first fork and keeps the descriptor; an upgrade in place
(`server.upgrade`) hands that to the next program, whose workers count in it from their first request on, beside those
of the old one. That needs nothing more than workers of one program do: no word belongs to anybody (`limiter` says why
that suffices), so there are no sides, nothing to take back when one of the two programs ends, and nothing to say to
the other. What both must do alike is in the table (its time, its secret) or behind its version: the shape, the order
in which a set is searched, how a key is hashed. VERSION is raised with any of them, and a table of another version is
left to the program that has it. Then each of the two counts for itself as long as both live.

What a kill -9 leaves
---------------------
 while it is made            memory that nobody else has, and that ends with the process
 while it is handed over     a table that lives as long as one process of either program maps it
 a successor, at any time    what its workers granted, which counts, as it should
 over a bucket               see `limiter`
"""

from __future__ import annotations

import mmap
import os
import secrets
import struct
import time
from typing import NamedTuple

from accel.store import backing
from accel.store.numbers import Words

MAGIC = int.from_bytes(b"accellim", "little")
VERSION = 1
SETS, WAYS = 16_384, 8
TABLE_BYTES = SETS * WAYS * 8
HEAD_BYTES = 64
SIZE = HEAD_BYTES + TABLE_BYTES

_HEAD = struct.Struct("=QQQ16s")


class LimitTable(NamedTuple):
    """The buckets, as every process sees them."""

    words: Words | None
    """TABLE_BYTES of them, zero at first; None where the compiled part is missing."""
    zero_at: float
    """Wall time from which buckets' times count, in s."""
    secret: bytes
    """What keys are hashed with, so that nobody outside can aim at a set or at another's bucket."""
    fd: int | None = None
    """For the next program; None if there is nothing to hand over."""

    @classmethod
    def made(cls) -> LimitTable:
        """Return a new table, to be made before the first fork. Raises StartError if there is no memory for it."""
        if not _is_built():
            return cls(None, time.time(), b"")
        fd = backing.anonymous(SIZE, "limit table", "free some")
        os.pwrite(fd, _HEAD.pack(MAGIC, VERSION, time.time_ns(), secrets.token_bytes(16)), 0)
        return cls.taken(fd)

    @classmethod
    def taken(cls, fd: int) -> LimitTable:
        """Return the table of a descriptor that `why_unfit` has nothing against."""
        from accel.store._numbers import SharedWords

        mapping = mmap.mmap(fd, SIZE)
        _, _, made_at_ns, secret = _HEAD.unpack_from(mapping)
        return cls(SharedWords(memoryview(mapping)[HEAD_BYTES:]), made_at_ns / 1e9, secret, fd)


def why_unfit(fd: int) -> str:
    """Return why what a predecessor handed over cannot be counted in; "": it can."""
    if not _is_built():
        return "the compiled part is missing"
    head = os.pread(fd, _HEAD.size, 0)
    if len(head) < _HEAD.size:
        return "it is no table of rate limits"
    magic, version, _, _ = _HEAD.unpack(head)
    if magic != MAGIC:
        return "it is no table of rate limits"
    if version != VERSION:
        return f"its layout is version {version}, this program's {VERSION}"
    if os.fstat(fd).st_size != SIZE:
        return "it was cut short or grew"
    return ""


def _is_built() -> bool:
    try:
        from accel.store import _numbers  # noqa: F401
    except ImportError:
        return False
    return True
