"""Both stores by one name, and what tests say of a record."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Protocol

from accel.store.private import PrivateStore
from accel.store.store import Record, Store

IS_BUILT = find_spec("accel.store._shared") is not None
"""Whether the extension was compiled here."""
SEGMENT_BYTES = 32 * 1024
"""Small, so that little content makes many segments, and bodies over 4 KiB go in pieces."""


class MakeStore(Protocol):
    """Makes an empty store."""

    def __call__(self, capacity: int = 1 << 20, max_body_bytes: int | None = None) -> Store: ...


def make_private(capacity: int = 1 << 20, max_body_bytes: int | None = None) -> Store:
    return PrivateStore(capacity, max_body_bytes)


def make_shared(capacity: int = 1 << 20, max_body_bytes: int | None = None) -> Store:
    from accel.store.shared import SharedArena, SharedStore

    return SharedStore(SharedArena(capacity, 2, SEGMENT_BYTES), 0, max_body_bytes)


MAKERS: dict[str, MakeStore] = {"private": make_private} | ({"shared": make_shared} if IS_BUILT else {})


def body(record: Record | None) -> bytes:
    """Return the whole body of a record that must be there."""
    assert record is not None
    return b"".join(bytes(chunk) for chunk in record.chunks())
