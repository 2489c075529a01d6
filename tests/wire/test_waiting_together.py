"""Requests that wait for one fetch, marks that say it is no use, and purges that come in between."""

from __future__ import annotations

import pytest
from wire_scene import Client, MakeScene, Scene

from accel.errors import ConnectFailed, OriginTimeout


def ask_all(scene: Scene, count: int, **fields: str) -> list[Client]:
    """Return clients that all asked the same."""
    clients = [scene.client() for _ in range(count)]
    for client in clients:
        client.ask(**fields)
    return clients


def bodies(clients: list[Client]) -> list[bytes]:
    """Return what each client got, whole answers only."""
    return [b"".join(answer.body for answer in client.answers if answer.is_whole) for client in clients]


async def test_one_fetch_answers_all_who_wait(scene: Scene) -> None:
    clients = ask_all(scene, 5)
    reply = (await scene.call()).begin(cache_control="max-age=60").send(b"first ")
    await scene.settle()
    late = ask_all(scene, 2)
    await scene.settle()
    assert all(client.answers[0].body == b"first " for client in clients + late)
    reply.send(b"second").end()
    await scene.settle()
    assert bodies(clients + late) == [b"first second"] * 7
    assert len(scene.origin.calls) == 1
    assert scene.counts("misses", "collapsed", "stored") == (7, 6, 1)
    assert clients[0].answers[0].cache_status == ["fwd=uri-miss", "fwd-status=200", "ttl=60", "stored"]
    assert late[0].answers[0].cache_status == ["fwd=uri-miss", "fwd-status=200", "ttl=60", "stored", "collapsed"]
    assert (await scene.get()).cache_status[0] == "hit"


async def test_the_leader_may_leave_before_the_head(scene: Scene) -> None:
    leader, follower = ask_all(scene, 2)
    call = await scene.call()
    leader.transport.lose()
    await scene.settle()
    assert not call.was_cancelled
    call.answer(b"x", cache_control="max-age=60")
    await scene.settle()
    assert bodies([follower]) == [b"x"]
    assert len(scene.origin.calls) == 1


async def test_when_all_leave_before_the_head_the_fetch_ends(scene: Scene) -> None:
    clients = ask_all(scene, 3)
    call = await scene.call()
    for client in clients:
        assert not call.was_cancelled
        client.transport.lose()
        await scene.settle()
    assert call.was_cancelled
    ask_all(scene, 1)
    await scene.settle()
    assert len(scene.origin.calls) == 2


async def test_a_newcomer_does_not_join_a_fetch_that_was_given_up(scene: Scene) -> None:
    leader, newcomer = scene.client(), scene.client()
    leader.ask()
    await scene.settle()
    leader.transport.lose()
    newcomer.ask()
    (await scene.call()).answer(b"x", cache_control="max-age=60")
    await scene.settle()
    assert bodies([newcomer]) == [b"x"]


async def test_an_uncacheable_answer_that_its_leader_left_is_closed(scene: Scene) -> None:
    leader, follower = ask_all(scene, 2)
    call = await scene.call()
    leader.transport.lose()
    await scene.settle()
    call.answer(b"for the leader", cache_control="private")
    second = await scene.call(1)
    assert call.reply is not None
    assert call.reply.is_closed
    second.answer(b"x", cache_control="private")
    await scene.settle()
    assert bodies([follower]) == [b"x"]


async def test_a_fetch_that_fills_the_cache_outlives_its_clients(scene: Scene) -> None:
    clients = ask_all(scene, 2)
    reply = (await scene.call()).begin(cache_control="max-age=60").send(b"a")
    await scene.settle()
    for client in clients:
        client.transport.lose()
    await scene.settle()
    reply.send(b"b").end()
    await scene.settle()
    assert (await scene.get()).body == b"ab"
    assert len(scene.origin.calls) == 1


async def test_a_fetch_that_outgrew_the_store_ends_with_its_last_reader(make_scene: MakeScene) -> None:
    scene = make_scene(max_body_bytes=1000)
    clients = ask_all(scene, 2)
    reply = (await scene.call()).begin(cache_control="max-age=60").send(b"a" * 2000)
    await scene.settle()
    clients[0].transport.lose()
    reply.send(b"b")
    await scene.settle()
    assert not reply.is_closed
    clients[1].transport.lose()
    await scene.settle()
    reply.send(b"c")
    await scene.settle()
    assert reply.is_closed
    assert scene.counts("stored", "not_stored_no_room") == (0, 1)


@pytest.mark.parametrize(("error", "status"), [(ConnectFailed("no"), 503), (OriginTimeout("slow"), 504)])
async def test_after_a_failure_the_first_follower_leads_the_rest(scene: Scene, error: Exception, status: int) -> None:
    clients = ask_all(scene, 4)
    (await scene.call()).fail(error)
    await scene.settle()
    assert [answer.status for client in clients for answer in client.answers] == [status]
    assert len(scene.origin.calls) == 2
    (await scene.call()).answer(b"x", cache_control="max-age=60")
    await scene.settle()
    assert bodies(clients[1:]) == [b"x"] * 3
    assert scene.counts("errors", "misses") == (1, 3)


async def test_nobody_waits_for_more_than_two_failures(scene: Scene) -> None:
    clients = ask_all(scene, 4)
    for _ in range(2):
        (await scene.call()).fail(OriginTimeout("slow"))
    await scene.settle()
    assert [client.answers[0].status for client in clients] == [504] * 4
    assert len(scene.origin.calls) == 2


async def test_a_body_cut_short_ends_for_nobody_cleanly(scene: Scene) -> None:
    clients = ask_all(scene, 3)
    reply = (await scene.call()).begin(cache_control="max-age=60").send(b"half")
    await scene.settle()
    reply.cut()
    await scene.settle()
    assert all(client.transport.is_cut for client in clients)
    assert bodies(clients) == [b""] * 3
    assert scene.count("stored") == 0
    assert (await scene.call()) is scene.origin.calls[0]


async def test_a_follower_of_another_variant_fetches_its_own(scene: Scene) -> None:
    clients = [scene.client() for _ in range(3)]
    for client, language in zip(clients, ("de", "de", "en"), strict=True):
        client.ask(accept_language=language)
    (await scene.call()).answer(b"de", cache_control="max-age=60", vary="accept-language")
    await scene.settle()
    (await scene.call(1)).answer(b"en", cache_control="max-age=60", vary="accept-language")
    await scene.settle()
    assert bodies(clients) == [b"de", b"de", b"en"]
    assert len(scene.origin.calls) == 2


async def test_a_slow_follower_holds_nobody_up(make_scene: MakeScene) -> None:
    scene = make_scene()
    slow, quick = ask_all(scene, 2)
    slow.transport.stick()
    reply = (await scene.call()).begin(cache_control="max-age=60")
    for _ in range(40):
        reply.send(b"x" * 10_000)
        await scene.settle()
    reply.end()
    await scene.settle()
    assert bodies([quick]) == [b"x" * 400_000]
    assert slow.transport.get_write_buffer_size() < 100_000
    slow.transport.drain()
    await scene.settle()
    assert bodies([slow]) == [b"x" * 400_000]


# Marks (hit-for-miss).


async def test_while_a_mark_stands_nobody_waits_for_another(scene: Scene) -> None:
    scene.origin.page("/", cache_control="private")
    await scene.get()
    scene.origin.script.clear()
    ask_all(scene, 3)
    await scene.settle()
    assert len(scene.origin.calls) == 4


async def test_a_mark_stands_for_its_time(scene: Scene) -> None:
    scene.origin.page("/", cache_control="private")
    await scene.get()
    scene.origin.script.clear()
    await scene.after(121, step_s=1)
    ask_all(scene, 3)
    await scene.settle()
    assert len(scene.origin.calls) == 2


async def test_under_a_mark_the_client_gets_what_it_asked_for(scene: Scene) -> None:
    scene.origin.page("/", cache_control="private")
    await scene.get()
    scene.origin.script.clear()
    client = scene.client()
    client.ask(range="bytes=0-1", if_range='"a"')
    call = await scene.call()
    assert call.fields.get(b"range") == b"bytes=0-1"
    call.answer(b"he", 206, content_range="bytes 0-1/5")
    await scene.settle()
    assert client.answers[0].status == 206


async def test_what_can_be_stored_again_lifts_the_mark(scene: Scene) -> None:
    scene.origin.page("/", cache_control="private")
    await scene.get()
    scene.origin.page("/", cache_control="max-age=60")
    await scene.get()
    assert (await scene.get()).cache_status[0] == "hit"


async def test_a_304_under_a_mark_does_not_renew_it(scene: Scene) -> None:
    scene.origin.page("/", cache_control="private")
    await scene.get()
    await scene.after(100, step_s=1)
    scene.origin.page("/", status=304, etag='"a"')
    assert (await scene.get(if_none_match='"a"')).status == 304
    await scene.after(21, step_s=1)
    scene.origin.script.clear()
    ask_all(scene, 2)
    await scene.settle()
    assert len(scene.origin.calls) == 3


# Purges in between.


async def test_a_purge_during_a_fetch_lets_nothing_old_in(scene: Scene) -> None:
    before = scene.client()
    before.ask()
    old = (await scene.call()).begin(cache_control="max-age=60").send(b"old")
    await scene.settle()
    await scene.get("/", "PURGE")
    after = scene.client()
    after.ask()
    new = await scene.call()
    assert len(scene.origin.calls) == 2, "a request after the purge joined a fetch from before it"
    old.end()
    await scene.settle()
    assert scene.counts("stored", "not_stored_purged") == (0, 1)
    new.answer(b"new", cache_control="max-age=60")
    await scene.settle()
    assert bodies([before, after]) == [b"old", b"new"]
    assert (await scene.get()).body == b"new"


async def test_an_old_fetch_that_ends_last_does_not_replace_the_new(scene: Scene) -> None:
    ask_all(scene, 1)
    old = (await scene.call()).begin(cache_control="max-age=60").send(b"old")
    await scene.get("/", "PURGE")
    ask_all(scene, 1)
    (await scene.call()).answer(b"new", cache_control="max-age=60")
    await scene.settle()
    old.end()
    await scene.settle()
    assert (await scene.get()).body == b"new"


async def test_a_purge_during_a_validation_keeps_the_stored_from_coming_back(scene: Scene) -> None:
    scene.origin.page("/", b"old", cache_control="max-age=1", etag='"a"')
    await scene.get()
    await scene.after(2)
    scene.origin.script.clear()
    ask_all(scene, 1)
    validation = await scene.call()
    await scene.get("/", "PURGE")
    validation.answer(status=304, etag='"a"', cache_control="max-age=60")
    await scene.settle()
    scene.origin.page("/", b"new")
    assert (await scene.get()).body == b"new"


async def test_a_purge_during_a_failing_validation_forbids_stale(scene: Scene) -> None:
    scene.origin.page("/", b"old", cache_control="max-age=1, stale-if-error=60", etag='"a"')
    await scene.get()
    await scene.after(2)
    scene.origin.script.clear()
    (client,) = ask_all(scene, 1)
    validation = await scene.call()
    await scene.get("/", "PURGE")
    validation.answer(b"oops", 503)
    await scene.settle()
    assert [answer.status for answer in client.answers] != [200]


async def test_a_purge_during_a_refresh_behind_lets_nothing_old_in(scene: Scene) -> None:
    scene.origin.page("/", b"old", cache_control="max-age=1, stale-while-revalidate=60")
    await scene.get()
    await scene.after(2)
    scene.origin.script.clear()
    await scene.get()
    refresh = await scene.call()
    await scene.get("/", "PURGE")
    refresh.answer(b"still old", cache_control="max-age=60")
    await scene.settle()
    scene.origin.page("/", b"new")
    assert (await scene.get()).body == b"new"


async def test_a_mark_from_before_a_purge_is_not_set_after_it(scene: Scene) -> None:
    ask_all(scene, 1)
    call = await scene.call()
    await scene.get("/", "PURGE")
    call.answer(b"x", cache_control="private")
    await scene.settle()
    ask_all(scene, 3)
    await scene.settle()
    assert len(scene.origin.calls) == 2


async def test_an_unsafe_method_during_a_fetch_lets_nothing_old_in(scene: Scene) -> None:
    reader, writer = scene.client(), scene.client()
    reader.ask()
    fetch = await scene.call()
    writer.ask("/", "POST")
    (await scene.call()).answer(b"changed")
    await scene.settle()
    fetch.answer(b"old", cache_control="max-age=60")
    await scene.settle()
    assert scene.counts("stored", "not_stored_purged") == (0, 1)


async def test_a_variant_fetched_before_a_purge_stays_out(scene: Scene) -> None:
    scene.origin.page("/", b"de", cache_control="max-age=60", vary="accept-language")
    await scene.get(accept_language="de")
    scene.origin.script.clear()
    client = scene.client()
    client.ask(accept_language="en")
    call = await scene.call()
    await scene.get("/", "PURGE")
    call.answer(b"en", cache_control="max-age=60", vary="accept-language")
    await scene.settle()
    scene.origin.page("/", b"new en", cache_control="max-age=60", vary="accept-language")
    assert (await scene.get(accept_language="en")).body == b"new en"


async def test_a_range_of_what_cannot_be_stored_is_asked_for_as_a_range(scene: Scene) -> None:
    client = scene.client()
    client.ask("/big", range="bytes=2-3")
    whole = await scene.call()
    whole.answer(b"0123456789", cache_control="private")
    part = await scene.call(1)

    assert (whole.request.fields.get(b"range"), part.request.fields.get(b"range")) == (None, b"bytes=2-3")
    assert whole.reply is not None
    assert whole.reply.is_closed
    part.answer(b"23", status=206, content_range="bytes 2-3/10", cache_control="private")
    await scene.settle()
    assert client.answers[0].status == 206
    assert client.answers[0].body == b"23"


async def test_an_origin_that_knows_no_ranges_is_asked_twice_and_believed(scene: Scene) -> None:
    client = scene.client()
    client.ask("/big", range="bytes=2-3")
    (await scene.call(0)).answer(b"0123456789", cache_control="private")
    (await scene.call(1)).answer(b"0123456789", cache_control="private")
    await scene.settle()

    assert (client.answers[0].status, client.answers[0].body) == (200, b"0123456789")
    assert len(scene.origin.calls) == 2
