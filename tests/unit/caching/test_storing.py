"""What may be stored, and what of it (RFC 9111 §3; POLICY's safety floor)."""

import pytest

from accel.caching.freshness import Terms, terms
from accel.caching.stored import Stored
from accel.caching.storing import Storing, decide, is_shareable, needed, stored_fields, stored_response
from accel.config import CachingOptions
from accel.http.fields import format_date
from accel.http.message import CHUNKED, Fields, Line, Request, Response

NOW = 1_700_000_000.0
CC = b"cache-control"
FRESH = (CC, b"max-age=60")
ETAG = (b"etag", b'"a"')
MODIFIED = (b"last-modified", format_date(NOW - 1000))


def verdict(
    *lines: Line,
    status: int = 200,
    method: bytes = b"GET",
    asked: list[Line] | None = None,
    request_body: int = 0,
    body: int = 10,
    options: CachingOptions | None = None,
    lifted: frozenset[str] = frozenset(),
) -> Storing:
    options = options or CachingOptions()
    request = Request(method, b"/", host=b"h", fields=Fields(asked or []), body_length=request_body)
    response = Response(status, b"", Fields(lines), body_length=body)
    return decide(request, response, terms(response, options, NOW), options, lifted)


def test_a_fresh_answer_to_get_is_stored() -> None:
    assert verdict(FRESH) is Storing.STORE
    assert verdict((b"expires", format_date(NOW + 10))) is Storing.STORE


@pytest.mark.parametrize("method", [b"HEAD", b"POST", b"PUT", b"OPTIONS", b"get", b"BREW"])
def test_only_answers_to_get_are_stored(method: bytes) -> None:
    """RFC 9111 §3."""
    assert verdict(FRESH, method=method) is Storing.METHOD


@pytest.mark.parametrize("length", [1, CHUNKED])
def test_an_answer_to_get_with_a_body_is_not_stored(length: int) -> None:
    """The key covers no body."""
    assert verdict(FRESH, request_body=length) is Storing.METHOD


@pytest.mark.parametrize("status", [100, 101, 201, 205, 226, 299, 304, 401, 407, 408, 412, 416, 421, 425, 599])
def test_statuses_that_are_not_understood_or_belong_to_one_request(status: int) -> None:
    assert verdict(FRESH, ETAG, status=status) is Storing.STATUS


def test_parts_are_not_stored() -> None:
    """RFC 9111 §3.3."""
    assert verdict(FRESH, status=206) is Storing.RANGE
    assert verdict(FRESH, (b"content-range", b"bytes 0-9/100")) is Storing.RANGE


@pytest.mark.parametrize("status", [302, 307, 400, 403, 405, 413, 414, 431, 500, 501, 503])
def test_answers_that_need_explicit_freshness(status: int) -> None:
    """HTTP.md: what the request itself caused is stored only if the origin says for how long."""
    guessing = CachingOptions(heuristic=True)
    assert verdict(MODIFIED, status=status, options=guessing) is Storing.NO_FRESHNESS
    assert verdict(ETAG, (CC, b"no-cache"), status=status) is Storing.NO_FRESHNESS
    assert verdict(FRESH, status=status) is Storing.STORE


@pytest.mark.parametrize("status", [200, 203, 204, 300, 301, 308, 404, 410])
def test_answers_that_heuristics_may_keep(status: int) -> None:
    """RFC 9110 §15.1."""
    assert verdict(MODIFIED, status=status, options=CachingOptions(heuristic=True)) is Storing.STORE
    assert verdict(MODIFIED, status=status) is Storing.NO_FRESHNESS


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([(CC, b"no-store, max-age=60")], Storing.NO_STORE),
        ([(CC, b"max-age=60"), (CC, b"no-store")], Storing.NO_STORE),
        ([(CC, b"no-store=x, max-age=60")], Storing.NO_STORE),
        ([(CC, b'x="y, no-store, max-age=60')], Storing.NO_STORE),
        ([(CC, b"no-store, must-understand, max-age=60")], Storing.STORE),
        ([(CC, b"private, max-age=60")], Storing.PRIVATE),
        ([(CC, b'private="", max-age=60')], Storing.PRIVATE),
        ([(CC, b'private="x-user", max-age=60')], Storing.STORE),
        ([(CC, b'private="x-user", private, max-age=60')], Storing.PRIVATE),
        ([(CC, b'private="vary", max-age=60')], Storing.PRIVATE),
        ([FRESH, (b"set-cookie", b"a=1")], Storing.SET_COOKIE),
        ([(CC, b"public, max-age=60"), (b"set-cookie", b"a=1")], Storing.SET_COOKIE),
        ([(CC, b'no-cache="set-cookie", max-age=60'), (b"set-cookie", b"a=1")], Storing.STORE),
        ([(CC, b'private="Set-Cookie", max-age=60'), (b"set-cookie", b"a=1")], Storing.STORE),
        ([FRESH, (b"vary", b"accept, *")], Storing.VARY_STAR),
        ([FRESH, (b"vary", b"accept")], Storing.STORE),
        ([(b"cdn-cache-control", b"no-store"), FRESH], Storing.NO_STORE),
        ([(b"cdn-cache-control", b"max-age=60"), (CC, b"no-store")], Storing.STORE),
        ([(b"cdn-cache-control", b"max-age=60,"), (CC, b"no-store")], Storing.NO_STORE),
        ([(b"pragma", b"no-cache"), FRESH], Storing.STORE),
    ],
)
def test_what_the_origin_forbids(lines: list[Line], expected: Storing) -> None:
    """RFC 9111 §5.2.2; RFC 9213 §2.2."""
    assert verdict(*lines) is expected


def test_must_understand_lifts_nothing_for_an_unknown_status() -> None:
    """RFC 9111 §5.2.2.3."""
    assert verdict((CC, b"no-store, must-understand, max-age=60"), status=299) is Storing.STATUS


def test_what_the_client_forbids() -> None:
    """RFC 9111 §5.2.1.5."""
    assert verdict(FRESH, asked=[(CC, b"no-store")]) is Storing.REQUEST_NO_STORE
    assert verdict(FRESH, asked=[(CC, b"no-cache")]) is Storing.STORE


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"max-age=60", Storing.AUTHORIZATION),
        (b"max-age=60, proxy-revalidate", Storing.AUTHORIZATION),
        (b"max-age=60, public", Storing.STORE),
        (b"max-age=60, must-revalidate", Storing.STORE),
        (b"s-maxage=60", Storing.STORE),
        (b"public, private, max-age=60", Storing.PRIVATE),
    ],
)
def test_answers_to_credentials_need_a_licence(value: bytes, expected: Storing) -> None:
    """RFC 9111 §3.5."""
    assert verdict((CC, value), asked=[(b"authorization", b"Basic eA==")]) is expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], Storing.NO_FRESHNESS),
        ([ETAG], Storing.NO_FRESHNESS),
        ([(CC, b"public")], Storing.NO_FRESHNESS),
        ([(CC, b"max-age=0")], Storing.NO_FRESHNESS),
        ([(CC, b"max-age=0"), ETAG], Storing.STORE),
        ([(CC, b"max-age=0"), (b"etag", b"unquoted")], Storing.NO_FRESHNESS),
        ([(CC, b"no-cache"), MODIFIED], Storing.STORE),
        ([(CC, b"no-cache"), (b"last-modified", b"0")], Storing.NO_FRESHNESS),
        ([(CC, b"no-cache, max-age=60")], Storing.NO_FRESHNESS),
        ([(CC, b"no-cache, max-age=60"), ETAG], Storing.STORE),
        ([(CC, b"max-age=0, stale-while-revalidate=9")], Storing.STORE),
        ([(CC, b"stale-while-revalidate=9, stale-if-error=9")], Storing.NO_FRESHNESS),
        ([(CC, b"max-age=0, stale-if-error=9")], Storing.STORE),
        ([(CC, b"max-age=0, must-revalidate, stale-if-error=9")], Storing.NO_FRESHNESS),
    ],
)
def test_what_could_never_be_reused_is_not_stored(lines: list[Line], expected: Storing) -> None:
    """Stale from the start, it is kept only for validation, and only if the origin asks for that."""
    assert verdict(*lines) is expected


def test_a_body_over_the_limit_is_not_stored() -> None:
    small = CachingOptions(max_body_bytes=10)
    assert verdict(FRESH, body=10, options=small) is Storing.STORE
    assert verdict(FRESH, body=11, options=small) is Storing.TOO_LARGE
    assert verdict((CC, b"no-cache"), ETAG, body=11, options=small) is Storing.TOO_LARGE
    assert verdict(FRESH, body=CHUNKED, options=small) is Storing.STORE


def test_fields_that_end_here_or_are_for_one_client_are_not_stored() -> None:
    """RFC 9111 §3.1, §5.2.2.4, §5.2.2.7."""
    lines = [
        (b"connection", b"close, x-hop, cache-control"),
        (b"x-hop", b"1"),
        (b"keep-alive", b"timeout=5"),
        (b"transfer-encoding", b"chunked"),
        (b"proxy-authenticate", b"Basic"),
        (b"content-length", b"10"),
        (b"age", b"5"),
        (b"set-cookie", b"a=1"),
        (b"cache-control", b'max-age=60, private="x-user", no-cache="x-token"'),
        (b"x-user", b"7"),
        (b"x-token", b"8"),
        (b"cache-status", b"upstream; hit"),
        (b"content-type", b"text/html"),
    ]
    kept = [name for name, _ in stored_fields(Response(200, fields=Fields(lines))).lines]
    assert kept == [b"cache-control", b"cache-status", b"content-type"]


def test_a_response_without_a_date_gets_the_time_of_its_arrival() -> None:
    """RFC 9110 §6.6.1."""
    response = Response(200, b"OK", Fields([FRESH, (b"date", b"junk")]))
    stored = stored_response(response, terms(response, CachingOptions(), NOW), NOW - 1, NOW, 7)
    assert stored.fields.all(b"date") == [format_date(NOW)]
    assert (stored.initial_age_s, stored.number, stored.reason, stored.date_at) == (1.0, 7, b"OK", NOW)


def test_a_response_keeps_the_date_and_the_age_that_it_came_with() -> None:
    response = Response(200, b"OK", Fields([FRESH, (b"date", format_date(NOW - 20)), (b"age", b"30")]))
    stored = stored_response(response, terms(response, CachingOptions(), NOW), NOW, NOW, 0)
    assert stored.fields.get(b"date") == format_date(NOW - 20)
    assert stored.initial_age_s == 30
    assert b"age" not in stored.fields


@pytest.mark.parametrize(
    ("value", "expected"),
    [(b"max-age=60", False), (b"public", True), (b"s-maxage=1", True), (b"must-revalidate", True)],
)
def test_a_stored_answer_to_credentials_needs_the_same_licence(value: bytes, expected: bool) -> None:
    """RFC 9111 §3.5."""
    assert is_shareable(Stored(200, b"", Fields([(CC, value)]), 0.0, 0.0, 0.0, Terms(), 0)) is expected


@pytest.mark.parametrize(
    ("line", "asked", "lifts"),
    [
        ((b"set-cookie", b"a=1"), [], "set-cookie"),
        ((CC, b"private, max-age=60"), [], "private"),
        ((CC, b"no-store, max-age=60"), [], "no-store"),
        ((b"x", b"y"), [(b"authorization", b"Basic x")], "authorization"),
    ],
)
def test_an_override_lifts_one_refusal_and_no_other(line: Line, asked: list[Line], lifts: str) -> None:
    every = {"set-cookie", "private", "no-store", "authorization"}

    assert verdict(FRESH, line, asked=asked, lifted=frozenset({lifts})) is Storing.STORE
    assert verdict(FRESH, line, asked=asked, lifted=frozenset(every - {lifts})) is not Storing.STORE


def test_of_what_is_lifted_that_is_needed_which_the_response_has() -> None:
    every = frozenset({"set-cookie", "private", "no-store", "authorization"})
    request = Request(b"GET", b"/", host=b"h", fields=Fields([(b"authorization", b"Basic x")]))
    lines = [(CC, b"private, max-age=60"), (b"set-cookie", b"a=1")]
    plain, marked = (Response(200, b"", Fields([FRESH, *more])) for more in ([], lines))
    stranger = Request(b"GET", b"/", host=b"h")
    options = CachingOptions()
    granted = terms(plain, options, NOW)

    assert needed(stranger, plain, granted, options, every) == frozenset()
    assert needed(stranger, marked, granted, options, every) == {"private", "set-cookie"}
    assert needed(request, marked, granted, options, every) == every - {"no-store"}


def test_no_override_lifts_what_no_other_request_could_use() -> None:
    every = frozenset({"set-cookie", "private", "no-store", "authorization"})

    assert verdict(FRESH, (b"vary", b"*"), lifted=every) is Storing.VARY_STAR
    assert verdict(FRESH, status=206, lifted=every) is Storing.RANGE
    assert verdict(FRESH, status=499, lifted=every) is Storing.STATUS


def test_what_a_rule_shares_may_answer_requests_with_credentials() -> None:
    assert is_shareable(Stored(200, b"", Fields([FRESH]), 0.0, 0.0, 0.0, Terms(is_shared=True), 0))
