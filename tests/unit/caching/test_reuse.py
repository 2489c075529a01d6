"""May a stored response answer now? (RFC 9111 §4, §5.2.1; RFC 5861; RFC 8246)"""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel.caching.freshness import LifetimeSource, Terms
from accel.caching.reuse import (
    FRESH,
    STALE_SERVE,
    VALIDATE_REQUEST,
    VALIDATE_STALE,
    Judgement,
    Reuse,
    judge,
    may_serve_on_error,
    may_validate,
    only_if_cached,
    remaining_s,
)
from accel.caching.stored import Stored
from accel.config import CachingOptions
from accel.http.message import Fields, Line

NOW = 1_700_000_000.0
OPTIONS, IGNORE_RELOAD = CachingOptions(), CachingOptions(ignore_reload=True)
CC = b"cache-control"
PLAIN = Terms(lifetime_s=100.0, source=LifetimeSource.MAX_AGE)


def stored(terms: Terms = PLAIN, initial_age_s: float = 0.0) -> Stored:
    return Stored(200, b"OK", Fields(), NOW, NOW, initial_age_s, terms, 0)


def judged(
    age_s: float, control: bytes | None = None, terms: Terms = PLAIN, options: CachingOptions = OPTIONS
) -> Judgement:
    request = Fields([] if control is None else [(CC, control)])
    return judge(stored(terms), request, NOW + age_s, options)


def test_fresh_until_its_age_reaches_its_lifetime() -> None:
    """RFC 9111 §4.2: fresh means lifetime > age."""
    assert judged(0) is FRESH
    assert judged(99.9) is FRESH
    assert judged(100) is VALIDATE_STALE
    assert judged(-50) is FRESH


def test_the_age_on_arrival_counts() -> None:
    assert judge(stored(initial_age_s=100), Fields(), NOW, OPTIONS) is VALIDATE_STALE


@pytest.mark.parametrize(
    ("control", "age_s", "expected"),
    [
        (b"no-cache", 1, VALIDATE_REQUEST),
        (b"no-cache", 101, VALIDATE_STALE),
        (b"no-cache, max-stale", 101, VALIDATE_STALE),
        (b"max-age=0", 1, VALIDATE_REQUEST),
        (b"max-age=10", 10, FRESH),
        (b"max-age=10", 11, VALIDATE_REQUEST),
        (b"max-age=x", 1, VALIDATE_REQUEST),
        (b"max-age", 1, VALIDATE_REQUEST),
        (b"max-age=200", 101, VALIDATE_STALE),
        (b"min-fresh=20", 80, FRESH),
        (b"min-fresh=20", 81, VALIDATE_REQUEST),
        (b"min-fresh=x", 1, VALIDATE_REQUEST),
        (b"max-age=200, min-fresh=20", 90, VALIDATE_REQUEST),
        (b"max-stale", 1000, STALE_SERVE),
        (b"max-stale=10", 109, STALE_SERVE),
        (b"max-stale=10", 111, VALIDATE_STALE),
        (b"max-stale=x", 101, VALIDATE_STALE),
        (b"max-stale, max-stale=5", 101, VALIDATE_STALE),
        (b"max-stale=50, max-age=120", 110, STALE_SERVE),
        (b"max-stale=50, max-age=110", 110, STALE_SERVE),
        (b"max-stale=50, max-age=109", 110, VALIDATE_STALE),
        (b"max-stale=50, max-age=5", 10, VALIDATE_REQUEST),
        (b"no-store", 1, FRESH),
        (b"no-transform, only-if-cached", 1, FRESH),
    ],
)
def test_what_the_client_asks_for(control: bytes, age_s: float, expected: Judgement) -> None:
    """RFC 9111 §5.2.1."""
    assert judged(age_s, control) is expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([(b"pragma", b"no-cache")], VALIDATE_REQUEST),
        ([(b"pragma", b"No-Cache, x")], VALIDATE_REQUEST),
        ([(b"pragma", b"x")], FRESH),
        ([(b"pragma", b"no-cache"), (CC, b"max-age=50")], FRESH),
        ([(b"pragma", b"no-cache"), (CC, b"")], FRESH),
    ],
)
def test_pragma_speaks_only_without_cache_control(lines: list[Line], expected: Judgement) -> None:
    """RFC 9111 §5.4."""
    assert judge(stored(), Fields(lines), NOW + 1, OPTIONS) is expected


@pytest.mark.parametrize("control", [b"no-cache", b"max-age=0", b"min-fresh=99"])
def test_a_reload_can_be_ignored(control: bytes) -> None:
    assert judged(50, control, options=IGNORE_RELOAD) is FRESH
    assert judged(101, control, options=IGNORE_RELOAD) is VALIDATE_STALE
    assert judged(101, control + b", max-stale", options=IGNORE_RELOAD) is STALE_SERVE


def test_an_old_reload_can_be_ignored() -> None:
    assert judge(stored(), Fields([(b"pragma", b"no-cache")]), NOW, IGNORE_RELOAD) is FRESH


def test_no_cache_in_the_response_means_validation_each_time() -> None:
    """RFC 9111 §5.2.2.4."""
    terms = replace(PLAIN, no_cache=True, grace_s=50.0)
    assert judged(0, terms=terms) is VALIDATE_STALE
    assert judged(101, b"max-stale", terms) is VALIDATE_STALE


def test_grace_serves_stale_and_refreshes_behind() -> None:
    """RFC 5861 §3."""
    terms = replace(PLAIN, grace_s=10.0)
    assert judged(100, terms=terms) is STALE_SERVE
    assert judged(109.9, terms=terms) is STALE_SERVE
    assert judged(110, terms=terms) is VALIDATE_STALE


@pytest.mark.parametrize(
    ("control", "expected"),
    [
        (b"no-cache", VALIDATE_STALE),
        (b"max-age=200", VALIDATE_STALE),
        (b"min-fresh=0", VALIDATE_STALE),
        (b"max-stale=1", VALIDATE_STALE),
        (b"max-stale=6", STALE_SERVE),
        (b"no-store", STALE_SERVE),
    ],
)
def test_a_client_may_want_less_staleness_than_grace_allows(control: bytes, expected: Judgement) -> None:
    """RFC 9111 §5.2.1.1: max-age without max-stale means nothing stale."""
    assert judged(105, control, replace(PLAIN, grace_s=10.0)) is expected


def test_must_revalidate_forbids_every_stale_answer() -> None:
    """RFC 9111 §4.2.4, §5.2.2.2."""
    terms = replace(PLAIN, must_revalidate=True, grace_s=50.0, if_error_s=50.0)
    assert judged(50, terms=terms) is FRESH
    assert judged(101, terms=terms) is VALIDATE_STALE
    assert judged(101, b"max-stale", terms) is VALIDATE_STALE
    assert not may_serve_on_error(stored(terms), Fields([(CC, b"stale-if-error=99")]), NOW + 101, OPTIONS)


@pytest.mark.parametrize(
    ("control", "age_s", "expected"),
    [
        (b"max-age=0", 50, FRESH),
        (b"max-age=0", 101, VALIDATE_STALE),
        (b"no-cache", 50, VALIDATE_REQUEST),
        (b"min-fresh=60", 50, VALIDATE_REQUEST),
    ],
)
def test_a_reload_of_what_is_immutable_needs_no_validation(control: bytes, age_s: float, expected: Judgement) -> None:
    """RFC 8246 §2: but no-cache is a signal that it is needed."""
    assert judged(age_s, control, replace(PLAIN, immutable=True)) is expected


@pytest.mark.parametrize(
    ("window_s", "control", "age_s", "expected"),
    [
        (50, None, 149, True),
        (50, None, 150, False),
        (0, None, 101, False),
        (0, b"stale-if-error=50", 149, True),
        (0, b"stale-if-error=50", 150, False),
        (0, b"stale-if-error", 101, False),
        (50, b"stale-if-error=5", 140, True),
        (50, b"no-cache", 101, False),
        (50, b"max-age=200", 101, False),
    ],
)
def test_stale_if_error(window_s: float, control: bytes | None, age_s: float, expected: bool) -> None:
    """RFC 5861 §4."""
    request = Fields([] if control is None else [(CC, control)])
    terms = replace(PLAIN, if_error_s=float(window_s))
    assert may_serve_on_error(stored(terms), request, NOW + age_s, OPTIONS) is expected


def test_no_cache_is_never_served_unvalidated_even_on_errors() -> None:
    terms = replace(PLAIN, no_cache=True, if_error_s=50.0)
    assert not may_serve_on_error(stored(terms), Fields(), NOW + 1, OPTIONS)


def test_an_ignored_reload_does_not_keep_errors_from_being_covered() -> None:
    terms = replace(PLAIN, if_error_s=50.0)
    assert may_serve_on_error(stored(terms), Fields([(CC, b"no-cache")]), NOW + 101, IGNORE_RELOAD)


@pytest.mark.parametrize(("value", "expected"), [(b"only-if-cached", True), (b"max-age=0", False), (b"", False)])
def test_only_if_cached(value: bytes, expected: bool) -> None:
    """RFC 9111 §5.2.1.7."""
    assert only_if_cached(Fields([(CC, value)])) is expected
    assert not only_if_cached(Fields())


def test_what_remains_is_in_whole_seconds_and_negative_when_stale() -> None:
    """RFC 9211 §2.4."""
    assert [remaining_s(stored(), NOW + age_s) for age_s in (0, 0.5, 99.5, 100, 100.5)] == [100, 99, 0, 0, -1]


SECONDS = st.integers(0, 200).map(float)
CONTROLS = st.lists(
    st.sampled_from([b"no-cache", b"max-stale", b"no-store", b"only-if-cached"])
    | st.builds(
        lambda name, seconds: name + b"=%d" % seconds,
        st.sampled_from([b"max-age", b"min-fresh", b"max-stale", b"stale-if-error"]),
        st.integers(0, 200),
    ),
    max_size=3,
).map(b", ".join)


@given(
    st.builds(
        Terms,
        lifetime_s=SECONDS,
        grace_s=SECONDS,
        if_error_s=SECONDS,
        must_revalidate=st.booleans(),
        no_cache=st.booleans(),
        immutable=st.booleans(),
    ),
    CONTROLS,
    SECONDS,
    st.booleans(),
)
def test_no_combination_serves_what_its_terms_forbid(
    terms: Terms, control: bytes, age_s: float, ignore_reload: bool
) -> None:
    options = CachingOptions(ignore_reload=ignore_reload)
    verdict = judged(age_s, control, terms, options)
    if terms.no_cache:
        assert verdict.reuse is Reuse.VALIDATE
    if age_s >= terms.lifetime_s:
        assert verdict.reuse is not Reuse.FRESH
        assert not (terms.must_revalidate and verdict.reuse is Reuse.STALE_SERVE)
    if b"no-cache" in control and not ignore_reload:
        assert verdict.reuse is Reuse.VALIDATE
    assert (verdict.forward is None) == (verdict.reuse is not Reuse.VALIDATE)


@pytest.mark.parametrize(
    ("age_s", "control", "terms", "expected"),
    [
        (1, None, PLAIN, STALE_SERVE),
        (1, None, replace(PLAIN, must_revalidate=True), STALE_SERVE),
        (1, b"no-cache", PLAIN, VALIDATE_REQUEST),
        (1, None, replace(PLAIN, no_cache=True), VALIDATE_STALE),
        (101, None, PLAIN, VALIDATE_STALE),
        (101, None, replace(PLAIN, grace_s=10), STALE_SERVE),
        (111, None, replace(PLAIN, grace_s=10), VALIDATE_STALE),
    ],
)
def test_what_was_purged_softly_counts_as_stale(
    age_s: float, control: bytes | None, terms: Terms, expected: Judgement
) -> None:
    request = Fields([] if control is None else [(CC, control)])

    assert judge(stored(terms), request, NOW + age_s, OPTIONS, is_soft_purged=True) is expected


@pytest.mark.parametrize(("now", "expected"), [(0.0, True), (60 + 30 + 99, True), (60 + 30 + 101, False)])
def test_what_is_kept_for_validation_alone_has_its_end_too(now: float, expected: bool) -> None:
    terms = Terms(60.0, LifetimeSource.POLICY, grace_s=10.0, if_error_s=30.0, keep_s=100.0)

    assert may_validate(stored(terms), NOW + now) is expected


def test_without_a_rule_a_response_may_be_validated_for_ever() -> None:
    assert may_validate(stored(), NOW + 1e12)
