"""The request as the origin sees it: complete, canonical, and with nothing of the client's that is ours to say."""

from __future__ import annotations

import pytest

from accel.http.message import Fields, Line, Request
from accel.proxy.origin_view import CONDITIONS, origin_request


def view(*lines: Line, client_ip: str = "192.0.2.1", whole: bool = False, ours: list[Line] | None = None) -> Fields:
    """Return the fields that an origin gets for a request with these."""
    request = Request(b"GET", b"/x", b"Example.ORG:80", b"example.org", 1, Fields(lines))
    return origin_request(request, client_ip, whole=whole, conditions=ours).fields


def test_fields_keep_their_order_between_ours() -> None:
    assert view((b"b", b"1"), (b"a", b"2"), (b"b", b"3")).lines == [
        (b"host", b"example.org"),
        (b"b", b"1"),
        (b"a", b"2"),
        (b"b", b"3"),
        (b"via", b"1.1 accel"),
        (b"x-forwarded-for", b"192.0.2.1"),
        (b"x-forwarded-proto", b"http"),
        (b"x-forwarded-host", b"example.org"),
    ]


def test_method_target_and_body_go_on_and_an_upgrade_is_for_who_pipes() -> None:
    request = Request(b"GET", b"/ws?x", b"a", b"a", 1, Fields(), upgrade=b"websocket")
    asked = origin_request(request, "")
    assert (asked.method, asked.target, asked.upgrade, asked.body) == (b"GET", b"/ws?x", b"", None)
    assert b"x-forwarded-for" not in asked.fields


@pytest.mark.parametrize("name", sorted(CONDITIONS))
def test_a_fetch_of_the_whole_leaves_the_clients_conditions_out(name: bytes) -> None:
    assert view((name, b"x")).get(name) == b"x"
    assert view((name, b"x"), whole=True).get(name) is None
    assert view((name, b"x"), whole=True, ours=[(name, b"ours")]).get(name) == b"ours"


@pytest.mark.parametrize(
    "name",
    [
        b"content-length",
        b"transfer-encoding",
        b"expect",
        b"forwarded",
        b"proxy",
        b"x-forwarded-for",
        b"x-forwarded-anything",
        b"x_forwarded_for",
        b"x-forwarded_for",
        b"x_http_method_override",
        b"content_length",
    ],
)
def test_what_is_ours_to_say_is_not_taken_from_the_client(name: bytes) -> None:
    assert b"evil" not in [value for _, value in view((name, b"evil")).lines]


@pytest.mark.parametrize("name", [b"forward", b"x-forward", b"x-real-ip-not", b"_", b"x-forwarder"])
def test_other_fields_go_on(name: bytes) -> None:
    assert view((name, b"1")).get(name) == b"1"


def test_an_empty_host_is_sent_as_such() -> None:
    """An HTTP/1.0 request may have none; RFC 9112 §3.2: then an empty one is sent."""
    fields = origin_request(Request(b"GET", b"/", minor=0), "").fields
    assert fields.get(b"host") == b""
    assert b"x-forwarded-host" not in fields
