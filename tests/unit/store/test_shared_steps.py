"""At each step of the shared store: another process comes between, or this one is killed.

The store calls a watcher at every `layout.Step`. Here the watcher lets a second and a third worker's store act in the
middle of the first one's operation, which makes every interleaving that a test can name happen on purpose; or it
kills the process at exactly that step.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from accel.store._shared import keyed_hash, watch
from accel.store.layout import HEADER, Step
from accel.store.numbers import table_bytes
from accel.store.shared import SharedArena, SharedStore
from accel.store.store import Record

WORKERS = 3
ARENA_BYTES, SEGMENT_BYTES = (160 << 10) + table_bytes(4096), 4096
PATTERN = random.Random(5).randbytes(8192)


def content(key: int, version: int) -> bytes:
    """Return a body that says of every byte which put it is from; every third is a long one."""
    length = (version * 37) % 400 if version % 3 else 600 + (version * 41) % 4000
    return b"%d %d " % (key, version) + PATTERN[version % 1000 :][:length]


def version_of(record: Record, key: int) -> int:
    """Return which put a record is from, having compared every byte."""
    whole = b"".join(bytes(chunk) for chunk in record.chunks())
    version = int(whole.split(b" ", 2)[1])
    assert whole == content(key, version) and record.key == b"%d" % key
    return version


@contextmanager
def watching(watcher: Callable[[int], None]) -> Iterator[None]:
    watch(watcher)
    try:
        yield
    finally:
        watch(None)


class World:
    """Several workers' stores in one process, and every version that a key may show."""

    def __init__(self, seed: int, keys: int) -> None:
        self.arena = SharedArena(ARENA_BYTES, WORKERS, SEGMENT_BYTES)
        self.stores = [SharedStore(self.arena, row) for row in range(WORKERS)]
        for store in self.stores if seed % 2 else []:
            store.walk_units = 4  # so that walks are paused in segments of few records too
        self.random, self.keys = random.Random(seed), keys
        self.depth, self.version, self.cold = 0, 0, 0
        self.may_be: dict[int, set[int]] = {}
        self.done: list[tuple[int, int]] = []
        """Every write that ended: its key and version, in order."""
        self.pending: list[tuple[int, int]] = []
        """What is being written by those whom somebody came between: it may show already."""
        self.held: list[tuple[Record, int, int]] = []
        self.failures: list[BaseException] = []
        self.reached: set[int] = set()
        self.verbs = [self.get] * 6 + [self.put] * 4 + [self.freshen, self.freshen, self.remove, self.hold, self.churn]

    def act(self) -> None:
        self.random.choice(self.verbs)(self.stores[self.depth], self.random.randrange(self.keys))

    def between(self, step: int) -> None:
        """Now and then let the next worker do something before the present one goes on."""
        self.reached.add(step)
        if self.depth == WORKERS - 1 or self.random.random() > 0.1:
            return
        self.depth += 1
        try:
            self.act()
        except BaseException as error:
            self.failures.append(error)
        self.depth -= 1

    def since(self, start: int, key: int) -> set[int]:
        return {version for written, version in self.done[start:] if written == key}

    def wrote(self, start: int, key: int, versions: set[int]) -> None:
        """A write ended: its key shows it, or what others wrote while it was under way."""
        self.may_be[key] = versions | self.since(start, key)
        self.done += [(key, version) for version in versions]

    def get(self, store: SharedStore, key: int) -> Record | None:
        start, before = len(self.done), self.may_be.get(key, set())
        record = store.get(b"%d" % key)
        if record is not None:
            under_way = {version for written, version in self.pending if written == key}
            assert version_of(record, key) in before | self.since(start, key) | under_way, "older than it may be"
        return record

    def put(self, store: SharedStore, key: int) -> None:
        self.version += 1
        start, before, version = len(self.done), self.may_be.get(key, set()), self.version
        self.pending.append((key, version))
        record = store.put(b"%d" % key, b"", content(key, version))
        self.pending.pop()
        if record is not None:
            assert version_of(record, key) == version
        self.wrote(start, key, {version} if record is not None else before)

    def freshen(self, store: SharedStore, key: int) -> None:
        record = self.get(store, key)
        if record is None:
            return
        start, before, version = len(self.done), self.may_be.get(key, set()), version_of(record, key)
        self.pending.append((key, version))
        fresh = store.freshen(record, b"fresh")
        self.pending.pop()
        if fresh is not None:
            assert (version_of(fresh, key), fresh.meta) == (version, b"fresh")
        self.wrote(start, key, {version} if fresh is not None else before)

    def remove(self, store: SharedStore, key: int) -> None:
        start = len(self.done)
        store.remove(b"%d" % key)
        self.wrote(start, key, set())

    def hold(self, store: SharedStore, key: int) -> None:
        record = self.get(store, key)
        if record is not None:
            self.held.append((record, key, version_of(record, key)))
        while len(self.held) > 5:
            held, key, version = self.held.pop(0)
            assert version_of(held, key) == version

    def churn(self, store: SharedStore, key: int) -> None:
        """Use a few records well, then put as much else, used too: so old segments of both kinds are walked."""
        for near in range(key, key + 4):
            for _ in range(3):
                self.get(store, near % self.keys)
        for _ in range(10):
            self.cold += 1
            store.put(b"cold-%d" % self.cold, b"", PATTERN[:700])
            for _ in range(2):
                store.get(b"cold-%d" % self.cold)


@pytest.mark.parametrize("seed", range(12))
def test_whoever_comes_between_sees_nothing_wrong_and_leaves_nothing_wrong(seed: int) -> None:
    world = World(seed, keys=4 + seed * 8)
    with watching(world.between):
        for _ in range(1200):
            world.act()

    assert world.failures == []
    world.held.clear()
    found, figures = world.arena.check(), world.arena.stat()
    assert (found.faults, found.twins, figures["pins"]) == ((), 0, 0)
    assert figures["claimed"] <= (WORKERS if seed % 2 else 0), "more than one paused walk a worker"


@pytest.mark.parametrize("seed", range(6))
def test_no_long_body_stays_without_its_pieces(seed: int) -> None:
    """Parents and pieces move under the eyes of those who read and freshen them.

    Whoever comes before the mending misses the body, once in a long while (see `layout`).
    """
    world = World(seed, keys=4)
    world.verbs = [world.churn]
    store = world.stores[0]
    with watching(world.between):
        for number in range(150):
            key = number % 4
            world.may_be.setdefault(key, set()).add(3 * number)
            record = store.get(b"%d" % key) or store.put(b"%d" % key, b"", content(key, 3 * number))
            if record is not None and number % 3 == 0:
                store.freshen(record, b"fresh")
            del record  # or its pins would keep everything where it is

    figures = world.arena.stat()
    assert (world.failures, world.arena.check().broken) == ([], 0)
    assert figures["broken"] <= 2 and figures["moved"] > 100


def once_at(step: Step, act: Callable[[], None]) -> AbstractContextManager[None]:
    """Have `act` done the first time that `step` is reached."""
    left = [act]

    def watcher(reached: int) -> None:
        if reached == step and left:
            left.pop()()

    return watching(watcher)


def bucket_of(arena: SharedArena, key: bytes) -> int:
    """Return which bucket a key falls into, by the secret that lies in the header."""
    words = memoryview(arena.mapping).cast("Q")
    low, high = (words[[field.name for field in HEADER].index(name)] for name in ("secret_low", "secret_high"))
    return (keyed_hash(low, high, key) & 0xFFFFFFFF) * arena.map.bucket_count >> 32


@pytest.mark.parametrize("step", [Step.WRITTEN, Step.COUNTED, Step.CHOSEN, Step.PUBLISHED])
def test_of_two_puts_at_once_one_stays(step: Step) -> None:
    """The second one comes when the first has chosen its slot, and finds a lower one that is free by now."""
    world = World(0, keys=1)
    first, second = world.stores[:2]
    bucket = bucket_of(world.arena, b"0")
    lower = next(b"%d" % key for key in range(1, 9999) if bucket_of(world.arena, b"%d" % key) == bucket)
    assert first.put(lower, b"") is not None

    def come_between() -> None:
        second.remove(lower)
        world.put(second, 0)

    with once_at(step, come_between):
        world.put(first, 0)

    assert (world.arena.check().twins, first.record_count) == (0, 1)
    assert first.remove(b"0") and second.get(b"0") is None


@pytest.mark.parametrize("step", [Step.CLAIMED, Step.COPIED, Step.SWAPPED, Step.EMPTIED, Step.UNPOINTED])
def test_walks_that_meet_at_one_long_body_leave_it_whole(step: Step) -> None:
    """One moves the parent, the other its pieces, each in the middle of the other's work."""
    world = World(0, keys=1)
    first, second, _ = world.stores
    whole = PATTERN[:4000]
    first.put(b"k", b"", whole)
    depth = 0

    def rotate(store: SharedStore, count: int) -> None:
        for number in range(count):
            name = b"%d-%d" % (world.arena.stat()["written"], number)
            store.put(name, b"", PATTERN[:900])
            for used in (name, name, b"k", b"k"):
                store.get(used)
            record = store.get(b"k") or store.put(b"k", b"", whole)  # it may go for want of room, but only whole
            assert record is not None and b"".join(map(bytes, record.chunks())) == whole
            if number % 8 == 0:
                store.freshen(record, b"")  # its parent leaves its pieces behind
            del record

    def come_between(reached: int) -> None:
        nonlocal depth
        if reached == step and depth == 0:
            depth += 1
            rotate(second, 20)
            depth -= 1

    with watching(come_between):
        rotate(first, 150)

    assert world.arena.stat()["broken"] == 0


@pytest.mark.parametrize("cold", [4, 8, 12, 20, 40, 80, 160])
@pytest.mark.parametrize("step", [Step.LOOKED, Step.PINNED, Step.PIECES_PINNED, Step.COUNTED, Step.SWAPPED])
def test_a_long_body_that_moves_meanwhile_is_got_and_freshened_whole(step: Step, cold: int) -> None:
    world = World(0, keys=1)
    reader, mover, _ = world.stores
    whole = PATTERN[:4000]
    reader.put(b"k", b"", whole)

    def move() -> None:
        """Rotate the arena under the reader, keeping what it reads in use."""
        for number in range(cold):
            name = b"%d-%d" % (world.arena.stat()["written"], number)
            mover.put(name, b"", PATTERN[:900])
            for used in (name, name, b"k", b"k"):
                mover.get(used)

    def renew() -> None:
        record = reader.get(b"k")
        assert record is not None
        reader.freshen(record, b"m")

    def read() -> None:
        assert reader.get(b"k") is not None

    move()
    for verb in (read, renew):
        for _ in range(6):
            with once_at(step, move):
                verb()
            record = reader.get(b"k")
            assert record is not None and b"".join(map(bytes, record.chunks())) == whole
            del record
    assert world.arena.stat()["broken"] == 0


def test_every_step_is_reached_by_this_test() -> None:
    """Otherwise the ones below would prove nothing."""
    world = World(1, keys=60)
    with watching(world.between):
        for _ in range(3000):
            world.act()

    assert world.reached == set(Step)


def work_until_killed(world: World, step: Step, occurrence: int) -> None:
    left = occurrence

    def count(reached: int) -> None:
        nonlocal left
        left -= reached == step
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    with watching(count):
        while True:
            world.act()


@pytest.mark.parametrize("occurrence", [1, 3, 10, 29])
@pytest.mark.parametrize("step", Step)
def test_a_process_killed_at_a_step_leaves_nothing_wrong(step: Step, occurrence: int) -> None:
    world = World(occurrence | (step is Step.PAUSED), keys=60)  # an odd seed pauses walks
    for _ in range(500):
        world.act()
    world.held.clear()
    before = world.version
    pid = os.fork()
    if pid == 0:
        work_until_killed(world, step, occurrence)
    _, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    world.arena.forget_worker(0)

    found, figures = world.arena.check(), world.arena.stat()
    assert (found.faults, figures["pins"], figures["claimed"]) == ((), 0, 0)
    assert found.twins <= 1 and found.broken <= 1

    survivor = SharedStore(world.arena, 1)
    for key in range(60):
        record = survivor.get(b"%d" % key)
        assert record is None or version_of(record, key) <= before + 2000
    del record
    for number in range(600):
        assert survivor.put(b"after-%d" % number, b"", bytes(300)) is not None
    found, figures = world.arena.check(), world.arena.stat()
    assert (found.faults, figures["pins"], figures["limbo"]) == ((), 0, 0)
