"""A walk over an old segment goes in slices: how much one write does of it, and what the pause leaves."""

from __future__ import annotations

import pytest

from accel.store import layout
from accel.store._shared import watch
from accel.store.layout import Step
from accel.store.numbers import table_bytes
from accel.store.shared import SharedArena, SharedStore

ARENA_BYTES, SEGMENT_BYTES = (512 << 10) + table_bytes(4096), 16 * 1024
UNITS = 8
BODY = bytes(600)


@pytest.fixture
def arena() -> SharedArena:
    return SharedArena(ARENA_BYTES, 2, SEGMENT_BYTES)


def sliced(arena: SharedArena, row: int) -> SharedStore:
    store = SharedStore(arena, row)
    store.walk_units = UNITS
    return store


def fill_until_paused(store: SharedStore) -> int:
    """Put records until a walk is left half done; return how many were put."""
    paused: list[int] = []
    watch(lambda step: paused.append(step) if step == Step.PAUSED else None)
    count = 0
    while not paused:
        store.put(b"%d" % count, b"", BODY)
        count += 1
    watch(None)
    return count


@pytest.mark.parametrize("uses", [0, 2])
def test_no_write_goes_over_more_records_than_its_units(arena: SharedArena, uses: int) -> None:
    store, most = sliced(arena, 0), 0
    for number in range(6_000):
        before = arena.stat()
        assert store.put(b"%d" % number, b"", BODY) is not None
        after = arena.stat()
        most = max(most, int(after["evicted"] + after["moved"] - before["evicted"] - before["moved"]))
        for _ in range(uses):
            store.get(b"%d" % number)

    assert arena.stat()["walked"] > 50
    assert 1 < most <= UNITS * (1 + layout.URGENT_WALKS) + 700 // layout.WRITTEN_A_UNIT + 1


def test_a_segment_left_half_emptied_is_read_and_gone_on_with(arena: SharedArena) -> None:
    store, other = sliced(arena, 0), sliced(arena, 1)
    fill_until_paused(store)
    assert arena.stat()["claimed"] == 1 and arena.check().faults == ()
    assert any(other.get(b"%d" % number) for number in range(UNITS, SEGMENT_BYTES // 700)), "nothing of it is read"

    for number in range(20):
        store.put(b"next %d" % number, b"", BODY)

    assert arena.stat()["claimed"] == 0 and arena.stat()["walked"] >= 1


def test_others_reclaim_what_they_need_while_a_walk_rests(arena: SharedArena) -> None:
    store, other = sliced(arena, 0), sliced(arena, 1)
    count = fill_until_paused(store)

    for number in range(5 * count):
        assert other.put(b"other %d" % number, b"", BODY) is not None

    assert arena.check().faults == ()


def test_a_walk_that_rests_when_its_worker_dies_is_begun_anew(arena: SharedArena) -> None:
    count = fill_until_paused(sliced(arena, 0))
    arena.forget_worker(0)
    assert arena.stat()["claimed"] == 0

    survivor = sliced(arena, 1)
    for number in range(5 * count):
        assert survivor.put(b"after %d" % number, b"", BODY) is not None

    assert arena.check().faults == () and arena.stat()["sealed"] > 0
