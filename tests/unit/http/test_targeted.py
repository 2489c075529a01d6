"""CDN-Cache-Control is a strict Dictionary of Structured Fields (RFC 9213 §2, RFC 8941 §4.2.2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel.http.targeted import targeted_cache_control


@pytest.mark.parametrize(
    ("value", "directives"),
    [
        (b"max-age=60", {b"max-age": b"60"}),
        (b"max-age=60, no-store", {b"max-age": b"60", b"no-store": None}),
        (b"max-age=60\t,\tprivate=?1", {b"max-age": b"60", b"private": None}),
        (b"no-store=?0, max-age=1", {b"max-age": b"1"}),
        (b"no-store, no-store=?0", {}),
        (b"max-age=60;x=1; y", {b"max-age": b"60"}),
        (b"max-age=1, max-age=2", {b"max-age": b"2"}),
        (b'private="a, b"', {b"private": b"a, b"}),
        (b'no-cache="a\\"b"', {b"no-cache": b'a"b'}),
        (b'max-age="60"', {b"max-age": b""}),
        (b"private=a", {b"private": b""}),
        (b"none", {b"none": None}),
        (b"max-age=1.5", {b"max-age": b""}),
        (b"max-age=-1", {b"max-age": b""}),
        (b"max-age=abc", {b"max-age": b""}),
        (b'x=("a" 1;q=2 b);p, y=:aGk=:', {b"x": b"", b"y": b""}),
        (b"x=()", {b"x": b""}),
    ],
)
def test_what_a_targeted_field_says(value: bytes, directives: dict[bytes, bytes | None]) -> None:
    """RFC 9213 §2.1: parameters say nothing, and a value of the wrong type is not made into a right one."""
    found = targeted_cache_control(value)
    assert found is not None and dict(found) == directives


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b",",
        b"max-age=60,",
        b"max-age=60,,no-store",
        b"max-age = 60",
        b"Max-Age=60",
        b"max-age=60 no-store",
        b"max-age=",
        b'private="a',
        b'private="\xc3\xa4"',
        b"max-age=1234567890123456",
        b"x=(a",
        b"x=?2",
        b"max-age=60 ",
    ],
)
def test_a_field_that_breaks_the_syntax_is_no_field(value: bytes | None) -> None:
    """RFC 9213 §2.2: then Cache-Control governs."""
    assert targeted_cache_control(value) is None


@given(st.binary(max_size=100) | st.text('abc=?01",;() \\.:-', max_size=60).map(str.encode))
def test_no_value_makes_it_raise(value: bytes) -> None:
    targeted_cache_control(value)


def test_long_malformed_values_are_refused_in_linear_time() -> None:
    assert targeted_cache_control(b"x=(" + b"a " * 20_000) is None
    assert targeted_cache_control(b"a;b" * 20_000 + b"=") is None
