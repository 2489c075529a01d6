"""Preconditions against a stored 200 (RFC 9110 §13.1, §13.2.2; RFC 9111 §4.3.2)."""

import pytest

from accel.http.conditional import Precondition, etag_of, evaluate, last_modified_of, not_modified_fields
from accel.http.message import Fields, Line

OLD = b"Sun, 06 Nov 1994 08:49:37 GMT"
NEW = b"Sun, 06 Nov 1994 08:49:38 GMT"
OLD_AT = 784111777.0

PROCEED, NOT_MODIFIED = Precondition.PROCEED, Precondition.NOT_MODIFIED


@pytest.mark.parametrize(
    ("none_match", "etag", "expected"),
    [
        (b'"a"', b'"a"', NOT_MODIFIED),
        (b'"a"', b'"b"', PROCEED),
        (b'W/"a"', b'"a"', NOT_MODIFIED),
        (b'"a"', b'W/"a"', NOT_MODIFIED),
        (b'"x", W/"y", "a"', b'"a"', NOT_MODIFIED),
        (b'"x","y"', b'"a"', PROCEED),
        (b'"a,b"', b'"a"', PROCEED),
        (b"*", b'"a"', NOT_MODIFIED),
        (b"*", None, NOT_MODIFIED),
        (b'"a"', None, PROCEED),
        (b"a", b'"a"', PROCEED),
        (b'"a", junk', b'"a"', PROCEED),
        (b"", b'"a"', PROCEED),
    ],
)
def test_if_none_match_compares_weakly(none_match: bytes, etag: bytes | None, expected: Precondition) -> None:
    """RFC 9110 §13.1.2; what cannot be read is answered with the whole."""
    assert evaluate(Fields([(b"if-none-match", none_match)]), etag, OLD, OLD_AT) is expected


def test_if_none_match_makes_if_modified_since_void() -> None:
    """RFC 9110 §13.1.3: even where it fails for want of an ETag."""
    request = Fields([(b"if-none-match", b'"other"'), (b"if-modified-since", NEW)])
    assert evaluate(request, b'"a"', OLD, OLD_AT) is PROCEED
    assert evaluate(request, None, OLD, OLD_AT) is PROCEED


@pytest.mark.parametrize(
    ("since", "last_modified", "date_at", "expected"),
    [
        (OLD, OLD, OLD_AT + 9, NOT_MODIFIED),
        (NEW, OLD, OLD_AT + 9, NOT_MODIFIED),
        (OLD, NEW, OLD_AT + 9, PROCEED),
        (b"yesterday", OLD, OLD_AT, PROCEED),
        (OLD, None, OLD_AT, NOT_MODIFIED),
        (OLD, None, OLD_AT + 1, PROCEED),
    ],
)
def test_if_modified_since(since: bytes, last_modified: bytes | None, date_at: float, expected: Precondition) -> None:
    """RFC 9110 §13.1.3; RFC 9111 §4.3.2: Date stands in for Last-Modified."""
    assert evaluate(Fields([(b"if-modified-since", since)]), None, last_modified, date_at) is expected


def test_without_a_precondition_the_answer_is_whole() -> None:
    assert evaluate(Fields(), b'"a"', OLD, OLD_AT) is PROCEED


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], (None, None)),
        ([(b"etag", b'W/"a"'), (b"last-modified", OLD)], (b'W/"a"', OLD)),
        ([(b"etag", b"a"), (b"last-modified", b"0")], (None, None)),
        ([(b"etag", b'"a"'), (b"etag", b'"b"')], (None, None)),
    ],
)
def test_malformed_validators_are_none(lines: list[Line], expected: tuple[bytes | None, bytes | None]) -> None:
    """RFC 9110 §8.8: two ETags are none."""
    assert (etag_of(Fields(lines)), last_modified_of(Fields(lines))) == expected


def test_a_304_carries_what_a_cache_needs_and_no_more() -> None:
    """RFC 9110 §15.4.5: Last-Modified only where there is no ETag."""
    fields = Fields([(b"content-type", b"text/html"), (b"vary", b"a"), (b"last-modified", OLD), (b"etag", b'"a"')])
    assert not_modified_fields(fields).lines == [(b"vary", b"a"), (b"etag", b'"a"')]
    assert not_modified_fields(fields.without([b"etag"])).lines == [(b"vary", b"a"), (b"last-modified", OLD)]
