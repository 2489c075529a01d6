"""What holds for every store: one list of facts over the private and the shared one."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stores import IS_BUILT, MakeStore, body

LONG = bytes(range(256)) * 300
"""A body that the shared store of these tests keeps in many pieces, over several segments."""


def test_the_extension_is_built_where_it_is_required() -> None:
    assert IS_BUILT or os.environ.get("ACCEL_REQUIRE_EXTENSION") != "1"


def test_an_empty_store_has_nothing(make_store: MakeStore) -> None:
    store = make_store()

    assert (store.get(b"k"), store.remove(b"k"), store.clear(), store.record_count) == (None, False, 0, 0)


@pytest.mark.parametrize("content", [b"", b"body", LONG], ids=["empty", "short", "long"])
@pytest.mark.parametrize("key", [b"", b"k", b"k" * 3000], ids=["no-key", "key", "long-key"])
def test_what_was_put_is_got_whole(make_store: MakeStore, key: bytes, content: bytes) -> None:
    store = make_store()
    put = store.put(key, b"meta", content)
    got = store.get(key)

    for record in (put, got):
        assert record is not None
        assert (record.key, record.meta, record.length, record.decoded) == (key, b"meta", len(content), None)
        assert body(record) == content
    assert store.record_count == 1


def test_keys_are_compared_in_full(make_store: MakeStore) -> None:
    store = make_store()
    for number in range(200):
        store.put(b"key-%d" % number, b"", b"%d" % number)

    assert [body(store.get(b"key-%d" % number)) for number in range(200)] == [b"%d" % number for number in range(200)]
    assert store.get(b"key") is None and store.get(b"key-200") is None


def test_a_record_is_not_seen_before_it_is_committed(make_store: MakeStore) -> None:
    store = make_store()
    writer = store.create(b"k", None)
    assert writer is not None
    assert writer.append(b"ab") and writer.append(LONG)
    assert (store.get(b"k"), store.record_count) == (None, 0)

    assert body(writer.commit(b"m")) == b"ab" + LONG
    assert body(store.get(b"k")) == b"ab" + LONG


def test_bytes_under_way_count(make_store: MakeStore) -> None:
    store = make_store()
    before = store.used_bytes
    writer = store.create(b"k", None)
    assert writer is not None and writer.append(b"abcd")
    assert store.used_bytes == before + 4

    writer.abort()
    assert store.used_bytes == before


@pytest.mark.parametrize("content", [b"ab", LONG], ids=["short", "long"])
def test_an_aborted_record_leaves_nothing(make_store: MakeStore, content: bytes) -> None:
    store = make_store()
    writer = store.create(b"k", None)
    assert writer is not None and writer.append(content)
    writer.abort()
    writer.abort()

    assert not writer.append(b"c")
    assert (writer.commit(b"m"), store.get(b"k"), store.record_count) == (None, None, 0)


@pytest.mark.parametrize("pieces", [[b"ab"], [b"abcd"], [b"ab", b"cd"], []])
def test_a_record_of_another_length_than_announced_is_not_stored(make_store: MakeStore, pieces: list[bytes]) -> None:
    """A body cut short is never stored."""
    store = make_store()
    writer = store.create(b"k", 3)
    assert writer is not None
    for piece in pieces:
        writer.append(piece)

    assert (writer.commit(b"m"), store.record_count) == (None, 0)


def test_a_writer_commits_once(make_store: MakeStore) -> None:
    store = make_store()
    writer = store.create(b"k", 2)
    assert writer is not None and writer.append(b"ab")
    assert writer.commit(b"m") is not None

    assert not writer.append(b"") and writer.commit(b"m") is None
    writer.abort()
    assert body(store.get(b"k")) == b"ab"


def test_no_body_exceeds_its_limit(make_store: MakeStore) -> None:
    store = make_store(max_body_bytes=10)
    assert store.create(b"k", 11) is None
    assert store.put(b"k", b"m", bytes(11)) is None
    writer = store.create(b"k", None)
    assert writer is not None and writer.append(bytes(10))

    assert not writer.append(b"x")
    assert writer.commit(b"m") is None


def test_without_a_limit_of_its_own_a_body_may_take_an_eighth(make_store: MakeStore) -> None:
    store = make_store(1 << 20)

    assert store.put(b"k", b"m", bytes(1 << 17)) is not None
    assert store.put(b"k", b"m", bytes((1 << 17) + 1)) is None


@pytest.mark.parametrize("first", [b"old", LONG], ids=["short", "long"])
@pytest.mark.parametrize("second", [b"new", LONG[:-1]], ids=["short", "long"])
def test_the_newest_replaces_what_was_there(make_store: MakeStore, first: bytes, second: bytes) -> None:
    store = make_store()
    old = store.put(b"k", b"1", first)
    store.put(b"k", b"2", second)

    got = store.get(b"k")
    assert got is not None
    assert (got.meta, body(got), store.record_count) == (b"2", second, 1)
    assert body(old) == first


@pytest.mark.parametrize("content", [b"body", LONG], ids=["short", "long"])
def test_a_held_record_stays_readable_whatever_the_store_does(make_store: MakeStore, content: bytes) -> None:
    store = make_store()
    record = store.put(b"k", b"m", content)
    assert record is not None
    assert store.remove(b"k") and not store.remove(b"k")
    chunks = record.chunks()
    del record
    for number in range(3000):
        store.put(b"%d" % number, b"m", b"x" * 900)

    assert b"".join(bytes(chunk) for chunk in chunks) == content


def test_what_a_caller_decoded_stays_with_the_record(make_store: MakeStore) -> None:
    store = make_store()
    put = store.put(b"k", b"m")
    assert put is not None
    put.decoded = ["made of m"]

    got = store.get(b"k")
    assert got is not None and got.decoded is put.decoded
    replaced = store.put(b"k", b"m")
    assert replaced is not None and replaced.decoded is None


@pytest.mark.parametrize("content", [b"", b"body", LONG], ids=["empty", "short", "long"])
def test_freshening_keeps_the_body(make_store: MakeStore, content: bytes) -> None:
    store = make_store()
    record = store.put(b"k", b"m", content)
    assert record is not None
    record.decoded = "old"
    fresh, got = store.freshen(record, b"new"), store.get(b"k")

    for renewed in (fresh, got):
        assert renewed is not None
        assert (renewed.key, renewed.meta, renewed.decoded, body(renewed)) == (b"k", b"new", None, content)
    assert (store.record_count, record.meta) == (1, b"m")


def test_only_what_is_still_stored_can_be_freshened(make_store: MakeStore) -> None:
    store = make_store()
    record = store.put(b"k", b"m", b"body")
    assert record is not None
    newer = store.put(b"k", b"m", b"newer")
    assert store.freshen(record, b"x") is None
    assert body(store.get(b"k")) == b"newer"

    store.clear()
    assert newer is not None and store.freshen(newer, b"x") is None
    assert store.get(b"k") is None


def test_clearing_counts_what_went(make_store: MakeStore) -> None:
    store = make_store()
    for key in (b"a", b"b", b"b"):
        store.put(key, b"m")

    assert store.clear() == 2
    assert (store.record_count, store.get(b"a"), store.get(b"b")) == (0, None, None)


def test_many_small_pieces_are_one_body(make_store: MakeStore) -> None:
    store = make_store()
    writer = store.create(b"k", None)
    assert writer is not None
    for number in range(30_000):
        assert writer.append(b"%c" % (number % 251))

    assert body(writer.commit(b"m")) == bytes(number % 251 for number in range(30_000))


def test_the_bound_holds_while_ten_times_as_much_goes_through(make_store: MakeStore) -> None:
    store = make_store(1 << 20)
    for number in range(5000):
        store.put(b"%d" % (number % 4000), b"m", b"%d" % number * 400)
        assert store.used_bytes <= 1 << 20

    assert body(store.get(b"999")) == b"4999" * 400


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 40_000), max_size=3), st.data())
def test_a_slice_is_what_bytes_would_give(make_store: MakeStore, sizes: list[int], data: st.DataObject) -> None:
    store = make_store()
    writer = store.create(b"k", None)
    assert writer is not None
    whole = b"".join(bytes([number % 251]) * size for number, size in enumerate(sizes))
    for start in range(0, len(whole), 7000):
        assert writer.append(whole[start : start + 7000])
    record = writer.commit(b"m")
    assert record is not None and body(record) == whole

    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.integers(start, len(whole)))
    pieces = record.slice(start, stop)
    assert b"".join(bytes(piece) for piece in pieces) == whole[start:stop]
    assert all(len(piece) for piece in pieces)
