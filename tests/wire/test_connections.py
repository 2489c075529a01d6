"""A connection's life: keep or close, pipelining, limits and time limits, each with its status and its counter."""

from __future__ import annotations

import pytest
from wire_scene import MakeScene, Scene

from accel.config import ClientTimeouts, Limits
from accel.proxy import clients as clients_module

HEAD = b"GET / HTTP/1.1\r\nHost: example.org\r\n"


# Keep or close (RFC 9112 §9.3).


@pytest.mark.parametrize(
    ("version", "connection", "kept", "said"),
    [
        ("1.1", None, True, []),
        ("1.1", "keep-alive", True, []),
        ("1.1", "close", False, ["close"]),
        ("1.1", "Close, x", False, ["close"]),
        ("1.0", None, False, ["close"]),
        ("1.0", "keep-alive", True, ["keep-alive"]),
        ("1.0", "Keep-Alive", True, ["keep-alive"]),
        ("1.0", "close", False, ["close"]),
    ],
)
@pytest.mark.parametrize("is_hit", [True, False])
async def test_a_connection_is_kept_as_the_client_wants(
    scene: Scene, version: str, connection: str | None, kept: bool, said: list[str], is_hit: bool
) -> None:
    scene.origin.page("/", b"x", cache_control="max-age=60" if is_hit else "no-store")
    await scene.get()
    client = scene.client()
    fields = {} if connection is None else {"connection": connection}
    client.send(client.request(version=version, **fields))
    await scene.settle()
    assert client.answers[0].all("connection") == said
    assert client.is_open is kept


async def test_an_answer_of_unknown_length_to_http_1_0_ends_with_the_connection(scene: Scene) -> None:
    client = scene.client()
    client.send(client.request(version="1.0", connection="keep-alive"))
    (await scene.call()).begin(cache_control="no-store").send(b"a", b"b").end()
    await scene.settle()
    answer = client.answers[0]
    assert (answer.body, answer.is_whole, answer["connection"]) == (b"ab", True, "close")
    assert "transfer-encoding" not in answer


async def test_the_first_answer_of_a_stopping_worker_says_close(scene: Scene) -> None:
    scene.origin.page("/")
    client = scene.client()
    await scene.get(client=client)
    scene.clients.stop()
    client.ask()
    await scene.settle()
    assert client.answers[1]["connection"] == "close"
    client.transport.receive_eof()
    await scene.settle()
    assert scene.clients.emptied.is_set()


async def test_a_stopping_worker_gives_a_long_idle_connection_its_moment_too(scene: Scene) -> None:
    scene.origin.page("/")
    client = scene.client()
    await scene.after(10)
    scene.clients.stop()
    await scene.after(1.5)
    client.ask()
    await scene.settle()
    assert client.answers[0]["connection"] == "close"


async def test_a_stopping_worker_closes_idle_connections_after_a_moment(scene: Scene) -> None:
    client = scene.client()
    scene.clients.stop()
    await scene.after(1.5)
    assert client.is_open
    await scene.after(1)
    assert not client.is_open


async def test_a_client_that_never_closes_is_not_waited_for(scene: Scene) -> None:
    scene.origin.page("/")
    client = scene.client()
    await scene.get(client=client, connection="close")
    assert not client.transport.is_lost
    await scene.after(2.5)
    assert client.transport.is_lost


# Pipelining (RFC 9112 §9.3.2).


async def test_answers_come_in_the_order_of_requests(scene: Scene) -> None:
    scene.origin.page("/hit")
    await scene.get("/hit")
    client = scene.client()
    client.send(b"".join(map(client.request, ["/slow", "/hit", "/slower", "/hit"])))
    await scene.settle()
    assert client.answers == []
    (await scene.call(1)).answer(b"slow", cache_control="no-store")
    await scene.settle()
    assert [answer.body for answer in client.answers] == [b"slow", b"hello"]
    (await scene.call(2)).answer(b"slower", cache_control="no-store")
    await scene.settle()
    assert [answer.body for answer in client.answers] == [b"slow", b"hello", b"slower", b"hello"]
    assert client.is_open


async def test_nothing_is_read_while_an_answer_is_awaited(scene: Scene) -> None:
    client = scene.client()
    client.send(client.request("/1") + client.request("/2"))
    client.send(client.request("/3"))
    await scene.settle()
    assert client.transport.waiting_bytes > 0
    for number in range(3):
        (await scene.call(number)).answer(b"x", cache_control="no-store")
    await scene.settle()
    assert [answer.status for answer in client.answers] == [200, 200, 200]


async def test_a_pipelined_body_belongs_to_its_request(scene: Scene) -> None:
    client = scene.client()
    client.send(
        client.request("/1") + client.request("/2", "POST", body=b"two") + client.request("/3", "PUT", body=b"3")
    )
    for number in range(3):
        (await scene.call(number)).answer(b"x", cache_control="no-store")
    await scene.settle()
    assert [call.body for call in scene.origin.calls] == [b"", b"two", b"3"]
    assert len(client.answers) == 3


async def test_an_error_behind_good_requests_is_answered_in_its_turn(scene: Scene) -> None:
    client = scene.client()
    client.send(client.request("/1") + b"GET nothing\r\n\r\n")
    (await scene.call()).answer(b"x", cache_control="no-store")
    await scene.settle()
    assert [answer.status for answer in client.answers] == [200, 400]
    assert not client.is_open


async def test_what_follows_connection_close_is_not_read(scene: Scene) -> None:
    client = scene.client()
    client.send(client.request("/1", connection="close") + client.request("/2"))
    (await scene.call()).answer(b"x", cache_control="no-store")
    await scene.settle()
    assert len(client.answers) == len(scene.origin.calls) == 1


async def test_empty_lines_before_a_request_are_allowed(scene: Scene) -> None:
    """RFC 9112 §2.2."""
    scene.origin.page("/")
    client = scene.client()
    client.send(b"\r\n\r\n" + client.request())
    await scene.settle()
    assert client.answers[0].status == 200


# Limits.


@pytest.mark.parametrize(
    ("sent", "status", "counter"),
    [
        (HEAD + b"".join(b"X-%d: 1\r\n" % number for number in range(101)), 431, "head_too_large"),
        (HEAD + b"X: " + b"a" * 9000 + b"\r\n", 431, "head_too_large"),
        (HEAD + b"X" * 9000 + b": a\r\n", 431, "head_too_large"),
        (HEAD + b"".join(b"X-%d: %b\r\n" % (number, b"a" * 8000) for number in range(5)), 431, "head_too_large"),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n", 414, "target_too_long"),
    ],
)
@pytest.mark.parametrize("piece", [100_000, 1000])
async def test_a_head_over_a_limit(scene: Scene, sent: bytes, status: int, counter: str, piece: int) -> None:
    client = scene.client()
    sent += b"\r\n"
    for at in range(0, len(sent), piece):
        client.send(sent[at : at + piece])
    await scene.settle()
    assert [(answer.status, answer["connection"]) for answer in client.answers] == [(status, "close")]
    assert scene.counts(counter, "errors", "requests") == (1, 1, 1)


async def test_a_line_without_end_is_refused(scene: Scene) -> None:
    client = scene.client()
    client.send(HEAD + b"X: ")
    for _ in range(50):
        client.send(b"a" * 1000)
    await scene.settle()
    assert [answer.status for answer in client.answers] == [431]


async def test_a_head_within_all_limits_is_served(scene: Scene) -> None:
    scene.origin.page("/")
    client = scene.client()
    client.send(HEAD + b"".join(b"X-%d: %b\r\n" % (number, b"a" * 300) for number in range(99)) + b"\r\n")
    await scene.settle()
    assert client.answers[0].status == 200


@pytest.mark.parametrize("framing", ["sized", "chunked"])
async def test_a_body_over_the_limit(make_scene: MakeScene, framing: str) -> None:
    scene = make_scene(limits=Limits(body_bytes=1000))
    client = scene.client()
    if framing == "sized":
        client.ask("/", "POST", b"x" * 1001)
    else:
        client.ask("/", "POST", transfer_encoding="chunked")
        client.send(b"3e8\r\n" + b"x" * 1000 + b"\r\n")
        await scene.settle()
        client.send(b"1\r\nx\r\n0\r\n\r\n")
    await scene.settle()
    assert [(answer.status, answer["connection"]) for answer in client.answers] == [(413, "close")]
    assert scene.counts("body_too_large", "errors", "requests") == (1, 1, 1)
    assert not any(call.has_whole_body for call in scene.origin.calls)


async def test_the_longest_idle_connection_makes_room(make_scene: MakeScene) -> None:
    scene = make_scene(connections=3)
    clients = []
    for _ in range(3):
        clients.append(scene.client())
        await scene.after(0.25)
    newcomer = scene.client()
    await scene.settle()
    assert [client.is_open for client in clients] == [False, True, True]
    assert newcomer.is_open
    assert scene.counts("connections_evicted", "connections_refused", "connections") == (1, 0, 4)


async def test_those_who_come_in_one_turn_each_have_a_place_made(make_scene: MakeScene) -> None:
    scene = make_scene(connections=3)
    clients = [scene.client() for _ in range(3)]
    newcomers = [scene.client() for _ in range(2)]
    await scene.settle()
    assert [client.is_open for client in clients + newcomers] == [False, False, True, True, True]
    assert scene.counts("connections_evicted", "connections_refused", "connections") == (2, 0, 5)


async def test_where_none_is_idle_the_newcomer_is_refused(make_scene: MakeScene) -> None:
    scene = make_scene(connections=2)
    for number in range(2):
        scene.client().ask(f"/{number}")
    await scene.settle()
    newcomer = scene.client()
    await scene.settle()
    assert [(answer.status, answer["connection"]) for answer in newcomer.answers] == [(503, "close")]
    assert "retry-after" in newcomer.answers[0]
    assert scene.counts("connections_evicted", "connections_refused") == (0, 1)


async def test_idle_connections_are_kept_for_less_when_it_is_crowded(make_scene: MakeScene) -> None:
    scene = make_scene(connections=4)
    clients = [scene.client() for _ in range(4)]
    await scene.after(4)
    assert not any(client.is_open for client in clients)


# Time limits.


async def test_a_head_that_trickles_is_a_408(scene: Scene) -> None:
    client = scene.client()
    client.send(HEAD)
    for number in range(9):
        client.send(b"X-%d: 1\r\n" % number)
        await scene.after(1)
    assert client.answers == []
    await scene.after(1.5)
    assert [(answer.status, answer["connection"]) for answer in client.answers] == [(408, "close")]
    assert scene.counts("head_timeouts", "bad_requests", "errors") == (1, 0, 1)


async def test_a_head_begun_behind_a_request_has_its_own_time(scene: Scene) -> None:
    client = scene.client()
    client.send(client.request("/1") + HEAD)
    await scene.after(30)
    (await scene.call()).answer(b"x", cache_control="no-store")
    await scene.after(9)
    assert client.is_open
    await scene.after(2)
    assert [answer.status for answer in client.answers] == [200, 408]


@pytest.mark.parametrize("sent", [b"", b"\r\n\r\n"])
async def test_an_idle_connection_is_closed_without_a_word(scene: Scene, sent: bytes) -> None:
    client = scene.client()
    client.send(sent)
    await scene.after(14)
    assert client.is_open
    await scene.after(1.5)
    assert not client.is_open
    assert client.received == b""
    assert scene.counts("idle_timeouts", "requests") == (1, 0)


async def test_many_connections_are_checked_in_slices_and_a_defect_in_one_leaves_the_others(
    make_scene: MakeScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients_module, "_SLICE_EVERY_S", 0.0)
    scene = make_scene(connections=5000)
    clients = [scene.client() for _ in range(1200)]
    scene.mono += 16
    monkeypatch.setattr(clients[-1].transport, "get_write_buffer_size", lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        scene.clients.check()
    await scene.until(lambda: not clients[0].is_open)
    assert len(scene.clients._unchecked) == 0
    monkeypatch.undo()
    scene.clients.check()
    await scene.settle()
    assert len(scene.clients) < 1200 - 512


async def test_a_body_that_stalls_is_a_408(scene: Scene) -> None:
    client = scene.client()
    client.ask("/", "POST", transfer_encoding="chunked")
    client.send(b"4e20\r\n" + b"x" * 20_000)
    await scene.after(14)
    assert client.answers == []
    await scene.after(2)
    assert [(answer.status, answer["connection"]) for answer in client.answers] == [(408, "close")]
    assert scene.counts("body_timeouts", "errors", "bad_requests") == (1, 1, 0)
    assert not scene.origin.calls[0].has_whole_body


async def test_a_body_below_the_least_rate_is_a_408(scene: Scene) -> None:
    client = scene.client()
    client.ask("/", "POST", transfer_encoding="chunked")
    for _ in range(12):
        client.send(b"64\r\n" + b"x" * 100 + b"\r\n")
        await scene.after(1)
    assert [answer.status for answer in client.answers] == [408]
    assert scene.count("body_timeouts") == 1


async def test_a_body_at_the_least_rate_goes_on(scene: Scene) -> None:
    client = scene.client()
    client.ask("/", "POST", transfer_encoding="chunked")
    for _ in range(30):
        client.send(b"258\r\n" + b"x" * 600 + b"\r\n")
        await scene.after(1)
    client.send(b"0\r\n\r\n")
    (await scene.call()).answer()
    await scene.settle()
    assert [answer.status for answer in client.answers] == [200]


async def test_time_in_which_we_did_not_read_is_not_the_clients(make_scene: MakeScene) -> None:
    scene = make_scene(limits=Limits(window_bytes=1000))
    client = scene.client()
    client.send(client.request("/slow") + client.request("/2", "POST", body=b"x" * 5000)[:-10])
    await scene.after(60)
    (await scene.call()).answer(b"x", cache_control="no-store")
    await scene.after(5)
    client.send(b"x" * 10)
    (await scene.call()).answer()
    await scene.settle()
    assert [answer.status for answer in client.answers] == [200, 200]


async def test_a_client_that_reads_nothing_is_dropped(scene: Scene) -> None:
    scene.origin.page("/", b"x" * 1_000_000)
    await scene.get()
    client = scene.client()
    client.transport.stick()
    client.ask()
    await scene.after(29)
    assert not client.transport.is_lost
    await scene.after(2)
    assert client.transport.is_cut
    assert scene.count("write_timeouts") == 1


async def test_what_is_refused_waits_for_what_waits_for_the_client(scene: Scene) -> None:
    for target in ("/long", "/short"):
        scene.origin.page(target, b"x" * 1_000_000 if target == "/long" else b"short")
        await scene.get(target)
    client = scene.client()
    client.transport.stick()
    client.send(client.request("/long") + client.request("/short") + b"GET / HTTP/1.1\r\n\r\n")
    await scene.settle()
    client.transport.drain()
    await scene.settle()
    assert [answer.status for answer in client.answers] == [200, 200, 400]
    assert client.transport.has_eof


async def test_a_client_that_reads_below_the_least_rate_is_dropped(scene: Scene) -> None:
    scene.origin.page("/", b"x" * 1_000_000)
    await scene.get()
    client = scene.client()
    client.transport.stick()
    client.ask()
    for _ in range(13):
        client.transport.drain(100)
        await scene.after(1)
    assert client.transport.is_cut
    assert scene.count("write_timeouts") == 1


async def test_a_least_rate_of_zero_is_none(make_scene: MakeScene) -> None:
    scene = make_scene(timeouts=ClientTimeouts(least_rate=0))
    scene.origin.page("/", b"x" * 1_000_000)
    await scene.get()
    client = scene.client()
    client.transport.stick()
    client.ask()
    for _ in range(60):
        client.transport.drain(1)
        await scene.after(1)
    assert not client.transport.is_lost


async def test_waiting_for_an_origin_is_no_time_limit_of_the_clients(scene: Scene) -> None:
    client = scene.client()
    client.ask()
    await scene.after(300)
    (await scene.call()).answer(b"at last", cache_control="no-store")
    await scene.settle()
    assert client.answers[0].body == b"at last"


# Expect (RFC 9110 §10.1.1).


async def test_100_continue_is_answered_when_the_body_is_wanted(scene: Scene) -> None:
    client = scene.client()
    client.ask("/", "POST", expect="100-Continue", transfer_encoding="chunked")
    await scene.settle()
    assert [answer.status for answer in client.answers] == [100]
    client.send(b"5\r\nhello\r\n0\r\n\r\n")
    call = await scene.call()
    assert call.body == b"hello"
    assert b"expect" not in call.fields
    call.answer()
    await scene.settle()
    assert [answer.status for answer in client.answers] == [100, 200]
    assert client.is_open


async def test_a_body_that_comes_without_waiting_gets_no_100(scene: Scene) -> None:
    client = scene.client()
    client.ask("/", "POST", b"hello", expect="100-continue")
    (await scene.call()).answer()
    await scene.settle()
    assert [answer.status for answer in client.answers] == [200]


@pytest.mark.parametrize(("version", "statuses"), [("1.0", [200]), ("1.1", [417])])
async def test_an_unknown_expectation(scene: Scene, version: str, statuses: list[int]) -> None:
    scene.origin.page("/")
    client = scene.client()
    client.send(client.request("/", "POST", version, b"hello", expect="more"))
    await scene.settle()
    assert [answer.status for answer in client.answers] == statuses


async def test_an_early_final_answer_closes_and_nothing_behind_is_read(scene: Scene) -> None:
    client = scene.client()
    client.ask("/", "POST", expect="100-continue", content_length="100")
    (await scene.call()).answer(b"no", status=403)
    await scene.settle()
    client.send(b"x" * 100 + client.request("/2"))
    await scene.settle()
    assert [answer.status for answer in client.answers] == [100, 403]
    assert client.answers[1]["connection"] == "close"
    assert len(scene.origin.calls) == 1


async def test_a_hit_wants_no_body_and_sends_no_100(scene: Scene) -> None:
    scene.origin.page("/")
    await scene.get()
    client = scene.client()
    client.ask(expect="100-continue", content_length="5")
    await scene.settle()
    assert [(answer.status, answer["connection"]) for answer in client.answers] == [(200, "close")]


# The client goes.


async def test_a_client_gone_cancels_its_fetch(scene: Scene) -> None:
    for method in ("GET", "POST", "HEAD"):
        client = scene.client()
        client.ask(f"/{method}", method)
        call = await scene.call()
        client.transport.lose()
        await scene.settle()
        assert call.was_cancelled
    assert scene.counts("client_aborts", "requests") == (3, 3)


async def test_a_client_that_ends_its_side_is_gone(scene: Scene) -> None:
    client = scene.client()
    client.ask()
    call = await scene.call()
    client.transport.receive_eof()
    await scene.settle()
    assert call.was_cancelled


async def test_a_body_that_ends_with_the_connection_is_cut_when_its_client_ends_its_side(scene: Scene) -> None:
    client = scene.client()
    client.send(client.request("/", version="1.0"))
    (await scene.call()).begin(cache_control="no-store").send(b"half")
    await scene.settle()
    assert client.answers[0].body == b"half"
    client.transport.receive_eof()
    await scene.settle()
    assert client.transport.is_cut
    assert not client.answers[0].is_whole


async def test_an_idle_connection_makes_room_however_many_busy_ones_are_older(make_scene: MakeScene) -> None:
    scene = make_scene(connections=150)
    for _ in range(149):
        scene.client().ask("/hanging", cache_control="no-cache")
    idle = scene.client()
    await scene.settle()
    newcomer = scene.client()
    await scene.settle()
    assert idle.transport.is_lost and newcomer.is_open
    assert scene.counts("connections_evicted", "connections_refused") == (1, 0)


async def test_a_client_gone_in_its_own_upload_ends_the_fetch(scene: Scene) -> None:
    client = scene.client()
    client.ask("/", "POST", transfer_encoding="chunked")
    client.send(b"5\r\nhello\r\n")
    call = await scene.call()
    client.transport.lose()
    await scene.settle()
    assert call.was_cancelled
    assert not call.has_whole_body


async def test_all_that_waited_on_a_lost_connection_is_settled(scene: Scene) -> None:
    client = scene.client()
    client.send(client.request("/1") + client.request("/2") + client.request("/3", "POST", body=b"x"))
    await scene.settle()
    client.transport.lose()
    await scene.settle()
    assert len(scene.origin.calls) == 1
    assert scene.count("requests") == 3
