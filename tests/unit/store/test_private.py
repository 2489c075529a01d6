"""The private store: whole records, bounded bytes, least recently used out first."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from stores import body

from accel.store.private import CHUNK_BYTES, META_COST, RECORD_OVERHEAD_BYTES, PrivateStore, PrivateWriter

COST = RECORD_OVERHEAD_BYTES + 1 + META_COST
"""A record with a key and a meta of one byte each, and no body."""


def test_a_put_record_is_got_whole() -> None:
    store = PrivateStore(1 << 20)
    record = store.put(b"k", b"m", b"body")
    assert store.get(b"k") is record
    assert record is not None
    assert (record.key, record.meta, record.length, record.decoded, body(record)) == (
        b"k",
        b"m",
        4,
        None,
        b"body",
    )
    assert (store.record_count, store.used_bytes) == (1, COST + 4)


def test_a_record_is_not_seen_before_it_is_committed() -> None:
    store = PrivateStore(1 << 20)
    writer = store.create(b"k", None)
    assert writer is not None
    assert writer.append(b"ab") and writer.append(b"cd")
    assert store.get(b"k") is None
    assert store.used_bytes == 4
    assert writer.commit(b"m") is store.get(b"k")
    assert body(store.get(b"k")) == b"abcd"


def test_an_aborted_record_leaves_nothing() -> None:
    store = PrivateStore(1 << 20)
    writer = store.create(b"k", None)
    assert writer is not None and writer.append(b"ab")
    writer.abort()
    writer.abort()
    assert (store.get(b"k"), store.used_bytes) == (None, 0)
    assert not writer.append(b"c")
    assert writer.commit(b"m") is None
    assert store.used_bytes == 0


def test_without_a_limit_of_its_own_a_body_may_take_an_eighth() -> None:
    store = PrivateStore(8000)
    assert store.put(b"k", b"m", bytes(1000)) is not None
    assert store.put(b"k", b"m", bytes(1001)) is None


def test_the_least_recently_used_goes_first() -> None:
    evicted: list[None] = []
    store = PrivateStore(3 * COST, on_evict=lambda: evicted.append(None))
    for key in (b"a", b"b", b"c"):
        store.put(key, b"m")
    store.get(b"a")
    store.put(b"d", b"m")
    assert [key for key in (b"a", b"b", b"c", b"d") if store.get(key)] == [b"a", b"c", b"d"]
    assert len(evicted) == 1


def test_replacing_a_record_evicts_nothing() -> None:
    evicted: list[None] = []
    store = PrivateStore(2 * COST, on_evict=lambda: evicted.append(None))
    store.put(b"a", b"1")
    store.put(b"b", b"1")
    store.put(b"a", b"2")
    assert store.record_count == 2
    assert not evicted


def test_writers_push_records_out_but_never_each_other() -> None:
    store = PrivateStore(COST + 1000, max_body_bytes=2000)
    store.put(b"a", b"m")
    first, second = store.create(b"b", None), store.create(b"c", None)
    assert first is not None and second is not None
    assert first.append(bytes(1000))
    assert store.record_count == 1
    assert first.append(bytes(COST))
    assert store.record_count == 0
    assert not second.append(b"x")
    assert first.commit(b"m") is None
    assert store.used_bytes == 0


def test_freshening_keeps_the_body() -> None:
    store = PrivateStore(1 << 20)
    record = store.put(b"k", b"m", b"body")
    assert record is not None
    record.decoded = "old"
    fresh = store.freshen(record, b"new")
    assert fresh is not None and fresh is store.get(b"k")
    assert (fresh.meta, fresh.decoded, body(fresh)) == (b"new", None, b"body")
    assert store.used_bytes == COST + 2 * META_COST + 4


def test_clearing_counts_what_went() -> None:
    store = PrivateStore(1 << 20)
    store.put(b"a", b"m")
    store.put(b"b", b"m")
    assert store.clear() == 2
    assert (store.record_count, store.used_bytes) == (0, 0)


def test_small_pieces_are_kept_as_large_ones() -> None:
    store = PrivateStore(1 << 20)
    writer = store.create(b"k", None)
    assert writer is not None
    for _ in range(CHUNK_BYTES + 1):
        writer.append(b"x")
    record = writer.commit(b"m")
    assert record is not None
    assert [len(chunk) for chunk in record.chunks()] == [CHUNK_BYTES, 1]


KEYS = st.sampled_from([b"a", b"b", b"c", b"d"])


class Model(RuleBasedStateMachine):
    """Any sequence of calls: the bound holds, and what is got is what was put last."""

    capacity = 4 * COST

    def __init__(self) -> None:
        super().__init__()
        self.store = PrivateStore(self.capacity, max_body_bytes=2 * COST)
        self.model: dict[bytes, bytes] = {}
        self.writers: list[tuple[bytes, PrivateWriter, bytearray]] = []

    @rule(key=KEYS, size=st.integers(0, 2 * COST))
    def put(self, key: bytes, size: int) -> None:
        if self.store.put(key, b"m", bytes(size)) is not None:
            self.model[key] = bytes(size)

    @rule(key=KEYS)
    def create(self, key: bytes) -> None:
        writer = self.store.create(key, None)
        assert writer is not None
        self.writers.append((key, writer, bytearray()))

    @rule(size=st.integers(0, COST))
    def append(self, size: int) -> None:
        for entry in self.writers[:]:
            if entry[1].append(b"w" * size):
                entry[2].extend(b"w" * size)
            else:
                self.writers.remove(entry)

    @rule()
    def commit(self) -> None:
        if self.writers:
            key, writer, content = self.writers.pop()
            if writer.commit(b"m") is not None:
                self.model[key] = bytes(content)

    @rule()
    def abort(self) -> None:
        if self.writers:
            self.writers.pop()[1].abort()

    @rule(key=KEYS)
    def remove(self, key: bytes) -> None:
        self.store.remove(key)
        self.model.pop(key, None)

    @invariant()
    def the_bound_holds(self) -> None:
        assert 0 <= self.store.used_bytes <= self.capacity

    @invariant()
    def records_are_what_was_put_last(self) -> None:
        for key in (b"a", b"b", b"c", b"d"):
            record = self.store.get(key)
            assert record is None or body(record) == self.model[key]

    def teardown(self) -> None:
        for _, writer, _ in self.writers:
            writer.abort()
        self.store.clear()
        assert self.store.used_bytes == 0


TestModel = Model.TestCase


def test_a_smaller_bound_drops_the_least_recently_used_at_once_and_a_larger_one_holds_more() -> None:
    store = PrivateStore(4 * COST)
    for key in (b"a", b"b", b"c"):
        assert store.put(key, b"") is not None
    store.get(b"a")

    store.resize(2 * COST)
    assert (store.get(b"b"), store.used_bytes <= 2 * COST) == (None, True)
    assert store.get(b"a") is not None

    store.resize(8 * COST)
    assert all(store.put(key, b"") is not None for key in (b"d", b"e", b"f", b"g"))
    assert store.get(b"a") is not None
