"""Two programs on one arena, as during an upgrade: the new one adopts what the old one still uses."""

from __future__ import annotations

import os

import pytest
from stores import SEGMENT_BYTES, body

from accel.store import layout
from accel.store.shared import SharedArena, SharedStore, Unfit

MEMORY_BYTES, ROWS = 1 << 20, 2
LONG = bytes(range(256)) * 300


def adopted(arena: SharedArena, memory_bytes: int = MEMORY_BYTES) -> SharedArena:
    """Return the arena as the program on the other side has it."""
    return SharedArena.adopt(os.dup(arena.fd), memory_bytes, ROWS, 1 - arena.side, SEGMENT_BYTES)


@pytest.fixture
def old() -> SharedArena:
    return SharedArena(MEMORY_BYTES, ROWS, SEGMENT_BYTES)


def test_the_new_program_finds_what_the_old_one_stored_and_the_old_what_the_new_one_stores(old: SharedArena) -> None:
    before = SharedStore(old, 0)
    before.put(b"k", b"m", LONG)
    after = SharedStore(adopted(old), 0)

    assert body(after.get(b"k")) == LONG
    after.put(b"l", b"", b"new")
    assert body(before.get(b"l")) == b"new"


def test_a_row_of_one_program_is_no_row_of_the_other(old: SharedArena) -> None:
    held = SharedStore(old, 0).put(b"k", b"", LONG)
    new = adopted(old)
    SharedStore(new, 0)
    new.forget_worker(0)

    assert held is not None and old.stat()["pins"] > 0
    assert new.row(0) != old.row(0)
    with pytest.raises(ValueError, match="no row 2"):
        SharedStore(old, ROWS)


def test_what_is_pinned_on_either_side_is_not_reclaimed(old: SharedArena) -> None:
    new = adopted(old)
    first, second = SharedStore(old, 1), SharedStore(new, 1)
    held = [first.put(b"a", b"", LONG), second.put(b"b", b"", LONG)]
    for number in range(3000):
        SharedStore(old, 0).put(b"%d" % number, b"", bytes(1000))

    assert [body(record) for record in held] == [LONG, LONG]


def test_a_program_that_is_gone_is_forgotten_whole(old: SharedArena) -> None:
    pid = os.fork()
    if pid == 0:
        held = [SharedStore(old, row).put(b"%d" % row, b"", LONG) for row in range(ROWS)]
        os._exit(len(held) != ROWS)
    os.waitpid(pid, 0)
    new = adopted(old)
    assert new.stat()["pins"] > 0 and new.stat()["open"] == ROWS

    new.forget_other_side()
    assert (new.stat()["pins"], new.stat()["open"], new.stat()["records"]) == (0, 0, ROWS)
    assert adopted(new).side == old.side


def test_an_invalidation_by_one_program_is_one_for_the_other(old: SharedArena) -> None:
    new = adopted(old)
    cells = (old.numbers.cell(b"key"),)
    number = new.numbers.invalidate(cells, soft=False)

    assert old.numbers.hard(cells) == number == old.numbers.sequence()
    assert old.numbers.cell(b"key") == new.numbers.cell(b"key")


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("magic", 1, "it is no store"),
        ("version", 1, "its layout is version 1, this program's 2"),
        ("fingerprint", 1, "another build"),
        ("epoch", 7, "its header is damaged"),
    ],
)
def test_what_another_program_made_is_not_adopted(old: SharedArena, name: str, value: int, why: str) -> None:
    words = memoryview(old.mapping).cast("Q")
    words[[field.name for field in layout.HEADER].index(name)] = value

    with pytest.raises(Unfit, match=why):
        adopted(old)


def test_an_arena_of_another_size_is_not_adopted(old: SharedArena) -> None:
    with pytest.raises(Unfit, match="another --memory"):
        adopted(old, 2 * MEMORY_BYTES)
