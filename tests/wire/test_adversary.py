"""What a hostile or merely odd client could do to a worker: each of these was once a defect."""

from __future__ import annotations

import gc

import pytest
from wire_scene import NOW, MakeScene, Scene

from accel.config import CachingOptions, Limits
from accel.http.fields import format_date
from accel.policy.built_in import built_in
from accel.policy.compile import CompiledPolicy
from accel.policy.sites import Sites


async def test_a_flood_of_pipelined_hits_waits_for_a_client_that_does_not_read(make_scene: MakeScene) -> None:
    scene = make_scene()
    scene.origin.page("/", b"x" * 10_000)
    await scene.get()
    client = scene.client()
    client.transport.stick()
    for _ in range(20):
        client.send(client.request() * 100)
        await scene.settle()
    assert client.transport.get_write_buffer_size() < 2 * 64 * 1024
    assert client.transport.waiting_bytes > 0
    client.methods = [b"GET"] * 2000
    client.transport.drain()
    await scene.settle()
    assert len(client.answers) == 2000


async def test_thousands_of_pipelined_requests_behind_a_slow_one_are_answered(scene: Scene) -> None:
    scene.origin.page("/", b"x")
    await scene.get()
    client = scene.client()
    client.send(client.request("/slow") + client.request() * 3000)
    client.methods = [b"GET"] * 3001
    (await scene.call()).answer(b"slow", cache_control="no-store")
    await scene.settle()
    assert len(client.answers) == 3001
    assert client.is_open


async def test_nothing_is_answered_after_an_answer_that_says_close(make_scene: MakeScene) -> None:
    scene = make_scene()
    scene.origin.page("/", b"x")
    await scene.get()
    client = scene.client()
    scene.clients.stop()
    client.send(client.request() * 3)
    await scene.settle()
    assert [answer["connection"] for answer in client.answers] == ["close"]
    scene.clients.is_stopping = False


async def test_a_request_behind_a_body_that_a_hit_did_not_want_is_not_answered(scene: Scene) -> None:
    scene.origin.page("/", b"x")
    await scene.get()
    client = scene.client()
    client.send(client.request("/", body=b"abc") + client.request("/other"))
    await scene.settle()
    assert [answer["connection"] for answer in client.answers] == ["close"]
    assert scene.origin.seen == [(b"GET", b"/")]


async def test_a_slow_reader_of_a_large_hit_is_not_idle(scene: Scene) -> None:
    scene.origin.page("/", b"x" * 1_000_000)
    await scene.get()
    client = scene.client()
    client.transport.stick()
    client.ask()
    await scene.settle()
    for _ in range(20):
        client.transport.drain(40_000)
        await scene.after(2)
    client.transport.drain()
    await scene.settle()
    assert client.answers[0].is_whole
    assert client.is_open


async def test_a_slow_reader_of_a_large_hit_does_not_make_room_for_a_newcomer(make_scene: MakeScene) -> None:
    scene = make_scene(connections=2)
    scene.origin.page("/", b"x" * 1_000_000)
    reader = scene.client()
    await scene.get(client=reader)
    reader.transport.stick()
    reader.ask()
    await scene.settle()
    idle = scene.client()
    scene.client()
    await scene.settle()
    assert not idle.is_open
    assert reader.is_open


async def test_a_chunked_response_that_outgrows_the_store_at_once_reaches_its_client(make_scene: MakeScene) -> None:
    scene = make_scene(max_body_bytes=1000)
    client = scene.client()
    client.ask()
    (await scene.call()).begin(cache_control="max-age=60").send(b"x" * 2000).end()
    await scene.settle()
    assert client.answers[0].body == b"x" * 2000
    assert client.answers[0].is_whole


async def test_a_chunked_response_that_outgrows_the_store_at_once_reaches_all_who_wait(make_scene: MakeScene) -> None:
    scene = make_scene(max_body_bytes=1000)
    clients = [scene.client() for _ in range(3)]
    for client in clients:
        client.ask()
    reply = (await scene.call()).begin(cache_control="max-age=60").send(b"x" * 900, b"y" * 900)
    await scene.settle()
    reply.send(b"z").end()
    await scene.settle()
    assert [client.answers[0].body for client in clients] == [b"x" * 900 + b"y" * 900 + b"z"] * 3
    assert len(scene.origin.calls) == 1


async def test_followers_of_an_uncacheable_response_go_to_the_origin_at_once(scene: Scene) -> None:
    clients = [scene.client() for _ in range(4)]
    for client in clients:
        client.ask()
    (await scene.call()).answer(b"mine", cache_control="private")
    await scene.settle()
    assert len(scene.origin.calls) == 4
    for call in scene.origin.calls[1:]:
        call.answer(b"yours", cache_control="private")
    await scene.settle()
    assert [client.answers[0].body for client in clients] == [b"mine", b"yours", b"yours", b"yours"]


@pytest.mark.parametrize("fields", [{"cache_control": "no-cache, no-store"}, {"authorization": "Basic eDp5"}])
async def test_a_client_cannot_drive_out_what_is_stored_by_what_it_asks(scene: Scene, fields: dict[str, str]) -> None:
    scene.origin.page("/", b"x")
    await scene.get()
    await scene.get(**fields)
    assert (await scene.get()).cache_status[0] == "hit"


async def test_a_get_with_a_body_reaches_the_origin_with_it_and_leaves_no_mark(scene: Scene) -> None:
    client = scene.client()
    client.ask("/search", body=b"{}")
    call = await scene.call()
    assert call.body == b"{}"
    call.answer(b"found", cache_control="max-age=60")
    await scene.settle()
    first, second = scene.client(), scene.client()
    first.ask("/search")
    second.ask("/search")
    (await scene.call()).answer(b"plain", cache_control="max-age=60")
    await scene.settle()
    assert (first.answers[0].body, second.answers[0].body) == (b"plain", b"plain")
    assert len(scene.origin.calls) == 2


async def test_a_304_with_another_entity_tag_freshens_nothing(scene: Scene) -> None:
    scene.origin.page("/", b"old", cache_control="max-age=1", etag='"1"')
    await scene.get()
    await scene.after(2)
    scene.origin.script.clear()
    client = scene.client()
    client.ask()
    (await scene.call()).answer(status=304, etag='"2"', cache_control="max-age=60")
    call = await scene.call()
    assert len(scene.origin.calls) == 3
    assert b"if-none-match" not in call.fields
    call.answer(b"new", etag='"2"', cache_control="max-age=60")
    await scene.settle()
    assert client.answers[0].body == b"new"


async def test_a_304_that_forbids_storing_ends_the_storing(scene: Scene) -> None:
    """RFC 9111 §3.2, §4.3.4: what a 304 brings counts as if it had come with the response."""
    scene.origin.page("/", b"old", cache_control="max-age=1", etag='"1"')
    await scene.get()
    await scene.after(2)
    scene.origin.script.clear()
    client = scene.client()
    client.ask()
    (await scene.call()).answer(status=304, etag='"1"', cache_control="no-store, max-age=60")
    (await scene.call()).answer(b"secret", etag='"1"', cache_control="no-store")
    await scene.settle()
    assert client.answers[0].body == b"secret"
    scene.client().ask()
    assert b"if-none-match" not in (await scene.call(3)).fields


async def test_pipelined_bodies_are_not_taken_for_chunk_framing(scene: Scene) -> None:
    client = scene.client()
    whole = client.request("/a", "POST", body=b"a" * 200_000) + client.request("/b", "POST", body=b"b" * 60_000)
    client.send(whole[:150_000])
    client.send(whole[150_000:-50_000])
    await scene.settle()
    client.send(whole[-50_000:])
    (await scene.call(0)).answer(b"1")
    (await scene.call(1)).answer(b"2")
    await scene.settle()
    assert [answer.status for answer in client.answers] == [200, 200]
    assert [len(call.body) for call in scene.origin.calls] == [200_000, 60_000]


async def test_a_thousand_pipelined_upgrades_are_ignored_one_by_one(scene: Scene) -> None:
    scene.origin.page("/", b"x")
    await scene.get()
    client = scene.client()
    client.send(client.request(connection="upgrade", upgrade="h2c") * 1500)
    client.methods = [b"GET"] * 1500
    await scene.settle()
    assert len(client.answers) == 1500


async def test_what_comes_behind_an_upgrade_is_bounded_while_the_origin_thinks(scene: Scene) -> None:
    client = scene.client()
    client.ask("/ws", connection="upgrade", upgrade="websocket")
    for _ in range(10):
        client.send(b"x" * 64 * 1024)
        await scene.settle()
    assert client.transport.waiting_bytes >= 7 * 64 * 1024
    (await scene.call()).answer(b"no", status=403)


async def test_freshness_is_judged_when_a_pipelined_request_has_its_turn(scene: Scene) -> None:
    scene.origin.page("/", b"x", cache_control="max-age=5")
    await scene.get()
    client = scene.client()
    client.send(client.request("/slow") + client.request())
    await scene.after(10)
    (await scene.call(1)).answer(b"slow", cache_control="no-store")
    await scene.settle()
    assert client.answers[1].cache_status[0] == "fwd=stale"


async def test_the_last_of_allowed_requests_is_answered_when_they_come_at_once(make_scene: MakeScene) -> None:
    scene = make_scene(limits=Limits(requests_per_connection=3))
    scene.origin.page("/", b"x", cache_control="no-store")
    client = scene.client()
    client.send(client.request() * 5)
    client.methods = [b"GET"] * 5
    await scene.settle()
    assert ["connection" in answer for answer in client.answers] == [False, False, True]


async def test_an_expectation_that_nobody_meets_is_counted(scene: Scene) -> None:
    assert (await scene.get(expect="200-ok")).status == 417
    assert scene.count("expectation_refused") == 1


async def test_a_refusal_for_want_of_room_is_no_bad_request(make_scene: MakeScene) -> None:
    scene = make_scene(connections=1)
    busy = scene.client()
    busy.ask()
    await scene.settle()
    refused = scene.client()
    await scene.settle()
    assert refused.answers[0].status == 503
    assert scene.counts("connections_refused", "bad_requests") == (1, 0)
    assert not refused.transport.is_lost, "closed before its request came, which would reset the connection"


async def test_a_client_that_leaves_when_its_second_request_begins_leaves_nothing_behind(scene: Scene) -> None:
    client = scene.client()
    client.send(client.request("/1") + client.request("/2"))
    call = await scene.call()
    call.answer(b"1", cache_control="no-store")
    await scene.until(lambda: b"1" in client.received[-1:])
    client.transport.lose_at_once()
    await scene.settle()
    assert len(scene.origin.calls) == 1


@pytest.mark.parametrize("name", ["x_forwarded_for", "X-Forwarded-Ssl", "X-Forwarded-Protocol", "X-Forwarded"])
async def test_no_spelling_of_a_forwarding_field_reaches_the_origin(scene: Scene, name: str) -> None:
    client = scene.client()
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n%b: on\r\n\r\n" % name.encode())
    call = await scene.call()
    assert b"on" not in [value for _, value in call.fields.lines]
    call.answer()


@pytest.mark.parametrize(
    "host", ["EXAMPLE.org", "example.org:80", "example.org.", "example.org:00080", "Example.ORG.:"]
)
async def test_an_origin_sees_host_as_it_is_in_the_key(scene: Scene, host: str) -> None:
    scene.client().ask(host=host)
    call = await scene.call()
    assert call.fields.all(b"host") == call.fields.all(b"x-forwarded-host") == [b"example.org"]
    call.answer()


async def test_a_stale_answer_after_a_failed_forward_says_that_it_was_forwarded(scene: Scene) -> None:
    scene.origin.page("/", b"x", cache_control="max-age=1, stale-if-error=60")
    await scene.get()
    await scene.after(2)
    scene.origin.page("/", b"oops", 503)
    answer = await scene.get()
    assert (answer.status, answer.body) == (200, b"x")
    assert answer.cache_status == ["fwd=stale", "fwd-status=503", "ttl=-1"]


async def test_a_501_is_no_error_that_stale_may_stand_in_for(scene: Scene) -> None:
    scene.origin.page("/", b"x", cache_control="max-age=1, stale-if-error=60")
    await scene.get()
    await scene.after(2)
    scene.origin.page("/", b"not that", 501)
    assert (await scene.get()).status == 501


async def test_a_416_is_not_stored_by_anybody(scene: Scene) -> None:
    scene.origin.page("/", b"hello", date=format_date(NOW).decode(), cache_control="max-age=60")
    await scene.get()
    answer = await scene.get(range="bytes=10-")
    assert answer.status == 416
    assert answer["cache-control"] == "no-store"
    assert "date" in answer


async def test_a_defect_while_a_body_is_copied_ends_the_readers(scene: Scene) -> None:
    client = scene.client()
    client.ask()
    reply = (await scene.call()).begin(cache_control="max-age=60").send(b"x")
    await scene.settle()
    reply.read = None  # type: ignore[method-assign,assignment]
    reply.send(b"y")
    await scene.settle()
    assert client.transport.is_lost
    scene.failures.clear()


async def test_a_pipelined_body_that_comes_late_is_read(scene: Scene) -> None:
    client = scene.client()
    client.send(client.request("/slow") + client.request("/2", "POST", body=b"hello")[:-5])
    (await scene.call()).answer(b"slow", cache_control="no-store")
    await scene.settle()
    client.send(b"hello")
    call = await scene.call(1)
    assert call.body == b"hello"
    call.answer(b"2")
    await scene.settle()
    assert len(client.answers) == 2


async def test_a_client_that_leaves_while_its_last_pipelined_request_waits_is_noticed(scene: Scene) -> None:
    client = scene.client()
    client.send(client.request("/1") + client.request("/2"))
    (await scene.call()).answer(b"1", cache_control="no-store")
    await scene.settle()
    assert client.transport.is_reading
    client.send(client.request("/3"))
    await scene.settle()
    assert not client.transport.is_reading


async def test_a_pipelined_upload_beyond_the_window_is_not_read_before_the_origin_takes_it(
    make_scene: MakeScene,
) -> None:
    scene = make_scene(limits=Limits(window_bytes=1000))
    client = scene.client()
    client.send(client.request("/1") + client.request("/2", "POST", body=b"x" * 10_000)[:5_000])
    call = await scene.call()
    scene.origin.is_reading_bodies = False
    call.answer(b"1", cache_control="no-store")
    client.send(b"x" * 1000)
    await scene.settle()
    assert client.transport.waiting_bytes == 1000


async def test_a_defect_in_a_pipelined_request_ends_its_connection(scene: Scene) -> None:
    class Broken(Sites):
        def of(self, host: bytes) -> CompiledPolicy:
            if host == b"broken":
                raise ZeroDivisionError("a defect")
            return super().of(host)

    scene.service.policies = Broken((), built_in(CachingOptions(), ()))
    pipelined, alone = scene.client(), scene.client()
    pipelined.send(pipelined.request("/1") + pipelined.request("/2", host="broken") + pipelined.request("/3"))
    (await scene.call()).answer(b"1", cache_control="no-store")
    with pytest.raises(ZeroDivisionError):
        alone.ask("/2", host="broken")
    await scene.settle()
    assert pipelined.transport.is_lost
    assert alone.transport.is_lost
    gc.collect()
    assert [context["message"] for context in scene.failures] == ["Task exception was never retrieved"]
    scene.failures.clear()
