"""What accel says it would do with a request, beside what it then does."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from wire_scene import MakeScene, Scene

from accel.config import LOOPBACK, CachingOptions
from accel.http.message import Fields, Request
from accel.policy.compile import compiled
from accel.policy.loader import load
from accel.policy.sites import Sites
from accel.proxy.explain import compact, explained

RULES = """policy 1
request {
  query drop "utm_*"
  key + cookie.currency
  when cookie.session exists { pass "known" }
  when path under "/old" { redirect 301 "/" }
}
response { tags "page"; when path under "/long" { ttl 10m; grace 1d } }
"""
LOOKED_UP = "without it, looked up; nothing is stored for it yet"
SAID = {"hit": "hit", "miss": "uri-miss", "pass": "bypass", "stale": "hit", "validate": "stale"}
"""What Cache-Status says of each outcome."""


def no_file(policy: str, name: str) -> str:
    """Stand in for a disk with nothing on it."""
    raise FileNotFoundError(name)


@pytest.fixture
async def ruled(make_scene: MakeScene) -> Scene:
    """Return a scene under RULES, whose origin has pages that are fresh for a minute."""
    (checked,) = load({"a.policy": RULES}, no_file).policies
    policy = compiled(checked, CachingOptions(), LOOPBACK)
    scene = make_scene(policies=Sites([policy], policy))
    for target in ("/", "/long", "/?utm_a=1"):
        scene.origin.page(target)
    return scene


def explain(scene: Scene, target: str = "/", method: str = "GET", ip: str = "192.0.2.1", **fields: str) -> Any:
    """Return the facts about a request."""
    lines = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in fields.items()]
    request = Request(method.encode(), target.encode("latin-1"), b"example.org", b"example.org", fields=Fields(lines))
    return explained(scene.service, request, ip)


@pytest.mark.parametrize("age_s", [None, 1, 30, 61])
@pytest.mark.parametrize(
    "fields",
    [{}, {"cookie": "session=1"}, {"cookie": "other=1"}, {"cache_control": "no-cache"}, {"cache_control": "max-age=5"}],
)
@pytest.mark.parametrize("target", ["/", "/?utm_a=1", "/long"])
async def test_what_is_said_comes_true(ruled: Scene, target: str, fields: dict[str, str], age_s: int | None) -> None:
    if age_s is not None:
        await ruled.get(target)
        ruled.now += age_s

    facts = explain(ruled, target, **fields)
    answer = await ruled.get(target, **fields)

    if facts["outcome"] == "validate":
        assert answer.cache_status[0] in ("fwd=stale", "fwd=request")
    else:
        assert SAID[facts["outcome"]] in answer.cache_status[0]


async def test_an_explanation_fetches_nothing_and_changes_nothing(ruled: Scene) -> None:
    explain(ruled)
    explain(ruled, method="PURGE", ip="127.0.0.1")

    assert not ruled.origin.calls
    assert ruled.count("requests") == 0


async def test_what_is_stored_is_told_with_age_life_tags_and_hits(ruled: Scene) -> None:
    await ruled.get("/long")
    await ruled.get("/long")
    ruled.now += 100

    stored = explain(ruled, "/long")["stored"]

    assert (stored["age_s"], stored["remaining_s"], stored["grace_s"]) == (100, 500, 86400)
    assert (stored["tags"], stored["hits"], stored["bytes"]) == (["page"], 1, 5)
    assert stored["matched"] == ["a.policy:8"]


async def test_rules_key_and_the_origins_view_are_told(ruled: Scene) -> None:
    facts = explain(ruled, "/?utm_a=1&b=2", cookie="currency=eur", x_forwarded_host="evil")

    assert facts["matched"] == ["a.policy:3", "a.policy:4"]
    assert facts["key"].pop("hash") == explain(ruled, "/?b=2")["key"]["hash"]
    assert facts["key"] == {
        "host": "example.org",
        "target": "/?b=2",
        "joined": ["cookie.currency=eur"],
        "vary": None,
    }
    assert "GET /?b=2" in facts["origin_sees"] and "Cookie: currency=eur" in facts["origin_sees"]
    assert not any("evil" in line for line in facts["origin_sees"])


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [
        ({"cookie": "a=1; session=2"}, "the cookie session makes rule a.policy:5 pass it: without it, a hit"),
        ({"cookie": "currency=eur"}, "the cookie currency keeps it from what is stored: without it, a hit"),
        ({"cache_control": "no-cache"}, "the field Cache-Control keeps it from what is stored: without it, a hit"),
        ({"target": "/?q=1"}, "the parameter q keeps it from what is stored: without it, a hit"),
        ({"method": "POST"}, "the method POST makes accel pass it: without it, a hit"),
        ({}, None),
        ({"target": "/elsewhere"}, None),
        ({"target": "/new", "cookie": "session=2"}, f"the cookie session makes rule a.policy:5 pass it: {LOOKED_UP}"),
        ({"cookie": "currency=eur", "target": "/?q=1"}, None),
    ],
)  # fmt: skip
async def test_the_nearest_change_to_a_hit_is_named(ruled: Scene, asked: dict[str, str], nearest: str | None) -> None:
    await ruled.get("/")

    assert explain(ruled, **cast(Any, asked))["nearest"] == nearest


async def test_a_redirect_and_a_refused_purge_are_told_with_their_status(ruled: Scene) -> None:
    moved = explain(ruled, "/old")
    purge = explain(ruled, method="PURGE")

    assert (moved["outcome"], moved["status"], moved["rule"], moved["origin_sees"]) == ("answer", 301, "a.policy:6", [])
    assert (purge["verdict"], purge["status"]) == ("deny", 403)


async def test_who_may_purge_gets_an_explanation_in_the_answer(ruled: Scene) -> None:
    await ruled.get("/")

    hit = await ruled.get("/", accel_explain="1")
    passed = await ruled.get("/", accel_explain="1", cookie="session=1")
    moved = await ruled.get("/old", accel_explain="1")

    assert 'outcome="hit"' in hit["accel-explain"] and 'key="example.org/"' in hit["accel-explain"]
    assert 'rule="a.policy:5"' in passed["accel-explain"] and "without it, a hit" in passed["accel-explain"]
    assert 'outcome="answer"' in moved["accel-explain"]
    assert b"accel-explain" not in ruled.origin.calls[-1].request.fields, "it is no business of the origin's"


@pytest.mark.parametrize(("peer", "asked"), [("192.0.2.1", "1"), ("127.0.0.1", "0"), ("127.0.0.1", "yes")])
async def test_nobody_else_gets_one(ruled: Scene, peer: str, asked: str) -> None:
    answer = await ruled.get("/", client=ruled.client(peer), accel_explain=asked)

    assert "accel-explain" not in answer


async def test_a_request_that_another_proxy_forwarded_gets_none(ruled: Scene) -> None:
    answer = await ruled.get("/", accel_explain="1", x_forwarded_for="192.0.2.1")

    assert "accel-explain" not in answer


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "PURGE", "SOFTPURGE", "BREW"])
@pytest.mark.parametrize("target", ["/", "*", "/?", "/?&&=&a", "/%ff?%zz=\xff", "//x/../y;z?a=b=c&a"])
@pytest.mark.parametrize(
    "fields",
    [
        {"cookie": "=; ;a;session=\xff;a=2"},
        {"upgrade": "websocket", "range": "bytes=0-", "if_match": "x", "authorization": "Basic x"},
        {"cache_control": "only-if-cached, max-age=x", "cookie": "currency=a\\b,c:d"},
    ],
)
async def test_whatever_is_asked_can_be_told(ruled: Scene, method: str, target: str, fields: dict[str, str]) -> None:
    await ruled.get("/")

    for ip in ("", "192.0.2.1", "::1", "127.0.0.1"):
        facts = explain(ruled, target, method, ip, **fields)
        assert json.loads(json.dumps(facts)) == facts
        assert compact(facts).isascii() and b"\n" not in compact(facts)
