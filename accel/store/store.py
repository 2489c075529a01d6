"""The interface of a store: immutable records under keys, bounded in bytes.

Knows no HTTP: `meta` is whatever `caching.stored` encoded, `body` is bytes. Invariant: a record that `get` returns is
whole; a record being written is not visible before `commit`; bytes held by writers count against the bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

Buffer = bytes | memoryview


class Record(Protocol):
    """One stored thing; stays readable for as long as somebody holds it, whatever the store does meanwhile."""

    key: bytes
    meta: bytes
    """Encoded by the caller of `commit` or `put`."""
    length: int
    """Bytes of the body."""
    decoded: Any
    """The caller's own reading of `meta`, kept beside it so that it is decoded once; None at first."""

    def chunks(self) -> Sequence[Buffer]:
        """Return the body's buffers in order."""
        ...

    def slice(self, start: int, stop: int) -> list[Buffer]:
        """Return buffers that together are bytes `start` to `stop` (exclusive) of the body."""
        ...


class Writer(Protocol):
    """A record under way: append, then commit or abort exactly once."""

    def append(self, chunk: bytes) -> bool:
        """Add bytes; False (and aborted) when the record outgrew the store's limits."""
        ...

    def commit(self, meta: bytes) -> Record | None:
        """Make the record visible under its key, replacing what was there; None when there is no room."""
        ...

    def show(self, key: bytes | None, meta: bytes, is_whole: bool = False) -> Record | None:
        """Return a record of what is in the store's memory so far, put under `key` unless that is None.

        None when that is no more than last time, when there is no room, or when the store shares its memory with
        nobody. The writer goes on; `is_whole` says that nothing will be appended: then the record is of everything.
        """
        ...

    def abort(self) -> None:
        """Forget what was appended."""
        ...


class Store(Protocol):
    """Records under keys. Every method is quick and never waits."""

    def get(self, key: bytes) -> Record | None:
        """Return the record and note its use, or None."""
        ...

    def put(self, key: bytes, meta: bytes, body: bytes = b"") -> Record | None:
        """Store a whole record at once; None when there is no room."""
        ...

    def create(self, key: bytes, length: int | None) -> Writer | None:
        """Begin a record of `length` bytes (None: unknown); None when it can never fit."""
        ...

    def freshen(self, record: Record, meta: bytes) -> Record | None:
        """Replace `record` by one with the same body and new `meta`; None when it is no longer stored."""
        ...

    def remove(self, key: bytes) -> bool:
        """Drop the record of `key`; whether there was one."""
        ...

    def clear(self) -> int:
        """Drop everything; return how many records went."""
        ...

    @property
    def used_bytes(self) -> int:
        """Bytes held by records and writers, with what each costs beside its body."""
        ...

    @property
    def record_count(self) -> int:
        """Records that `get` can return."""
        ...
