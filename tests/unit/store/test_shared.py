"""The arena: one memory for several workers, and what the arbiter does with it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from stores import SEGMENT_BYTES, body

from accel.errors import StartError
from accel.store._shared import keyed_hash
from accel.store.shared import SharedArena, SharedStore

LONG = bytes(range(256)) * 300


def make_arena(memory_bytes: int = 1 << 20, workers: int = 3) -> SharedArena:
    return SharedArena(memory_bytes, workers, SEGMENT_BYTES)


def in_child(arena: SharedArena, code: str, row: int = 0) -> int:
    """Run statements over `store` and LONG in a forked process and return how it ended."""
    pid = os.fork()
    if pid == 0:
        try:
            exec(code, {"store": SharedStore(arena, row), "LONG": LONG, "os": os})
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitpid(pid, 0)[1]


KILL_SELF = "\nos.kill(os.getpid(), 9)"


@pytest.mark.parametrize("content", [b"body", LONG], ids=["short", "long"])
def test_what_one_worker_stores_every_worker_finds(content: bytes) -> None:
    arena = make_arena()
    SharedStore(arena, 0).put(b"k", b"m", content)

    assert body(SharedStore(arena, 1).get(b"k")) == content
    assert in_child(arena, f"assert b''.join(map(bytes, store.get(b'k').chunks())) == {content!r}", row=2) == 0


def test_what_a_killed_worker_had_stored_stays() -> None:
    arena = make_arena()
    assert in_child(arena, "store.put(b'k', b'm', LONG)" + KILL_SELF) == 9
    arena.forget_worker(0)

    assert body(SharedStore(arena, 1).get(b"k")) == LONG


def test_forgetting_a_dead_worker_takes_back_its_pins_and_segments() -> None:
    arena = make_arena()
    in_child(arena, "held = [store.put(b'%d' % n, b'', LONG) for n in range(3)]" + KILL_SELF)
    before = arena.stat()
    arena.forget_worker(0)
    after = arena.stat()

    assert before["pins"] > 3 and before["open"] == 1
    assert (after["pins"], after["open"], after["records"]) == (0, 0, 3)


def test_a_body_that_a_killed_worker_had_not_committed_is_dead_space() -> None:
    arena = make_arena()
    in_child(arena, "writer = store.create(b'k', None); writer.append(LONG)" + KILL_SELF)
    arena.forget_worker(0)
    found = arena.check()

    assert found.pieces > 0 and found.dead_bytes > 50_000
    assert (found.faults, found.live_bytes, found.reachable, arena.stat()["pins"]) == ((), 0, 0, 0)


def test_what_a_stopped_worker_holds_nobody_waits_for() -> None:
    """Its pins keep their segments; everything else goes round them."""
    arena = make_arena()
    holder, worker = SharedStore(arena, 0), SharedStore(arena, 1)
    held = holder.put(b"held", b"", LONG)
    for number in range(5000):
        assert worker.put(b"%d" % number, b"", bytes(1000)) is not None

    assert body(held) == LONG
    assert worker.used_bytes <= 1 << 20


def test_when_everything_is_pinned_nothing_is_stored_and_nobody_waits() -> None:
    arena = make_arena()
    store = SharedStore(arena, 0)
    held: list[object] = []
    while (record := store.put(b"%d" % len(held), b"", bytes(3000))) is not None:
        held.append(record)
    assert len(held) > 200 and arena.stat()["refused"] == 1

    held.clear()
    assert store.put(b"now", b"", bytes(3000)) is not None


def test_a_row_belongs_to_one_store_and_only_workers_have_rows() -> None:
    arena = make_arena(workers=2)
    with pytest.raises(ValueError, match="row"):
        SharedStore(arena, 2)
    with pytest.raises(ValueError, match="row"):
        SharedStore(arena, 99)


def test_writers_together_hold_no_more_than_they_may() -> None:
    store = SharedStore(make_arena(), 0, writer_bytes=5000)
    first, second = store.create(b"a", None), store.create(b"b", None)
    assert first is not None and second is not None
    assert first.append(bytes(3000))
    assert not second.append(bytes(3000))

    assert first.commit(b"") is not None
    third = store.create(b"c", None)
    assert third is not None and third.append(bytes(3000))


def test_letting_go_of_a_writer_gives_back_its_pins() -> None:
    arena = make_arena()
    store = SharedStore(arena, 0)
    writer = store.create(b"k", None)
    assert writer is not None and writer.append(LONG)
    assert arena.stat()["pins"] > 0

    del writer
    assert (arena.stat()["pins"], store.buffered_bytes) == (0, 0)


def test_a_buffer_alone_keeps_its_record() -> None:
    arena = make_arena()
    store = SharedStore(arena, 0)
    record = store.put(b"k", b"", b"body")
    assert record is not None
    chunk = record.chunks()[0]
    del record
    assert arena.stat()["pins"] == 1 and isinstance(chunk, memoryview) and chunk.readonly

    del chunk
    assert arena.stat()["pins"] == 0


def test_a_worker_keeps_so_many_records_decoded_and_no_more() -> None:
    store = SharedStore(make_arena(), 0, decoded_records=2)
    for key in (b"a", b"b", b"c"):
        record = store.put(key, b"")
        assert record is not None
        record.decoded = key
        assert (found := store.get(b"a")) is not None and found.decoded == b"a"

    kept = [found.decoded for key in (b"a", b"b", b"c") if (found := store.get(key)) is not None]
    assert kept == [b"a", None, b"c"]


def test_what_was_used_survives_what_was_not() -> None:
    store = SharedStore(make_arena(4 << 20), 0)
    for number in range(20_000):
        store.put(b"once-%d" % number, b"", bytes(900))
        if number < 100:
            store.put(b"often-%d" % number, b"", bytes(900))
        store.get(b"often-%d" % (number % 100))

    assert sum(store.get(b"often-%d" % number) is not None for number in range(100)) == 100


def test_a_wrong_byte_is_found_by_the_walk() -> None:
    arena = make_arena()
    SharedStore(arena, 0).put(b"k", b"m", b"body of the record")
    assert arena.check().faults == ()

    arena.mapping[arena.mapping.find(b"body of the record")] = 0
    assert "checksum" in arena.check().faults[0]


def test_memory_that_is_not_to_be_had_is_an_error_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", no_space)
    with pytest.raises(StartError, match=r"MiB could not be had \(No space left on device\): lower --memory"):
        make_arena(2 << 20)


def test_keys_are_hashed_with_siphash() -> None:
    """CPython hashes bytes with the same function under a key of zeros: an implementation that is not ours."""
    values = [b"a" * length for length in range(1, 40)]
    code = f"import sys; print(*(hash(value) % 2**64 for value in {values!r}))"
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    answer = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True, text=True)

    assert sys.hash_info.algorithm == "siphash13"
    assert [int(word) for word in answer.stdout.split()] == [keyed_hash(0, 0, value) for value in values]
