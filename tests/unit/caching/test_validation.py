"""Asking the origin, and freshening by its 304 (RFC 9111 §3.2, §4.3)."""

import pytest

from accel.caching.freshness import LifetimeSource, current_age, terms
from accel.caching.stored import Stored
from accel.caching.storing import Storing, decide, stored_response
from accel.caching.validation import conditional_fields, confirms, freshened, may_complete
from accel.config import CachingOptions
from accel.http.fields import format_date
from accel.http.message import Fields, Line, Request, Response

NOW = 1_700_000_000.0
OPTIONS = CachingOptions()
DATE, LATER = format_date(NOW), format_date(NOW + 500)
OLD = format_date(NOW - 9000)
FRESH = (b"cache-control", b"max-age=60")


def stored(*lines: Line) -> Stored:
    response = Response(200, b"OK", Fields(lines))
    return stored_response(response, terms(response, OPTIONS, NOW), NOW, NOW, 1)


def answer(*lines: Line) -> Response:
    return Response(304, b"Not Modified", Fields(lines))


def test_every_validator_is_asked_with() -> None:
    """RFC 9111 §4.3.1."""
    both = stored((b"etag", b'W/"a"'), (b"last-modified", OLD))
    assert conditional_fields(both) == [(b"if-none-match", b'W/"a"'), (b"if-modified-since", OLD)]


@pytest.mark.parametrize("validator", [(b"etag", b'"a"'), (b"last-modified", OLD)])
def test_one_validator_is_enough_to_ask(validator: Line) -> None:
    assert len(conditional_fields(stored(validator))) == 1


def test_without_a_well_formed_validator_there_is_nothing_to_ask_with() -> None:
    assert conditional_fields(stored((b"etag", b"a"), (b"last-modified", b"0"))) == []


E = b"etag"
LM = b"last-modified"


@pytest.mark.parametrize(
    ("kept", "update", "expected"),
    [
        ([(E, b'"a"')], [(E, b'"a"')], True),
        ([(E, b'"a"')], [(E, b'"b"')], False),
        ([(E, b'"a"')], [(E, b'W/"a"')], True),
        ([(E, b'W/"a"')], [(E, b'"a"')], False),
        ([(E, b'W/"a"')], [(E, b'W/"a"')], True),
        ([(LM, OLD)], [(E, b'"a"'), (LM, OLD)], False),
        ([(LM, OLD)], [(LM, OLD)], True),
        ([(LM, OLD)], [(LM, DATE)], False),
        ([(E, b'"a"')], [(LM, OLD)], False),
        ([(E, b'"a"'), (LM, OLD)], [(LM, OLD)], True),
        ([(E, b'"a"')], [], True),
        ([(E, b'"a"'), (b"vary", b"accept")], [(E, b'"a"'), (b"vary", b"Accept")], True),
        ([(E, b'"a"'), (b"vary", b"accept")], [(E, b'"a"')], True),
        ([(E, b'"a"'), (b"vary", b"accept")], [(E, b'"a"'), (b"vary", b"cookie")], False),
        ([(E, b'"a"')], [(E, b'"a"'), (b"vary", b"*")], False),
    ],
)
def test_a_304_is_about_the_stored_response_or_it_is_not(kept: list[Line], update: list[Line], expected: bool) -> None:
    """RFC 9111 §4.3.4."""
    assert confirms(stored(*kept), answer(*update)) is expected


def test_a_304_replaces_fields_and_leaves_the_others() -> None:
    """RFC 9111 §3.2."""
    old = stored((E, b'"a"'), FRESH, (b"x-a", b"1"), (b"x-a", b"2"), (b"x-b", b"3"), (b"date", DATE))
    new = freshened(old, answer((b"date", LATER), (b"x-a", b"9"), (b"x-c", b"8")), NOW + 500, NOW + 500, OPTIONS, 2)
    assert sorted(new.fields.lines) == sorted(
        [(E, b'"a"'), FRESH, (b"x-b", b"3"), (b"date", LATER), (b"x-a", b"9"), (b"x-c", b"8")]
    )
    assert (new.status, new.reason, new.number) == (200, b"OK", 2)


def test_a_304_makes_a_stale_response_fresh_again() -> None:
    """RFC 9111 §4.3.4: age starts anew from the 304's own Date and Age."""
    old = stored((E, b'"a"'), FRESH, (b"date", DATE))
    new = freshened(old, answer((b"date", LATER), (b"age", b"7")), NOW + 499, NOW + 500, OPTIONS, 2)
    assert (new.request_at, new.response_at) == (NOW + 499, NOW + 500)
    assert current_age(new, NOW + 500) == 8
    assert new.terms.lifetime_s == 60
    assert b"age" not in new.fields


def test_a_304_without_a_date_is_dated_by_its_arrival() -> None:
    """Else the old Date would make it old, or an Expires last too long."""
    old = stored((E, b'"a"'), (b"expires", format_date(NOW + 60)), (b"date", DATE))
    new = freshened(old, answer((b"expires", format_date(NOW + 510))), NOW + 500, NOW + 500, OPTIONS, 2)
    assert new.fields.get(b"date") == LATER
    assert (new.terms.lifetime_s, new.terms.source) == (10, LifetimeSource.EXPIRES)
    assert new.initial_age_s == 0


def test_an_old_expires_does_not_freshen() -> None:
    old = stored((E, b'"a"'), (b"expires", format_date(NOW + 60)), (b"date", DATE))
    assert freshened(old, answer((b"date", LATER)), NOW + 500, NOW + 500, OPTIONS, 2).terms.lifetime_s == 0


def test_the_body_that_is_stored_stays_described_as_it_is() -> None:
    """RFC 9111 §3.2."""
    old = stored((E, b'"a"'), FRESH, (b"content-encoding", b"gzip"), (b"content-type", b"text/plain"))
    update = answer(
        (b"content-encoding", b"br"),
        (b"content-length", b"0"),
        (b"content-range", b"x"),
        (b"content-type", b"a/b"),
    )
    new = freshened(old, update, NOW, NOW, OPTIONS, 2)
    assert new.fields.get(b"content-encoding") == b"gzip"
    assert new.fields.get(b"content-type") == b"a/b"
    assert b"content-length" not in new.fields and b"content-range" not in new.fields


def test_what_may_not_be_stored_does_not_come_in_by_a_304() -> None:
    """RFC 9111 §3.1, §5.2.2.7."""
    old = stored((E, b'"a"'), FRESH, (b"x-user", b"1"))
    update = answer(
        (b"connection", b"close, x-hop"),
        (b"x-hop", b"1"),
        (b"set-cookie", b"a=1"),
        (b"cache-control", b'max-age=9, private="x-user"'),
    )
    names = {name for name, _ in freshened(old, update, NOW, NOW, OPTIONS, 2).fields.lines}
    assert names == {E, b"date", b"cache-control"}


def test_a_304_may_end_the_right_to_store() -> None:
    old = stored((E, b'"a"'), FRESH)
    new = freshened(old, answer((b"cache-control", b"no-store")), NOW, NOW, OPTIONS, 2)
    whole = Response(new.status, new.reason, new.fields)
    assert decide(Request(b"GET", b"/"), whole, new.terms, OPTIONS) is Storing.NO_STORE


@pytest.mark.parametrize(
    ("begun", "other", "expected"),
    [
        ([(E, b'"a"')], [(E, b'"a"'), (LM, OLD)], True),
        ([(E, b'"a"')], [(E, b'"b"')], False),
        ([(E, b'"a"')], [], False),
        ([], [(E, b'"a"')], False),
        ([(LM, OLD)], [(LM, OLD)], False),
        ([(E, b'W/"a"')], [(E, b'W/"a"')], False),
        ([(E, b"a")], [(E, b"a")], False),
        ([(E, b'"a"')], [(E, b'"a"'), (b"content-encoding", b"gzip")], False),
    ],
)
def test_a_body_is_completed_only_by_the_same_strong_validator(
    begun: list[Line], other: list[Line], expected: bool
) -> None:
    """RFC 9111 §3.4."""
    assert may_complete(stored(*begun), stored(*other)) is expected
