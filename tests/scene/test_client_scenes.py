"""Clients of every kind: crowds of slow ones, real libraries, curl, and bytes as no library would send them."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
from pathlib import Path

import aiohttp
import origins
import pytest
import requests
from accel_process import Accel, StartAccel
from children import Child, eventually
from fault_origin import FaultOrigin, gated, reply
from http_clients import Load, Raw, ask, several_clients

pytestmark = pytest.mark.scene
CROWD = 1000
MINUTE = "Cache-Control: max-age=600"
NEVER_STORED = "Cache-Control: no-store"


@pytest.fixture
def origin(fault: FaultOrigin) -> FaultOrigin:
    """Return an origin with a page that may be stored, one that may not, and one that waits at the gate."""
    fault.on("/cached", reply(b"cached", MINUTE))
    fault.on("/passed", reply(b"passed", NEVER_STORED))
    fault.on("/slow", gated(reply(b"whole", NEVER_STORED)))
    fault.on("/large", reply(bytes(8 << 20), NEVER_STORED))
    return fault


def curl(*arguments: str) -> str:
    """Return what curl prints; fails if it does."""
    command = ["curl", "--silent", "--show-error", "--max-time", "10", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


# Crowds.


def test_a_thousand_trickling_heads_hinder_nobody_and_get_408(start_accel: StartAccel, origin: FaultOrigin) -> None:
    accel = start_accel([origin.backend], "--head-timeout", "4s")

    with Load(accel.port, ["/cached", "/passed"]) as load, contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(Raw(accel.port)) for _ in range(CROWD)]
        target = load.done + 1000
        for client in crowd:
            client.send(b"GET / HTTP/1.1\r\nHost: scene\r\nX-Long: ")
        while load.done < target:
            for client in crowd:
                client.send(b"x")
        ends = [client.receive_all() for client in crowd]

    assert load.failures == []
    assert set(load.statuses) == {200}
    assert {end.split(b"\r\n")[0] for end in ends} == {b"HTTP/1.1 408 Request Timeout"}
    assert accel.counter("head_timeouts") == CROWD


def test_readers_that_stopped_hinder_nobody_and_are_dropped(start_accel: StartAccel, origin: FaultOrigin) -> None:
    accel = start_accel([origin.backend], "--write-timeout", "1s")

    with Load(accel.port, ["/cached", "/passed"]) as load, contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(Raw(accel.port, receive_buffer=4096)) for _ in range(20)]
        for number, client in enumerate(crowd):
            client.get(f"/large?{number}")
        load.wait_more(1000)
        eventually("all were dropped", lambda: accel.counter("write_timeouts") == 20)

    assert load.failures == []
    assert set(load.statuses) == {200}


def test_a_thousand_hanging_exchanges_hinder_nobody_and_end_well(start_accel: StartAccel, origin: FaultOrigin) -> None:
    accel = start_accel([origin.backend])

    with Load(accel.port, ["/cached", "/passed"]) as load, several_clients(accel, CROWD) as crowd:
        for number, client in enumerate(crowd):
            client.begin(f"/slow?{number}")
        origin.wait_asked("/slow", CROWD)
        load.wait_more(1000)
        hanging = accel.backends()[origin.backend]["in_flight"]
        origin.open_gate()
        answers = [client.answer() for client in crowd]

    assert hanging >= CROWD
    assert {(answer.status, answer.body) for answer in answers} == {(200, b"whole")}
    assert load.failures == []
    assert set(load.statuses) == {200}


def test_clients_that_leave_while_they_wait_end_their_fetches(start_accel: StartAccel, origin: FaultOrigin) -> None:
    accel = start_accel([origin.backend])

    with several_clients(accel, 50) as crowd:
        for number, client in enumerate(crowd):
            client.begin(f"/slow?{number}")
        origin.wait_asked("/slow", 50)

    eventually("the origin is free", lambda: accel.backends()[origin.backend]["in_flight"] == 0)
    eventually("it saw them go", lambda: all(seen.is_gone for seen in origin.asked("/slow")))
    assert accel.counter("client_aborts") == 50


def test_a_worker_that_holds_all_it_may_makes_room_or_says_503(start_accel: StartAccel, origin: FaultOrigin) -> None:
    accel = start_accel([origin.backend], "--max-clients", "10", workers=1)

    with several_clients(accel, 10) as busy, several_clients(accel, 1) as [idle]:
        idle.ask("/cached")
        for number, client in enumerate(busy):
            client.begin(f"/slow?{number}")
        origin.wait_asked("/slow", 10)
        with Raw(accel.port) as newcomer:
            refused = newcomer.receive_all()
        origin.open_gate()
        answers = {client.answer().status for client in busy}

    assert refused.startswith(b"HTTP/1.1 503 ")
    assert answers == {200}
    assert accel.counter("connections_evicted") == 1
    assert accel.counter("connections_refused") == 1


# Libraries and tools.


def test_requests_keeps_its_connection_and_gets_what_it_asked_for(
    start_accel: StartAccel, gunicorn_gevent: origins.Origin
) -> None:
    accel = start_accel(gunicorn_gevent.backends)
    body = bytes(range(256)) * 1000

    with requests.Session() as session:
        echoed = session.post(f"{accel.url}/echo", data=body, timeout=10)
        chunked = session.post(f"{accel.url}/counted", data=(body for _ in range(4)), timeout=10)
        streamed = session.get(f"{accel.url}/stream", timeout=10)
        cached = [session.get(f"{accel.url}/cached", timeout=10) for _ in range(10)]
        missing = session.get(f"{accel.url}/nowhere", timeout=10)

    assert echoed.content == body and echoed.headers["X-Method"] == "POST"
    assert chunked.text == str(4 * len(body))
    assert len(streamed.text.splitlines()) == 100
    assert [answer.status_code for answer in (*cached, missing)] == [200] * 10 + [404]
    assert accel.counter("connections") == 1


async def test_aiohttp_asks_for_a_hundred_things_at_once(
    start_accel: StartAccel, gunicorn_gevent: origins.Origin
) -> None:
    accel = start_accel(gunicorn_gevent.backends)
    targets = ["/cached", "/uncached", "/stream", "/nowhere"] * 25

    async def status(session: aiohttp.ClientSession, target: str) -> int:
        async with session.get(accel.url + target) as response:
            await response.read()
            return response.status

    async with aiohttp.ClientSession() as session:
        statuses = await asyncio.gather(*(status(session, target) for target in targets))

    assert statuses == [200, 200, 200, 404] * 25


async def test_a_websocket_echoes_through_tornado(start_accel: StartAccel, tornado: origins.Origin) -> None:
    accel = start_accel(tornado.backends)

    async with aiohttp.ClientSession() as session, session.ws_connect(f"{accel.url}/echo") as socket:
        for number in range(100):
            await socket.send_str(f"message {number}")
            assert await socket.receive_str(timeout=10) == f"message {number}"
        await socket.send_bytes(bytes(1 << 20))
        assert await socket.receive_bytes(timeout=10) == bytes(1 << 20)
        await socket.close(code=4000)
        assert socket.close_code == 4000

    assert accel.counter("tunnels") == 1
    eventually("the tunnel is gone", lambda: sum(accel.connections()) == 0)


async def test_a_websocket_outlives_a_reload_and_ends_with_a_stop(
    start_accel: StartAccel, tornado: origins.Origin
) -> None:
    accel = start_accel(tornado.backends, "--graceful-timeout", "300ms")

    async with aiohttp.ClientSession() as session, session.ws_connect(f"{accel.url}/echo") as socket:
        accel.send(signal.SIGHUP)
        accel.child.wait_for(" reloaded generation=2")
        await socket.send_str("still there")
        assert await socket.receive_str(timeout=10) == "still there"
        accel.stop()
        message = await socket.receive(timeout=10)

    assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)


async def test_a_websocket_ends_when_its_origin_does(start_accel: StartAccel, tmp_path: Path) -> None:
    origin = origins.tornado(tmp_path)
    try:
        accel = start_accel(origin.backends)
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{accel.url}/echo") as socket:
            await socket.send_str("are you there")
            assert await socket.receive_str(timeout=10) == "are you there"
            origin.end()
            message = await socket.receive(timeout=10)
    finally:
        origin.end()

    assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING)


def test_curl_sees_a_miss_a_hit_a_head_a_part_and_a_purge(start_accel: StartAccel, nginx: origins.Origin) -> None:
    accel = start_accel(nginx.backends, workers=1)
    url = f"{accel.url}/files/alphabet.txt"

    miss, hit = curl("--include", url), curl("--include", url)
    head, part = curl("--head", url), curl("--range", "3-5", url)
    purged = curl("--request", "PURGE", url)

    assert "Cache-Status: accel; fwd=uri-miss" in miss and miss.endswith("abcdefghijklmnopqrstuvwxyz")
    assert "Cache-Status: accel; hit" in hit and "\nAge: " in hit
    assert "Cache-Status: accel; hit" in head and "Content-Length: 26" in head
    assert part == "def"
    assert '"dropped": 1' in purged


def test_curl_uploads_after_100_continue(
    start_accel: StartAccel, gunicorn_sync: origins.Origin, tmp_path: Path
) -> None:
    accel = start_accel(gunicorn_sync.backends)
    file = tmp_path / "upload"
    file.write_bytes(bytes(3 << 20))

    sized = curl("--header", "Expect: 100-continue", "--data-binary", f"@{file}", f"{accel.url}/counted")
    chunked = curl("--header", "Transfer-Encoding: chunked", "--data-binary", f"@{file}", f"{accel.url}/counted")

    assert sized == str(3 << 20)
    assert chunked == str(3 << 20)


def test_curl_gets_a_compressed_variant(start_accel: StartAccel, nginx: origins.Origin) -> None:
    accel = start_accel(nginx.backends)

    plain = curl(f"{accel.url}/coded/page.html")
    coded = curl("--compressed", f"{accel.url}/coded/page.html")

    assert plain == coded


# Bytes.


def test_the_body_is_asked_for_with_100_and_read_then(start_accel: StartAccel, origin: FaultOrigin) -> None:
    origin.on("/upload", reply(b"taken", NEVER_STORED))
    accel = start_accel([origin.backend])

    with Raw(accel.port) as client:
        client.send(b"POST /upload HTTP/1.1\r\nHost: scene\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        interim = client.receive_until(b"\r\n\r\n")
        client.send(b"body")
        answer = client.receive_until(b"taken")

    assert interim == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert answer.startswith(b"HTTP/1.1 200 ")
    [seen] = origin.asked("/upload")
    assert seen.body_bytes == 4 and "expect" not in seen.fields


def test_another_expectation_is_417(start_accel: StartAccel, origin: FaultOrigin) -> None:
    accel = start_accel([origin.backend])

    assert ask(accel, "/cached", "POST", b"body", expect="a miracle").status == 417


def test_pipelined_requests_are_answered_in_their_order(start_accel: StartAccel, origin: FaultOrigin) -> None:
    accel = start_accel([origin.backend], workers=1)
    ask(accel, "/cached")
    targets = ["/passed", "/cached", "/nowhere", "/cached", "/passed?2", "/cached"] * 5

    with Raw(accel.port) as client:
        client.send(b"".join(f"GET {target} HTTP/1.1\r\nHost: scene\r\n\r\n".encode() for target in targets))
        bodies = [client.receive_until(expected(target)) for target in targets]

    assert all(body.count(b"HTTP/1.1 ") == 1 for body in bodies)


def expected(target: str) -> bytes:
    """Return the body of a target of `origin`."""
    name = target.strip("/").partition("?")[0]
    return b"not scripted" if name == "nowhere" else name.encode()


def test_http_1_0_clients_are_answered_without_chunks(start_accel: StartAccel, gunicorn_sync: origins.Origin) -> None:
    accel = start_accel(gunicorn_sync.backends)

    with Raw(accel.port) as client:
        client.send(b"GET /stream HTTP/1.0\r\n\r\n")
        head, _, body = client.receive_all().partition(b"\r\n\r\n")

    assert b"transfer-encoding" not in head.lower()
    assert b"\r\nConnection: close" in head
    assert len(body.splitlines()) == 100


def test_http_1_0_clients_may_keep_their_connection(start_accel: StartAccel, origin: FaultOrigin) -> None:
    accel = start_accel([origin.backend])

    with Raw(accel.port) as client:
        for _ in range(3):
            client.send(b"GET /cached HTTP/1.0\r\nHost: scene\r\nConnection: keep-alive\r\n\r\n")
            assert b"\r\nConnection: keep-alive\r\n" in client.receive_until(b"cached")


def test_the_origin_sees_who_asked_and_not_what_a_client_made_up(
    start_accel: StartAccel, gunicorn_sync: origins.Origin
) -> None:
    accel = start_accel(gunicorn_sync.backends)

    answer = ask(accel, "/fields", x_forwarded_for="1.2.3.4", x_forwarded_proto="https", host="shop.example")
    seen = dict(line.split(": ", 1) for line in answer.body.decode().splitlines())

    assert seen["HTTP_X_FORWARDED_FOR"] == "127.0.0.1"
    assert (seen["HTTP_X_FORWARDED_PROTO"], seen["HTTP_X_FORWARDED_HOST"]) == ("http", "shop.example")
    assert (seen["HTTP_HOST"], seen["HTTP_VIA"]) == ("shop.example", "1.1 accel")


def test_a_page_with_thirty_assets_loads(start_accel: StartAccel, origin: FaultOrigin) -> None:
    """A browser's way: six connections, each asset once, then all again from the store."""
    for number in range(30):
        origin.on(f"/asset-{number}.css", reply(b"x" * 1000 * number, MINUTE, "Content-Type: text/css"))
    accel = start_accel([origin.backend], workers=1)

    assert load_page(accel) == load_page(accel) == [(200, 1000 * number) for number in range(30)]
    assert accel.counter("hits") == 30


def load_page(accel: Accel) -> list[tuple[int, int]]:
    """Return status and length of each asset, asked for over six connections."""
    answers = []
    with several_clients(accel, 6) as clients:
        for turn in range(5):
            for number, client in enumerate(clients):
                client.begin(f"/asset-{turn * 6 + number}.css", accept_encoding="gzip, br")
            answers += [client.answer() for client in clients]
    return [(answer.status, len(answer.body)) for answer in answers]


# Unix sockets.


def test_clients_and_origins_may_be_on_unix_sockets(start_accel: StartAccel, tmp_path: Path) -> None:
    origin_path, path = tmp_path / "origin.sock", tmp_path / "accel.sock"
    origin = Child(origins.gunicorn_command("sync", [f"unix:{origin_path}"]), tmp_path / "gunicorn.log")
    try:
        eventually("the origin is there", origin_path.exists)
        accel = start_accel([f"unix:{origin_path}"], "--listen", f"unix:{path}")
        said = curl("--unix-socket", str(path), "http://scene/uncached")
        backends = list(accel.backends())
        accel.stop()
    finally:
        origin.end()

    assert said == "never stored"
    assert backends == [f"unix:{origin_path}"]
    assert not path.exists()
