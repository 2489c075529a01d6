"""Several processes on one arena, killed by -9 and stopped in the middle of whatever they do.

Nothing read is ever wrong, nobody waits for the dead or the stopped, and nothing is left behind. Each key has one
process that writes it, so that it knows exactly what it may read back, but for a few keys that all write. The long
run: ACCEL_TORTURE_ROUNDS=3000 python -m pytest tests/unit/store/test_shared_torture.py
"""

from __future__ import annotations

import mmap
import os
import random
import select
import signal
import struct
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress

import pytest

from accel.store.shared import SharedArena, SharedStore
from accel.store.store import Record

ROUNDS = int(os.environ.get("ACCEL_TORTURE_ROUNDS", "30"))
PROCESSES = 4
KEYS = 600
SHARED_KEYS = 12
"""Keys below this are written by every process."""
ARENA_BYTES, SEGMENT_BYTES = 4 << 20, 64 << 10
PATTERN = random.Random(3).randbytes(1 << 20)
LENGTHS = [100] * 8 + [1_000] * 8 + [7_000] * 3 + [40_000, 400_000]
BEAT_OPERATIONS = 100
STAMP = struct.Struct("<QQQ")
DEADLINE_S = 30.0


def content(key: int, version: int, length: int) -> bytes:
    """Return a body that says of every byte which put it is from."""
    start = (key * 7919 + version) % 500_000
    return STAMP.pack(key, version, length) + PATTERN[start : start + length]


def version_of(record: Record, key: int) -> int:
    """Return which put a record is from, having compared every byte."""
    whole = b"".join(bytes(chunk) for chunk in record.chunks())
    said, version, length = STAMP.unpack_from(whole)
    assert (said, record.key) == (key, b"%d" % key), "another key's record"
    assert whole == content(key, version, length), "wrong bytes"
    assert int(record.meta.split(b" ")[0]) == version, "another record's meta"
    return int(version)


class Tormentor:
    """What one process does with the store."""

    def __init__(self, arena: SharedArena, row: int, seed: int) -> None:
        self.store = SharedStore(arena, row)
        self.row, self.random = row, random.Random(seed)
        self.written: dict[int, int] = {}
        """The version of each own key, 0 if removed; absent: whatever a former process of this row left."""
        self.read: dict[int, int] = {}
        self.held: list[tuple[Record, int, int]] = []
        self.steps = [self.get] * 12 + [self.put] * 4 + [self.write, self.freshen, self.remove, self.hold, self.hold]

    def step(self) -> None:
        self.random.choice(self.steps)(self.random.randrange(KEYS))

    def own(self, key: int) -> int:
        return key if key < SHARED_KEYS else key // PROCESSES * PROCESSES + self.row

    def get(self, key: int) -> Record | None:
        record = self.store.get(b"%d" % key)
        if record is None:
            return None
        version = version_of(record, key)
        if key >= SHARED_KEYS:
            assert version >= self.read.get(key, 0), "went back to older content"
            assert version == self.written.get(key, version), "not what was put last"
            self.read[key] = version
        return record

    def put(self, key: int) -> None:
        key, version = self.own(key), time.monotonic_ns()
        body = content(key, version, self.random.choice(LENGTHS))
        self.note(key, version, self.store.put(b"%d" % key, b"%d" % version, body))

    def write(self, key: int) -> None:
        key, version = self.own(key), time.monotonic_ns()
        body = content(key, version, self.random.choice(LENGTHS))
        writer = self.store.create(b"%d" % key, self.random.choice([None, len(body)]))
        assert writer is not None
        if all(writer.append(body[start : start + 9000]) for start in range(0, len(body), 9000)):
            self.note(key, version, writer.commit(b"%d" % version))

    def note(self, key: int, version: int, record: Record | None) -> None:
        if record is not None:
            assert version_of(record, key) == version
            self.written[key] = version

    def freshen(self, key: int) -> None:
        key = self.own(key)
        record = self.get(key)
        if record is not None:
            fresh = self.store.freshen(record, b"%d fresh" % version_of(record, key))
            assert fresh is None or version_of(fresh, key) == version_of(record, key)

    def remove(self, key: int) -> None:
        key = self.own(key)
        self.store.remove(b"%d" % key)
        if key >= SHARED_KEYS:
            assert self.store.get(b"%d" % key) is None, "there after its removal"
            self.written[key] = 0

    def hold(self, key: int) -> None:
        """Keep a record for a while; whatever happens meanwhile, it says the same at the end."""
        record = self.get(key)
        if record is not None:
            self.held.append((record, key, version_of(record, key)))
        while len(self.held) > 6:
            held, key, version = self.held.pop(0)
            assert version_of(held, key) == version


def torment(arena: SharedArena, row: int, seed: int, beat_fd: int, end: mmap.mmap) -> None:
    """The whole life of a process; ends with 0 when told to, with 1 when something was wrong."""
    try:
        tormentor = Tormentor(arena, row, seed)
        while not end[0]:
            for _ in range(BEAT_OPERATIONS):
                tormentor.step()
            os.write(beat_fd, bytes([row]))
        del tormentor
        os._exit(0)
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
        os._exit(1)


class Torture:
    """The arbiter of the tormentors."""

    def __init__(self) -> None:
        self.arena = SharedArena(ARENA_BYTES, PROCESSES, SEGMENT_BYTES)
        self.random = random.Random(1)
        self.beats, self._beat_fd = os.pipe()
        self._end = mmap.mmap(-1, 1)
        self.pids = [self.start(row) for row in range(PROCESSES)]

    def start(self, row: int) -> int:
        seed = self.random.getrandbits(32)
        pid = os.fork()
        if pid == 0:
            os.close(self.beats)  # so that a beat fails when the arbiter is gone
            torment(self.arena, row, seed, self._beat_fd, self._end)
        return pid

    def wait_for_beats(self, rows: set[int], each: int) -> None:
        """Wait until each of `rows` has got on by so many beats."""
        left = dict.fromkeys(rows, each)
        deadline = time.monotonic() + DEADLINE_S
        while left:
            ready, _, _ = select.select([self.beats], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"processes {sorted(left)} do not get on"
            for row in os.read(self.beats, 4096):
                left[row] = left.get(row, 0) - 1
            left = {row: count for row, count in left.items() if count > 0}

    def kill(self, row: int) -> None:
        os.kill(self.pids[row], signal.SIGKILL)
        _, status = os.waitpid(self.pids[row], 0)
        assert os.WIFSIGNALED(status), f"process {row} found something wrong"
        self.arena.forget_worker(row)
        self.pids[row] = self.start(row)

    def stop(self, row: int) -> None:
        """Suspend one; the others must get on all the same."""
        os.kill(self.pids[row], signal.SIGSTOP)
        others = set(range(PROCESSES)) - {row}
        self.wait_for_beats(others, 3)
        assert self.arena.check().faults == ()
        os.kill(self.pids[row], signal.SIGCONT)

    def finish(self) -> None:
        self._end[0] = 1
        for row, pid in enumerate(self.pids):
            _, status = os.waitpid(pid, 0)
            assert status == 0, f"process {row} found something wrong"
            self.arena.forget_worker(row)
        self.pids.clear()

    def end_all(self) -> None:
        """Leave no process behind, whatever the test came to."""
        for pid in self.pids:
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        os.close(self.beats)
        os.close(self._beat_fd)


@pytest.fixture
def torture() -> Iterator[Torture]:
    torture = Torture()
    yield torture
    torture.end_all()


def test_killed_and_stopped_processes_leave_nothing_wrong_and_nothing_behind(torture: Torture) -> None:
    rows = set(range(PROCESSES))
    for number in range(ROUNDS):
        torture.wait_for_beats(rows, 1)
        row = torture.random.randrange(PROCESSES)
        if number % 3 == 0:
            torture.stop(row)
        torture.kill(row)
    torture.finish()

    found, figures = torture.arena.check(), torture.arena.stat()
    print(found, figures)
    assert found.faults == ()
    assert found.twins <= ROUNDS and found.broken <= ROUNDS
    assert (figures["pins"], figures["open"], figures["claimed"]) == (0, 0, 0)
    assert figures["taken_bytes"] <= ARENA_BYTES

    store = SharedStore(torture.arena, 0)
    for number in range(3000):
        assert store.put(b"after-%d" % number, b"", PATTERN[:6000]) is not None
    assert torture.arena.check().faults == ()
    assert torture.arena.stat()["limbo"] == 0
