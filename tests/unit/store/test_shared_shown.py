"""A long body shown while it comes: what other workers read of it, and what is left when it ends in whatever way."""

from __future__ import annotations

import os

import pytest
from stores import SEGMENT_BYTES, body

from accel.store.shared import SharedArena, SharedStore

LONG = os.urandom(60_000)
NAME = b"\1name"


@pytest.fixture
def arena() -> SharedArena:
    """Return memory for three workers, in which what is over 4 KiB goes in pieces."""
    return SharedArena(1 << 20, 3, SEGMENT_BYTES)


def test_what_came_so_far_is_read_by_another_worker_as_it_comes(arena: SharedArena) -> None:
    leader, follower = SharedStore(arena, 0), SharedStore(arena, 1)
    writer = leader.create(b"k", len(LONG))
    assert writer is not None
    lengths = []
    for start in range(0, len(LONG), 10_000):
        assert writer.append(LONG[start : start + 10_000])
        own = writer.show(NAME, b"so far")
        seen = follower.get(NAME)
        assert own is not None and seen is not None
        assert body(seen) == body(own) == LONG[: seen.length]
        assert seen.meta == b"so far"
        lengths.append(seen.length)

    assert lengths == sorted(set(lengths))
    assert lengths[-1] > len(LONG) - 2 * SEGMENT_BYTES // 8
    assert follower.get(b"k") is None
    assert writer.show(NAME, b"all", True) is not None
    assert writer.commit(b"m") is not None
    assert body(follower.get(NAME)) == body(follower.get(b"k")) == LONG
    assert arena.check().faults == ()


def test_nothing_new_is_not_shown_again(arena: SharedArena) -> None:
    store = SharedStore(arena, 0)
    writer = store.create(b"k", len(LONG))
    assert writer is not None
    head = writer.show(NAME, b"head")
    assert head is not None and (head.length, head.chunks()) == (0, [])
    assert writer.show(NAME, b"head") is None
    writer.append(LONG[:20_000])

    assert writer.show(NAME, b"head") is not None
    assert writer.show(NAME, b"head") is None
    assert arena.check().faults == ()


def test_what_is_shown_without_a_name_only_its_maker_reads(arena: SharedArena) -> None:
    store = SharedStore(arena, 0)
    writer = store.create(b"k", None)
    assert writer is not None and writer.append(LONG)
    shown = writer.show(None, b"", True)

    assert body(shown) == LONG
    assert store.record_count == 0


def test_who_holds_what_was_shown_reads_on_after_the_writer_gave_up(arena: SharedArena) -> None:
    leader, follower = SharedStore(arena, 0), SharedStore(arena, 1)
    writer = leader.create(b"k", len(LONG))
    assert writer is not None and writer.append(LONG[:-1])
    writer.show(NAME, b"")
    held = follower.get(NAME)
    writer.abort()
    leader.remove(NAME)
    for number in range(3000):
        assert leader.put(b"%d" % number, b"", bytes(1000)) is not None

    assert held is not None
    assert body(held) == LONG[: held.length]
    del held
    assert arena.stat()["pins"] == 0


def test_what_a_killed_leader_showed_is_read_as_it_was_or_not_at_all(arena: SharedArena) -> None:
    pid = os.fork()
    if pid == 0:
        writer = SharedStore(arena, 0).create(b"k", len(LONG))
        assert writer is not None
        writer.append(LONG[:40_000])
        writer.show(NAME, b"")
        os.kill(os.getpid(), 9)
    os.waitpid(pid, 0)
    arena.forget_worker(0)
    store = SharedStore(arena, 1)
    before = store.get(NAME)
    assert before is not None
    assert body(before) == LONG[: before.length]

    length = before.length
    del before
    for number in range(3000):
        store.put(b"%d" % number, b"", bytes(1000))
        shown = store.get(NAME)
        assert shown is None or body(shown) == LONG[:length]
        del shown

    assert store.get(NAME) is None
    assert arena.check().faults == ()
