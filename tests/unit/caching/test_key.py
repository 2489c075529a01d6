"""Keys tell requests apart (RFC 9111 §4.1; RFC 9110 §12.5.3, §12.5.5)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel.caching.key import EXTRA, codings, primary_key, selecting_values, variant_key, variant_names, vary_names
from accel.http.message import Fields, Line, Request


def request(*lines: Line) -> Request:
    return Request(b"GET", b"/", host=b"h", fields=Fields(lines))


def test_host_and_target_do_not_run_into_each_other() -> None:
    assert primary_key(b"a.b", b"/c") != primary_key(b"a", b".b/c")
    assert primary_key(b"h", b"/x") != primary_key(b"h", b"/X")


def test_a_variant_is_never_taken_for_a_target_or_another_generation() -> None:
    primary = primary_key(b"h", b"/")
    keys = {
        primary,
        variant_key(primary, 1, b""),
        variant_key(primary, 11, b""),
        variant_key(primary, 1, b"1:x"),
    }
    assert len(keys) == 4


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        ([], ()),
        ([(b"vary", b"")], ()),
        ([(b"vary", b"Accept-Encoding")], (b"accept-encoding",)),
        ([(b"vary", b"B, a"), (b"vary", b"A")], (b"a", b"b")),
        ([(b"vary", b"*")], None),
        ([(b"vary", b"accept, X-Forwarded-For")], None),
        ([(b"vary", b"a"), (b"vary", b"b, *")], None),
        ([(b"vary", b"a b")], None),
        ([(b"vary", b'"a"')], None),
    ],
)
def test_what_vary_names(lines: list[Line], names: tuple[bytes, ...] | None) -> None:
    """RFC 9110 §12.5.5: `*`, and what cannot be read, matches no request."""
    assert vary_names(Fields(lines)) == names


VALUES = st.none() | st.binary(max_size=12)


@given(st.tuples(VALUES, VALUES), st.tuples(VALUES, VALUES))
def test_different_values_never_join_to_the_same(
    first: tuple[bytes | None, bytes | None], second: tuple[bytes | None, bytes | None]
) -> None:
    """An absent field is not an empty one, and no value can imitate two."""
    names = (b"x-a", b"x-b")
    joined = [
        selecting_values(request(*[(n, v) for n, v in zip(names, values, strict=True) if v is not None]), names)
        for values in (first, second)
    ]
    assert (joined[0] == joined[1]) == (first == second)


def test_a_field_that_connection_takes_out_is_absent() -> None:
    """RFC 9110 §7.6.1: the origin never saw it, so its answer is for requests without it."""
    hidden = request((b"connection", b"close, X-A"), (b"x-a", b"1"))
    assert selecting_values(hidden, (b"x-a",)) == selecting_values(request(), (b"x-a",))
    assert selecting_values(hidden, (b"x-a",)) != selecting_values(request((b"x-a", b"1")), (b"x-a",))


def test_white_space_around_commas_is_folded_only_where_it_means_nothing() -> None:
    """RFC 9111 §4.1: only what the field's own syntax allows."""
    languages = [request((b"accept-language", value)) for value in (b"de, en;q=0.5", b"de ,en;q=0.5")]
    agents = [request((b"user-agent", value)) for value in (b"a, b", b"a,b")]
    assert len({selecting_values(each, (b"accept-language",)) for each in languages}) == 1
    assert len({selecting_values(each, (b"user-agent",)) for each in agents}) == 2


def test_white_space_in_quotes_stays() -> None:
    accepts = [request((b"accept", value)) for value in (b'a/b;x="1, 2"', b'a/b;x="1,2"')]
    assert len({selecting_values(each, (b"accept",)) for each in accepts}) == 2


def test_repeated_lines_count_as_one_list() -> None:
    """RFC 9110 §5.3."""
    apart = request((b"accept", b"a/b"), (b"accept", b"c/d"))
    assert selecting_values(apart, (b"accept",)) == selecting_values(request((b"accept", b"a/b,c/d")), (b"accept",))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"gzip, deflate, br, zstd", b"br,deflate,gzip,zstd"),
        (b"br;q=1.0, gzip;q=0.5", b"br,gzip"),
        (b"GZIP", b"gzip"),
        (b"x-gzip", b"gzip"),
        (b"gzip;q=0, br", b"br"),
        (b"gzip;q=0.000", b""),
        (b"gzip;q=0.001", b"gzip"),
        (b"identity", b""),
        (b"", b""),
        (b"*", b"br,deflate,gzip,zstd"),
        (b"*;q=0.1, br;q=0", b"deflate,gzip,zstd"),
        (b"gzip, *;q=0", b"gzip,identity;q=0"),
        (b"gzip, identity;q=0", b"gzip,identity;q=0"),
        (b"gzip, identity;q=0.5, *;q=0", b"gzip"),
        (b"gzip ; q=0.5", b"gzip"),
        (b"dcb, gzip", b"dcb,gzip"),
        (b"gzip;q=2", b"gzip;q=2"),
        (b"gzip;q=", b"gzip;q="),
        (b"gzip;level=9", b"gzip;level=9"),
        (b"gzip br", b"gzip br"),
        (b"gzip, gzip;q=0", b"gzip, gzip;q=0"),
    ],
)
def test_accept_encoding_becomes_the_set_of_acceptable_codings(value: bytes, expected: bytes) -> None:
    """RFC 9110 §12.5.3: order and weight do not count, refusals do; what is malformed stands for itself."""
    assert codings(value) == expected


def test_no_accept_encoding_is_not_an_empty_one() -> None:
    """RFC 9110 §12.5.3: absent accepts anything, empty accepts identity alone."""
    names = (b"accept-encoding",)
    assert selecting_values(request(), names) != selecting_values(request((b"accept-encoding", b"")), names)


@given(st.permutations([b"br", b"gzip;q=0.5", b"deflate;q=0", b"zstd;q=1.0"]))
def test_the_order_of_codings_does_not_count(members: list[bytes]) -> None:
    assert codings(b", ".join(members)) == b"br,gzip,zstd"


def test_what_rules_join_to_the_key_selects_like_a_field_that_vary_names() -> None:
    plain, euro = Request(b"GET", b"/"), Request(b"GET", b"/", key_extra=b"euro")
    fields = Fields([(b"vary", b"accept")])

    assert variant_names(plain, fields) == (b"accept",)
    assert variant_names(euro, fields) == (EXTRA, b"accept")
    assert selecting_values(euro, (EXTRA,)) != selecting_values(plain, (EXTRA,))


def test_nothing_joined_makes_a_response_shareable_that_varies_on_everything() -> None:
    assert variant_names(Request(b"GET", b"/", key_extra=b"euro"), Fields([(b"vary", b"*")])) is None
