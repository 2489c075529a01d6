"""Clients that had a part of a body whose leader, another worker, died or failed: the rest comes from another fetch."""

from __future__ import annotations

from typing import Any

import pytest
from two_workers import BODY, ETAG, NAMED, SIZE, Machine, follow
from wire_scene import Client

from accel.errors import OriginError


async def test_who_had_a_part_of_a_killed_leaders_body_gets_the_rest_from_a_new_fetch(machine: Machine) -> None:
    reply = await machine.begin(machine.leading.client())
    followers = follow(machine.following, 2) + follow(machine.following, range="bytes=1000000-2999999")
    await machine.send(reply, 0, SIZE // 2)
    await machine.kill()
    again = (await machine.following.call(1)).begin(**NAMED)
    late = follow(machine.following)
    await machine.send(again, 0, SIZE // 4)
    assert all(follower.is_open for follower in followers)
    await machine.send(again, SIZE // 4, SIZE)
    again.end()
    await machine.settle()
    assert [client.answers[0].body for client in followers + late] == [BODY, BODY, BODY[1_000_000:3_000_000], BODY]
    assert len(machine.following.origin.calls) == 2
    assert machine.following.counts("joined_resumed", "joined_cut") == (3, 0)
    assert (await machine.following.get("/big")).cache_status[0] == "hit"


async def test_a_fetch_that_failed_is_resumed_too(machine: Machine) -> None:
    reply = await machine.begin(machine.leading.client())
    (follower,) = follow(machine.following)
    await machine.send(reply, 0, SIZE // 2)
    reply.cut()
    again = (await machine.following.call(1)).begin(**NAMED)
    await machine.send_all(again)
    assert follower.answers[0].body == BODY


@pytest.mark.parametrize("etag", [ETAG, '"two"'])
async def test_what_is_stored_by_now_completes_it_or_nothing_does(machine: Machine, etag: str) -> None:
    """A worker of another program was quicker."""
    third = machine.third(knows_flights=False)
    reply = await machine.begin(machine.leading.client())
    (began,) = follow(machine.following)
    await machine.send(reply, 0, SIZE // 2)
    third.now += 1
    third.client().ask("/big")
    own = (await third.call(1)).begin(**NAMED | {"etag": etag})
    await machine.send_all(own)
    assert third.count("stored") == 1 and began.is_open
    await machine.kill()
    is_same = etag == ETAG
    assert (began.answers[0].body == BODY, began.transport.is_cut) == (is_same, not is_same)
    assert len(third.origin.calls) == 2
    assert machine.following.counts("joined_resumed", "joined_cut") == (int(is_same), int(not is_same))


@pytest.mark.parametrize("renewed", [ETAG, '"two"'])
async def test_what_is_stored_from_before_is_renewed_as_the_first_fetch_would(machine: Machine, renewed: str) -> None:
    """It completes what it is the same as, although it is stale."""
    old = machine.leading.client()
    reply = await machine.begin(old)
    await machine.send_all(reply)
    machine.leading.now = machine.following.now = machine.leading.now + 100
    old.ask("/big")
    reply = (await machine.leading.call(1)).begin(**NAMED | {"etag": renewed})
    (began,) = follow(machine.following)
    await machine.send(reply, 0, SIZE // 2)
    await machine.kill()
    if renewed != ETAG:
        call = await machine.following.call(2)
        assert call.fields.get(b"if-none-match") == ETAG.encode()
        again = call.begin(**NAMED | {"etag": renewed})
        await machine.send(again, 0, SIZE)
        again.end()
        await machine.settle()
    assert began.answers[0].body == BODY
    assert len(machine.leading.origin.calls) == (2 if renewed == ETAG else 3)


async def test_of_two_workers_that_resume_one_fetches(machine: Machine) -> None:
    third = machine.third()
    reply = await machine.begin(machine.leading.client())
    followers = follow(machine.following) + follow(third)
    await machine.send(reply, 0, SIZE // 2)
    await machine.kill()
    again = (await machine.following.call(1)).begin(**NAMED)
    await machine.send_all(again)
    assert [follower.answers[0].body for follower in followers] == [BODY] * 2
    assert len(third.origin.calls) == 2
    assert (machine.following.count("joined_resumed"), third.count("joined_resumed")) == (1, 1)


@pytest.mark.parametrize("has_head", [False, True])
async def test_those_who_resume_may_leave(machine: Machine, has_head: bool) -> None:
    """The fetch goes on, as any that no client leads."""
    began = await machine.half_read()
    call = await machine.following.call(1)
    if not has_head:
        began.transport.lose()
        await machine.settle()
    again = call.begin(**NAMED)
    await machine.settle()
    began.transport.lose()
    await machine.send_all(again)
    assert (await machine.following.get("/big")).body == BODY
    assert machine.following.counts("joined_resumed", "joined_cut") == (int(has_head), 0)


async def test_who_resumes_in_another_workers_fetch_and_leaves_lets_go(machine: Machine) -> None:
    third = machine.third()
    reply = await machine.begin(machine.leading.client())
    (began,) = follow(machine.following)
    await machine.send(reply, 0, SIZE // 2)
    machine.flights.table.forget(0)
    third.client().ask("/big")
    again = (await third.call(1)).begin(**NAMED)
    await machine.kill()
    await machine.send(again, 0, SIZE // 4)
    assert machine.following.count("joined_resumed") == 1
    began.transport.lose()
    await machine.settle()
    assert not machine.following.flights._flights
    again.cut()
    await machine.settle()
    machine.arena.forget_worker(0)
    machine.arena.forget_worker(2)
    assert machine.arena.stat()["pins"] == 0, "who left still pins something"


async def test_a_slow_reader_is_moved_with_what_it_had_not_read(machine: Machine) -> None:
    reply = await machine.begin(machine.leading.client())
    slow, quick = follow(machine.following, 2)
    slow.transport.stick()
    await machine.send(reply, 0, SIZE // 2)
    await machine.kill()
    again = (await machine.following.call(1)).begin(**NAMED)
    await machine.send_all(again)
    assert quick.answers[0].body == BODY
    slow.transport.drain()
    await machine.settle()
    assert slow.answers[0].body == BODY


async def test_who_finds_something_else_in_another_workers_fetch_lets_go(machine: Machine) -> None:
    third = machine.third()
    reply = await machine.begin(machine.leading.client())
    (began,) = follow(machine.following)
    await machine.send(reply, 0, SIZE // 2)
    machine.flights.table.forget(0)
    third.client().ask("/big")
    other = (await third.call(1)).begin(**NAMED | {"etag": '"two"'})
    await machine.kill()
    await machine.send(other, 0, SIZE // 4)
    assert began.transport.is_cut
    assert not machine.following.flights._flights
    other.end()
    await machine.settle()


@pytest.mark.parametrize(
    "other",
    [
        {"etag": '"two"'},
        {"etag": f"W/{ETAG}"},
        {"etag": ""},
        {"length": SIZE - 1},
        {"length": None},
        {"status": 404},
        {"content_encoding": "gzip"},
    ],
)
async def test_another_response_completes_nothing(machine: Machine, other: dict[str, Any]) -> None:
    began = await machine.half_read()
    again = (await machine.following.call(1)).begin(**NAMED | other)
    await machine.settle()
    assert began.transport.is_cut
    await machine.send(again, 0, other.get("length") or SIZE)
    again.end()
    await machine.settle()
    assert BODY.startswith(began.answers[0].body)
    assert len(machine.following.origin.calls) == 2
    assert machine.following.counts("joined_resumed", "joined_cut") == (0, 1)


async def test_what_varies_by_now_completes_it_if_the_entity_tag_says_so(machine: Machine) -> None:
    began = await machine.half_read()
    await machine.send_all((await machine.following.call(1)).begin(**NAMED, vary="accept-language"))
    assert began.answers[0].body == BODY


@pytest.mark.parametrize("is_purge_soft", [False, True])
async def test_an_invalidation_takes_nothing_from_those_who_began(machine: Machine, is_purge_soft: bool) -> None:
    reply = await machine.begin(machine.leading.client())
    (began,) = follow(machine.following)
    await machine.send(reply, 0, SIZE // 2)
    await machine.leading.get("/big", "PURGE", **({"soft_purge": "1"} if is_purge_soft else {}))
    await machine.kill()
    await machine.send_all((await machine.following.call(1)).begin(**NAMED))
    assert began.answers[0].body == BODY
    assert (await machine.following.get("/big")).cache_status[0] == "hit"
    assert machine.following.counts("joined_resumed", "joined_cut") == (1, 0)


async def second_death(machine: Machine) -> Client:
    """Return a client of the second worker that has more than half a body, of which two leaders have died."""
    third = machine.third()
    reply = await machine.begin(machine.leading.client())
    (began,) = follow(machine.following)
    await machine.send(reply, 0, SIZE // 2)
    machine.flights.table.forget(0)
    third.client().ask("/big")
    again = (await third.call(1)).begin(**NAMED)
    await machine.kill()
    (fresh,) = follow(machine.following)
    await machine.send(again, 0, SIZE * 3 // 4)
    assert len(began.answers[0].body) > SIZE // 2 and began.is_open and fresh.is_open
    await machine.kill(2)
    assert began.is_open and fresh.is_open
    return began


async def test_who_outlived_two_leaders_gets_the_rest_from_a_fetch_of_its_own(machine: Machine) -> None:
    began = await second_death(machine)
    third = (await machine.following.call(2)).begin(**NAMED)
    await machine.send(third, 0, SIZE * 7 // 8)
    assert SIZE * 3 // 4 < len(began.answers[0].body) < SIZE
    await machine.send(third, SIZE * 7 // 8, SIZE)
    third.end()
    await machine.settle()
    assert began.answers[0].body == BODY
    assert len(machine.following.origin.calls) == 3
    assert machine.following.counts("joined_resumed", "joined_cut") == (3, 0)


async def test_who_outlived_two_leaders_may_leave(machine: Machine) -> None:
    began = await second_death(machine)
    third = (await machine.following.call(2)).begin(**NAMED)
    await machine.send(third, 0, SIZE // 4)
    for client in machine.following.every_client:
        client.transport.lose()
    await machine.settle()
    assert third.is_closed
    assert not began.answers[0].is_whole


@pytest.mark.parametrize("how", [{"etag": '"two"'}, {"length": None}])
async def test_a_third_response_completes_nothing_but_the_same(machine: Machine, how: dict[str, Any]) -> None:
    began = await second_death(machine)
    (await machine.following.call(2)).begin(**NAMED | how)
    await machine.settle()
    assert began.transport.is_cut
    assert machine.following.counts("joined_resumed", "joined_cut") == (1, 2)


async def test_a_slow_reader_holds_no_more_than_a_window_of_a_fetch_of_its_own(machine: Machine) -> None:
    began = await second_death(machine)
    for client in machine.following.every_client:
        client.transport.stick()
    third = (await machine.following.call(2)).begin(**NAMED)
    await machine.send(third, 0, SIZE)
    assert third.unread_bytes > SIZE // 8
    for client in machine.following.every_client:
        client.transport.drain()
    third.end()
    await machine.settle()
    assert began.answers[0].body == BODY


async def test_what_cannot_be_stored_a_second_time_is_fetched_for_those_who_began(machine: Machine) -> None:
    began = await machine.half_read()
    (await machine.following.call(1)).begin(**NAMED | {"cache_control": "no-store"})
    await machine.send_all((await machine.following.call(2)).begin(**NAMED | {"cache_control": "no-store"}))
    assert began.answers[0].body == BODY
    assert machine.following.counts("joined_resumed", "joined_cut") == (1, 0)


async def test_three_failures_cut(machine: Machine) -> None:
    reply = await machine.begin(machine.leading.client())
    (began,) = follow(machine.following)
    await machine.send(reply, 0, SIZE // 2)
    reply.cut()
    (await machine.following.call(1)).fail(OriginError("down"))
    (await machine.following.call(2)).fail(OriginError("down"))
    await machine.settle()
    assert began.transport.is_cut
    assert not began.answers[0].is_whole
    assert machine.following.counts("joined_resumed", "joined_cut") == (0, 1)
    assert machine.shown == 0


async def test_a_third_fetch_that_is_cut_cuts(machine: Machine) -> None:
    began = await second_death(machine)
    third = (await machine.following.call(2)).begin(**NAMED)
    await machine.send(third, 0, SIZE - 1)
    third.cut()
    await machine.settle()
    assert began.transport.is_cut
    assert not began.answers[0].is_whole
