"""A worker's ring of log records: nothing torn is ever read, and what was lost is counted exactly."""

from __future__ import annotations

import mmap
import os
import random
import signal
import time
from collections.abc import Iterator
from math import isnan, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel.stats import plain_ring, ring
from accel.stats.plain_ring import BOUNDS, HEADER_BYTES, PAGE_BYTES, PlainWords, PlainWriter
from accel.stats.records import TEXTS, LogRecord, records_of
from accel.stats.ring import LEAST_RING_BYTES, LogRings, RingReader, RingWriter

Writer = RingWriter | PlainWriter
WRITERS = [pytest.param(RingWriter, id="compiled"), pytest.param(PlainWriter, id="plain")]


def new_ring(data_bytes: int = LEAST_RING_BYTES) -> memoryview:
    """Return a ring that nobody has written to."""
    return memoryview(mmap.mmap(-1, HEADER_BYTES + data_bytes))


def write(writer: Writer, **other: object) -> None:
    """Write a record, plain save for `other`."""
    fields = {
        "at": 1_700_000_000.25, "first_byte_s": 0.5, "total_s": 0.75, "origin_s": 0.25, "age_s": nan, "ttl_s": nan,
        "key_hash": 2**63 + 1, "body_bytes": 2**40, "exchange_id": 0, "connection_id": 7, "status": 200, "minor": 1,
        "outcome": 2, "reason": 3, "retries": 1, "client": "192.0.2.1", "method": b"GET", "host": b"example.org",
        "target": b"/x", "referer": b"", "user_agent": b"probe/1", "backend": "b:80", "rule": "a.policy:3",
        "tags": b"news", "asked": b"/y", "varies": b"3 accept=0011aabb",
    }  # fmt: skip
    writer.write(*(fields | other).values())  # type: ignore[arg-type]


def everything(reader: RingReader, offset: int = 0) -> tuple[list[LogRecord], int]:
    """Return all records from `offset` on, and where they end."""
    records: list[LogRecord] = []
    while True:
        chunk, offset = reader.read(offset)
        records += records_of(chunk)
        if offset == reader.head():
            return records, offset


@pytest.mark.parametrize("make", WRITERS)
def test_what_is_written_is_read(make: type[Writer]) -> None:
    memory = new_ring()

    write(make(memory))

    [record], _ = everything(RingReader(memory))
    assert (record.at, record.client, record.method) == (1_700_000_000.25, "192.0.2.1", b"GET")
    assert record.host == b"example.org"
    assert (record.target, record.minor, record.status, record.body_bytes) == (b"/x", 1, 200, 2**40)
    assert (record.duration_s, record.first_byte_s, record.origin_s) == (0.75, 0.5, 0.25)
    assert isnan(record.age_s) and isnan(record.ttl_s)
    assert (record.outcome, record.reason, record.retries) == ("miss", "uri-miss", 1)
    assert (record.backend, record.rule, record.tags, record.user_agent) == ("b:80", "a.policy:3", b"news", b"probe/1")
    assert (record.asked, record.varies) == (b"/y", b"3 accept=0011aabb")
    assert (record.key_hash, record.connection_id, record.number, record.cut) == (2**63 + 1, 7, 1, 0)


@given(st.lists(st.binary(max_size=3000), min_size=11, max_size=11), st.floats(width=32), st.integers(0, 255))
def test_both_writers_write_the_same_but_for_the_checksum(texts: list[bytes], seconds: float, small: int) -> None:
    rings = new_ring(), new_ring()
    fields = dict(zip(TEXTS, texts, strict=True))
    named = {name: text.decode("latin-1") if name in ("client", "backend", "rule") else text
             for name, text in fields.items()}  # fmt: skip

    for writer in (RingWriter(rings[0]), PlainWriter(rings[1])):
        write(writer, **named, total_s=seconds, outcome=small, retries=small)

    for memory in rings:
        place = HEADER_BYTES + plain_ring.CHECKSUM_AT
        memory[place : place + 4] = bytes(4)
    assert bytes(rings[0][: HEADER_BYTES + 10_000]) == bytes(rings[1][: HEADER_BYTES + 10_000])


@pytest.mark.parametrize("make", WRITERS)
def test_exchanges_are_numbered_as_they_begin_and_a_next_worker_gives_no_number_twice(make: type[Writer]) -> None:
    memory = new_ring()
    writer = make(memory)
    first, second = writer.begun(), writer.begun()

    write(writer, exchange_id=second)
    write(writer)  # begins and ends at once
    write(make(memory), exchange_id=make(memory).begun())

    records, _ = everything(RingReader(memory))
    assert (first, [record.exchange_id for record in records]) == (1, [2, 3, 4])


@pytest.mark.parametrize("make", WRITERS)
def test_a_text_over_its_bound_is_cut_and_said_to_be(make: type[Writer]) -> None:
    memory = new_ring()

    write(make(memory), target=b"/" * 5000, tags=b"t" * 1024)

    [record], _ = everything(RingReader(memory))
    assert (len(record.target), len(record.tags)) == (BOUNDS[3], 1024)
    assert record.cut == 1 << 3


@pytest.mark.parametrize("make", WRITERS)
def test_a_reader_that_keeps_up_gets_every_record_however_often_the_ring_wraps(make: type[Writer]) -> None:
    memory = new_ring()
    writer, reader, offset = make(memory), RingReader(memory), 0
    numbers = []

    for turn in range(2000):
        write(writer, target=b"/" * random.Random(turn).randrange(2000))
        records, offset = everything(reader, offset)
        numbers += [record.number for record in records]

    assert numbers == list(range(1, 2001))
    assert offset > 3 * LEAST_RING_BYTES


@pytest.mark.parametrize("make", WRITERS)
def test_a_reader_that_was_overrun_goes_on_at_a_whole_page_and_sees_how_many_it_lost(make: type[Writer]) -> None:
    memory = new_ring()
    writer, reader = make(memory), RingReader(memory)
    write(writer)
    [first], offset = everything(reader)

    for _ in range(5000):
        write(writer)

    records, _ = everything(reader, offset)
    numbers = [record.number for record in records]
    assert numbers == list(range(numbers[0], 5002))
    assert numbers[0] > first.number + 1
    assert len(numbers) > 0.6 * LEAST_RING_BYTES / 200


def test_a_copy_that_was_overrun_while_it_was_made_is_thrown_away() -> None:
    memory = new_ring()
    writer = PlainWriter(memory)
    for _ in range(1000):
        write(writer)
    words = PlainWords(memory)

    class Slow(PlainWords):
        def copied(self, start: int, end: int) -> bytes | None:
            for _ in range(2000):
                write(writer)
            return super().copied(start, end)

    reader = RingReader(memory)
    reader._words = Slow(memory)

    chunk, offset = reader.read(0)

    assert chunk == b""
    assert offset + words.size >= words.reserved() - PAGE_BYTES - 3 * 2000 * 300


@pytest.mark.parametrize("offset", [2**63, 12345, 8])
def test_an_offset_that_is_none_leads_to_no_error(offset: int) -> None:
    memory = new_ring()
    writer = RingWriter(memory)
    for _ in range(100):
        write(writer)

    chunk, after = RingReader(memory).read(offset)

    assert after <= RingReader(memory).head()
    list(records_of(chunk))


@given(st.binary(max_size=600))
def test_no_bytes_make_the_reading_of_records_fail(chunk: bytes) -> None:
    list(records_of(chunk))


@given(st.integers(0, 299), st.integers(0, 255))
def test_no_byte_of_a_record_that_is_changed_makes_it_fail(place: int, value: int) -> None:
    memory = new_ring()
    write(RingWriter(memory), user_agent=b"x" * 100)
    chunk = bytearray(RingReader(memory).read(0)[0])
    chunk[place % len(chunk)] = value

    list(records_of(bytes(chunk)))


def test_a_plain_record_that_is_not_there_yet_is_no_record() -> None:
    memory = new_ring()
    write(PlainWriter(memory))
    chunk = bytearray(RingReader(memory).read(0)[0])
    chunk[-8] ^= 1

    assert list(records_of(bytes(chunk))) == []


@pytest.mark.parametrize("make", WRITERS)
def test_a_writer_goes_on_where_a_killed_one_had_got_to(make: type[Writer]) -> None:
    memory = new_ring()
    write(make(memory))
    words = memory[:HEADER_BYTES].cast("Q")
    head, reader = words[plain_ring.HEAD], RingReader(memory)
    words[plain_ring.RECORDS] += 1  # it was killed in the middle of a long record
    words[plain_ring.RESERVED] = head + 4000
    memory[HEADER_BYTES + head : HEADER_BYTES + head + 4000] = b"\xff" * 4000

    write(make(memory))

    records, _ = everything(reader)
    assert [record.number for record in records] == [1, 3]
    assert words[plain_ring.RESERVED] == head + 4000, "old bytes that the dead one wrote over are not good again"


def target_of(number: int) -> bytes:
    """Return the text that record `number` of a test's writer has."""
    return b"/%d/" % number + bytes([number % 251]) * (number * 7919 % 2000)


def write_for_ever(make: type[Writer], memory: memoryview) -> None:
    """Write records that can be told to be whole, until killed."""
    number = memory[:HEADER_BYTES].cast("Q")[plain_ring.RECORDS]
    writer = make(memory)
    while True:
        number += 1
        write(writer, target=target_of(number), key_hash=number)


@pytest.fixture(params=WRITERS)
def make(request: pytest.FixtureRequest) -> type[Writer]:
    """Return each kind of writer."""
    kind: type[Writer] = request.param
    return kind


def test_no_reader_sees_a_torn_record_of_writers_that_are_killed_at_any_instruction(make: type[Writer]) -> None:
    memory = new_ring()
    reader, offset, expected, lost, seen = RingReader(memory), 0, 1, 0, 0
    chance = random.Random(7)
    for _ in range(25):
        for record in _while_it_is_killed(make, memory, reader, offset, chance.randrange(60, 600)):
            assert record.target == target_of(record.key_hash)
            assert record.number == record.key_hash >= expected
            lost, seen, expected = lost + record.number - expected, seen + 1, record.number + 1
        offset = reader.head()

    assert seen > 1000
    assert seen + lost <= memory[:HEADER_BYTES].cast("Q")[plain_ring.RECORDS]


def _while_it_is_killed(
    make: type[Writer], memory: memoryview, reader: RingReader, offset: int, life: int
) -> Iterator[LogRecord]:
    """Yield what is read while a process writes at least `life` records, and after it was killed."""
    last = reader.records() + life
    pid = os.fork()
    if pid == 0:
        try:
            write_for_ever(make, memory)
        finally:
            os._exit(1)
    end = time.monotonic() + 30
    is_alive = True
    while is_alive or offset != reader.head():
        if is_alive and (reader.records() >= last or time.monotonic() > end):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            is_alive = False
        chunk, offset = reader.read(offset)
        yield from records_of(chunk)


def test_a_ring_is_made_once_for_a_row_and_not_at_all_without_a_log() -> None:
    rings = LogRings(1)

    memory = rings.memory(3)

    assert memory is not None and len(memory) == HEADER_BYTES + LEAST_RING_BYTES
    assert rings.memory(3) is memory
    assert list(rings.readers()) == [3]
    assert LogRings(0).memory(0) is None


def test_the_compiled_writer_is_what_is_used_where_it_was_built() -> None:
    assert ring.RingWriter.__module__ == "accel.stats._ring"
