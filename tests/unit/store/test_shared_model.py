"""The shared store by hypothesis: equal to the private one while there is room, and never wrong when there is none.

Two workers act on one arena, whichever an example says, and are replaced now and then as after a kill.
"""

from __future__ import annotations

import itertools

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from stores import SEGMENT_BYTES, body

from accel.store.numbers import table_bytes
from accel.store.private import PrivateStore
from accel.store.shared import SharedArena, SharedStore
from accel.store.store import Record, Writer

CRAMPED_BYTES = (64 << 10) + table_bytes(4096)
NAMES = [b"", b"a", b"b", b"c", b"d"]
KEYS = st.sampled_from(NAMES)
METAS = st.binary(max_size=40)
BODIES = st.builds(lambda unit, count: (unit * count)[:20_000], st.binary(min_size=1, max_size=8), st.integers(0, 5000))
WORKERS = 2
BY = st.integers(0, WORKERS - 1)
"""Which worker does it."""
Seen = tuple[bytes, bytes, bytes] | None


def seen(record: Record | None) -> Seen:
    return None if record is None else (record.key, record.meta, body(record))


class BothStores(RuleBasedStateMachine):
    """Any sequence of calls gives the same from both stores while nothing has to go."""

    limit = 16_000

    def __init__(self) -> None:
        super().__init__()
        self.arena = SharedArena(8 << 20, WORKERS, SEGMENT_BYTES)
        self.shared = [SharedStore(self.arena, row, self.limit) for row in range(WORKERS)]
        self.private = PrivateStore(64 << 20, self.limit)
        self.held: list[tuple[Record, Record, Seen]] = []
        self.writers: list[tuple[Writer, Writer]] = []
        self.notes = itertools.count()

    def hold(self, shared: Record | None, private: Record | None) -> None:
        assert seen(shared) == seen(private)
        if shared is not None and private is not None:
            self.held = [*self.held[-5:], (shared, private, seen(private))]

    @rule(by=BY, key=KEYS, meta=METAS, content=BODIES)
    def put(self, by: int, key: bytes, meta: bytes, content: bytes) -> None:
        self.hold(self.shared[by].put(key, meta, content), self.private.put(key, meta, content))

    @rule(by=BY, key=KEYS)
    def get(self, by: int, key: bytes) -> None:
        self.hold(self.shared[by].get(key), self.private.get(key))

    @rule(by=BY, key=KEYS)
    def remove(self, by: int, key: bytes) -> None:
        assert self.shared[by].remove(key) == self.private.remove(key)

    @rule(by=BY)
    def clear(self, by: int) -> None:
        assert self.shared[by].clear() == self.private.clear()

    @rule(by=BY, key=KEYS)
    def decode(self, by: int, key: bytes) -> None:
        """What a caller makes of a record's meta is found again beside it, and beside no other."""
        shared, private = self.shared[by].get(key), self.private.get(key)
        if shared is not None and private is not None:
            shared.decoded = private.decoded = next(self.notes)
            again = self.shared[by].get(key)
            assert again is not None and again.decoded == private.decoded

    @rule(which=st.integers(0, 5), start=st.integers(0, 20_000), length=st.integers(0, 20_000))
    def slice(self, which: int, start: int, length: int) -> None:
        if which < len(self.held):
            shared, private, _ = self.held[which]
            start = min(start, private.length)
            stop = min(start + length, private.length)
            parts = [b"".join(map(bytes, record.slice(start, stop))) for record in (shared, private)]
            assert parts[0] == parts[1] and len(parts[1]) == stop - start

    @rule(by=BY)
    def replace_worker(self, by: int) -> None:
        """As after a kill: what it held is forgotten, what it had stored stays."""
        self.held.clear()
        for writers in self.writers:
            for writer in writers:
                writer.abort()
        self.writers.clear()
        self.arena.forget_worker(by)
        self.shared[by] = SharedStore(self.arena, by, self.limit)

    @rule(by=BY, meta=METAS, which=st.integers(0, 5))
    def freshen(self, by: int, meta: bytes, which: int) -> None:
        if which < len(self.held):
            shared, private, _ = self.held[which]
            is_stored = self.private.get(private.key) is private
            fresh = self.shared[by].freshen(shared, meta)
            assert (fresh is not None) == is_stored
            self.hold(fresh, self.private.freshen(private, meta))

    @rule(by=BY, key=KEYS, length=st.none() | st.integers(0, 17_000))
    def create(self, by: int, key: bytes, length: int | None) -> None:
        shared, private = self.shared[by].create(key, length), self.private.create(key, length)
        assert (shared is None) == (private is None)
        if shared is not None and private is not None:
            self.writers.append((shared, private))

    @rule(chunk=BODIES)
    def append(self, chunk: bytes) -> None:
        for shared, private in self.writers:
            assert shared.append(chunk) == private.append(chunk)

    @rule(meta=METAS)
    def commit(self, meta: bytes) -> None:
        if self.writers:
            shared, private = self.writers.pop()
            self.hold(shared.commit(meta), private.commit(meta))

    @rule()
    def abort(self) -> None:
        if self.writers:
            for writer in self.writers.pop(0):
                writer.abort()

    @invariant()
    def they_hold_the_same(self) -> None:
        for store in self.shared:
            assert store.record_count == self.private.record_count
            for key in NAMES:
                assert seen(store.get(key)) == seen(self.private.get(key))

    @invariant()
    def what_is_held_does_not_change(self) -> None:
        for shared, private, was in self.held:
            assert seen(shared) == seen(private) == was

    def teardown(self) -> None:
        self.held.clear()
        self.writers.clear()
        found = self.arena.check()
        assert (found.faults, found.reachable, found.twins, found.broken) == ((), self.private.record_count, 0, 0)
        assert self.arena.stat()["pins"] == 0


class CrampedStore(RuleBasedStateMachine):
    """With ten segments of 4 KiB everything is evicted all the time; what is there is what was put last."""

    def __init__(self) -> None:
        super().__init__()
        self.arena = SharedArena(CRAMPED_BYTES, WORKERS, 4096)
        self.stores = [SharedStore(self.arena, row) for row in range(WORKERS)]
        self.last: dict[bytes, Seen] = {}
        self.held: list[tuple[Record, Seen]] = []

    def put_done(self, record: Record | None, key: bytes, meta: bytes, content: bytes) -> None:
        if record is not None:
            self.last[key] = (key, meta, content)
            assert seen(record) == self.last[key]

    @rule(by=BY, number=st.integers(0, 200), size=st.integers(0, 3000))
    def put(self, by: int, number: int, size: int) -> None:
        key, content = b"%d" % number, b"%3d" % (number % 251) * size
        self.put_done(self.stores[by].put(key, b"m", content), key, b"m", content)

    @rule(by=BY, first=st.integers(0, 200), count=st.integers(1, 60))
    def put_many(self, by: int, first: int, count: int) -> None:
        for number in range(first, first + count):
            self.put(by, number, number % 100)

    @rule(by=BY, number=st.integers(0, 200), sizes=st.lists(st.integers(0, 3000), max_size=4))
    def write(self, by: int, number: int, sizes: list[int]) -> None:
        key = b"%d" % number
        writer = self.stores[by].create(key, None)
        assert writer is not None
        if all(writer.append(b"w" * size) for size in sizes):
            self.put_done(writer.commit(b"w"), key, b"w", b"w" * sum(sizes))

    @rule(by=BY, number=st.integers(0, 200))
    def hold(self, by: int, number: int) -> None:
        record = self.stores[by].get(b"%d" % number)
        if record is not None:
            self.held = [*self.held[-3:], (record, seen(record))]

    @rule(by=BY, number=st.integers(0, 200))
    def freshen(self, by: int, number: int) -> None:
        record = self.stores[by].get(b"%d" % number)
        fresh = self.stores[by].freshen(record, b"fresh") if record is not None else None
        if fresh is not None and record is not None:
            self.put_done(fresh, record.key, b"fresh", body(record))

    @rule(by=BY, number=st.integers(0, 200))
    def remove(self, by: int, number: int) -> None:
        self.stores[by].remove(b"%d" % number)
        self.last.pop(b"%d" % number, None)

    @invariant()
    def what_is_there_is_what_was_put_last(self) -> None:
        for number in range(0, 260, 7):
            record = self.stores[number % WORKERS].get(b"%d" % number)
            assert record is None or seen(record) == self.last[b"%d" % number]

    @invariant()
    def what_is_held_does_not_change(self) -> None:
        assert all(seen(record) == was for record, was in self.held)

    @invariant()
    def the_walk_finds_no_fault(self) -> None:
        found = self.arena.check()
        assert (found.faults, found.twins) == ((), 0)
        assert all(store.used_bytes <= CRAMPED_BYTES for store in self.stores)


TestBothStores = BothStores.TestCase
TestBothStores.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestCrampedStore = CrampedStore.TestCase
TestCrampedStore.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
