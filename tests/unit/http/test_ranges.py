"""Byte ranges of a stored whole (RFC 9110 §14)."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel.http.ranges import (
    Multipart,
    Refusal,
    byte_ranges,
    content_range,
    if_range_holds,
    unsatisfied_range,
)


@pytest.mark.parametrize(
    ("value", "ranges"),
    [
        (b"bytes=0-9", [(0, 10)]),
        (b"BYTES=0-0", [(0, 1)]),
        (b"bytes=90-", [(90, 100)]),
        (b"bytes=90-999999999999999999", [(90, 100)]),
        (b"bytes=-10", [(90, 100)]),
        (b"bytes=-1000", [(0, 100)]),
        (b"bytes=0-9, 20-29", [(0, 10), (20, 30)]),
        (b"bytes=20-29,0-9", [(20, 30), (0, 10)]),
        (b"bytes=0-9,10-19", [(0, 20)]),
        (b"bytes=10-19,50-59,5-14", [(5, 20), (50, 60)]),
        (b"bytes=50-59,10-19,55-64", [(50, 65), (10, 20)]),
        (b"bytes=0-9,200-,-0", [(0, 10)]),
        (b"bytes=,0-9,,", [(0, 10)]),
    ],
)
def test_satisfiable_ranges(value: bytes, ranges: list[tuple[int, int]]) -> None:
    """RFC 9110 §14.1.2, §15.3.7.2: touching ranges are one, the others keep their order."""
    assert byte_ranges(value, 100, 8) == ranges


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"bytes",
        b"bytes=",
        b"bytes=,",
        b"bytes=-",
        b"bytes=a-b",
        b"bytes=9-0",
        b"bytes=0-9,9-0",
        b"bytes= 0 - 9",
        b"bytes =0-9",
        b"bytes=0-9;20-29",
        b"bytes=0-9x",
        b"bytes=+1-9",
        b"bytes=0x1-9",
        b"items=0-9",
        b"bytes=" + b"1" * 5000 + b"-",
    ],
)
def test_what_is_malformed_or_of_another_unit_is_ignored(value: bytes) -> None:
    """RFC 9110 §14.2."""
    assert byte_ranges(value, 100, 8) is Refusal.IGNORE


@pytest.mark.parametrize("value", [b"bytes=100-", b"bytes=100-199", b"bytes=-0", b"bytes=100-,200-300"])
def test_ranges_beyond_the_end_are_unsatisfiable(value: bytes) -> None:
    """RFC 9110 §15.5.17."""
    assert byte_ranges(value, 100, 8) is Refusal.UNSATISFIABLE


def test_of_an_empty_whole_only_a_suffix_is_satisfiable_and_that_is_the_whole() -> None:
    assert byte_ranges(b"bytes=0-", 0, 8) is Refusal.UNSATISFIABLE
    assert byte_ranges(b"bytes=-5", 0, 8) is Refusal.IGNORE


def test_more_ranges_than_the_limit_get_the_whole() -> None:
    """RFC 9110 §17.15."""
    assert byte_ranges(b"bytes=" + b",".join(b"%d-%d" % (n, n) for n in range(0, 16, 2)), 100, 8) != Refusal.IGNORE
    assert byte_ranges(b"bytes=" + b",".join(b"%d-%d" % (n, n) for n in range(0, 18, 2)), 100, 8) is Refusal.IGNORE


def test_ranges_that_add_up_to_more_than_the_whole_get_the_whole() -> None:
    assert byte_ranges(b"bytes=0-59,40-99", 100, 8) is Refusal.IGNORE
    assert byte_ranges(b"bytes=0-49,50-99", 100, 8) == [(0, 100)]


@given(
    st.lists(st.tuples(st.integers(0, 120), st.integers(0, 120)) | st.integers(0, 120), max_size=10),
    st.integers(0, 100),
)
def test_parts_are_within_the_whole_apart_from_each_other_and_cover_what_was_asked(
    specs: list[tuple[int, int] | int], length: int
) -> None:
    text = b",".join(b"-%d" % spec if isinstance(spec, int) else b"%d-%d" % spec for spec in specs)
    parts = byte_ranges(b"bytes=" + text, length, 8)
    if isinstance(parts, Refusal):
        return
    asked: set[int] = set()
    for spec in specs:
        first, last = (max(0, length - spec), length - 1) if isinstance(spec, int) else spec
        asked.update(range(first, min(last + 1, length)))
    assert {byte for start, stop in parts for byte in range(start, stop)} == asked
    ordered = sorted(parts)
    assert all(a[1] < b[0] for a, b in pairwise(ordered))
    assert sum(stop - start for start, stop in parts) <= length


@given(st.binary(max_size=80))
def test_no_range_makes_it_raise(value: bytes) -> None:
    byte_ranges(b"bytes=" + value, 100, 8)


MODIFIED = b"Sun, 06 Nov 1994 08:49:37 GMT"
MODIFIED_AT = 784111777.0


@pytest.mark.parametrize(
    ("value", "etag", "last_modified", "date_at", "expected"),
    [
        (b'"a"', b'"a"', None, 0.0, True),
        (b'"a"', b'"b"', None, 0.0, False),
        (b'W/"a"', b'W/"a"', None, 0.0, False),
        (b'"a"', None, MODIFIED, MODIFIED_AT + 99, False),
        (MODIFIED, None, MODIFIED, MODIFIED_AT + 1, True),
        (MODIFIED, None, MODIFIED, MODIFIED_AT, False),
        (b"Sun, 06 Nov 1994 08:49:38 GMT", None, MODIFIED, MODIFIED_AT + 99, False),
        (MODIFIED, b'"a"', None, MODIFIED_AT + 99, False),
        (b"junk", None, None, 0.0, False),
    ],
)
def test_if_range_needs_a_strong_validator(
    value: bytes, etag: bytes | None, last_modified: bytes | None, date_at: float, expected: bool
) -> None:
    """RFC 9110 §13.1.5, §8.8.2.2."""
    assert if_range_holds(value, etag, last_modified, date_at) is expected


def test_content_range_counts_both_ends_in() -> None:
    """RFC 9110 §14.4."""
    assert content_range((0, 10), 100) == b"bytes 0-9/100"
    assert unsatisfied_range(100) == b"bytes */100"


def test_a_multipart_body_is_as_long_as_it_says_and_reads_back() -> None:
    """RFC 9110 §14.6."""
    whole = bytes(range(100))
    parts = [(0, 10), (50, 60)]
    frame = Multipart(parts, len(whole), b"image/png", b"bound")
    body = b"".join(head + whole[start:stop] for head, (start, stop) in zip(frame.heads, parts, strict=True))
    body += frame.closing
    assert len(body) == frame.content_length
    assert frame.content_type == b"multipart/byteranges; boundary=bound"
    pieces = body.split(b"\r\n--bound")
    assert pieces[0] == b"" and pieces[-1] == b"--\r\n"
    assert pieces[1] == b"\r\nContent-Type: image/png\r\nContent-Range: bytes 0-9/100\r\n\r\n" + whole[:10]


def test_parts_of_a_whole_without_a_type_have_none() -> None:
    assert b"Content-Type" not in Multipart([(0, 1)], 5, None, b"b").heads[0]
