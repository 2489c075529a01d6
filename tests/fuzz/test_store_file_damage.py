"""Whatever happened to the file that a store lies in: never a wrong byte out of it, and never a pointer out of it.

A sound file with records of every shape, living and dead, is damaged in one of several ways, opened, read, walked, and
filled until every segment was reclaimed, all in a child process: a crash is its exit status. The long run:
ACCEL_DAMAGE_ROUNDS=20000 python -m pytest tests/fuzz/test_store_file_damage.py
"""

from __future__ import annotations

import os
import random
import struct
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from accel.store import layout

pytest.importorskip("accel.store._shared", reason="the compiled part is not built here")

from accel.store.shared import SharedArena, SharedStore
from accel.store.store import Record

ROUNDS = int(os.environ.get("ACCEL_DAMAGE_ROUNDS", "35"))
MEMORY_BYTES, ROWS, SEGMENT_BYTES = 512 << 10, 2, 16 << 10
KEYS = 150
PATTERN = random.Random(9).randbytes(64 << 10)
STAMP = struct.Struct("<QQQ")
Damage = Callable[[random.Random, bytearray], None]


def content(key: int, version: int) -> bytes:
    """Return a body that says of every byte which put it is from; every fifth key's is a long one."""
    length = (key * 97 + version * 331) % (12_000 if key % 5 == 0 else 900)
    return STAMP.pack(key, version, length) + PATTERN[(key + version) % 999 :][:length]


def assert_sound(record: Record, key: int) -> None:
    whole = b"".join(bytes(chunk) for chunk in record.chunks())
    _, version, _ = STAMP.unpack_from(whole)
    assert (record.key, record.meta, whole) == (b"%d" % key, b"%d" % version, content(key, version))


def fill(arena: SharedArena) -> None:
    """Write, replace, use and remove until the oldest segments were reclaimed."""
    store, rng = SharedStore(arena, 0), random.Random(4)
    for version in range(1, 900):
        key = rng.randrange(KEYS)
        store.put(b"%d" % key, b"%d" % version, content(key, version))
        for _ in range(3):
            store.get(b"%d" % (rng.randrange(KEYS) // 3))
        if version % 40 == 0:
            store.remove(b"%d" % rng.randrange(KEYS))


def flip_bits(rng: random.Random, file: bytearray) -> None:
    for _ in range(rng.choice([1, 30, 1000])):
        file[rng.randrange(len(file))] ^= 1 << rng.randrange(8)


def flip_bits_of_tables(rng: random.Random, file: bytearray) -> None:
    plan = layout.plan(MEMORY_BYTES, ROWS, SEGMENT_BYTES)
    for _ in range(rng.choice([1, 30, 1000])):
        file[rng.randrange(layout.PAGE_BYTES, plan.numbers_at)] ^= 1 << rng.randrange(8)


def flip_bits_of_record_heads(rng: random.Random, file: bytearray) -> None:
    """Damage what lengths and places are read from: the 64 bytes before a stamp, and the references behind a meta."""
    plan = layout.plan(MEMORY_BYTES, ROWS, SEGMENT_BYTES)
    heads = [plan.data_at + at for at in range(layout.FIRST_RECORD, SEGMENT_BYTES, 16)]
    for _ in range(2000):
        at = rng.choice(heads) + rng.randrange(plan.segment_count) * SEGMENT_BYTES + rng.randrange(64)
        file[at % len(file)] ^= 1 << rng.randrange(8)


def put_random_words(rng: random.Random, file: bytearray) -> None:
    for _ in range(300):
        at = rng.randrange(layout.PAGE_BYTES // 8, len(file) // 8) * 8
        file[at : at + 8] = rng.choice([b"\xff" * 8, bytes(8), rng.randbytes(8), b"\1" + bytes(7)])


def zero_pages(rng: random.Random, file: bytearray) -> None:
    for _ in range(rng.choice([1, 5, 40])):
        at = rng.randrange(len(file) // layout.PAGE_BYTES) * layout.PAGE_BYTES
        file[at : at + layout.PAGE_BYTES] = bytes(layout.PAGE_BYTES)


def exchange_pages(rng: random.Random, file: bytearray) -> None:
    for _ in range(rng.choice([1, 5, 40])):
        one, other = (rng.randrange(1, len(file) // layout.PAGE_BYTES) * layout.PAGE_BYTES for _ in range(2))
        kept = file[one : one + layout.PAGE_BYTES]
        file[one : one + layout.PAGE_BYTES] = file[other : other + layout.PAGE_BYTES]
        file[other : other + layout.PAGE_BYTES] = kept


def cut_short(rng: random.Random, file: bytearray) -> None:
    del file[rng.randrange(len(file)) :]


def use(path: Path) -> None:
    """Read everything, walk everything, reclaim everything, read again."""
    arena = SharedArena(MEMORY_BYTES, ROWS, SEGMENT_BYTES, path=path)
    first, second = SharedStore(arena, 0), SharedStore(arena, 1)
    arena.check()
    for _ in range(2):
        read_all(first)
    for version in range(1000, 1600):
        key = version % (3 * KEYS)
        record = (first if version % 2 else second).put(b"%d" % key, b"%d" % version, content(key, version))
        assert record is None or record.length == len(content(key, version))
        if version % 7 == 0:
            read_all(second)
    arena.check()
    assert first.put(b"0", b"1", content(0, 1)) is not None, "a store that nothing can be put in"


def read_all(store: SharedStore) -> None:
    for key in range(3 * KEYS):
        record = store.get(b"%d" % key)
        if record is not None:
            assert_sound(record, key)
            if key % 3 == 0:
                store.freshen(record, record.meta)


def in_child(work: Callable[[Path], None], path: Path) -> int:
    """Return how a child ended that did `work`."""
    pid = os.fork()
    if pid == 0:
        try:
            work(path)
            os._exit(0)
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
            os._exit(1)
    return os.waitpid(pid, 0)[1]


def make(path: Path) -> None:
    arena = SharedArena(MEMORY_BYTES, ROWS, SEGMENT_BYTES, path=path)
    fill(arena)
    arena.leave()


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return a file in which nothing is wrong."""
    path = tmp_path_factory.mktemp("sound") / "accel.store"
    assert in_child(make, path) == 0
    return path.read_bytes()


def test_an_undamaged_file_is_full_of_records(tmp_path: Path, sound: bytes) -> None:
    """Otherwise the ones below would prove nothing."""
    path = tmp_path / "accel.store"
    path.touch(0o600)
    path.write_bytes(sound)
    arena = SharedArena(MEMORY_BYTES, ROWS, SEGMENT_BYTES, path=path)

    assert arena.revived is not None and arena.revived.records > 40
    assert arena.check().pieces > 10 and arena.check().dead_bytes > 10_000


@pytest.mark.parametrize(
    "damage",
    [
        flip_bits,
        flip_bits_of_tables,
        flip_bits_of_record_heads,
        put_random_words,
        zero_pages,
        exchange_pages,
        cut_short,
    ],
)
def test_a_damaged_file_gives_no_wrong_byte_and_crashes_nobody(tmp_path: Path, sound: bytes, damage: Damage) -> None:
    path = tmp_path / "accel.store"
    path.touch(0o600)
    for seed in range(ROUNDS // 7):
        file = bytearray(sound)
        damage(random.Random(seed), file)
        path.write_bytes(file)

        assert in_child(use, path) == 0, f"seed {seed}"
