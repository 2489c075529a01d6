"""Any requests, in any pieces, with anything in between: with a hot path and without it clients get the same bytes.

Lives of two workers are made up of steps; each step is done to both. Bounded, so that it can run each time; a longer
hunt is `--hypothesis-profile` with more examples.
"""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from hot_pair import Pair, sites, twins
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory_origin import Call
from wire_scene import NOW

from accel.caching.invalidation import Purge, What
from accel.caching.key import primary_key
from accel.config import Limits
from accel.http.fields import format_date

DAY = format_date(NOW - 86400)
TARGETS = (b"/", b"/", b"/lang", b"/cookie", b"/two?a=1&b=2", b"/two?b=2&a=1", b"/long", b"/pieces", b"/gone", b"/none")
HOSTS = (b"a", b"a", b"a", b"A", b"a.", b"a:80", b"b", b"b:81")
IGNORED = (
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64)",
    b"Accept: text/html, */*;q=0.8",
    b"X:\t\xff obs \t",
    b"x-empty:",
    b"Keep-Alive: timeout=5",
    b"HTTP2-Settings: x",
    b"X-Forwarded-For: 1.2.3.4",
    b"Forwarded: for=1.2.3.4",
    b"Via: 1.1 x",
    b"Close: 1",
)
MATTERING = (
    b"Accept-Language: de",
    b"accept-language:de ",
    b"ACCEPT-LANGUAGE: de,fr",
    b"Accept-Language: de, fr",
    b"Accept-Encoding: gzip, br",
    b"Accept-Encoding: br;q=0",
    b"Cookie: session=1; _ga=2",
    b"Cookie: _ga=3;session=1",
    b"cookie: lang=de; lang=fr; lang",
    b"Cookie: _ga=4; lang=de",
    b"Cookie: lang = de ;;=x; ",
    b"Cookie: lang=de",
    b"Cookie:",
    b'If-None-Match: "1"',
    b'If-None-Match: W/"1", "x"',
    b'If-None-Match: "9"',
    b"If-None-Match: *",
    b"If-Modified-Since: " + DAY,
    b"If-Modified-Since: yesterday",
    b"X-Device: phone",
    b"X-Device: desk",
    b"Connection: keep-alive",
    b"connection:Close",
    b"Connection: close",
)
ODD = (
    b"Connection: keep-alive, x-device",
    b"Connection: close, cookie",
    b"Connection:",
    b"Proxy-Connection: close",
    b"Proxy-Connection: keep-alive",
    b"Cache-Control: no-cache",
    b"Cache-Control: max-age=3",
    b"Cache-Control: only-if-cached",
    b"Pragma: no-cache",
    b"Range: bytes=0-1",
    b"Range: bytes=1-2,4-",
    b'If-Range: "1"',
    b"If-Unmodified-Since: " + DAY,
    b'If-Match: "1"',
    b"Authorization: Basic x",
    b"Content-Length: 0",
    b"Content-Length: 3",
    b"Transfer-Encoding: chunked",
    b"Expect: 100-continue",
    b"Expect: x",
    b"Upgrade: h2c",
    b"TE: trailers",
    b"Trailer: x",
    b"Host: a",
    b" folded",
    b"no colon",
    b"sp ace: 1",
    b": nameless",
    b"X: bell\x07",
    b"X: del\x7f",
    b"X: nul\x00",
    b"X: lf\nY: z",
    b"X: cr\rY: z",
    b"L: " + b"l" * 260,
)
STARTS = (
    *(b"GET %b HTTP/1.0\r\nHost: a\r\n" % target for target in (b"/", b"/lang")),
    b"GET http://a/ HTTP/1.1\r\nHost: b\r\n",
    b"GET HTTP://A:80/lang HTTP/1.1\r\nHost: a\r\n",
    b"GET //a/ HTTP/1.1\r\nHost: a\r\n",
    b"GET /%00 HTTP/1.1\r\nHost: a\r\n",
    b"GET /%2e HTTP/1.1\r\nHost: a\r\n",
    b"GET /#x HTTP/1.1\r\nHost: a\r\n",
    b"GET /\xff HTTP/1.1\r\nHost: a\r\n",
    b"GET / HTTP/1.1\nHost: a\n",
    b"GET  / HTTP/1.1\r\nHost: a\r\n",
    b"GET / HTTP/1.1 \r\nHost: a\r\n",
    b"GET / http/1.1\r\nHost: a\r\n",
    b"GET / HTTP/1.2\r\nHost: a\r\n",
    b"get / HTTP/1.1\r\nHost: a\r\n",
    b"\r\nGET / HTTP/1.1\r\nHost: a\r\n",
    b"GET / HTTP/1.1\r\n",
    b"GET / HTTP/1.1\r\nHost:\r\n",
    b"GET / HTTP/1.1\r\nHost: a b\r\n",
    b"GET / HTTP/1.1\r\nHost: a:x\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\n",
    b"GETX / HTTP/1.1\r\nHost: a\r\n",
)
POLICIES = (
    (),
    ('deliver { when header.x-device == "phone" { set header "X-For" "phone" } }',),
    ('request { when cookie.session exists { pass "known" } }\ndeliver { set header "X-Lang" "${cookie.lang}" }',),
    ("request { cookies keep lang }",),
    ('request { cookies keep "l*" }\ndeliver { when cookie contains "ess" { set header "X-Known" "1" } }',),
    ('request { when path under "/cookie" { cookies keep "*g" } else { seal; cookies keep session, lang } }',),
    ('request { when cookie exists { pass "known" }\n seal }',),
    ('request { seal\n cookies drop "_*" }',),
    ('use "wordpress"',),
    ('use "django", "api"',),
    ("request { seal\n cookies keep lang }",),
    ('request { when cookie glob "sess*" { pass "known" }\n seal\n cookies keep none }',),
    ("request { query drop b, sort\n key + header.x-device }",),
    ('request { when path under "/lang" { seal } }\ndeliver { unset header "ETag" }',),
    ('deliver { when client == 127.0.0.1 { set header "X-Near" "${path}" } }',),
    ('deliver { when cache.hits > 3 { set header "X-Hot" "1" } }',),
    ('deliver { when cache.age > 2s { set header "X-Old" "1" } }',),
    ('request { when header.x-device == "desk" { limit 2/s per client burst 2 else synth 429 "slow" } }',),
    ('site a\ndeliver { set header "X-Conn" "${header.connection}" }', 'site b\nrequest { host canonical "a" }'),
    ('site b\ndeliver { set header "X-Dev" "${header.x-device}" }', 'site a\nrequest { unset header "X-Device" }'),
)
ASSUMED = [sites(*texts) for texts in POLICIES]


def _written(method: bytes, target: bytes, host: bytes, lines: list[bytes]) -> bytes:
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (method, target, host, b"".join(line + b"\r\n" for line in lines))


good = st.builds(
    _written,
    st.sampled_from((b"GET", b"GET", b"GET", b"HEAD")),
    st.sampled_from(TARGETS),
    st.sampled_from(HOSTS),
    st.lists(st.sampled_from(IGNORED + MATTERING), max_size=4),
)
odd = st.builds(
    _written,
    st.sampled_from((b"GET", b"HEAD")),
    st.sampled_from(TARGETS),
    st.sampled_from(HOSTS),
    st.tuples(st.lists(st.sampled_from(IGNORED + MATTERING + ODD), max_size=4), st.sampled_from(ODD)).map(
        lambda lines: [*lines[0], lines[1]]
    ),
) | st.builds(lambda start, lines: start + b"".join(line + b"\r\n" for line in lines) + b"\r\n",
              st.sampled_from(STARTS), st.lists(st.sampled_from(IGNORED + MATTERING), max_size=2))  # fmt: skip
streams = st.tuples(
    st.lists(good, min_size=1, max_size=4).map(b"".join),
    st.just(b"") | st.just(b"") | odd | st.binary(max_size=20),
    st.just(b"") | good,
).map(b"".join)


@dataclass(frozen=True)
class Sending:
    """A client sends the same a few times, cut at some places."""

    stream: bytes
    times: int
    cuts: tuple[int, ...]

    def pieces(self) -> list[bytes]:
        """Return what is sent, piece by piece."""
        if self.cuts == (0,):
            return [self.stream[at : at + 1] for at in range(len(self.stream))]
        places = [0, *sorted(cut % (len(self.stream) + 1) for cut in self.cuts), len(self.stream)]
        pieces = [self.stream[start:stop] for start, stop in pairwise(places)]
        return [piece for piece in pieces if piece]


@dataclass(frozen=True)
class Passing:
    """Time passes."""

    seconds: float


@dataclass(frozen=True)
class Ruling:
    """Other rules, perhaps limits, are put into force."""

    policy: int
    requests_per_connection: int | None


@dataclass(frozen=True)
class Replacing:
    """The origin's pages change."""


@dataclass(frozen=True)
class Connecting:
    """Another client."""


@dataclass(frozen=True)
class Reading:
    """The client reads no more than this of what waits for it, and of what comes; None: all, and goes on."""

    count: int | None


cuts = st.just(()) | st.just(()) | st.lists(st.integers(1, 5000), min_size=1, max_size=4).map(tuple) | st.just((0,))
purges = st.builds(
    lambda kind, soft: Purge(*kind, soft),
    st.sampled_from(
        (
            *((What.URL, (primary_key(b"a", target),)) for target in TARGETS),
            (What.TAG, (b"all",)),
            (What.TAG, (b"lang",)),
            (What.TAG, (b"nothing",)),
            (What.ALL, ()),
            (What.BAN, (b"url == /lang",)),
            (What.BAN, (b"age > 2s && status == 200",)),
        )
    ),
    st.booleans(),
)
events = (
    st.builds(Passing, st.sampled_from((0.25, 0.9, 3.0, 12.0)))
    | purges
    | st.builds(Ruling, st.integers(0, len(POLICIES) - 1), st.sampled_from((None, None, None, 3)))
    | st.just(Replacing())
    | st.just(Connecting())
)
readings = st.builds(Reading, st.sampled_from((0, 0, 1000, 20_000, None, None)))


@st.composite
def lives(draw: st.DrawFn) -> list[Any]:
    """Draw a life: a few requests that come again and again, others now and then, and what happens in between."""
    usual = draw(st.lists(st.lists(good, min_size=1, max_size=3).map(b"".join), min_size=1, max_size=3))
    sendings = st.builds(Sending, st.sampled_from(usual), st.integers(4, 9), st.just(()))
    others = st.builds(Sending, streams, st.integers(1, 4), cuts)
    first = draw(st.builds(Ruling, st.integers(0, len(POLICIES) - 1), st.none()))
    rest = st.lists(sendings | sendings | sendings | others | events | readings, min_size=6, max_size=24)
    return [first, Sending(usual[0], 4, ()), *draw(rest)]


class Pages:
    """What an origin says, under every target; the scenes of a pair have one each, which change together."""

    def __init__(self) -> None:
        self.version = 1

    def script(self) -> dict[bytes, Callable[[Call], None]]:
        """Return it as a script."""
        targets = {*TARGETS, b"/two?a=1", b"/%2e", b"//a/", b"*"}
        return dict.fromkeys(targets, self.answer)

    def answer(self, call: Call) -> None:
        """Answer one request."""
        version = b"%d" % self.version
        fields = {"cache_control": "max-age=10, stale-while-revalidate=3", "etag": f'"{self.version}"'}
        fields |= {"last_modified": DAY.decode(), "surrogate_key": "all"}
        fields |= {name.decode(): b"".join(call.fields.all(name)).decode("latin-1") for name in (b"x-device",)}
        match call.request.target.partition(b"?")[0]:
            case b"/lang":
                language = call.fields.get(b"accept-language") or b"none"
                call.answer(language + version, **fields | {"vary": "Accept-Language", "surrogate_key": "all lang"})
            case b"/cookie":
                cookie = call.fields.get(b"cookie") or b"none"
                call.answer(cookie + version, **fields | {"vary": "Cookie, Close"})
            case b"/long":
                call.answer(version * 30_000, **fields)
            case b"/pieces":
                call.answer(version * 300_000, **fields)
            case b"/gone":
                call.answer(b"gone", 404, **fields)
            case b"/none":
                call.answer(b"", 204, **fields)
            case _:
                call.answer(b"page " + version, **fields)


LIMITS = Limits(head_bytes=1200, field_bytes=250, target_bytes=100, fields=8, window_bytes=20_000)
TALLY: Counter[str] = Counter()


async def play(life: list[Any]) -> None:
    """Live a life twice, with a hot path and without."""
    pair = twins(lambda: {"limits": LIMITS})
    pages = [Pages(), Pages()]
    for scene, own in zip(pair.both, pages, strict=True):
        scene.origin.script.update(own.script())
    for step in life:
        if isinstance(step, (Passing, Ruling, Connecting)):
            await read_on(pair)
        match step:
            case Reading():
                await read(pair, step.count)
            case Sending():
                for _ in range(step.times):
                    await pair.send(*step.pieces())
            case Passing():
                await pair.after(step.seconds)
            case Purge():
                await pair.purge(step)
            case Ruling():
                pair.rule(ASSUMED[step.policy], limits(step.requests_per_connection))
                pair.connect()
            case Replacing():
                for own in pages:
                    own.version += 1
            case Connecting():
                pair.connect()
    await read_on(pair)
    TALLY["requests"] += pair.hot.count("requests")
    TALLY["replays"] += pair.replays
    TALLY["lives"] += 1
    await pair.end()
    del pair
    if TALLY["lives"] % 10 == 0:
        gc.collect()  # two arenas each


async def read(pair: Pair, count: int | None) -> None:
    """Let both clients read so."""
    for client in pair.clients:
        if count is not None:
            client.transport.stick()
        client.transport.drain(count)
    await pair.settle()
    pair.compare()
    if not pair.clients[0].is_open:
        pair.connect()


async def read_on(pair: Pair) -> None:
    """Let both clients read all, and have what waits answered: many long answers, each in some turns of the loop."""
    if pair.clients[0].transport.is_stuck:
        for client in pair.clients:
            client.transport.drain()
        for _ in range(30):
            await pair.settle()
        await read(pair, None)


def limits(requests: int | None) -> Limits:
    """Return the limits with so many requests a connection."""
    return Limits(
        head_bytes=1200,
        field_bytes=250,
        target_bytes=100,
        fields=8,
        window_bytes=20_000,
        requests_per_connection=requests,
    )


@given(lives())
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
def _lives_are_the_same(life: list[Any]) -> None:
    asyncio.run(play(life))


def test_with_a_hot_path_clients_get_the_same() -> None:
    TALLY.clear()

    _lives_are_the_same()

    assert TALLY["replays"] > TALLY["requests"] * 0.05, TALLY
