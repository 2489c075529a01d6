"""Requests, responses, splits and events drawn at random: with relays and without, clients and origins get the same.

Two workers live one life each (`relay_pair`). Bounded as it is drawn: few targets, so that plans, marks and what is
stored meet again; responses that are plain more often than not.
"""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from hot_pair import sites
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from piecewise_origin import End, Reply
from relay_pair import RelayPair
from wire_scene import NOW

from accel.caching.invalidation import Purge, What
from accel.caching.key import primary_key
from accel.config import Limits
from accel.http.fields import format_date

TARGETS = (b"/a", b"/a", b"/b", b"/c", b"/d?x=1", b"/api/a", b"/api/a", b"/api/b")
HOSTS = (b"a", b"a", b"a", b"a", b"A.", b"b:81")
PLAIN = (
    b"User-Agent: Mozilla/5.0",
    b"user-agent: other",
    b"Referer: http://a/",
    b"Accept: text/html, */*;q=0.8",
    b"X:\t\xff obs \t",
    b"x-empty:",
    b"X_Under_Score: 1",
    b"X_Forwarded_For: 1.2.3.4",
    b"x-forwarded-host: evil",
    b"Forwarded: for=1.2.3.4",
    b"Keep-Alive: timeout=5",
    b"HTTP2_Settings: x",
    b"Via: 1.1 x",
    b"Close: 1",
    b"DNT: 1",
    b"Connection: keep-alive",
    b"Cookie: session=1; _ga=2",
    b"Cookie: _ga=3",
    b"X-Device: phone",
    b"X-Device: desk",
    b"Accept-Language: de",
    b'If-None-Match: "1"',
)
ODD = (
    b"Connection: close",
    b"Connection: keep-alive, x-device",
    b"Cache-Control: no-cache",
    b"Cache-Control: only-if-cached",
    b"Range: bytes=0-1",
    b"Authorization: Basic x",
    b"Content-Length: 0",
    b"Expect: x",
    b"TE: trailers",
    b"Upgrade: h2c",
    b" folded",
    b"L: " + b"l" * 260,
    b"X: bell\x07",
)
STATUSES = (b"200 OK",) * 6 + (b"404 Not Found", b"500 Oh", b"204 No Content", b"304 Not Modified", b"302 ", b"206 P")
TERMS = (
    b"Cache-Control: max-age=2",
    b"Cache-Control: max-age=60",
    b"Cache-Control: max-age=60",
    b"Cache-Control: s-maxage=5",
    b"Cache-Control: no-store",
    b"Cache-Control: private",
    b"Cache-Control: no-cache, max-age=60",
    b"Cache-Control: max-age=0",
    b"Cache-Control: max-age=1, stale-while-revalidate=5",
    b"CDN-Cache-Control: max-age=3",
    b"Expires: 0",
)
SAID = (
    b"Date: " + format_date(NOW),
    b"Date: " + format_date(NOW - 5),
    b"Date: never",
    b'ETag: "1"',
    b"etag: W/\"1\"",
    b"Last-Modified: " + format_date(NOW - 86400),
    b"Vary: Accept-Language",
    b"Set-Cookie: a=1",
    b"Surrogate-Key: a b",
    b"Age: 3",
    b"Connection: close",
    b"Connection: keep-alive",
    b"Connection: x-mine",
    b"X-Mine:  \xff ",
    b"Keep-Alive: 5",
    b"Trailer: x",
    b"X-Long: " + b"x" * 240,
    b"X-Longer: " + b"x" * 260,
    b"No colon",
)
POLICIES = [
    sites(text)
    for text in (
        'request { when path under "/api" { pass "api" } }',
        "request { }",
        'request { when header.x-device == "phone" { pass "phone" } }',
        'request { when cookie.session exists { pass "known" } }',
        'request { cookies drop "_*"\nwhen path under "/api" { pass "api" } }',
        'request { unset header "X-Device"\nwhen path under "/api" { pass "api" } }',
        'request { when client == 127.0.0.1 { pass "near" } }',
        'response { when status == 404 { pass "no" } }',
        'deliver { when cache.status == "miss" { set header "X-Miss" "1" } }',
        'request { seal }',
    )
]
SHAPES = ("plain",) * 8 + ("chunked", "until close", "too short", "too long", "hints", "zeros")
LIMITS = Limits(head_bytes=1200, field_bytes=250, target_bytes=100, fields=8, window_bytes=20_000)


@dataclass(frozen=True)
class Asking:
    """A client asks; its requests come in one or in pieces."""

    data: tuple[bytes, ...]
    times: int


@dataclass(frozen=True)
class Saying:
    """What an origin says under a target from now on."""

    target: bytes
    replies: tuple[Reply, ...]


@dataclass(frozen=True)
class Passing:
    """Time passes."""

    seconds: float


@dataclass(frozen=True)
class Doing:
    """Something else happens; see `play`."""

    what: str


def _request(method: bytes, target: bytes, host: bytes, lines: list[bytes]) -> bytes:
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (method, target, host, b"".join(line + b"\r\n" for line in lines))


def _cut(data: bytes, cuts: list[int]) -> tuple[bytes, ...]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return tuple(data[start:stop] for start, stop in pairwise(places) if start < stop)


@st.composite
def replies(draw: st.DrawFn) -> Reply:
    """Draw what an origin says to one request."""
    status = draw(st.sampled_from(STATUSES))
    lines = [draw(st.sampled_from(TERMS))] if draw(st.integers(0, 4)) else []
    lines += draw(st.lists(st.sampled_from(SAID), max_size=3 if draw(st.booleans()) else 0))
    body = b"body" * draw(st.sampled_from((0, 1, 1, 1, 300, 4000, 17_000)))
    shape = draw(st.sampled_from(SHAPES))
    is_bare = status[:3] in (b"204", b"304") and draw(st.integers(0, 5)) > 0
    match shape:
        case "chunked":
            lines.append(b"Transfer-Encoding: chunked")
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
        case "too short":
            lines.append(b"Content-Length: %d" % (len(body) + 5))
        case "too long":
            lines.append(b"Content-Length: %d" % max(0, len(body) - 2))
        case "zeros":
            lines.append(b"Content-Length: 00%d" % len(body))
        case "until close":
            pass
        case _ if not is_bare:
            lines.append(b"Content-Length: %d" % len(body))
    head = b"".join(line + b"\r\n" for line in (b"HTTP/1.1 " + status, *lines)) + b"\r\n"
    data = head if is_bare else head + body
    if shape == "hints":
        data = b"HTTP/1.1 103 Hints\r\n\r\n" + data
    cuts = draw(st.just([]) | st.just([]) | st.just([len(head)]) | st.lists(st.integers(1, 5000), max_size=3))
    end = End.CLOSE if shape in ("too short", "until close") else draw(st.sampled_from((End.KEEP,) * 5 + (End.CLOSE,)))
    return Reply(_cut(data, cuts), end)


BEGINNING = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"
silences = st.sampled_from((Reply((), End.CLOSE), Reply(), Reply((BEGINNING,))))
said = st.lists(replies(), min_size=1, max_size=2).map(tuple) | st.tuples(silences, replies())
sayings = st.builds(Saying, st.sampled_from(TARGETS), said)
good = st.builds(
    _request,
    st.sampled_from((b"GET", b"GET", b"GET", b"HEAD")),
    st.sampled_from(TARGETS),
    st.sampled_from(HOSTS),
    st.lists(st.sampled_from(PLAIN), max_size=2),
)
odd = st.builds(
    _request,
    st.sampled_from((b"GET", b"HEAD")),
    st.sampled_from(TARGETS),
    st.sampled_from(HOSTS),
    st.lists(st.sampled_from(PLAIN + ODD), max_size=4),
)
plainly = st.builds(lambda data, times: Asking((data,), times), good, st.integers(1, 4))
oddly = st.builds(
    lambda first, rest, cuts: Asking(_cut(first + rest, cuts), 1),
    good | odd,
    st.just(b"") | good | odd | st.binary(max_size=20),
    st.lists(st.integers(1, 500), max_size=2),
)
purges = st.builds(
    lambda kind, soft: Purge(*kind, soft),
    st.sampled_from(
        (
            *((What.URL, (primary_key(b"a", target),)) for target in TARGETS),
            (What.TAG, (b"a",)),
            (What.ALL, ()),
            (What.BAN, (b"url == /a",)),
        )
    ),
    st.booleans(),
)
doings = st.builds(Doing, st.sampled_from(("connect", "lose", "eof", "cut", "unheard", "other")))
passings = st.builds(Passing, st.sampled_from((0.9, 3.0, 130.0)))


WARMING = [
    Saying(b"/warm", (Reply((b"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 4\r\n\r\nbody",)),)),
    Asking((_request(b"GET", b"/warm", b"a", []),), 5),
]
"""How every life begins: so that some relay, whatever is drawn, has all of its way."""


@st.composite
def lives(draw: st.DrawFn) -> list[Any]:
    """Draw a life: all targets answered at first, a few requests again and again, and what happens in between."""
    first = [Saying(target, (draw(replies()),)) for target in dict.fromkeys(TARGETS)]
    usual = draw(st.lists(good, min_size=1, max_size=3))
    again = st.builds(lambda data, times: Asking((data,), times), st.sampled_from(usual), st.integers(2, 5))
    ruling = draw(st.integers(0, len(POLICIES) - 1))
    steps = again | again | plainly | oddly | sayings | sayings | purges | doings | passings
    rest = st.lists(steps, min_size=4, max_size=16)
    beginning = [*WARMING, ruling, *first, Asking((usual[0],), 3)]
    return [*beginning, *draw(rest), draw(st.integers(0, len(POLICIES) - 1)), *draw(rest)]


TALLY: Counter[str] = Counter()


async def play(life: list[Any]) -> None:
    """Live a life twice, with relays and without."""
    pair = await RelayPair(lambda: {"limits": LIMITS, "policies": POLICIES[0]}).start()
    for step in life:
        match step:
            case int():
                pair.rule(POLICIES[step])
                pair.connect()
            case Asking():
                for _ in range(step.times):
                    await pair.send(*step.data)
                    await release(pair)
            case Saying():
                pair.answers({step.target: step.replies})
            case Passing():
                await pair.after(step.seconds)
                if not pair.plain.client.is_open:
                    pair.connect()
            case Purge():
                await pair.purge(step)
            case Doing():
                await do(pair, step.what)
    TALLY["taken"] += pair.taken
    TALLY["carried"] += pair.carried
    TALLY["requests"] += pair.plain.scene.count("requests")
    TALLY["lives"] += 1
    await pair.end()
    del pair
    if TALLY["lives"] % 10 == 0:
        gc.collect()  # two arenas each


def run_uncollected(living: Coroutine[Any, Any, None]) -> None:
    """Run without the cyclic collector: what has ended is let go without it."""
    gc.disable()
    try:
        asyncio.run(living)
    finally:
        gc.enable()


async def release(pair: RelayPair) -> None:
    """Let a moment pass if a head waits for its end: from then on both paths are at the same point."""
    if pair.is_holding:
        await pair.after(0.03)


async def do(pair: RelayPair, what: str) -> None:
    """Let something happen on both sides."""
    match what:
        case "connect":
            pair.connect()
        case "lose":
            await pair.each(lambda side: side.client.transport.lose())
            pair.connect()
        case "eof":
            if pair.plain.client.is_open:
                await pair.each(lambda side: side.client.transport.receive_eof())
            pair.connect()
        case "cut":
            await pair.each(lambda side: side.origin.cut())
        case "unheard":
            await pair.each(lambda side: [each.send(b"HTTP/1.1 200 OK\r\n") for each in side.origin.connections[:1]])
        case "other":
            for scene in pair.beside() if len(pair.plain.beside) < 2 else ():
                scene.service.policies = pair.plain.scene.service.policies
                scene.client().send(_request(b"GET", b"/a", b"a", []))
            await pair.settle()


@given(lives())
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
def _lives_are_the_same(life: list[Any]) -> None:
    run_uncollected(play(life))


@pytest.mark.filterwarnings("ignore:Generating overly large repr")
def test_with_relays_clients_and_origins_get_the_same() -> None:
    TALLY.clear()

    _lives_are_the_same()

    assert TALLY["carried"] > TALLY["requests"] * 0.03, TALLY
