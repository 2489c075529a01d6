"""The policy that is in force where the operator wrote none."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from accel.caching.freshness import Terms
from accel.config import LOOPBACK, CachingOptions
from accel.http.cache_status import Forward
from accel.http.message import Fields, Request, Response
from accel.http.request_parser import METHODS, PURGING
from accel.policy.built_in import built_in
from accel.policy.verdict import Action

POLICY = built_in(CachingOptions(), LOOPBACK)


def request(method: bytes = b"GET", upgrade: bytes = b"", **fields: bytes) -> Request:
    """Return a request."""
    lines = [(name.replace("_", "-").encode(), value) for name, value in fields.items()]
    return Request(method, b"/", b"a", b"a", 1, Fields(lines), upgrade=upgrade)


@pytest.mark.parametrize("method", sorted(METHODS - PURGING))
def test_get_and_head_are_looked_up_and_all_else_passes(method: bytes) -> None:
    verdict = POLICY.request(request(method), "192.0.2.1")
    if method in (b"GET", b"HEAD"):
        assert verdict.action is Action.LOOKUP
    else:
        assert (verdict.action, verdict.forward) == (Action.PASS, Forward.METHOD)


def test_a_websocket_is_piped() -> None:
    assert POLICY.request(request(upgrade=b"websocket"), "").action is Action.PIPE


@pytest.mark.parametrize(
    ("address", "action"),
    [
        ("127.0.0.1", Action.PURGE),
        ("127.255.0.1", Action.PURGE),
        ("::1", Action.PURGE),
        ("192.0.2.1", Action.DENY),
        ("::2", Action.DENY),
        ("fe80::1%eth0", Action.DENY),
        ("", Action.DENY),
    ],
)
def test_purge_is_for_allowed_addresses(address: str, action: Action) -> None:
    verdict = POLICY.request(request(b"PURGE"), address)
    assert verdict.action is action
    assert verdict.status == 403


def test_purge_may_be_allowed_elsewhere_or_nowhere() -> None:
    wide = built_in(CachingOptions(), [ip_network("10.0.0.0/8"), ip_network("fe80::/10")])
    assert wide.request(request(b"PURGE"), "10.1.2.3").action is Action.PURGE
    assert wide.request(request(b"PURGE"), "fe80::1%eth0").action is Action.PURGE
    assert wide.request(request(b"PURGE"), "127.0.0.1").action is Action.DENY
    assert built_in(CachingOptions(), []).request(request(b"PURGE"), "127.0.0.1").action is Action.DENY


@pytest.mark.parametrize("field", ["x_forwarded_for", "forwarded", "via"])
def test_a_purge_that_a_proxy_forwards_is_denied_wherever_the_proxy_is(field: str) -> None:
    assert POLICY.request(request(b"PURGE", **{field: b"x"}), "127.0.0.1").action is Action.DENY


def test_a_response_is_taken_at_its_word() -> None:
    terms = Terms(5.0)
    assert POLICY.response(POLICY.request(request(), ""), request(), Response(200), terms, 0.0).terms is terms
