"""Bodies that stream both ways, at the pace of the slower side, and tunnels."""

from __future__ import annotations

import asyncio
import gc

import pytest
from fake_transport import FakeTransport
from wire_scene import MakeScene, Scene

from accel.config import Limits
from accel.errors import BadResponse


@pytest.mark.parametrize("is_stored", [True, False])
@pytest.mark.parametrize("length", [None, 6])
async def test_a_body_is_passed_on_as_it_comes(scene: Scene, is_stored: bool, length: int | None) -> None:
    client = scene.client()
    client.ask()
    reply = (await scene.call()).begin(length=length, cache_control="max-age=60" if is_stored else "no-store")
    for piece in (b"ab", b"cd", b"ef"):
        before = client.answers[0].body if client.answers else b""
        reply.send(piece)
        await scene.settle()
        assert client.answers[0].body == before + piece
    reply.end()
    await scene.settle()
    assert client.answers[0].is_whole
    assert client.is_open
    assert ("content-length" in client.answers[0]) is (length is not None)


@pytest.mark.parametrize("cache_control", ["max-age=60", "no-store"])
@pytest.mark.parametrize(("length", "version"), [(None, "1.1"), (10, "1.1"), (10, "1.0"), (None, "1.0")])
async def test_a_body_cut_short_never_ends_cleanly(
    scene: Scene, cache_control: str, length: int | None, version: str
) -> None:
    client = scene.client()
    client.send(client.request(version=version))
    reply = (await scene.call()).begin(length=length, cache_control=cache_control).send(b"half")
    await scene.settle()
    reply.cut()
    await scene.settle()
    assert client.transport.is_cut
    assert not client.answers[0].is_whole
    assert scene.counts("stored", "requests", "misses") == (0, 1, 1)
    assert len(scene.origin.calls) == 1, "after the first byte nothing is tried again"


async def test_a_body_longer_than_announced_is_not_stored(scene: Scene) -> None:
    client = scene.client()
    client.ask()
    (await scene.call()).begin(length=3, cache_control="max-age=60").send(b"four").end()
    await scene.settle()
    assert scene.count("stored") == 0


async def test_a_body_shorter_than_announced_is_not_stored(scene: Scene) -> None:
    client = scene.client()
    client.ask()
    (await scene.call()).begin(length=5, cache_control="max-age=60").send(b"four").end()
    await scene.settle()
    assert scene.count("stored") == 0


async def test_a_slow_reader_of_a_passed_body_is_waited_for(scene: Scene) -> None:
    client = scene.client()
    client.transport.stick()
    client.ask()
    reply = (await scene.call()).begin(cache_control="no-store").send(*[b"x" * 10_000] * 100)
    await scene.settle()
    assert client.transport.get_write_buffer_size() < 80_000
    assert reply.unread_bytes > 900_000
    client.transport.drain(60_000)
    await scene.settle()
    assert client.transport.get_write_buffer_size() < 80_000
    client.transport.drain()
    reply.end()
    await scene.settle()
    assert client.answers[0].body == b"x" * 1_000_000


async def test_a_slow_reader_of_what_outgrew_the_store_is_waited_for(make_scene: MakeScene) -> None:
    scene = make_scene(max_body_bytes=1000)
    client = scene.client()
    client.transport.stick()
    client.ask()
    reply = (await scene.call()).begin(cache_control="max-age=60").send(*[b"x" * 10_000] * 100)
    await scene.settle()
    assert reply.taken_bytes < 200_000
    client.transport.drain()
    reply.end()
    await scene.until(lambda: client.received.endswith(b"0\r\n\r\n"))
    assert client.answers[0].body == b"x" * 1_000_000


async def test_a_reader_that_is_dropped_while_it_is_waited_for_ends_the_fetch(scene: Scene) -> None:
    client = scene.client()
    client.transport.stick()
    client.ask()
    reply = (await scene.call()).begin(cache_control="no-store").send(*[b"x" * 10_000] * 100)
    await scene.after(31)
    assert client.transport.is_cut
    assert reply.is_closed


async def test_a_request_body_goes_up_at_the_origins_pace(make_scene: MakeScene) -> None:
    scene = make_scene(limits=Limits(window_bytes=10_000))
    client = scene.client()
    client.ask("/1")
    await scene.settle()
    client.send(client.request("/2", "POST", body=b"x" * 50_000)[:40_000])
    client.send(b"x" * 5_000)
    await scene.settle()
    assert client.transport.waiting_bytes > 0
    (await scene.call()).answer(b"x", cache_control="no-store")
    client.transport.lose()


async def test_an_upload_that_nobody_reads_is_not_read(make_scene: MakeScene) -> None:
    """A purge takes no body: what comes of it is held up to the window."""
    scene = make_scene(limits=Limits(window_bytes=1000))
    client = scene.client()
    client.ask("/", "POST", transfer_encoding="chunked", expect="x")
    for _ in range(5):
        client.send(b"3e8\r\n" + b"x" * 1000 + b"\r\n")
    await scene.settle()
    assert [answer.status for answer in client.answers] == [417]
    assert scene.origin.calls == []


async def test_an_upload_arrives_whole_and_in_order(scene: Scene) -> None:
    client = scene.client()
    data = bytes(range(256)) * 2000
    whole = client.request("/", "PUT", body=data)
    for at in range(0, len(whole), 4096):
        client.send(whole[at : at + 4096])
        await asyncio.sleep(0)
    call = await scene.call()
    assert call.body == data
    call.answer()


async def test_an_error_of_the_origin_during_an_upload(scene: Scene) -> None:
    client = scene.client()
    client.ask("/", "POST", transfer_encoding="chunked")
    client.send(b"5\r\nhello\r\n")
    (await scene.call()).fail(BadResponse("nonsense"))
    await scene.settle()
    assert [(answer.status, answer["connection"]) for answer in client.answers] == [(502, "close")]


@pytest.mark.parametrize("status", [204, 304])
async def test_a_status_without_a_body_has_no_framing(scene: Scene, status: int) -> None:
    scene.origin.page("/", b"", status, cache_control="no-store")
    client = scene.client()
    answer = await scene.get(client=client)
    assert (answer.status, "content-length" in answer, "transfer-encoding" in answer) == (status, False, False)
    assert client.is_open
    scene.origin.page("/", b"", 204, cache_control="max-age=60")
    for _ in range(2):
        answer = await scene.get("/", client=client)
        assert (answer.status, "content-length" in answer) == (204, False)


async def test_an_empty_body_is_a_body(scene: Scene) -> None:
    scene.origin.page("/", b"")
    for _ in range(2):
        answer = await scene.get()
        assert (answer["content-length"], answer.body) == ("0", b"")


# Tunnels (RFC 9110 §7.8).


class _Peer(asyncio.Protocol):
    """The protocol that a fake transport needs before the tunnel takes it over."""


async def test_a_websocket_is_carried_both_ways(scene: Scene) -> None:
    client = scene.client()
    client.ask("/ws", connection="keep-alive, Upgrade", upgrade="WebSocket", sec_websocket_key="x")
    client.send(b"early")
    call = await scene.call()
    assert call.request.upgrade == b"websocket"
    assert call.fields.get(b"sec-websocket-key") == b"x"
    origin = FakeTransport(_Peer(), "")
    reply = call.begin(101, 0, upgrade="websocket", connection="upgrade", sec_websocket_accept="y")
    reply.tunnel = origin, b"first"
    await scene.settle()
    head, _, rest = client.received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b"Upgrade: websocket" in head
    assert b"Sec-WebSocket-Accept: y" in head
    assert (rest, bytes(origin.sent)) == (b"first", b"early")
    client.send(b"ping")
    origin.receive(b"pong")
    await scene.settle()
    assert bytes(origin.sent) == b"earlyping"
    assert client.received.endswith(b"firstpong")
    await scene.after(300, step_s=10)
    assert client.is_open
    origin.lose()
    await scene.settle()
    assert client.transport.is_lost
    assert reply.is_closed
    assert scene.counts("tunnels", "passes", "requests") == (1, 1, 1)


async def test_a_tunnel_ends_with_its_client(scene: Scene) -> None:
    client = scene.client()
    client.ask("/ws", connection="upgrade", upgrade="websocket")
    reply = (await scene.call()).begin(101, 0)
    origin = FakeTransport(_Peer(), "")
    reply.tunnel = origin, b""
    await scene.settle()
    client.transport.lose()
    await scene.settle()
    assert origin.is_lost
    assert reply.is_closed
    assert len(scene.clients) == 0


async def test_a_tunnel_is_read_no_faster_than_the_other_side_takes_it(scene: Scene) -> None:
    client = scene.client()
    client.ask("/ws", connection="upgrade", upgrade="websocket")
    reply = (await scene.call()).begin(101, 0)
    origin = FakeTransport(_Peer(), "")
    reply.tunnel = origin, b""
    await scene.settle()
    client.transport.stick()
    for _ in range(20):
        origin.receive(b"x" * 50_000)
    assert client.transport.get_write_buffer_size() < 200_000
    assert not origin.is_reading
    client.transport.drain()
    await scene.settle()
    assert client.received.count(b"x") == 1_000_000


async def test_an_origin_that_refuses_the_upgrade_answers_as_usual(scene: Scene) -> None:
    client = scene.client()
    client.ask("/ws", connection="upgrade", upgrade="websocket")
    client.send(b"frame")
    (await scene.call()).answer(b"no", status=403)
    await scene.settle()
    assert [(answer.status, answer["connection"]) for answer in client.answers] == [(403, "close")]


async def test_a_worker_that_stops_at_once_ends_tunnels(scene: Scene) -> None:
    client = scene.client()
    client.ask("/ws", connection="upgrade", upgrade="websocket")
    reply = (await scene.call()).begin(101, 0)
    reply.tunnel = FakeTransport(_Peer(), ""), b""
    await scene.settle()
    scene.clients.abort()
    await scene.settle()
    assert len(scene.clients) == 0


# Memory.


@pytest.mark.parametrize("kind", ["hit", "miss", "pass", "304", "range", "head", "upload"])
async def test_an_exchange_leaves_nothing_to_the_collector(scene: Scene, kind: str) -> None:
    scene.origin.page("/hit", b"x" * 100, cache_control="max-age=60", etag='"a"')
    scene.origin.page("/pass", b"x", cache_control="no-store")
    client = scene.client()
    await scene.get("/hit", client=client)
    ways = {
        "hit": {"target": "/hit"},
        "304": {"target": "/hit", "if_none_match": '"a"'},
        "range": {"target": "/hit", "range": "bytes=0-1"},
        "head": {"target": "/hit", "method": "HEAD"},
        "miss": {"target": "/miss"},
        "pass": {"target": "/pass", "method": "OPTIONS"},
        "upload": {"target": "/pass", "method": "POST", "body": "hello"},
    }
    way = {name: value.encode() if name == "body" else value for name, value in ways[kind].items()}
    garbage = []
    for _ in range(3):
        scene.origin.page("/miss", b"x", cache_control="max-age=60")
        scene.cache.drop(b"example.org\0/miss")
        gc.collect()
        gc.disable()
        try:
            client.ask(**way)
            await scene.settle()
            scene.origin.calls.clear()
            garbage.append(gc.collect())
        finally:
            gc.enable()
    assert garbage[-1] == 0, garbage
