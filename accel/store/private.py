"""A store in one process's own memory, least recently used out first.

Owns its records' bytes and the bound on them. For tests, for one worker, and where shared memory is not to be
had. Invariant: records and writers together never cost more than the capacity; what a record costs beside its
body is counted, so the bound is one on memory and not on bodies.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from cachetools import Cache, LRUCache

from accel.store.store import Buffer, Record

RECORD_OVERHEAD_BYTES = 640
"""What a record's objects and its place in the table take beside its key, meta and body."""
META_COST = 7
"""What a byte of meta takes, with its share of `decoded`: a field is a tuple, two strings and an index entry.

Both were measured with tracemalloc on CPython 3.11, x86-64, for heads of 2 to 20 fields (2026-11).
"""
CHUNK_BYTES = 64 * 1024
"""Bodies are kept in pieces of at least this: a network read can yield less than its object costs."""
_LARGEST_SHARE = 8
"""No body takes more than this part of the store unless told so: one must not push out all the others."""


class PrivateRecord:
    """One stored thing, whole and unchanging; `decoded` alone is the caller's to set."""

    __slots__ = ("_chunks", "decoded", "key", "length", "meta")

    def __init__(self, key: bytes, meta: bytes, chunks: tuple[bytes, ...]) -> None:
        self.key = key
        self.meta = meta
        self.length = sum(map(len, chunks))
        self.decoded: Any = None
        self._chunks = chunks

    def chunks(self) -> Sequence[Buffer]:
        """Return the body's buffers in order."""
        return self._chunks

    def slice(self, start: int, stop: int) -> list[Buffer]:
        """Return buffers that together are bytes `start` to `stop` (exclusive) of the body."""
        buffers: list[Buffer] = []
        for chunk in self._chunks:
            piece = memoryview(chunk)[max(0, start) : max(0, stop)]
            if piece:
                buffers.append(piece)
            start -= len(chunk)
            stop -= len(chunk)
        return buffers

    def with_meta(self, meta: bytes) -> PrivateRecord:
        """Return a record with the same body and other `meta`."""
        return PrivateRecord(self.key, meta, self._chunks)


def _cost(record: PrivateRecord) -> int:
    return RECORD_OVERHEAD_BYTES + len(record.key) + META_COST * len(record.meta) + record.length


def _ignore() -> None:
    """What happens on an eviction when nobody counts them."""


class PrivateStore:
    """`store.Store` over cachetools: bounded by `capacity_bytes`, each body by `max_body_bytes`."""

    def __init__(
        self, capacity_bytes: int, max_body_bytes: int | None = None, on_evict: Callable[[], None] = _ignore
    ) -> None:
        """`max_body_bytes` None means an eighth of the capacity; `on_evict` is called for each that goes."""
        self.capacity_bytes = capacity_bytes
        self.max_body_bytes = capacity_bytes // _LARGEST_SHARE if max_body_bytes is None else max_body_bytes
        self._follows_capacity = max_body_bytes is None
        self._records: LRUCache[bytes, PrivateRecord] = LRUCache(sys.maxsize, getsizeof=_cost)
        self._writers_bytes = 0
        self._on_evict = on_evict

    def get(self, key: bytes) -> PrivateRecord | None:
        """Return the record and note its use, or None."""
        try:
            return self._records[key]
        except KeyError:
            return None

    def put(self, key: bytes, meta: bytes, body: bytes = b"") -> PrivateRecord | None:
        """Store a whole record at once; None when there is no room."""
        writer = self.create(key, len(body))
        if writer is None or not writer.append(body):
            return None
        return writer.commit(meta)

    def create(self, key: bytes, length: int | None) -> PrivateWriter | None:
        """Begin a record of `length` bytes (None: unknown); None when it can never fit."""
        if length is not None and length > self.max_body_bytes:
            return None
        return PrivateWriter(self, key, length)

    def freshen(self, record: Record, meta: bytes) -> PrivateRecord | None:
        """Replace `record` by one with the same body and new `meta`; None when it is no longer stored."""
        current = self.get(record.key)
        if current is None or current is not record:
            return None
        fresh = current.with_meta(meta)
        return fresh if self.insert(fresh) else None

    def remove(self, key: bytes) -> bool:
        """Drop the record of `key`; whether there was one."""
        return self._records.pop(key, None) is not None

    def clear(self) -> int:
        """Drop everything; return how many records went."""
        count = len(self._records)
        self._records.clear()
        return count

    def all_keys(self) -> list[bytes]:
        """Return the keys of all records."""
        return list(self._records)

    def sweep(self, key: bytes, judge: Callable[[bytes, bytes], bool], settle: Callable[[], None]) -> None:
        """Show `judge` a record, if it is there still, and drop it if it says True; then `settle`. Notes no use."""
        if key not in self._records:
            return
        if judge(key, Cache.__getitem__(self._records, key).meta):
            del self._records[key]
        settle()

    def resize(self, capacity_bytes: int) -> None:
        """Change the bound; what no longer fits goes at once, least recently used first."""
        if self._follows_capacity:
            self.max_body_bytes = capacity_bytes // _LARGEST_SHARE
        self.capacity_bytes = capacity_bytes
        self._make_room(0)

    @property
    def used_bytes(self) -> int:
        """Bytes held by records and writers, with what each costs beside its body."""
        return int(self._records.currsize) + self._writers_bytes

    @property
    def record_count(self) -> int:
        """Records that `get` can return."""
        return len(self._records)

    def insert(self, record: PrivateRecord) -> bool:
        """Make a whole record visible in place of its key's former one; whether there was room."""
        self.remove(record.key)
        if not self._make_room(_cost(record)):
            return False
        self._records[record.key] = record
        return True

    def reserve(self, count: int) -> bool:
        """Count bytes that a writer is about to hold; whether there is room for them."""
        if not self._make_room(count):
            return False
        self._writers_bytes += count
        return True

    def release(self, count: int) -> None:
        """Count off bytes that a writer held."""
        self._writers_bytes -= count

    def _make_room(self, count: int) -> bool:
        if self._writers_bytes + count > self.capacity_bytes:
            return False
        while self.used_bytes + count > self.capacity_bytes:
            self._records.popitem()
            self._on_evict()
        return True


class PrivateWriter:
    """A record under way; what it holds counts against the store's bound from the first byte."""

    __slots__ = ("_chunks", "_is_open", "_key", "_length", "_received", "_store", "_tail")

    def __init__(self, store: PrivateStore, key: bytes, length: int | None) -> None:
        self._store = store
        self._key = key
        self._length = length
        self._received = 0
        self._chunks: list[bytes] = []
        self._tail = bytearray()
        self._is_open = True

    def append(self, chunk: bytes) -> bool:
        """Add bytes; False (and aborted) when the record outgrew its length or the store's limits."""
        bound = self._store.max_body_bytes if self._length is None else self._length
        if not self._is_open or self._received + len(chunk) > bound or not self._store.reserve(len(chunk)):
            self.abort()
            return False
        self._received += len(chunk)
        self._tail += chunk
        if len(self._tail) >= CHUNK_BYTES:
            self._flush()
        return True

    def commit(self, meta: bytes) -> PrivateRecord | None:
        """Make the record visible under its key; None when it is shorter than announced or has no room."""
        if not self._is_open or self._length not in (None, self._received):
            self.abort()
            return None
        self._flush()
        record = PrivateRecord(self._key, meta, tuple(self._chunks))
        self.abort()
        return record if self._store.insert(record) else None

    def show(self, key: bytes | None, meta: bytes, is_whole: bool = False) -> PrivateRecord | None:
        """Return None: nobody else could read it, and whoever appends has the bytes."""
        return None

    def abort(self) -> None:
        """Forget what was appended."""
        if self._is_open:
            self._is_open = False
            self._store.release(self._received)
            self._chunks.clear()
            self._tail.clear()

    def _flush(self) -> None:
        if self._tail:
            self._chunks.append(bytes(self._tail))
            self._tail.clear()
