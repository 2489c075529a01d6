"""What edits do to the request that the key and the origin see, byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import decide, get, ruled

from accel.http.message import Fields, Request
from accel.policy.decision import Edit, EditMode
from accel.policy.edits import FRAMING, NameEdit, edited_fields, edited_target, framed, redirect_target, unframed
from accel.policy.matching import globs
from accel.policy.verdict import Action


def asked(statements: str, request: Request, head: str = "") -> Request:
    """Return the request as the key and the origin see it."""
    return decide(ruled(statements, head), request).asked


@pytest.mark.parametrize(
    ("statement", "target", "expected"),
    [
        ("query drop gclid", "/?a=1&gclid=2&b=%20+x", "/?a=1&b=%20+x"),
        ('query drop "utm_*"', "/?utm%5Fsource=1&b", "/?b"),
        ("query drop a", "/?a=1", "/"),
        ("query drop a", "/?", "/?"),
        ("query drop a", "/?b&&c", "/?b&&c"),
        ("query drop a", "/x", "/x"),
        ("query keep v", "/?a=1&v=2&v=1", "/?v=2&v=1"),
        ("query sort", "/?b=1&a=2&b=0", "/?a=2&b=1&b=0"),
        ("query sort", "/?a%5B%5D=2&b=1&a[]=1", "/?a%5B%5D=2&a[]=1&b=1"),
        ("query drop a, sort", "/?c&b&a", "/?b&c"),
        ("query drop a; query drop b", "/?a&b&c", "/?c"),
        ("query keep a, b; query drop b", "/?a&b&c", "/?a"),
        ("query drop a; query keep a", "/?a&b", "/?a"),
        ("query drop @tracking-params, sort", "/?z=1&utm_x=2&a=3", "/?a=3&z=1"),
    ],
)
def test_queries(statement: str, target: str, expected: str) -> None:
    assert asked(statement, get(target), 'use "tracking-params"').target == expected.encode()


@pytest.mark.parametrize(
    ("statement", "cookie", "expected"),
    [
        ("cookies keep none", "a=1", None),
        ("cookies keep a", "b=1; a=2;c=3", "a=2"),
        ("cookies drop a", "b=1;  c=3; a=2", "b=1; c=3"),
        ("cookies drop x", "b=1;  c=3", "b=1;  c=3"),
        ('cookies drop "_*"', "_ga=1; s=2", "s=2"),
        ("cookies keep none; cookies keep a", "a=1; b=2", "a=1"),
        ("cookies drop a; cookies drop b", "a=1; b=2; c=3", "c=3"),
    ],
)
def test_cookies(statement: str, cookie: str, expected: str | None) -> None:
    value = asked(statement, get(cookie=cookie)).fields.get(b"cookie")

    assert value == (None if expected is None else expected.encode())


def test_nothing_to_edit_gives_the_very_same_request() -> None:
    request = get("/?b&a", cookie="a=1")

    assert asked("query drop x; cookies drop b", request) is request


def test_host_and_fields() -> None:
    shaped = asked(
        'host canonical "A.example"\nset header "X-A" "1${path}"\nadd header "X-B" header.x-c\nunset header "X-D"',
        get("/p", x_c="c", x_d="d", x_a="0"),
    )

    assert shaped.host == b"a.example"
    assert shaped.fields.lines == [(b"x-c", b"c"), (b"x-a", b"1/p"), (b"x-b", b"c")]


def test_a_field_taken_from_what_is_missing_is_not_set() -> None:
    request = get()

    assert asked('set header "X-A" header.x-b', request) is request


def test_control_characters_of_a_client_come_into_no_field() -> None:
    shaped = asked('set header "X-A" "${query.q}"', get("/?q=a%0d%0aSet-Cookie:%20b"))

    assert shaped.fields.get(b"x-a") == b"aSet-Cookie: b"


def test_conditions_see_the_original_request() -> None:
    policy = ruled('cookies keep none; query keep none; host canonical "x"\nwhen cookie.a exists and query.b exists '
                   'and host == "h" { deny }')  # fmt: skip

    assert decide(policy, get("/?b", cookie="a=1")).action is Action.DENY


def test_what_is_passed_goes_as_it_came_but_for_host_and_fields() -> None:
    edits = 'cookies keep none; query sort; key + cookie.a; set header "X" "1"; host canonical "x"'
    statements = f'seal; {edits}; pass "me"'
    shaped = asked(statements, get("/?b&a", cookie="a=1"))

    assert (shaped.target, shaped.host, shaped.key_extra) == (b"/?b&a", b"x", b"")
    assert shaped.fields.lines == [(b"cookie", b"a=1"), (b"x", b"1")]


def test_what_joins_the_key_tells_requests_apart() -> None:
    statements = "key + cookie.a, header.x-b"
    extras = {
        asked(statements, get(**fields)).key_extra
        for fields in ({}, {"cookie": "a=1"}, {"cookie": "a=2"}, {"x_b": "1"}, {"cookie": "a="}, {"x_b": ""})
    }

    assert len(extras) == 6


def test_a_purge_names_the_key_of_a_get() -> None:
    policy = ruled('seal; query drop utm, sort; host canonical "x"; when method == "GET" { query drop z }',
                   "purge { allow 192.0.2.1 }")  # fmt: skip

    decision = decide(policy, get("/?z&b&a&utm", method="PURGE", surrogate_key="shop"))

    assert (decision.action, decision.asked.target, decision.asked.host) == (Action.PURGE, b"/?a&b", b"x")
    assert decision.asked.fields.get(b"surrogate-key") == b"shop"


@pytest.mark.parametrize(
    ("target", "starts_with_input", "expected"),
    [
        (b"/a%20b", True, b"/a%20b"),
        (b"//evil.example/", True, b"/evil.example/"),
        (b"/\\evil.example", True, b"/evil.example"),
        (b"//cdn.example/x", False, b"//cdn.example/x"),
        (b'/a b\r\nc\xc3\xa4"<>', True, b"/a%20b%0D%0Ac%C3%A4%22%3C%3E"),
        (b"https://h/p?a=b&c[]=~!$&'()*+,;=:@#f", False, b"https://h/p?a=b&c[]=~!$&'()*+,;=:@#f"),
    ],
)
def test_targets_of_redirects(target: bytes, starts_with_input: bool, expected: bytes) -> None:
    assert redirect_target(target, starts_with_input) == expected


def test_a_redirect_keeps_what_the_client_sent_encoded() -> None:
    policy = ruled('redirect 302 "https://n.example${path}?q=${query.q}"')

    answer = decide(policy, get("/a%2Fb?q=a+b%26")).answer

    assert answer is not None and answer.lines == ((b"location", b"https://n.example/a%2Fb?q=a+b%26"),)


def test_no_edit_touches_how_a_message_is_framed() -> None:
    fields = Fields([(b"transfer-encoding", b"chunked"), (b"x", b"1")])
    edits = [Edit(EditMode.UNSET, (b"transfer-encoding", b"x")), Edit(EditMode.SET, (b"content-length",), b"5")]

    assert edited_fields(fields, edits, FRAMING).lines == [(b"transfer-encoding", b"chunked")]


PIECES = st.lists(st.sampled_from(["a=1", "b", "", "a", "%61=2", "c=%20", "a+b=3", "b=&"]), max_size=8)


@given(PIECES, st.booleans(), st.booleans())
def test_an_edit_leaves_the_other_parameters_byte_for_byte(pieces: list[str], is_keep: bool, is_sorted: bool) -> None:
    target = ("/p?" + "&".join(pieces)).encode()
    edited = edited_target(target, (NameEdit(is_keep, globs([b"a"])),), is_sorted)
    again = edited_target(edited, (NameEdit(is_keep, globs([b"a"])),), is_sorted)

    whole = target.partition(b"?")[2].split(b"&")
    named_a = [piece for piece in whole if piece.partition(b"=")[0] in (b"a", b"%61")]
    kept = named_a if is_keep else [piece for piece in whole if piece not in named_a]
    left = edited.partition(b"?")[2].split(b"&") if b"?" in edited else []
    assert sorted(left) == sorted(kept) or (kept == [b""] and left in ([], [b""]))
    assert is_sorted or left == kept or not any(kept)
    assert again == edited


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b"]), st.binary(max_size=4) | st.none()), max_size=3),
       st.lists(st.tuples(st.sampled_from([b"a", b"b"]), st.binary(max_size=4) | st.none()), max_size=3))  # fmt: skip
def test_no_two_sets_of_values_look_alike(
    one: list[tuple[bytes, bytes | None]], other: list[tuple[bytes, bytes | None]]
) -> None:
    joined = [b",".join(framed(name, value) for name, value in pairs) for pairs in (one, other)]

    assert (joined[0] == joined[1]) is (one == other)
    assert b"\n" not in joined[0]


@pytest.mark.parametrize(
    ("fields", "body_length"), [({"authorization": "Basic x"}, 0), ({"if_match": '"a"'}, 0), ({}, 5)]
)
def test_what_the_seal_would_hide_and_the_origin_needs_is_passed_as_it_came(
    fields: dict[str, str], body_length: int
) -> None:
    request = get(cookie="a=1", **fields)
    request.body_length = body_length

    decision = decide(ruled("seal; lookup"), request)

    assert (decision.action, decision.is_sealed, decision.asked) == (Action.PASS, False, request)
    assert "seal" in decision.why


@given(st.lists(st.tuples(st.sampled_from([b"cookie.a", b"header.x-device", b"=cookie"]), st.none() | st.binary())))
def test_what_joined_a_key_can_be_read(values: list[tuple[bytes, bytes | None]]) -> None:
    read = unframed(b",".join(framed(name, value) for name, value in values))

    assert len(read) == len(values)
    for part, (name, value) in zip(read, values, strict=True):
        assert part.startswith(name.lstrip(b"="))
        assert value is not None or part.endswith(b" is missing")
