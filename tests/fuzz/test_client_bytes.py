"""Any bytes, in any pieces, at any time: each connection is answered or closed, and nothing is left behind.

Bounded, so that it can run each time; a longer hunt is `--hypothesis-profile` with more examples.
"""

from __future__ import annotations

import asyncio
import random

from fake_transport import FakeTransport
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory_origin import Call
from wire_scene import Client, Scene

from accel.config import CachingOptions, ClientTimeouts, Limits
from accel.errors import BadResponse, ClosedUnanswered, ConnectFailed, OriginTimeout
from accel.proxy.connection import Phase

LIMITS = Limits(
    head_bytes=600, field_bytes=200, target_bytes=100, fields=8, body_bytes=3000, window_bytes=500, variants=3
)

LINES = (
    b"Host: a\r\n",
    b"Host: b:80\r\n",
    b"Connection: close\r\n",
    b"Connection: upgrade, x\r\n",
    b"Upgrade: websocket\r\n",
    b"Upgrade: h2c\r\n",
    b"Content-Length: 3\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip\r\n",
    b"Expect: 100-continue\r\n",
    b"Expect: x\r\n",
    b"Range: bytes=0-1, 3-\r\n",
    b'If-None-Match: "e"\r\n',
    b"If-Range: x\r\n",
    b"Cache-Control: no-cache\r\n",
    b"Cache-Control: only-if-cached, max-stale=5\r\n",
    b"Accept-Language: de\r\n",
    b"Authorization: x\r\n",
    b"X: " + b"y" * 190 + b"\r\n",
    b" folded\r\n",
    b"bad line\r\n",
)
STARTS = tuple(
    b"%b %b HTTP/%b\r\n" % (method, target, version)
    for method in (b"GET", b"POST", b"PURGE", b"OPTIONS", b"BREW")
    for target in (b"/", b"/vary", b"/stream", b"/cut", b"/fail", b"http://c/", b"*", b"/%00")
    for version in (b"1.1", b"1.0")
)
BODIES = (
    b"",
    b"abc",
    b"3\r\nabc\r\n0\r\n\r\n",
    b"1;x\r\na\r\n0\r\nT: x\r\n\r\n",
    b"zz\r\n",
    b"\0\r\n",
    b"8\r\nab",
    b"x" * 4000,
)

BENIGN = (
    b"Range: bytes=0-1, 3-\r\n",
    b"Range: bytes=2-3\r\n",
    b'If-None-Match: "e"\r\n',
    b"Cache-Control: no-cache\r\n",
    b"Cache-Control: only-if-cached\r\n",
    b"Cache-Control: max-stale\r\n",
    b"Accept-Language: de\r\n",
    b"Accept-Language: fr\r\n",
    b"Authorization: x\r\n",
    b"Connection: keep-alive\r\n",
)
FRAMED = (
    b"\r\n",
    b"Content-Length: 3\r\n\r\nabc",
    b"Content-Length: 2500\r\n\r\n" + b"b" * 2500,
    b"Content-Length: 3500\r\n\r\n" + b"b" * 3500,
    b"Transfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nT: x\r\n\r\n",
    b"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc",
)
TARGETS = (b"/", b"/", b"/vary", b"/stream", b"/cut", b"/fail", b"http://a/")


def _good(method: bytes, target: bytes, lines: list[bytes], rest: bytes) -> bytes:
    return b"%b %b HTTP/1.1\r\nHost: a\r\n%b%b" % (method, target, b"".join(lines), rest)


good = st.builds(
    _good,
    st.sampled_from((b"GET", b"GET", b"GET", b"POST", b"PURGE", b"DELETE")),
    st.sampled_from(TARGETS),
    st.lists(st.sampled_from(BENIGN), max_size=2),
    st.just(b"\r\n") | st.sampled_from(FRAMED),
)
upgrade = st.just(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nframes")
odd = st.builds(
    lambda start, lines, body: start + b"".join(lines) + b"\r\n" + body,
    st.sampled_from(STARTS),
    st.lists(st.sampled_from(LINES), max_size=4).map(lambda lines: [b"Host: a\r\n", *lines]),
    st.sampled_from(BODIES),
)
anything = st.binary(max_size=60) | st.sampled_from(LINES + BODIES + STARTS)
pipelines = st.lists(good, min_size=1, max_size=8).map(b"".join)
streams = st.tuples(pipelines, st.just(b"") | odd | anything | upgrade, st.just(b"") | pipelines).map(b"".join)


def answer(call: Call) -> None:
    """Answer as origins do: well, slowly, in pieces, cut short, or not at all."""
    match call.request.target:
        case b"/vary":
            call.answer(b"varied", cache_control="max-age=5", vary="accept-language", etag='"e"')
        case b"/stream":
            reply = call.begin(cache_control="max-age=5, stale-while-revalidate=5")
            asyncio.get_running_loop().call_soon(lambda: reply.send(b"x" * 700).send(b"y" * 700).end())
        case _ if call.request.upgrade:
            call.begin(101, 0).tunnel = FakeTransport(asyncio.Protocol(), ""), b"frames"
        case b"/cut":
            call.begin(length=10, cache_control="max-age=5").send(b"half").cut()
        case b"/fail":
            errors = (BadResponse("x"), ClosedUnanswered("x"), ConnectFailed("x"), OriginTimeout("x"))
            call.fail(errors[call.request.fields.lines[0][1] == b"a"])
        case _:
            call.answer(b"hello", cache_control="max-age=5, stale-if-error=9", etag='"e"')


def scene() -> Scene:
    """Return a small worker whose origin answers every target."""
    timeouts = ClientTimeouts(head_s=2, idle_s=3, body_s=3, write_s=3)
    small = Scene(LIMITS, timeouts, CachingOptions(), connections=3, memory_bytes=40_000, max_body_bytes=1200)
    for target in (b"/", b"/vary", b"/stream", b"/cut", b"/fail", b"*"):
        small.origin.script[target] = answer
    return small


async def play(seed: int, stream: bytes, others: list[bytes]) -> None:
    """Send bytes in random pieces over a few connections, with time and whims in between."""
    chance = random.Random(seed)
    stage = scene()
    clients = [stage.client() for _ in range(1 + len(others))]
    for client, data in zip(clients, [stream, *others], strict=True):
        await send(stage, client, data, chance)
    await finish(stage, clients)


async def send(stage: Scene, client: Client, data: bytes, chance: random.Random) -> None:
    """Send `data` as a client with whims does."""
    while data and not client.transport.is_closing():
        size = chance.choice((1, 7, 50, 500, 5000))
        client.send(data[:size])
        data = data[size:]
        match chance.randrange(12):
            case 0:
                client.transport.stick()
            case 1:
                client.transport.drain()
            case 2:
                await stage.after(chance.choice((1, 7)), step_s=1)
            case 3:
                client.transport.drain(min(100, client.transport.get_write_buffer_size()))
            case 4:
                await stage.settle()
            case 5 if chance.random() < 0.2:
                client.transport.lose()
            case 6 if chance.random() < 0.2:
                client.transport.receive_eof()
                return
            case _:
                pass


async def finish(stage: Scene, clients: list[Client]) -> None:
    """See that time alone ends everything, and that what was answered can be read."""
    for client in clients:
        client.transport.drain()
    await stage.after(30, step_s=1)
    for client in clients:
        if client.connection.phase is Phase.TUNNEL:
            client.transport.lose()
            continue
        assert client.transport.is_lost, (client.connection.phase, client.received)
        assert all(100 <= answer.status < 600 for answer in client.answers)
    await stage.end()


@given(st.integers(0, 2**32), streams, st.lists(streams, max_size=3))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_connection_is_answered_or_closed(seed: int, stream: bytes, others: list[bytes]) -> None:
    asyncio.run(play(seed, stream, others))


@given(st.integers(0, 2**32), pipelines)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_pipelines_are_answered_or_closed(seed: int, stream: bytes) -> None:
    asyncio.run(play(seed, stream, []))
