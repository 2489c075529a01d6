"""What passes from client to origin and back, what ends here, and what we say ourselves (RFC 9110 §7.6)."""

from __future__ import annotations

import pytest
from memory_origin import Call
from wire_scene import Scene

from accel.errors import BadResponse, ClosedUnanswered, ConnectFailed, NoBackend, OriginTimeout


def seen(call: Call) -> dict[str, str]:
    """Return the fields that an origin saw; fails if one came twice."""
    names = [name for name, _ in call.fields.lines]
    assert len(set(names)) == len(names)
    return {name.decode(): value.decode("latin-1") for name, value in call.fields.lines}


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
async def test_an_origin_is_told_who_asks_and_how(scene: Scene, method: str) -> None:
    scene.client("192.0.2.7").ask("/", method)
    assert seen(await scene.call()) == {
        "host": "example.org",
        "via": "1.1 accel",
        "x-forwarded-for": "192.0.2.7",
        "x-forwarded-proto": "http",
        "x-forwarded-host": "example.org",
    }


async def test_an_ipv4_client_of_a_dual_socket_is_named_as_such(scene: Scene) -> None:
    scene.client("::ffff:192.0.2.7").ask()
    assert seen(await scene.call())["x-forwarded-for"] == "192.0.2.7"


async def test_a_client_over_a_unix_socket_has_no_address(scene: Scene) -> None:
    scene.client("").ask()
    assert "x-forwarded-for" not in seen(await scene.call())


@pytest.mark.parametrize(
    "name",
    [
        "Forwarded",
        "Front-End-Https",
        "Proxy",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Port",
        "X-Forwarded-Prefix",
        "X-Forwarded-Proto",
        "X-Forwarded-Server",
        "X-HTTP-Method",
        "X-HTTP-Method-Override",
        "X-Method-Override",
        "X-Original-Host",
        "X-Original-URL",
        "X-Real-IP",
        "X-Rewrite-URL",
        "X_Real_IP",
        "X-Http_Method-Override",
    ],
)
async def test_poison_does_not_reach_the_origin(scene: Scene, name: str) -> None:
    client = scene.client()
    client.send(f"GET / HTTP/1.1\r\nHost: example.org\r\n{name}: evil\r\n\r\n".encode())
    assert "evil" not in seen(await scene.call()).values()


async def test_via_is_a_chain(scene: Scene) -> None:
    scene.client().ask(via="1.0 fred")
    assert (await scene.call()).fields.get(b"via") == b"1.0 fred, 1.1 accel"


async def test_via_names_the_version_that_came_in(scene: Scene) -> None:
    """RFC 9110 §7.6.3."""
    client = scene.client()
    client.send(client.request(version="1.0"))
    assert (await scene.call()).fields.get(b"via") == b"1.0 accel"


@pytest.mark.parametrize(
    ("method", "sent", "seen"), [("OPTIONS", "2", b"1"), ("OPTIONS", "x", b"x"), ("GET", "0", b"0")]
)
async def test_an_options_is_told_how_far_it_may_go(scene: Scene, method: str, sent: str, seen: bytes) -> None:
    """RFC 9110 §7.6.2."""
    scene.client().ask("/", method, max_forwards=sent)
    assert (await scene.call()).fields.all(b"max-forwards") == [seen]


async def test_an_options_that_may_go_no_further_is_answered_here(scene: Scene) -> None:
    client = scene.client()
    answer = await scene.get("*", "OPTIONS", client, max_forwards="0")
    assert (answer.status, scene.origin.calls, client.is_open) == (204, [], True)
    assert "DELETE" in answer["allow"]
    assert scene.count("synthetic") == 1


HOP_BY_HOP = {
    "connection": "keep-alive, x-secret",
    "keep-alive": "timeout=5",
    "proxy-connection": "keep-alive",
    "proxy-authenticate": "Basic",
    "proxy-authorization": "Basic eDp5",
    "te": "trailers",
    "trailer": "x-t",
    "upgrade": "h2c",
    "x-secret": "1",
}


async def test_what_concerns_one_connection_ends_here_on_the_way_up(scene: Scene) -> None:
    scene.client().ask(**{name.replace("-", "_"): value for name, value in HOP_BY_HOP.items()}, accept="x/y")
    fields = seen(await scene.call())
    assert not HOP_BY_HOP.keys() & fields.keys()
    assert fields["accept"] == "x/y"


@pytest.mark.parametrize("is_stored", [True, False])
async def test_what_concerns_one_connection_ends_here_on_the_way_down(scene: Scene, is_stored: bool) -> None:
    control = "max-age=60" if is_stored else "no-store"
    scene.origin.page(
        "/", cache_control=control, **{name.replace("-", "_"): value for name, value in HOP_BY_HOP.items()}, x_other="2"
    )
    for _ in range(2):
        answer = await scene.get()
        assert not HOP_BY_HOP.keys() & {name.decode() for name, _ in answer.lines}
        assert answer["x-other"] == "2"


SAFE = ("host", "authorization", "cookie", "cache-control", "if-match", "range", "content-type", "accept-encoding")


async def test_connection_does_not_take_out_what_safety_rests_on(scene: Scene) -> None:
    client = scene.client()
    client.ask(
        "/",
        "POST",
        b"x",
        connection=", ".join((*SAFE, "content-length")),
        **{name.replace("-", "_"): "x" for name in SAFE if name != "host"},
    )
    call = await scene.call()
    assert set(SAFE) <= seen(call).keys()
    assert call.request.body is not None
    assert call.request.body.length == 1


async def test_an_origins_connection_does_not_take_out_what_safety_rests_on(scene: Scene) -> None:
    safe = ("cache-control", "set-cookie", "vary", "date", "expires", "etag", "content-type", "content-encoding")
    scene.origin.page("/", connection=", ".join(safe), **{name.replace("-", "_"): "private" for name in safe})
    answer = await scene.get()
    assert set(safe) <= {name.decode() for name, _ in answer.lines}
    assert scene.count("stored") == 0


async def test_set_cookie_lines_stay_lines(scene: Scene) -> None:
    def answer(call: Call) -> None:
        reply = call.answer(b"x")
        reply.head.fields.add(b"set-cookie", b"a=1; Expires=Thu, 01 Jan 2026 00:00:00 GMT")
        reply.head.fields.add(b"set-cookie", b"b=2")

    scene.origin.script[b"/"] = answer
    assert len((await scene.get()).all("set-cookie")) == 2


async def test_cookie_lines_of_a_request_stay(scene: Scene) -> None:
    client = scene.client()
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nCookie: a=1\r\nCookie: b=2\r\n\r\n")
    assert (await scene.call()).fields.get(b"cookie") == b"a=1; b=2"


@pytest.mark.parametrize("is_stored", [True, False])
async def test_cache_status_comes_after_those_before_us(scene: Scene, is_stored: bool) -> None:
    """RFC 9211 §2: the origin's side is first, the client's last."""
    scene.origin.page("/", cache_control="max-age=60" if is_stored else "no-store", cache_status="inner; hit")
    for _ in range(2):
        told = (await scene.get()).all("cache-status")
        assert told[0] == "inner; hit"
        assert told[1].startswith("accel; ")
        assert len(told) == 2


@pytest.mark.parametrize(
    ("method", "fields", "told"),
    [
        ("GET", {}, ["fwd=uri-miss", "fwd-status=200"]),
        ("POST", {}, ["fwd=method", "fwd-status=200"]),
        ("DELETE", {}, ["fwd=method", "fwd-status=200"]),
        ("HEAD", {}, ["fwd=uri-miss", "fwd-status=200"]),
        ("GET", {"connection": "upgrade", "upgrade": "websocket"}, ["fwd=bypass", "fwd-status=200"]),
    ],
)
async def test_cache_status_says_why_a_request_went_on(
    scene: Scene, method: str, fields: dict[str, str], told: list[str]
) -> None:
    scene.origin.page("/", cache_control="no-store")
    assert (await scene.get("/", method, **fields)).cache_status == told


async def test_cache_status_never_names_the_key(scene: Scene) -> None:
    scene.origin.page("/secret")
    for _ in range(2):
        assert "key" not in str((await scene.get("/secret")).cache_status)


async def test_a_passed_answer_without_a_date_gets_one(scene: Scene) -> None:
    scene.origin.page("/", cache_control="no-store")
    assert (await scene.get())["date"] == "Tue, 14 Nov 2023 22:13:20 GMT"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NoBackend("10.0.0.1 is down"), 503),
        (ConnectFailed("10.0.0.1 refused"), 503),
        (OriginTimeout("10.0.0.1 was slow"), 504),
        (BadResponse("10.0.0.1 spoke nonsense"), 502),
        (ClosedUnanswered("10.0.0.1 closed"), 502),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
async def test_an_origin_that_fails_is_an_error_of_our_own(
    scene: Scene, error: Exception, status: int, method: str
) -> None:
    scene.origin.script[b"/secret?q"] = error
    client = scene.client()
    answer = await scene.get("/secret?q", method, client)
    assert (answer.status, answer["cache-control"], "cache-status" in answer) == (status, "no-store", False)
    assert (b"10.0.0.1" in client.received, b"secret" in client.received) == (False, False)
    assert client.is_open
    assert scene.counts("errors", "misses", "passes") == (1, 0, 0)


async def test_an_errors_status_goes_into_the_log(scene: Scene) -> None:
    scene.origin.script[b"/x"] = OriginTimeout("slow")
    await scene.get("/x", user_agent="probe", referer="http://a/")
    (record,) = scene.log.records
    assert (record.status, record.outcome, record.target, record.method) == (504, "error", b"/x", b"GET")
    assert (record.client, record.user_agent, record.referer) == ("127.0.0.1", b"probe", b"http://a/")


async def test_the_log_counts_bytes_of_body(scene: Scene) -> None:
    scene.origin.page("/", b"x" * 300)
    client = scene.client()
    for fields in ({}, {}, {"range": "bytes=0-9"}, {"if_modified_since": "Tue, 14 Nov 2033 22:13:20 GMT"}):
        await scene.get(client=client, **fields)
    await scene.get("/", "HEAD")
    assert [record.body_bytes for record in scene.log.records] == [300, 300, 10, 0, 0]
    assert [record.outcome for record in scene.log.records] == ["miss", "hit", "hit", "hit", "hit"]
    assert [record.backend for record in scene.log.records] == ["origin:1", "", "", "", ""]


async def test_bytes_are_counted_both_ways(scene: Scene) -> None:
    scene.origin.page("/")
    client = scene.client()
    await scene.get(client=client)
    await scene.get(client=client)
    assert scene.count("client_bytes_out") == len(client.received)
    assert scene.count("client_bytes_in") == 2 * len(client.request())
