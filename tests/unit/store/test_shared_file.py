"""The arena in a file: warm after whatever ended its program, anew where it cannot be trusted, one user at a time."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from stores import SEGMENT_BYTES, body

from accel.errors import StartError
from accel.store import backing, header, layout
from accel.store.shared import SharedArena, SharedStore

MEMORY_BYTES, ROWS = 1 << 20, 2
LONG = bytes(range(256)) * 300


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made" / "accel-test.store"


def opened(path: Path, memory_bytes: int = MEMORY_BYTES, *, replaces: bool = False) -> SharedArena:
    return SharedArena(memory_bytes, ROWS, SEGMENT_BYTES, path=path, replaces=replaces)


def in_program(path: Path, work: Callable[[SharedArena], None], *, is_killed: bool = False) -> None:
    """Have `work` done by a program of its own, which then stops as it should, or is killed in the middle of things."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            arena = opened(path)
            work(arena)
            if is_killed:
                os.kill(os.getpid(), 9)
            arena.leave()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == (9 if is_killed else 0)


def fill(arena: SharedArena) -> None:
    store = SharedStore(arena, 0)
    store.put(b"short", b"m", b"body")
    store.put(b"long", b"m", LONG)


def set_word(path: Path, name: str, value: int) -> None:
    with path.open("r+b") as file:
        file.seek(8 * [field.name for field in layout.HEADER].index(name))
        file.write(value.to_bytes(8, "little"))


@pytest.mark.parametrize("is_killed", [False, True], ids=["stopped", "killed"])
def test_what_was_stored_is_there_when_the_file_is_opened_again(path: Path, is_killed: bool) -> None:
    in_program(path, fill, is_killed=is_killed)
    arena = opened(path)
    store = SharedStore(arena, 1)

    assert (arena.is_warm, arena.cold_why, arena.stat()["epoch"]) == (True, "", 2)
    assert (body(store.get(b"short")), body(store.get(b"long"))) == (b"body", LONG)
    assert (arena.check().faults, arena.check().torn) == ((), 0)


def test_what_a_killed_program_held_is_forgotten(path: Path) -> None:
    def hold(arena: SharedArena) -> None:
        held = [SharedStore(arena, row).put(b"%d" % row, b"", LONG) for row in range(ROWS)]
        assert len(held) == ROWS and arena.stat()["pins"] > 0
        os.kill(os.getpid(), 9)

    in_program(path, hold, is_killed=True)
    figures = opened(path).stat()

    assert (figures["pins"], figures["open"], figures["claimed"], figures["records"]) == (0, 0, 0, ROWS)


def test_a_warm_store_goes_on_being_filled_and_emptied(path: Path) -> None:
    in_program(path, fill)
    store = SharedStore(opened(path), 0)
    for number in range(3000):
        assert store.put(b"%d" % number, b"", bytes(1000)) is not None

    assert body(store.get(b"2999")) == bytes(1000)


def test_invalidations_are_there_too(path: Path) -> None:
    in_program(path, lambda arena: (arena.numbers.invalidate((arena.numbers.cell(b"k"),), soft=False), None)[1])
    arena = opened(path)

    assert arena.numbers.hard((arena.numbers.cell(b"k"),)) == arena.numbers.sequence() == 1


def test_a_number_is_not_given_again_after_a_restart(path: Path) -> None:
    """`decoded` is kept by number: two records of one number would be taken for each other."""
    in_program(path, fill)
    arena = opened(path)
    store = SharedStore(arena, 0)
    old = store.get(b"short")
    assert old is not None
    old.decoded = "the old one's"
    for number in range(20):
        record = store.put(b"new-%d" % number, b"")
        assert record is not None and record.decoded is None


def test_the_file_and_its_directory_are_for_our_eyes_alone(path: Path) -> None:
    arena = opened(path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert (path.stat().st_size, arena.cold_why) == (arena.plan.size, "the file is new")
    assert path.stat().st_blocks * 512 >= arena.plan.size, "a page that is not there could be missing later"


def test_a_file_in_use_is_refused_until_the_last_process_of_its_program_is_dead(path: Path) -> None:
    ready, start = os.pipe()
    pid = os.fork()
    if pid == 0:
        arena = opened(path)
        if os.fork() == 0:  # a worker, which outlives its arbiter
            os.write(start, b"%d " % os.getpid())
            os.read(ready, 0)
            os.kill(os.getpid(), 19)
        os._exit(arena.fd == -1)
    os.waitpid(pid, 0)
    worker = int(os.read(ready, 100))
    try:
        with pytest.raises(backing.InUse, match="is in use"):
            opened(path)
    finally:
        os.kill(worker, 9)


def test_a_new_program_may_take_the_name_and_leave_the_file_to_the_old_one(path: Path) -> None:
    old = opened(path)
    SharedStore(old, 0).put(b"k", b"", b"old")
    new = opened(path, 2 * MEMORY_BYTES, replaces=True)

    assert SharedStore(new, 0).get(b"k") is None
    assert body(SharedStore(old, 1).get(b"k")) == b"old"
    assert path.stat().st_size == new.plan.size


def test_a_new_program_that_has_no_room_leaves_name_and_file_to_the_old_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = opened(path)

    def full(fd: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StartError, match="No space left"):
        opened(path, 2 * MEMORY_BYTES, replaces=True)

    assert list(path.parent.iterdir()) == [path]
    assert os.path.samestat(path.stat(), os.fstat(old.fd))


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("magic", 1, "it is no store"),
        ("version", 1, "its layout is version 1, this program's 2"),
        ("fingerprint", 1, "it was made by another build of accel"),
        ("secret_low", 1, "its header is damaged"),
        ("lives_1", 12345, "the machine went down while it was in use"),
    ],
)
def test_what_cannot_be_trusted_is_begun_anew(path: Path, name: str, value: int, why: str) -> None:
    in_program(path, fill)
    set_word(path, name, value)
    arena = opened(path)

    assert (arena.is_warm, arena.cold_why) == (False, why)
    assert (arena.stat()["records"], arena.numbers.sequence(), arena.check().faults) == (0, 0, ())


def test_a_file_of_another_size_is_begun_anew(path: Path) -> None:
    in_program(path, fill)
    os.truncate(path, path.stat().st_size - 1)

    assert opened(path).cold_why == "it was cut short or grew"


def test_a_program_that_was_killed_is_no_machine_that_went_down(path: Path) -> None:
    in_program(path, fill, is_killed=True)
    first = path.read_bytes()[: layout.PAGE_BYTES]

    assert not header.has_lost_pages(first)


def test_a_wrong_byte_of_a_body_is_a_miss_and_is_counted(path: Path) -> None:
    in_program(path, fill)
    at = path.read_bytes().index(LONG[:4000])
    with path.open("r+b") as file:
        file.seek(at + 700)
        file.write(b"!")
    arena = opened(path)
    store = SharedStore(arena, 0)
    assert (arena.stat()["records"], arena.check().torn, arena.check().faults) == (2, 1, ())

    assert store.get(b"long") is None
    assert body(store.get(b"short")) == b"body"
    assert (arena.stat()["torn"], arena.stat()["records"]) == (1, 1)


def test_a_record_is_verified_once_an_epoch(path: Path) -> None:
    """The second reader does not compute what the first has: a byte changed under its hands shows that."""
    in_program(path, fill)
    arena = opened(path)
    store = SharedStore(arena, 0)
    assert body(store.get(b"short")) == b"body"
    arena.mapping[arena.mapping.find(b"body")] = 0

    assert store.get(b"short") is not None
    assert "checksum" in arena.check().faults[0]


def test_a_copy_of_what_nobody_verified_is_verified_when_it_is_used(path: Path) -> None:
    def use_well(arena: SharedArena) -> None:
        store = SharedStore(arena, 0)
        store.put(b"k", b"", b"to be damaged")
        for _ in range(3):
            store.get(b"k")

    in_program(path, use_well)
    with path.open("r+b") as file:
        file.seek(path.read_bytes().index(b"to be damaged"))
        file.write(b"T")
    arena = opened(path)
    store = SharedStore(arena, 0)
    for number in range(1000):
        store.put(b"%d" % number, b"", bytes(1000))
    assert arena.stat()["moved"] == 1

    assert store.get(b"k") is None
    assert arena.stat()["torn"] == 1


@pytest.mark.parametrize("error", [28, 122])
def test_a_full_disk_is_an_error_at_the_start_that_says_what_to_do(
    path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def no_space(*_: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "posix_fallocate", no_space)
    with pytest.raises(StartError, match="lower --memory, or let --store name a directory with more room"):
        opened(path)


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to("/dev/null"), os.mkfifo])
def test_what_is_no_file_of_ours_is_refused(path: Path, make: Callable[[Path], None]) -> None:
    path.parent.mkdir()
    make(path)

    with pytest.raises(StartError, match="--store: cannot use"):
        opened(path)


def test_a_file_that_others_may_write_is_refused(path: Path) -> None:
    in_program(path, fill)
    path.chmod(0o666)

    with pytest.raises(StartError, match="not a file that only we can write"):
        opened(path)
