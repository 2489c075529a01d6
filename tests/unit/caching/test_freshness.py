"""Freshness lifetimes and ages (RFC 9111 §4.2; RFC 5861; RFC 9213 §2.2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel.caching.freshness import LifetimeSource, Terms, corrected_initial_age, current_age, terms
from accel.caching.stored import Stored
from accel.config import CachingOptions
from accel.http.fields import format_date
from accel.http.message import Fields, Line, Response

NOW = 1_700_000_000.0
OFF, ON = CachingOptions(), CachingOptions(heuristic=True)


def response(*lines: Line, status: int = 200) -> Response:
    return Response(status, b"OK", Fields(lines))


def date(offset_s: float) -> bytes:
    return format_date(NOW + offset_s)


CC, CDN, EXPIRES, DATE = b"cache-control", b"cdn-cache-control", b"expires", b"date"


@pytest.mark.parametrize(
    ("lines", "lifetime_s", "source"),
    [
        ([], 0, LifetimeSource.NONE),
        ([(CC, b"max-age=60")], 60, LifetimeSource.MAX_AGE),
        ([(CC, b"max-age=60, s-maxage=30")], 30, LifetimeSource.S_MAXAGE),
        ([(CC, b"s-maxage=0, max-age=60")], 0, LifetimeSource.S_MAXAGE),
        ([(CC, b"max-age=x")], 0, LifetimeSource.MAX_AGE),
        ([(CC, b"max-age")], 0, LifetimeSource.MAX_AGE),
        ([(CC, b"max-age=-5")], 0, LifetimeSource.MAX_AGE),
        ([(CC, b"max-age=60, max-age=90")], 0, LifetimeSource.MAX_AGE),
        ([(CC, b"max-age=60"), (CC, b"max-age=60")], 60, LifetimeSource.MAX_AGE),
        ([(CC, b"s-maxage=x, max-age=60")], 0, LifetimeSource.S_MAXAGE),
        ([(CC, b"max-age=60"), (EXPIRES, date(10))], 60, LifetimeSource.MAX_AGE),
        ([(CC, b"max-age=0"), (EXPIRES, date(10))], 0, LifetimeSource.MAX_AGE),
        ([(EXPIRES, date(10)), (DATE, date(0))], 10, LifetimeSource.EXPIRES),
        ([(EXPIRES, date(10)), (DATE, date(-100))], 110, LifetimeSource.EXPIRES),
        ([(EXPIRES, date(10))], 10, LifetimeSource.EXPIRES),
        ([(EXPIRES, date(-10))], 0, LifetimeSource.EXPIRES),
        ([(EXPIRES, b"0")], 0, LifetimeSource.EXPIRES),
        ([(EXPIRES, b"")], 0, LifetimeSource.EXPIRES),
        ([(EXPIRES, date(10)), (EXPIRES, date(10))], 0, LifetimeSource.EXPIRES),
        ([(CC, b"public"), (EXPIRES, date(10))], 10, LifetimeSource.EXPIRES),
        ([(CDN, b"max-age=5"), (CC, b"s-maxage=60")], 5, LifetimeSource.CDN_CACHE_CONTROL),
        ([(CDN, b"max-age=5, s-maxage=7")], 7, LifetimeSource.CDN_CACHE_CONTROL),
        ([(CDN, b"max-age=1.5"), (CC, b"max-age=60")], 0, LifetimeSource.CDN_CACHE_CONTROL),
        ([(CDN, b'max-age="5"'), (CC, b"max-age=60")], 0, LifetimeSource.CDN_CACHE_CONTROL),
        ([(CDN, b"none"), (CC, b"max-age=60"), (EXPIRES, date(10))], 0, LifetimeSource.NONE),
        ([(CDN, b"max-age = 5"), (CC, b"max-age=60")], 60, LifetimeSource.MAX_AGE),
        ([(CDN, b""), (CC, b"max-age=60")], 60, LifetimeSource.MAX_AGE),
    ],
)
def test_the_lifetime_and_where_it_is_from(lines: list[Line], lifetime_s: float, source: LifetimeSource) -> None:
    """RFC 9111 §4.2.1, §5.3; RFC 9213 §2.2: a valid targeted field silences the others."""
    found = terms(response(*lines), OFF, NOW)
    assert (found.lifetime_s, found.source) == (lifetime_s, source)


MODIFIED = (b"last-modified", date(-1000))


@pytest.mark.parametrize(
    ("lines", "status", "lifetime_s", "source"),
    [
        ([MODIFIED, (DATE, date(0))], 200, 100, LifetimeSource.HEURISTIC),
        ([MODIFIED], 404, 100, LifetimeSource.HEURISTIC),
        ([(b"last-modified", date(-10_000_000))], 200, 86400, LifetimeSource.HEURISTIC),
        ([(b"last-modified", date(10))], 200, 0, LifetimeSource.HEURISTIC),
        ([MODIFIED], 302, 0, LifetimeSource.NONE),
        ([MODIFIED], 405, 0, LifetimeSource.NONE),
        ([MODIFIED, (CC, b"max-age=0")], 200, 0, LifetimeSource.MAX_AGE),
        ([MODIFIED, (EXPIRES, b"0")], 200, 0, LifetimeSource.EXPIRES),
        ([(b"last-modified", b"0")], 200, 0, LifetimeSource.NONE),
        ([], 200, 0, LifetimeSource.NONE),
    ],
)
def test_heuristics_only_where_nothing_is_said(
    lines: list[Line], status: int, lifetime_s: float, source: LifetimeSource
) -> None:
    """RFC 9111 §4.2.2."""
    found = terms(response(*lines, status=status), ON, NOW)
    assert (found.lifetime_s, found.source) == (lifetime_s, source)


def test_heuristics_are_off_unless_asked_for() -> None:
    assert terms(response(MODIFIED), OFF, NOW).source is LifetimeSource.NONE


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"max-age=1, stale-while-revalidate=5, stale-if-error=9", (5, 9, False)),
        (b"max-age=1, stale-while-revalidate=x, stale-if-error", (0, 0, False)),
        (b"max-age=1, must-revalidate, stale-while-revalidate=5, stale-if-error=9", (0, 0, True)),
        (b"max-age=1, proxy-revalidate, stale-while-revalidate=5", (0, 0, True)),
        (b"s-maxage=1, stale-if-error=9", (0, 0, True)),
        (b"max-age=1, must-revalidate=0", (0, 0, True)),
    ],
)
def test_staleness_is_allowed_only_where_nothing_forbids_it(value: bytes, expected: tuple[int, int, bool]) -> None:
    """RFC 5861 §3, §4; RFC 9111 §4.2.4, §5.2.2.10."""
    found = terms(response((CC, value)), OFF, NOW)
    assert (found.grace_s, found.if_error_s, found.must_revalidate) == expected


@pytest.mark.parametrize(
    ("value", "no_cache"),
    [
        (b"no-cache", True),
        (b'no-cache="x-secret"', False),
        (b'no-cache="content-type"', True),
        (b'no-cache=""', True),
        (b'no-cache="a", no-cache', True),
        (b"max-age=5", False),
    ],
)
def test_no_cache_covers_all_unless_it_lists_fields_that_can_be_left_out(value: bytes, no_cache: bool) -> None:
    """RFC 9111 §5.2.2.4."""
    assert terms(response((CC, value)), OFF, NOW).no_cache is no_cache


@pytest.mark.parametrize(
    ("source", "expected"),
    [(LifetimeSource.MAX_AGE, True), (LifetimeSource.POLICY, True), (LifetimeSource.HEURISTIC, False)],
)
def test_a_guess_is_not_explicit(source: LifetimeSource, expected: bool) -> None:
    """RFC 9111 §4.2.2."""
    assert Terms(source=source).is_explicit is expected
    assert not Terms().is_explicit


def test_immutable_is_noted() -> None:
    """RFC 8246."""
    assert terms(response((CC, b"max-age=5, immutable")), OFF, NOW).immutable


@pytest.mark.parametrize(
    ("lines", "request_at", "response_at", "age_s"),
    [
        ([], NOW, NOW, 0),
        ([], NOW - 2, NOW, 2),
        ([(DATE, date(-10))], NOW, NOW, 10),
        ([(DATE, date(10))], NOW, NOW, 0),
        ([(DATE, date(0))], NOW, NOW + 0.9, 0.9),
        ([(b"age", b"30")], NOW - 2, NOW, 32),
        ([(b"age", b"30"), (DATE, date(-100))], NOW, NOW, 100),
        ([(b"age", b"30, 90")], NOW, NOW, 30),
        ([(b"age", b"-5")], NOW, NOW, 0),
        ([(b"age", b"x, 30")], NOW, NOW, 0),
        ([(DATE, b"junk"), (b"age", b"3")], NOW, NOW, 3),
        ([], NOW + 5, NOW, 0),
    ],
)
def test_the_age_on_arrival(lines: list[Line], request_at: float, response_at: float, age_s: float) -> None:
    """RFC 9111 §4.2.3, §5.1."""
    assert corrected_initial_age(response(*lines), request_at, response_at) == pytest.approx(age_s, abs=1e-6)


def test_a_date_of_this_very_second_adds_no_age() -> None:
    """Date has whole seconds: 0.9 s into one, a response of that second is not 0.9 s old."""
    assert corrected_initial_age(response((DATE, date(0))), NOW + 0.9, NOW + 0.9) == 0


def stored(initial_age_s: float) -> Stored:
    return Stored(200, b"", Fields(), NOW, NOW, initial_age_s, Terms(), 0)


@given(st.floats(0, 1e6), st.floats(-1e6, 1e6))
def test_age_grows_with_time_and_never_below_what_it_was(initial_age_s: float, passed_s: float) -> None:
    """RFC 9111 §4.2.3: a clock set back makes nothing younger than it arrived."""
    age_s = current_age(stored(initial_age_s), NOW + passed_s)
    assert age_s == pytest.approx(initial_age_s + max(0.0, passed_s), abs=1e-6)
