"""The admin server over real sockets: routes, refusals, and what a browser may not be tricked into."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_control import FakeControl

from accel.caching.invalidation import Purge, What
from accel.caching.key import primary_key
from accel.config import Address
from accel.errors import RequestError, StartError
from accel.server import admin, watchers

JSON = "application/json"
NO_ANSWER: tuple[int, dict[bytes, bytes], bytes] = (0, {}, b"")


@pytest.fixture
async def server(control: FakeControl, tmp_path: Path) -> AsyncIterator[admin.AdminServer]:
    """Return an admin on a unix socket and on TCP."""
    opened = admin.bind(control, [Address(path=str(tmp_path / "a.sock")), Address("127.0.0.1", 0)])
    await opened.open()
    yield opened
    opened.close()


async def exchange(address: Address, data: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
    """Send `data`; return status, fields and body of all that comes back."""
    if address.path:
        reader, writer = await asyncio.open_unix_connection(address.path)
    else:
        reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(data)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    if not answer:
        return NO_ANSWER
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    fields = {name.lower(): value for name, _, value in (line.partition(b": ") for line in lines)}
    return int(first.split()[1]), fields, body


async def get(server: admin.AdminServer, path: str) -> tuple[int, Any]:
    data = f"GET {path} HTTP/1.1\r\nHost: accel\r\n\r\n".encode()
    status, _, body = await exchange(server.addresses[0], data)
    return status, json.loads(body)


def posted(path: str, value: object, host: str = "accel", kind: str = JSON) -> bytes:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", f"Content-Type: {kind}"]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


async def post(server: admin.AdminServer, path: str, value: object) -> tuple[int, Any]:
    status, _, body = await exchange(server.addresses[0], posted(path, value))
    return status, json.loads(body)


@pytest.mark.parametrize("path", ["/facts", "/stat", "/workers", "/backends", "/store", "/store/check"])
async def test_what_the_arbiter_knows_is_shown_as_json(
    server: admin.AdminServer, control: FakeControl, path: str
) -> None:
    known = {
        "/facts": control.facts(),
        "/stat": control.counters(),
        "/workers": control.workers(),
        "/backends": control.backends(),
        "/store": control.store(),
        "/store/check": await control.check_store(),
    }

    assert await get(server, path) == (200, known[path])


async def test_the_root_lists_every_route(server: admin.AdminServer) -> None:
    status, routes = await get(server, "/")

    assert status == 200
    assert {"GET /stat", "POST /purge", "GET /readyz"} <= set(routes)


async def test_metrics_are_openmetrics_text(server: admin.AdminServer) -> None:
    status, fields, body = await exchange(server.addresses[0], b"GET /metrics HTTP/1.1\r\nHost: accel\r\n\r\n")

    assert (status, fields[b"content-type"].partition(b";")[0]) == (200, b"application/openmetrics-text")
    assert b"accel_requests_total{" in body
    assert body.endswith(b"# EOF\n")


async def test_an_answer_is_fresh_and_ends_its_connection(server: admin.AdminServer) -> None:
    _, fields, body = await exchange(server.addresses[0], b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")

    assert (fields[b"cache-control"], fields[b"connection"]) == (b"no-store", b"close")
    assert int(fields[b"content-length"]) == len(body)


async def test_head_has_the_fields_of_get_and_no_body(server: admin.AdminServer) -> None:
    status, fields, body = await exchange(server.addresses[0], b"HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n")

    assert (status, body) == (200, b"")
    assert int(fields[b"content-length"]) > 0


@pytest.mark.parametrize(
    ("worker_state", "backend_state", "alive", "ready"),
    [("accepting", "up", 200, 200), ("starting", "up", 503, 503), ("accepting", "draining", 200, 503)],
)
async def test_alive_means_a_worker_accepts_and_ready_that_a_backend_is_up_too(
    server: admin.AdminServer,
    control: FakeControl,
    worker_state: str,
    backend_state: str,
    alive: int,
    ready: int,
) -> None:
    control.worker_rows[0]["state"] = worker_state
    control.backend_rows[0]["state"] = backend_state

    assert [(await get(server, path))[0] for path in ("/healthz", "/readyz")] == [alive, ready]


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("http://shop.example/list?page=2", (b"shop.example", b"/list?page=2")),
        ("HTTP://Shop.Example.:80", (b"shop.example", b"/")),
        ("https://shop.example:8443/a//b/../c#part", (b"shop.example:8443", b"/a//b/../c")),
        ("http://[::1]:8080/%C3%A9", (b"[::1]:8080", b"/%C3%A9")),
    ],
)
async def test_a_purged_url_gets_the_key_that_a_request_for_it_has(
    server: admin.AdminServer, control: FakeControl, url: str, place: tuple[bytes, bytes]
) -> None:
    status, answer = await post(server, "/purge", {"urls": [url]})

    assert (status, control.purged) == (200, [Purge(What.URL, (primary_key(*place),))])
    assert answer["receipts"][0]["dropped"] == 2


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({}, "write {"),
        ({"urls": []}, "write {"),
        ({"urls": "http://a/"}, "write {"),
        ({"urls": [1]}, "write {"),
        ({"tags": []}, "write {"),
        ({"tags": [" "]}, "no tag: ' '"),
        ({"tags": ["€"]}, "no tag: '\\u20ac'"),
        ({"tags": ["a\nb"]}, "no tag: 'a\\nb'"),
        ({"tags": ["a"], "all": True}, "write {"),
        ({"all": 1}, "write {"),
        ({"all": True, "soft": "yes"}, "write {"),
        ({"urls": ["/list"]}, "such as http://host/list"),
        ({"urls": ["http://a/", "ftp://a/"]}, "the whole URL"),
        ({"urls": ["http://a/b c"]}, "percent-encode"),
        ({"urls": ["http://a/é"]}, "percent-encode"),
        ({"urls": ["http://a/\r\nX: y"]}, "percent-encode"),
        ({"urls": ["http://a b/"]}, "percent-encode"),
        ({"urls": ["http://user@a/"]}, "Host is not"),
        ({"urls": ["http:///x"]}, "Host is not"),
        ([], "not a JSON object"),
        (b"{", "not JSON"),
    ],
)
async def test_a_purge_that_is_wrong_anywhere_drops_nothing(
    server: admin.AdminServer, control: FakeControl, value: object, said: str
) -> None:
    status, answer = await post(server, "/purge", value)

    assert (status, control.purged) == (400, [])
    assert said in answer["error"]


@pytest.mark.parametrize(
    ("value", "purge"),
    [
        ({"urls": ["http://a/"], "soft": True}, Purge(What.URL, (b"a\0/",), True)),
        ({"tags": ["a b", "é"]}, Purge(What.TAG, (b"a b", b"\xe9"))),
        ({"tags": ["a"], "soft": True}, Purge(What.TAG, (b"a",), True)),
        ({"all": True}, Purge(What.ALL)),
        ({"all": True, "soft": True}, Purge(What.ALL, (), True)),
    ],
)
async def test_a_purge_may_be_soft_and_of_tags_and_of_everything(
    server: admin.AdminServer, control: FakeControl, value: object, purge: Purge
) -> None:
    status, answer = await post(server, "/purge", value)

    assert (status, control.purged) == (200, [purge])
    assert answer["receipts"][0]["touched" if purge.is_soft else "dropped"] == 2


async def test_a_ban_is_passed_on_and_pending_ones_are_listed(server: admin.AdminServer, control: FakeControl) -> None:
    control.pending = [{"ban": "status == 404", "number": 7, "age_s": 1.5}]

    status, _ = await post(server, "/ban", {"ban": "url ~ ä"})

    assert (status, control.purged) == (200, [Purge(What.BAN, ("url ~ ä".encode(),))])
    assert await get(server, "/bans") == (200, control.pending)


@pytest.mark.parametrize(
    ("value", "refusal", "status", "said"),
    [
        ({}, None, 400, 'write {"ban":'),
        ({"ban": "x"}, ValueError("column 1: 'x' is not known"), 400, "column 1: 'x' is not known"),
        ({"ban": "x"}, RequestError(503, "too many bans are pending"), 503, "too many bans are pending"),
    ],
)
async def test_a_ban_that_cannot_be_is_refused_with_its_reason(
    server: admin.AdminServer, control: FakeControl, value: object, refusal: Exception | None, status: int, said: str
) -> None:
    control.refusal = refusal

    answered, answer = await post(server, "/ban", value)

    assert (answered, control.purged) == (status, [])
    assert said in answer["error"]


async def test_too_many_urls_are_refused(server: admin.AdminServer) -> None:
    status, _ = await post(server, "/purge", {"urls": ["http://a/"] * 1001})

    assert status == 413


async def test_a_backend_is_drained_and_given_back(server: admin.AdminServer, control: FakeControl) -> None:
    assert (await post(server, "/drain", {"backend": "127.0.0.1:8001"}))[0] == 200
    assert control.drained == {"127.0.0.1:8001": True}
    assert (await post(server, "/undrain", {"backend": "127.0.0.1:8001"}))[0] == 200
    assert control.drained == {"127.0.0.1:8001": False}


async def test_an_unknown_backend_is_told_which_there_are(server: admin.AdminServer) -> None:
    status, answer = await post(server, "/drain", {"backend": "x:1"})

    assert status == 404
    assert answer["error"] == "there is no backend x:1; there is 127.0.0.1:8001, 127.0.0.1:8002"


async def test_a_refused_reload_says_why(server: admin.AdminServer, control: FakeControl) -> None:
    control.outcome = {"ok": False, "error": "--memory: 'x' will not do"}

    assert await post(server, "/reload", {}) == (422, control.outcome)


async def test_what_is_not_there_and_wrong_methods_are_said(server: admin.AdminServer) -> None:
    status, answer = await get(server, "/nothing")
    wrong, fields, _ = await exchange(server.addresses[0], b"DELETE /stat HTTP/1.1\r\nHost: a\r\n\r\n")

    assert (status, answer["error"]) == (404, "there is nothing here; GET / lists what there is")
    assert (wrong, fields[b"allow"]) == (405, b"GET")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"NONSENSE\r\n\r\n", 501),
        (b"GET /stat HTTP/1.1\r\n\r\n", 400),
        (b"GET /stat HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 40_000 + b"\r\n\r\n", 431),
    ],
)
async def test_a_broken_request_is_answered_and_closed(server: admin.AdminServer, data: bytes, status: int) -> None:
    assert (await exchange(server.addresses[0], data))[0] == status


async def test_a_second_request_on_the_connection_is_not_answered(server: admin.AdminServer) -> None:
    one = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"

    _, _, body = await exchange(server.addresses[0], one + one)

    assert json.loads(body) == {"ok": True}


async def test_a_defect_in_control_is_a_500_and_reported(
    server: admin.AdminServer, control: FakeControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))
    monkeypatch.setattr(control, "counters", lambda: 1 // 0)

    status, answer = await get(server, "/stat")

    assert (status, "inside accel" in answer["error"]) == (500, True)
    assert isinstance(reported[0]["exception"], ZeroDivisionError)


def test_who_was_accepted_in_the_moment_of_a_pause_is_answered(control: FakeControl, tmp_path: Path) -> None:
    with asyncio.Runner() as runner, socket.socket(socket.AF_UNIX) as client:
        loop = runner.get_loop()
        server = admin.bind(control, [Address(path=str(tmp_path / "a.sock"))])
        loop.run_until_complete(server.open())
        client.connect(str(tmp_path / "a.sock"))
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        loop.call_soon(loop.stop)
        loop.run_forever()  # one turn: asyncio accepts, and makes the connection in the next one

        server.pause()
        client.settimeout(5)
        answer = loop.run_until_complete(asyncio.to_thread(client.recv, 1 << 16))
        server.close()

    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1:9000", 200), ("localhost", 200), ("[::1]:1", 200), ("evil.example", 421), ("10.0.0.1", 421)],
)
async def test_over_tcp_the_host_must_be_ours(server: admin.AdminServer, host: str, status: int) -> None:
    data = f"GET /stat HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()

    assert (await exchange(server.addresses[1], data))[0] == status


async def test_a_browser_gets_the_page_where_a_tool_gets_the_list(server: admin.AdminServer) -> None:
    asked = b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: %b\r\n\r\n"

    _, page, body = await exchange(server.addresses[1], asked % b"text/html,*/*;q=0.8")
    _, listed, _ = await exchange(server.addresses[1], asked % b"*/*")

    assert (page[b"content-type"], listed[b"content-type"]) == (b"text/html; charset=utf-8", b"application/json")
    assert b"script-src 'sha256-" in page[b"content-security-policy"] and body.startswith(b"<!doctype html>")


async def events(server: admin.AdminServer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a stream, and read its first event."""
    reader, writer = await asyncio.open_unix_connection(server.addresses[0].path)
    writer.write(b"GET /events HTTP/1.1\r\nHost: accel\r\n\r\n")
    await reader.readuntil(b"\r\n\r\nretry: 2000\n\ndata: ")
    return reader, writer


async def test_a_stream_has_everything_that_moves_and_outlives_an_exchange(
    server: admin.AdminServer, control: FakeControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchers, "EVERY_S", 0.001)
    reader, writer = await events(server)

    first = json.loads(await reader.readuntil(b"\n\n"))
    control.counted["hits"] += 1
    second = json.loads((await reader.readuntil(b"\n\n")).removeprefix(b"data: "))
    writer.close()

    assert (first["workers"], first["backends"]) == (control.worker_rows, control.backend_rows)
    assert second["counters"]["hits"] == first["counters"]["hits"] + 1


async def test_a_pause_ends_the_streams(server: admin.AdminServer) -> None:
    reader, writer = await events(server)

    server.pause()

    assert b"\n\n" in await asyncio.wait_for(reader.read(), 5)
    writer.close()


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
async def test_what_another_sites_page_can_send_unasked_does_nothing(
    server: admin.AdminServer, control: FakeControl, kind: str
) -> None:
    data = posted("/purge", {"urls": ["http://a/"]}, host="localhost", kind=kind)

    status, _, _ = await exchange(server.addresses[1], data)

    assert (status, control.purged) == (415, [])


async def test_json_over_tcp_may_do_what_the_unix_socket_may(server: admin.AdminServer, control: FakeControl) -> None:
    data = posted("/purge", {"urls": ["http://a/"]}, host="localhost", kind="application/json; charset=utf-8")

    status, _, _ = await exchange(server.addresses[1], data)

    assert (status, control.purged) == (200, [Purge(What.URL, (b"a\0/",))])


async def test_a_connection_that_says_nothing_is_dropped(
    server: admin.AdminServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin, "EXCHANGE_S", 0)

    assert await exchange(server.addresses[0], b"") == NO_ANSWER


async def test_closing_removes_the_socket_from_the_disk(control: FakeControl, tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    opened = admin.bind(control, [Address(path=str(path))])

    opened.close()

    assert not path.exists()


async def test_a_forked_child_lets_go_without_harm_to_its_parent(
    server: admin.AdminServer,
) -> None:
    child = os.fork()
    if child == 0:
        try:
            server.forget()
        finally:
            os._exit(0)
    os.waitpid(child, 0)  # noqa: ASYNC222 (the child has nothing to do)

    assert await get(server, "/healthz") == (200, {"ok": True})


async def test_a_forked_child_holds_no_connection_open(server: admin.AdminServer) -> None:
    reader, writer = await events(server)
    forgotten, forgot = os.pipe()
    alive, end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            server.forget()
            os.write(forgot, b".")
            os.close(end)
            os.read(alive, 1)  # until the parent has seen the connection's end
        finally:
            os._exit(0)
    os.read(forgotten, 1)

    for connection in list(server._desk.connections):
        assert connection._transport is not None
        connection._transport.abort()
    rest = await asyncio.wait_for(reader.read(), 5)

    for descriptor in (end, alive, forgotten, forgot):
        os.close(descriptor)
    os.waitpid(child, 0)  # noqa: ASYNC222 (it has seen the end of its pipe)
    writer.close()
    assert rest


async def test_a_failed_start_leaves_nothing_open(
    server: admin.AdminServer, control: FakeControl, tmp_path: Path
) -> None:
    path = tmp_path / "b.sock"

    with pytest.raises(StartError, match="in use"):
        admin.bind(control, [Address(path=str(path)), server.addresses[1]])

    assert not path.exists()


async def test_an_upgrade_begins_and_a_refused_one_says_why(server: admin.AdminServer, control: FakeControl) -> None:
    begun = await post(server, "/upgrade", {})
    control.upgrade_outcome = {"ok": False, "error": "process 50 is being started"}
    refused = await post(server, "/upgrade", {})

    assert begun == (202, {"ok": True, "pid": 50})
    assert refused == (409, {"ok": False, "error": "process 50 is being started"})


async def test_while_it_is_paused_a_question_waits_for_whoever_has_the_sockets(
    control: FakeControl, tmp_path: Path
) -> None:
    old = admin.bind(control, [Address(path=str(tmp_path / "a.sock"))])
    await old.open()
    new = admin.bind(control, old.addresses, [replace(handed, fd=os.dup(handed.fd)) for handed in old.handed()])

    old.pause()
    asking = asyncio.ensure_future(get(old, "/healthz"))
    await asyncio.sleep(0)
    await new.open()
    answer = await asking
    old.close()
    still_there = (tmp_path / "a.sock").exists()
    new.close()

    assert answer[0] == 200
    assert still_there
    assert not (tmp_path / "a.sock").exists()
