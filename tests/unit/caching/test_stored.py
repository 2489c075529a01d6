"""What is encoded into a record's meta decodes to the same."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel.caching.freshness import LifetimeSource, Terms
from accel.caching.stored import Incomplete, PassMark, Stored, VariantList, decode, encode, glimpse
from accel.caching.tags import ANY
from accel.http.message import Fields

TIMES = st.floats(allow_nan=False, allow_infinity=False)
NUMBERS = st.integers(0, 2**64 - 1)
NAMES = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=20).map(str.encode)
TERMS = st.builds(
    Terms,
    lifetime_s=TIMES,
    source=st.sampled_from(LifetimeSource),
    grace_s=TIMES,
    if_error_s=TIMES,
    must_revalidate=st.booleans(),
    no_cache=st.booleans(),
    immutable=st.booleans(),
    keep_s=TIMES | st.just(inf),
    is_shared=st.booleans(),
)
STORED = st.builds(
    Stored,
    status=st.integers(100, 599),
    reason=st.binary(max_size=40),
    fields=st.lists(st.tuples(NAMES, st.binary(max_size=60)), max_size=8).map(Fields),
    request_at=TIMES,
    response_at=TIMES,
    initial_age_s=TIMES,
    terms=TERMS,
    number=NUMBERS,
    tags=st.lists(st.binary(min_size=1, max_size=9).filter(lambda tag: b"\n" not in tag), max_size=5).map(
        lambda tags: (*tags, ANY) if len(tags) == 5 else tuple(tags)
    ),
)
VARIANTS = st.builds(VariantList, st.lists(NAMES, max_size=5).map(tuple), NUMBERS, NUMBERS)
MARKS = st.builds(PassMark, TIMES, NUMBERS)
INCOMPLETE = st.builds(Incomplete, st.binary(max_size=40), st.none() | st.integers(0, 2**63), STORED)


@given(STORED | VARIANTS | MARKS | INCOMPLETE)
def test_meta_round_trips(meta: Stored | VariantList | PassMark | Incomplete) -> None:
    assert decode(encode(meta)) == meta


@given(STORED)
def test_a_glimpse_sees_what_invalidation_asks_for(stored: Stored) -> None:
    seen = glimpse(encode(stored))

    assert seen is not None
    assert (seen.number, seen.tags, seen.status) == (stored.number, stored.tags, stored.status)
    assert (seen.response_at, seen.initial_age_s) == (stored.response_at, stored.initial_age_s)
    assert seen.fields == stored.fields


@given(VARIANTS | MARKS | INCOMPLETE)
def test_a_glimpse_sees_stored_responses_alone(meta: VariantList | PassMark | Incomplete) -> None:
    assert glimpse(encode(meta)) is None


@pytest.mark.parametrize("meta", [b"", b"\x02", b"\x00\x01", b"\x01\x01" + bytes(100), b"\x02\x09" + bytes(100)])
def test_a_form_of_another_version_is_refused(meta: bytes) -> None:
    with pytest.raises(ValueError, match="meta begins"):
        decode(meta)


def test_validators_are_read_from_the_fields() -> None:
    date = b"Sun, 06 Nov 1994 08:49:37 GMT"
    fields = Fields([(b"etag", b'W/"a"'), (b"last-modified", date), (b"date", date)])
    stored = Stored(200, b"", fields, 0.0, 9.0, 0.0, Terms(), 0)
    assert (stored.etag, stored.last_modified, stored.date_at) == (b'W/"a"', date, 784111777.0)
    bare = Stored(200, b"", Fields(), 0.0, 9.0, 0.0, Terms(), 0)
    assert (bare.etag, bare.last_modified, bare.date_at) == (None, None, 9.0)
