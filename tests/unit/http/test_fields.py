"""Field values are read strictly and without raising (RFC 9110 §5.6, §8.8.3; RFC 9111 §1.2.2, §4.2, §5.2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel.http.fields import (
    GREATEST_DELTA_S,
    HOP_BY_HOP,
    PROTECTED,
    cache_control,
    delta_seconds,
    entity_tags,
    format_date,
    hop_by_hop,
    http_date,
    is_token,
    parse_list,
    strong_match,
    weak_match,
)

TOKENS = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=12).map(str.encode)


@pytest.mark.parametrize(
    ("value", "members"),
    [
        (b"", []),
        (b"a", [b"a"]),
        (b"a,b", [b"a", b"b"]),
        (b" a\t,\t b ", [b"a", b"b"]),
        (b",a,,b, ,", [b"a", b"b"]),
        (b'a="x,y", b', [b'a="x,y"', b"b"]),
        (b'a="x\\",y", b', [b'a="x\\",y"', b"b"]),
        (b'a="x, b', [b'a="x, b']),
        (b'a="x\\', [b'a="x\\']),
        (b'"', [b'"']),
    ],
)
def test_lists_split_at_commas_outside_quotes(value: bytes, members: list[bytes]) -> None:
    """RFC 9110 §5.6.1: empty members count for nothing; a quote left open takes the rest."""
    assert parse_list(value) == members


@given(st.lists(TOKENS, max_size=8))
def test_a_joined_list_splits_into_its_members(members: list[bytes]) -> None:
    assert parse_list(b" , ".join(members)) == members


def test_a_long_run_of_quotes_is_read_in_linear_time() -> None:
    """A backtracking reader would not end here."""
    assert len(parse_list(b'"\\' * 20_000)) == 1
    assert cache_control(b'"' * 40_001 + b", no-store") == {b"no-store": None}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"GET", True),
        (b"x-a_b.c~1", True),
        (b"", False),
        (b"a b", False),
        (b"a:b", False),
        (b"a\n", False),
        (b"\xe4", False),
    ],
)
def test_tokens(value: bytes, expected: bool) -> None:
    """RFC 9110 §5.6.2."""
    assert is_token(value) is expected


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"0", 0),
        (b"60", 60),
        (b"007", 7),
        (b"2147483647", GREATEST_DELTA_S),
        (b"2147483648", GREATEST_DELTA_S),
        (b"9" * 5000, GREATEST_DELTA_S),
        (b"0" * 5000 + b"5", 5),
        (b"1000000000", 1_000_000_000),
        (b"10000000000", GREATEST_DELTA_S),
        (b"", None),
        (b"-1", None),
        (b"+1", None),
        (b"1.5", None),
        (b"1 ", None),
        (b"1_0", None),
        (b"\xb2", None),
    ],
)
def test_seconds_are_digits_alone_and_capped(value: bytes, seconds: int | None) -> None:
    """RFC 9111 §1.2.2."""
    assert delta_seconds(value) == seconds


@pytest.mark.parametrize(
    ("value", "directives"),
    [
        (None, {}),
        (b"", {}),
        (b"no-store", {b"no-store": None}),
        (b"No-Store, MAX-AGE=5", {b"no-store": None, b"max-age": b"5"}),
        (b'max-age="5"', {b"max-age": b"5"}),
        (b'x="a\\"b"', {b"x": b'a"b'}),
        (b"max-age=", {b"max-age": b""}),
        (b"max-age= 5", {b"max-age": b""}),
        (b"max-age=5 5", {b"max-age": b""}),
        (b"max-age=5, max-age=5", {b"max-age": b"5"}),
        (b"max-age=5, max-age=6", {b"max-age": b""}),
        (b"max-stale, max-stale=6", {b"max-stale": b""}),
        (b'no-cache="a", no-cache', {b"no-cache": None}),
        (b'private="a", private="b"', {b"private": b"a,b"}),
        (b'x="y, no-store', {b"x": b"y", b"no-store": None}),
        (b'x="y, no-store", max-age=1', {b"x": b"y, no-store", b"max-age": b"1"}),
        (b"a b, no-store", {b"no-store": None}),
        (b"=5", {}),
    ],
)
def test_cache_control_takes_the_stricter_reading(value: bytes | None, directives: dict[bytes, bytes | None]) -> None:
    """RFC 9111 §4.2.1, §5.2: no directive hides behind a broken one, and conflicting arguments are none."""
    assert cache_control(value) == directives


def test_a_directive_with_space_before_its_argument_still_counts() -> None:
    assert b"no-store" in cache_control(b"no-store =1")
    assert cache_control(b"max-age =5").seconds(b"max-age") == 5


def test_directives_show_what_they_hold() -> None:
    assert repr(cache_control(b"max-age=5")) == "Directives({b'max-age': b'5'})"


def test_long_values_are_read_like_short_ones() -> None:
    padding = b", ".join(b"x%d=1" % number for number in range(200))
    assert cache_control(padding + b", no-store")[b"no-store"] is None


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (b"no-cache", set()),
        (b'no-cache="Set-Cookie"', {b"set-cookie"}),
        (b"no-cache=set-cookie", {b"set-cookie"}),
        (b'no-cache="a, B ,,c"', {b"a", b"b", b"c"}),
        (b'no-cache=""', set()),
        (b'no-cache="a b"', set()),
    ],
)
def test_qualified_directives_list_field_names(value: bytes, names: set[bytes]) -> None:
    """RFC 9111 §5.2.2.4: what is no list of names leaves the directive unqualified."""
    assert cache_control(value).field_names(b"no-cache") == names


@given(st.binary(max_size=300))
def test_no_value_makes_a_reader_raise(value: bytes) -> None:
    parse_list(value)
    delta_seconds(value)
    http_date(value)
    entity_tags(value)
    hop_by_hop(value)
    directives = cache_control(value)
    assert all(is_token(name) and name == name.lower() for name in directives)


@given(TOKENS, st.binary(max_size=40))
def test_no_store_is_seen_wherever_it_stands(before: bytes, after: bytes) -> None:
    """A directive of its own is never lost to what follows it."""
    assert b"no-store" in cache_control(before + b", no-store, " + after)


EPOCH_1994 = 784111777.0


@pytest.mark.parametrize(
    "value",
    [
        b"Sun, 06 Nov 1994 08:49:37 GMT",
        b"Sunday, 06-Nov-94 08:49:37 GMT",
        b"Sun Nov  6 08:49:37 1994",
        b"sun, 06 nov 1994 08:49:37 gmt",
    ],
)
def test_the_three_forms_of_a_date_in_any_case(value: bytes) -> None:
    """RFC 9110 §5.6.7; RFC 9111 §4.2 asks caches not to mind the case."""
    assert http_date(value) == EPOCH_1994


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"0",
        b"-1",
        b"784111777",
        b"Sun, 06 Nov 1994 08:49:37",
        b"Sun, 06 Nov 1994 08:49:37 EST",
        b"Sun, 06 Nov 1994 08:49:37 +0000",
        b"Sun, 6 Nov 1994 08:49:37 GMT",
        b"Sun, 31 Feb 1994 08:49:37 GMT",
        b"Sun, 06 Nov 1994 24:00:00 GMT",
        b"Sun, 06 Nov 1994 08:49:61 GMT",
        b"Sun, 06 Nox 1994 08:49:37 GMT",
        b"Sun,  06 Nov 1994 08:49:37 GMT",
        b"Sun, 06-Nov-1994 08:49:37 GMT",
        b"Sun, 06 Nov 0000 08:49:37 GMT",
        b"Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
        b"Sun, \xd9\xa0\xd9\xa6 Nov 1994 08:49:37 GMT",
    ],
)
def test_anything_else_is_no_date(value: bytes) -> None:
    """RFC 9111 §4.2: a zone other than GMT is invalid, and so are near misses."""
    assert http_date(value) is None


@pytest.mark.parametrize(("year", "expected"), [(b"69", b"2069"), (b"70", b"1970"), (b"99", b"1999"), (b"00", b"2000")])
def test_years_of_two_digits_are_never_far_ahead(year: bytes, expected: bytes) -> None:
    """RFC 9110 §5.6.7: what would be over 50 years ahead is past."""
    assert http_date(b"Sunday, 06-Nov-" + year + b" 08:49:37 GMT") == http_date(
        b"Sun, 06 Nov " + expected + b" 08:49:37 GMT"
    )


def test_a_leap_second_is_a_date() -> None:
    assert http_date(b"Sat, 31 Dec 2016 23:59:60 GMT") == http_date(b"Sun, 01 Jan 2017 00:00:00 GMT")


@given(st.integers(0, 253402300799), st.floats(0, 0.99))
def test_a_written_date_reads_back_as_its_second(second: int, fraction: float) -> None:
    assert http_date(format_date(float(second))) == second
    assert len(format_date(second + 0.0)) == 29


def test_a_date_is_written_as_an_imf_fixdate() -> None:
    assert format_date(EPOCH_1994 + 0.9) == b"Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        (b'"a"', [b'"a"']),
        (b'W/"a", "b"', [b'W/"a"', b'"b"']),
        (b'"a,b","c"', [b'"a,b"', b'"c"']),
        (b', "a", ,', [b'"a"']),
        (b'""', [b'""']),
        (b'"a\\"', [b'"a\\"']),
        (b"*", None),
        (b"", None),
        (b",", None),
        (b"a", None),
        (b'w/"a"', None),
        (b'"a" "b"', None),
        (b'"a', None),
        (b'"a b"', None),
        (b'"a", *', None),
    ],
)
def test_entity_tag_lists(value: bytes, tags: list[bytes] | None) -> None:
    """RFC 9110 §8.8.3, §13.1.2: a comma in a tag is part of it; a list that is not all tags is none."""
    assert entity_tags(value) == tags


@pytest.mark.parametrize(
    ("a", "b", "strong", "weak"),
    [
        (b'W/"1"', b'W/"1"', False, True),
        (b'W/"1"', b'W/"2"', False, False),
        (b'W/"1"', b'"1"', False, True),
        (b'"1"', b'"1"', True, True),
    ],
)
def test_entity_tag_comparison(a: bytes, b: bytes, strong: bool, weak: bool) -> None:
    """RFC 9110 §8.8.3.2, table 3."""
    assert (strong_match(a, b), weak_match(a, b)) == (strong, weak)
    assert (strong_match(b, a), weak_match(b, a)) == (strong, weak)


def test_connection_names_more_hop_by_hop_fields() -> None:
    """RFC 9110 §7.6.1."""
    assert hop_by_hop(None) == HOP_BY_HOP
    assert hop_by_hop(b"close, X-Hop ,keep-alive") == HOP_BY_HOP | {b"close", b"x-hop"}


@given(st.sampled_from(sorted(PROTECTED)))
def test_connection_cannot_take_out_what_safety_rests_on(name: bytes) -> None:
    assert name not in hop_by_hop(b"close, " + name.upper())


def test_connection_cannot_hide_a_name_in_quotes() -> None:
    assert hop_by_hop(b'"x-a, x-b') == HOP_BY_HOP | {b"x-a", b"x-b"}
