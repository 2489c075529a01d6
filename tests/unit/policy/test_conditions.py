"""What comparisons mean when they run."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import decide, get, made, ruled

from accel.http.message import Fields, Request
from accel.policy.matching import Networks, client, globs, literal_start, searcher
from accel.policy.verdict import Action


def holds(condition: str, request: Request, client_ip: str = "192.0.2.1", head: str = "") -> bool:
    """Return whether a condition of the request phase holds."""
    policy = ruled(f"when {condition} {{ deny }}", head)
    return decide(policy, request, client_ip).action is Action.DENY


@pytest.mark.parametrize(
    ("condition", "target", "expected"),
    [
        ('path under "/a/"', "/a", True),
        ('path under "/a/"', "/a/b?c", True),
        ('path under "/a"', "/a/", True),
        ('path under "/a"', "/ab", False),
        ('path under "/a"', "/b/a/", False),
        ('path under ("/x", "/a/b/")', "/a/b/c/d", True),
        ('path under ("/x", "/a/b/")', "/a/bc", False),
        ('path == "/a"', "/a?x", True),
        ('path under "/admin/"', "/%61dmin/x", True),
        ('path under "/admin/"', "//admin//x", True),
        ('path under "/admin/"', "/./x/../admin/x", True),
        ('path under "/admin/"', "/x/%2e%2E/admin", True),
        ('path == "/"', "/../..", True),
        ('path == "/a/"', "/a/b/..", True),
        ('path == "/.well-known/x"', "/.well-known/x", True),
        ('path == "/a/b"', "/a%2Fb", False),
        ('url == "/%61"', "/%61", True),
        ('path != "/a"', "/b", True),
        ('path in ("/a", "/b")', "/b", True),
        ('url == "/a?x"', "/a?x", True),
        ('path glob "*.css"', "/a/b.css", True),
        ('path glob "/a/*/c"', "/a/b/b/c", True),
        ('path glob "/a/*/c"', "/a/c", False),
        ('path glob "/?"', "/x", True),
        ('path glob "/?"', "/xy", False),
        ('path glob "/A*"', "/a", False),
        ('path matches "^/item/[0-9]+$"', "/item/17", True),
        ('path matches "^/item/[0-9]+$"', "/item/x", False),
        ('path matches "tem"', "/item/x", True),
        ('path contains "tem"', "/item/x", True),
        ("query.q exists", "/?q", True),
        ("query.q exists", "/?p=q", False),
        ('query.q == "a b"', "/?q=a+b&q=c", True),
        ('query.q == "a b"', "/?q=a%20b", True),
        ('query."a[b]" == "1"', "/?a%5Bb%5D=1", True),
        ('parameter glob "utm_*"', "/?x=1&utm_a=2", True),
        ('parameter glob "utm_*"', "/?x=utm_a", False),
        ('parameter in ("a", "b")', "/?b", True),
        ('parameter contains "tm"', "/?utm=1", True),
        ("parameter exists", "/?a", True),
        ("parameter exists", "/", False),
        ('host == "h"', "/", True),
        ('method != "GET"', "/", False),
        ('not path == "/a"', "/b", True),
        ('path == "/a" or path == "/b" and method == "POST"', "/a", True),
        ('path == "/b" and method == "POST"', "/b", False),
    ],
)  # fmt: skip
def test_of_targets(condition: str, target: str, expected: bool) -> None:
    assert holds(condition, get(target)) is expected


@pytest.mark.parametrize(
    ("condition", "fields", "expected"),
    [
        ('header.x-a == "1"', {"x_a": "1"}, True),
        ('header.X-A == "1"', {"x_a": "1"}, True),
        ('header.x-a != "1"', {}, False),
        ('header.x-a != "1"', {"x_a": "2"}, True),
        ('not header.x-a == "1"', {}, True),
        ("header.x-a exists", {"x_a": ""}, True),
        ('header.x-a glob ("a*", "*b")', {"x_a": "xb"}, True),
        ('header.x-a glob "a*"', {}, False),
        ('header.x-a contains ("q", "b")', {"x_a": "abc"}, True),
        ("cookie.a exists", {"cookie": "b=1; a=2"}, True),
        ("cookie.a exists", {"cookie": "b=a"}, False),
        ('cookie.a == "1"', {"cookie": "a=1; a=2"}, True),
        ('cookie.a == "1=2"', {"cookie": "a=1=2"}, True),
        ('cookie glob ("wp_*", "x")', {"cookie": "y=1; wp_1=2"}, True),
        ('cookie glob "wp_*"', {}, False),
        ("cookie exists", {"cookie": "a"}, True),
        ("cookie exists", {}, False),
    ],
)
def test_of_fields_and_cookies(condition: str, fields: dict[str, str], expected: bool) -> None:
    assert holds(condition, get(**fields)) is expected


@pytest.mark.parametrize(
    ("condition", "address", "expected"),
    [
        ("client in office", "10.1.2.3", True),
        ("client in office", "11.1.2.3", False),
        ("client in office", "::ffff:10.1.2.3", True),
        ("client in office", "2001:db8::7", True),
        ("client in office", "", False),
        ("client == 10.0.0.1", "10.0.0.1", True),
        ("client != 10.0.0.1", "10.0.0.2", True),
        ("client != 10.0.0.1", "", False),
        ("client in (10.0.0.0/31, 192.0.2.0/24)", "192.0.2.200", True),
        ("client in (10.0.0.0/31, 192.0.2.0/24)", "10.0.0.2", False),
        ("client in office", "fe80::1%eth0", False),
    ],
)
def test_of_addresses(condition: str, address: str, expected: bool) -> None:
    assert holds(condition, get(), address, "acl office { 10.0.0.0/8, 2001:db8::/32 }") is expected


def test_definitions_lists_and_definitions_of_definitions() -> None:
    head = (
        'list areas { "/a/", "/b/" }\ndef private = path under @areas\n'
        "def known = cookie.s exists or header.authorization exists or cookie.t exists or cookie.u exists or private\n"
        "def both = known and private"
    )

    assert holds("private", get("/b/c"), head=head)
    assert holds("both", get("/b/c"), head=head)
    assert holds("known and not private", get("/c", cookie="u=1"), head=head)
    assert not holds("both", get("/c", cookie="u=1"), head=head)


def test_definitions_of_definitions_are_asked_once_a_request() -> None:
    chain = "\n".join(f"def d{n} = d{n - 1} and not never or d{n - 1} and cookie.a exists" for n in range(1, 6))
    head = f'def never = method == "OPTIONS"\ndef d0 = path == "/x" or path == "/y"\n{chain}'
    policy = ruled("when d5 { deny }", head)

    assert decide(policy, get("/x")).action is Action.DENY
    assert decide(policy, get("/z")).action is Action.LOOKUP


def test_responses_have_types_sizes_and_statuses() -> None:
    policy = made(
        'deliver {\n when type == "text/html" and status in (200, 301..399) { set header "A" "1" }\n'
        ' when size > 1K { set header "B" "1" }\n when cache.age > 10s { set header "C" "1" }\n'
        ' when cache.hits >= 2 and cache.status == "hit" { set header "D" "1" }\n}'
    )

    def edited(status: int, age_s: float | None, hits: int, *lines: tuple[bytes, bytes]) -> list[bytes]:
        decision = policy.deliver(get(), "", status, Fields(lines), b"hit", age_s, hits)
        return [edit.names[0] for edit in decision.edits]

    assert edited(302, 11.0, 3, (b"content-type", b"Text/HTML; charset=x"), (b"content-length", b"2000")) == [
        b"a", b"b", b"c", b"d",
    ]  # fmt: skip
    assert edited(404, None, 0, (b"content-length", b"9")) == []


def as_regex(pattern: bytes) -> bytes:
    """Return a glob as a regular expression, character by character."""
    parts = {b"*": b"(?s:.*)", b"?": b"(?s:.)"}
    return b"^" + b"".join(parts.get(bytes([c]), b"\\x%02x" % c) for c in pattern) + b"$"


@given(st.text("ab*?/", max_size=8), st.text("ab/", max_size=10))
def test_a_glob_is_the_regular_expression_that_it_reads_as(pattern: str, value: str) -> None:
    expected = searcher([as_regex(pattern.encode())])(value.encode()) is not None

    assert globs([pattern.encode()]).fits(value.encode()) is expected


@pytest.mark.parametrize(
    ("pattern", "start"),
    [("^/item/[0-9]", "/item/"), ("^/ab?c", "/a"), ("^/a|b", ""), ("/a", ""), ("^(?i)/a", ""), ("^/a.b", "/a")],
)
def test_what_an_expression_must_begin_with(pattern: str, start: str) -> None:
    assert literal_start(pattern.encode()) == start.encode()


@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_a_network_holds_what_its_prefix_says(address: object, length: int) -> None:
    network = ip_network(f"{address}/{length}", strict=False)
    for text in (str(address), "10.0.0.1", "255.255.255.255", "0.0.0.0"):
        assert Networks([network]).hold(client(text)) is (ip_address(text) in network)
