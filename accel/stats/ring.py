"""The live log: one ring of records a worker, in memory that the arbiter made before the fork.

Owns the map and its reading; what a record says is `records`, the compiled writer is `_ring`, the one where that was
not built is `plain_ring`. Knows no process and no file.

```
 words   4096 bytes      reserved, head, records, begun; 64-bit, the rest unused
 data    n x 64 KiB      pages; a record lies in one page, the rest of a page is a filler
```

`reserved` and `head` are offsets in an endless stream of bytes; offset x lies at data[x % size], and neither of them
ever goes back. One process writes all words and the data: the worker of the row. Nobody ever writes to a ring to
read it, so no reader, however many and however slow, holds the worker up, and the worker does not know of any.

A write: records += 1; reserved = where the record will end, unless it is that far already; the bytes (a filler first
if the page has no room); head = the same end. A stored `reserved` is seen by whoever sees one of the bytes after it
(release fence before them), and the bytes by whoever sees `head` (release store).

A read at offset x: take `head`; copy [x, min(head, end of x's page)); then (acquire fence) load `reserved`. Bytes from
x on were not overwritten if x + size >= reserved: what was copied is whole records. Otherwise it is thrown away, and
the reader goes on at the first page that begins at or after reserved - size: every page begins with a record, so no
list of beginnings is needed. Each record carries its number of all those ever written in the ring: what a reader has
lost is the difference to the number that it expected, exactly. `begun` numbers the exchanges as they begin: also the
next worker of the row gives none twice.

What if ...
- the worker is killed before `head`: bytes between head and reserved are undefined. No reader goes beyond head. The
  row's next worker goes on at head, with `reserved` where it was: were that set back, a reader that had copied old
  bytes, which the dead one then overwrote, would find them good. Its record's number is used up: it counts as lost.
- it is stopped there: the same, until it goes on. It is killed between reserved and a filler: the same.
- there are two writers: not in a ring. The arbiter forks a row's next worker when it has waited for the last one; a new
  program beside an old one has rings of its own.
- a reader is stopped between copy and check: it finds that it was overrun. Offsets have 64 bits: none comes twice.
- a reader asks for an offset of another time or ring: beyond head it is sent to the oldest page; one that is not a
  record's beginning gives it nonsense, but nothing outside the ring: places come from offsets modulo size, and a copy
  ends with its page.
- a worker that was taken over writes nonsense: `records` believes no length, so the arbiter reads nothing outside the
  copy, which nobody else can change.
- the compiled part was not built: Python's stores are in order on x86, but not everywhere. There each record has a
  checksum, and one that does not match is no record.

Sources: H. Boehm, "Can seqlocks get along with programming language memory models?" (2012); Varnish's shared memory
log; perf_event_open(2) on rings that are written over (`write_backward`).
"""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
from typing import Protocol

from accel.stats.plain_ring import HEADER_BYTES, PAGE_BYTES, PlainWords, PlainWriter

try:
    from accel.stats._ring import RingWords, RingWriter
except ImportError:
    RingWords, RingWriter = PlainWords, PlainWriter  # type: ignore[assignment, misc]

__all__ = ["LEAST_RING_BYTES", "LogRings", "RingReader", "RingWriter", "Words", "Writer"]

LEAST_RING_BYTES = 4 * PAGE_BYTES
"""With one page being overwritten and one being skipped there is still one to read."""
_TRIES = 3
"""A reader that is overrun so often comes again later."""


class Writer(Protocol):
    """The one who writes a ring; of `_ring` or of `plain_ring`."""

    def begun(self) -> int:
        """Return the number of an exchange that begins, of all of this ring."""
        ...

    def write(
        self,
        at: float,
        first_byte_s: float,
        total_s: float,
        origin_s: float,
        age_s: float,
        ttl_s: float,
        key_hash: int,
        body_bytes: int,
        exchange_id: int,
        connection_id: int,
        status: int,
        minor: int,
        outcome: int,
        reason: int,
        retries: int,
        client: str,
        method: bytes,
        host: bytes,
        target: bytes,
        referer: bytes,
        user_agent: bytes,
        backend: str,
        rule: str,
        tags: bytes,
        asked: bytes = b"",
        varies: bytes = b"",
        /,
    ) -> None:
        """Write one exchange; the fields are those of `records.LogRecord`, outcome and reason by number.

        An exchange without a number gets the next one.
        """
        ...


class Words(Protocol):
    """A ring as its readers see it; of `_ring` or of `plain_ring`."""

    size: int

    def reserved(self) -> int:
        """Return where the writer may be writing up to."""
        ...

    def head(self) -> int:
        """Return where whole records end."""
        ...

    def records(self) -> int:
        """Return how many records were ever begun."""
        ...

    def copied(self, start: int, end: int) -> bytes | None:
        """Return the bytes from `start` to `end`, which lie in one page; None if they were overrun meanwhile."""
        ...


class RingReader:
    """Reads one ring, from wherever its caller was the last time."""

    def __init__(self, memory: memoryview) -> None:
        self._words: Words = RingWords(memory)

    def head(self) -> int:
        """Return where the next record will be."""
        return self._words.head()

    def records(self) -> int:
        """Return how many records were ever begun: the number of the last one, or of the one after it."""
        return self._words.records()

    def oldest(self) -> int:
        """Return where the oldest page begins that is not being overwritten."""
        overrun = self._words.reserved() - self._words.size
        return 0 if overrun <= 0 else -(-overrun // PAGE_BYTES) * PAGE_BYTES

    def read(self, offset: int) -> tuple[bytes, int]:
        """Return whole records from `offset` on, at most a page of them, and where the next read begins.

        Nothing and the same offset: there is nothing new. After an overrun reading goes on at the oldest page.
        """
        for _ in range(_TRIES):
            head = self._words.head()
            if not max(0, self._words.reserved() - self._words.size) <= offset <= head:
                offset = self.oldest()
            end = min(head, offset - offset % PAGE_BYTES + PAGE_BYTES)
            copy = self._words.copied(offset, end) if offset < end else b""
            if copy is not None:
                return copy, max(offset, end)
        return b"", offset


class LogRings:
    """The rings of one program, by the worker's row.

    Each has a name that no other ring has, under which others may map it (`mapped_ring`), and its size for ever.
    """

    def __init__(self, ring_bytes: int) -> None:
        """`ring_bytes`: of each ring, rounded up to whole pages and to the least of them; 0 for no log."""
        self._size = max(LEAST_RING_BYTES, -(-ring_bytes // PAGE_BYTES) * PAGE_BYTES) if ring_bytes else 0
        self._token = secrets.token_hex(8)
        self._memory: dict[int, memoryview] = {}
        self._readers: dict[int, RingReader] = {}

    def memory(self, row: int) -> memoryview | None:
        """Return the ring of a worker about to be forked, made if this is the row's first; None if there is no log."""
        if not self._size:
            return None
        if row not in self._memory:
            memory = _made(self.name(row), HEADER_BYTES + self._size)
            self._memory[row], self._readers[row] = memory, RingReader(memory)
        return self._memory[row]

    def name(self, row: int) -> str:
        """Return what the ring of a row is called."""
        return f"accel-log-{self._token}-{row}"

    def readers(self) -> dict[int, RingReader]:
        """Return the reader of each ring so far; a copy: any thread may ask."""
        return self._readers.copy()


def _made(name: str, size: int) -> memoryview:
    """Return new memory; its mapping keeps a descriptor of it open, by which others find it."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, size)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
        return memoryview(mmap.mmap(fd, size))
    finally:
        os.close(fd)
