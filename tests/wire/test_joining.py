"""A large response that one worker fetches and the clients of another read as it comes, or wait for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from two_workers import BODY, ETAG, NAMED, PIECE, SIZE, UNNAMED, Machine, MakeMachine, follow

from accel.config import CachingOptions

UNRESUMABLE = [{}, {"etag": 'W/"one"'}, {"etag": ETAG, "length": None}]
"""Heads of large bodies that no second fetch could complete."""


async def test_a_body_that_is_known_to_be_stored_is_worth_any_wait(machine: Machine) -> None:
    """The follower knows nothing of the page; the leader's head comes in time, the first piece does not."""
    reply = await machine.begin(machine.leading.client())
    (follower,) = follow(machine.following)
    await machine.settle()
    await asyncio.sleep(2 * machine.following.service.caching.coalesce_wait_s)
    await machine.send(reply, 0, SIZE)
    reply.end()
    await machine.settle()
    assert follower.answers[0].body == BODY
    assert machine.following.counts("collapsed", "waits_given_up") == (1, 0)
    assert len(machine.leading.origin.calls) == 1


async def test_the_clients_of_another_worker_read_while_it_comes(machine: Machine) -> None:
    leader = machine.leading.client()
    reply = await machine.begin(leader)
    followers = follow(machine.following, 3)
    await machine.send(reply, 0, SIZE // 2)
    followers += follow(machine.following, 2)
    await machine.settle()
    for follower in followers:
        got = follower.answers[0].body
        assert len(got) > SIZE // 2 - 3 * PIECE and got == BODY[: len(got)]

    await machine.send(reply, SIZE // 2, SIZE)
    reply.end()
    await machine.settle()

    assert [client.answers[0].body for client in [leader, *followers]] == [BODY] * 6
    assert all(client.answers[0].is_whole for client in followers)
    assert len(machine.leading.origin.calls) == 1
    assert machine.following.counts("misses", "collapsed", "joined_cut") == (5, 5, 0)
    assert "collapsed" in followers[0].answers[0].cache_status
    assert (await machine.following.get("/big")).cache_status[0] == "hit"


async def test_a_part_is_served_from_what_comes(machine: Machine) -> None:
    reply = await machine.begin(machine.leading.client())
    (part,) = follow(machine.following, range="bytes=1000000-1999999")
    await machine.send(reply, 0, SIZE - 1)
    assert part.answers[0].status == 206
    assert part.answers[0].body == BODY[1_000_000:2_000_000]
    await machine.send(reply, SIZE - 1, SIZE)
    reply.end()
    await machine.settle()


async def test_a_slow_follower_holds_nobody_up_and_gets_the_whole(machine: Machine) -> None:
    leader = machine.leading.client()
    reply = await machine.begin(leader)
    slow, quick = follow(machine.following, 2)
    slow.transport.stick()
    await machine.send(reply, 0, SIZE)
    reply.end()
    await machine.settle()
    assert quick.answers[0].body == leader.answers[0].body == BODY
    assert slow.transport.get_write_buffer_size() < 200_000

    slow.transport.drain()
    await machine.settle()
    assert slow.answers[0].body == BODY


async def test_the_leaders_client_may_leave(machine: Machine) -> None:
    leader = machine.leading.client()
    reply = await machine.begin(leader)
    (follower,) = follow(machine.following)
    await machine.send(reply, 0, SIZE // 2)
    leader.transport.lose()
    await machine.send(reply, SIZE // 2, SIZE)
    reply.end()
    await machine.settle()
    assert follower.answers[0].body == BODY


async def test_followers_that_leave_let_go(machine: Machine) -> None:
    reply = await machine.begin(machine.leading.client())
    followers = follow(machine.following, 2)
    await machine.send(reply, 0, SIZE // 2)
    for follower in followers:
        follower.transport.lose()
    await machine.settle()
    assert not machine.following.flights._flights
    machine.arena.forget_worker(0)
    assert machine.arena.stat()["pins"] == 0, "who left still pins something"
    reply.cut()
    await machine.settle()


async def test_who_had_nothing_yet_takes_over(machine: Machine) -> None:
    """A body that fails before anything of it was shown: one of those who wait leads."""
    reply = await machine.begin(machine.leading.client())
    followers = follow(machine.following, 2)
    await machine.send(reply, 0, 10_000)
    reply.cut()
    await machine.settle()
    again = (await machine.following.call(1)).begin(**NAMED)
    await machine.send(again, 0, SIZE)
    again.end()
    await machine.settle()
    assert [follower.answers[0].body for follower in followers] == [BODY] * 2
    assert len(machine.following.origin.calls) == 2


async def test_a_purge_takes_nothing_from_those_who_began(machine: Machine) -> None:
    reply = await machine.begin(machine.leading.client())
    (before,) = follow(machine.following)
    await machine.send(reply, 0, SIZE // 2)
    await machine.leading.get("/big", "PURGE")
    (after,) = follow(machine.following)
    new = await machine.following.call(1)
    await machine.send(reply, SIZE // 2, SIZE)
    reply.end()
    await machine.settle()
    assert before.answers[0].body == BODY
    assert machine.leading.counts("stored", "not_stored_purged") == (0, 1)
    new.answer(b"new", cache_control="max-age=60")
    await machine.settle()
    assert after.answers[0].body == b"new"
    assert (await machine.leading.get("/big")).body == b"new"


@pytest.mark.parametrize("how", [{"surrogate_key": "news"}, {"purge": "all"}])
async def test_what_was_purged_in_another_way_is_not_joined_either(machine: Machine, how: dict[str, str]) -> None:
    reply = await machine.begin(machine.leading.client(), surrogate_key="news")
    (before,) = follow(machine.following)
    await machine.send(reply, 0, SIZE // 2)
    await machine.leading.get("/any", "PURGE", **how)
    (after,) = follow(machine.following)
    (await machine.following.call(1)).answer(b"new", cache_control="max-age=60")
    await machine.send(reply, SIZE // 2, SIZE)
    reply.end()
    await machine.settle()
    assert (before.answers[0].body, after.answers[0].body) == (BODY, b"new")
    assert machine.following.count("joined_cut") == 0


async def test_another_variant_is_not_waited_for(machine: Machine) -> None:
    leader = machine.leading.client()
    leader.ask("/big", accept_language="de")
    reply = (await machine.leading.call()).begin(**NAMED, vary="accept-language")
    same, other = follow(machine.following, accept_language="de") + follow(machine.following, accept_language="en")
    await machine.send(reply, 0, SIZE // 2)
    english = await machine.following.call(1)
    english.answer(b"en", cache_control="max-age=60", vary="accept-language")
    await machine.send(reply, SIZE // 2, SIZE)
    reply.end()
    await machine.settle()
    assert (same.answers[0].body, other.answers[0].body) == (BODY, b"en")
    assert len(machine.leading.origin.calls) == 2


async def test_what_was_shown_goes_with_the_fetch(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accel.proxy.showing.LINGER_S", 0.01)
    for has_follower in (False, True):
        reply = await machine.begin(machine.leading.client(), cache_control="max-age=60")
        clients = follow(machine.following, int(has_follower))
        await machine.send(reply, 0, SIZE)
        assert machine.shown == 1
        reply.end()
        await machine.settle()
        await machine.leading.until(lambda: machine.shown == 1)
        assert all(client.answers[0].body == BODY for client in clients)
        await machine.leading.get("/big", "PURGE")


@pytest.mark.parametrize("etag", [ETAG, 'W/"one"'])
async def test_nothing_of_a_body_under_way_is_held_but_what_is_not_shown_yet(machine: Machine, etag: str) -> None:
    leader = machine.leading.client()
    leader.transport.stick()
    reply = await machine.begin(leader, etag=etag)
    (follower,) = follow(machine.following)
    await machine.send(reply, 0, SIZE - 1)
    (fill,), joins = machine.leading.flights._flights.values(), machine.following.flights._flights.values()
    assert sum(map(len, fill.body._chunks)) < 2 * PIECE
    assert [len(join.body._chunks) for join in joins] == ([0] if etag == ETAG else [])
    leader.transport.drain()
    await machine.send(reply, SIZE - 1, SIZE)
    reply.end()
    await machine.settle()
    assert leader.answers[0].body == follower.answers[0].body == BODY


@pytest.mark.parametrize("head", UNRESUMABLE)
async def test_what_no_other_fetch_could_complete_is_one_fetch_if_its_end_is_near(
    machine: Machine, head: dict[str, Any]
) -> None:
    reply = await machine.begin_unnamed(machine.leading.client(), **head)
    followers = follow(machine.following, 3)
    await machine.send(reply, 0, SIZE // 2)
    assert not any(follower.received for follower in followers), "its leader could die"
    await machine.send(reply, SIZE // 2, SIZE)
    reply.end()
    await machine.settle()
    assert [follower.answers[0].body for follower in followers] == [BODY] * 3
    assert len(machine.leading.origin.calls) == 1
    assert machine.following.counts("collapsed", "waits_given_up") == (3, 0)


@pytest.mark.parametrize("head", UNRESUMABLE)
@pytest.mark.parametrize("wait_s", [0.1, 10, None])
async def test_a_crowd_before_a_slow_body_that_no_other_fetch_could_complete_is_one_fetch_a_worker(
    make_machine: MakeMachine, head: dict[str, Any], wait_s: float | None
) -> None:
    machine = make_machine(caching=CachingOptions(coalesce_wait_s=wait_s))
    third = machine.third()
    machine.leading.hold_clock()
    reply = await machine.begin_unnamed(machine.leading.client(), **head)
    followers = follow(machine.following, 3) + follow(third, 3)
    await machine.after(0.9)
    assert len(machine.leading.origin.calls) == 1
    await machine.after(0.2)
    first, second, third_call = machine.leading.origin.calls
    assert first.reply is reply
    replies = [call.begin(**UNNAMED | head) for call in (second, third_call)]
    followers += follow(machine.following) + follow(third)
    for each in (*replies, reply):
        await machine.send_all(each)
    assert [follower.answers[0].body for follower in followers] == [BODY] * 8
    assert machine.following.counts("waits_given_up", "collapsed") == (1, 3)
    assert len(machine.leading.origin.calls) == 3


@pytest.mark.parametrize("head", UNRESUMABLE)
async def test_a_killed_leader_of_what_no_other_fetch_could_complete_cuts_nobody(
    machine: Machine, head: dict[str, Any]
) -> None:
    reply = await machine.begin_unnamed(machine.leading.client(), **head)
    followers = follow(machine.following, 2)
    await machine.send(reply, 0, SIZE // 2)
    await machine.kill()
    await machine.send_all((await machine.following.call(1)).begin(**UNNAMED | head))
    assert [follower.answers[0].body for follower in followers] == [BODY] * 2
    assert len(machine.following.origin.calls) == 2
    assert machine.following.counts("joined_cut", "joined_resumed") == (0, 0)


async def test_what_a_worker_fetches_beside_another_outlives_that(machine: Machine) -> None:
    machine.leading.hold_clock()
    reply = await machine.begin_unnamed(machine.leading.client())
    (began,) = follow(machine.following)
    await machine.after(1.1)
    own = (await machine.following.call(1)).begin(**UNNAMED)
    await machine.send(reply, 0, SIZE // 2)
    await machine.send(own, 0, SIZE // 2)
    assert began.answers[0].body
    await machine.kill()
    (late,) = follow(machine.following)
    await machine.send(own, SIZE // 2, SIZE)
    own.end()
    await machine.settle()
    assert began.answers[0].body == late.answers[0].body == BODY
    assert len(machine.following.origin.calls) == 2


async def test_a_short_body_of_unknown_length_is_one_fetch_and_one_record(machine: Machine) -> None:
    machine.leading.client().ask("/short")
    reply = (await machine.leading.call()).begin(cache_control="max-age=60").send(b"short")
    follower = machine.following.client()
    follower.ask("/short")
    await machine.settle()
    reply.end()
    await machine.settle()
    assert follower.answers[0].body == b"short"
    assert len(machine.leading.origin.calls) == 1
    assert machine.shown == 1


async def test_a_body_that_outgrew_the_store_holds_nothing_there_and_keeps_nobody_waiting(
    make_machine: MakeMachine,
) -> None:
    machine = make_machine(max_body_bytes=1 << 20)
    reply = await machine.begin_unnamed(machine.leading.client(), length=None)
    (follower,) = follow(machine.following)
    await machine.send(reply, 0, SIZE // 4)
    assert machine.arena.stat()["pins"] and not follower.received
    await machine.send(reply, SIZE // 4, SIZE)
    own = await machine.following.call(1)
    assert machine.arena.stat()["pins"] == machine.shown == 0
    reply.end()
    await machine.send_all(own.begin(**UNNAMED | {"length": None}))
    assert follower.answers[0].body == BODY


async def test_what_another_worker_refreshed_between_look_and_claim_is_not_refreshed_again(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    refreshing = machine.following.refreshing
    held: list[tuple[Any, Any]] = []
    machine.leading.origin.page("/", b"old", cache_control="max-age=1, stale-while-revalidate=600")
    await machine.leading.get()
    machine.leading.origin.page("/", b"new", cache_control="max-age=600")
    machine.leading.now = machine.following.now = machine.leading.now + 2

    with monkeypatch.context() as patched:
        patched.setattr(refreshing, "ask", lambda *asked: held.append(asked))
        assert (await machine.following.get()).body == b"old"
    assert (await machine.leading.get()).body == b"old"
    await machine.settle()
    refreshing.ask(*held[0])
    await machine.settle()

    assert (await machine.following.get()).body == b"new"
    assert (len(machine.leading.origin.calls), machine.following.count("refreshes")) == (2, 0)
    claim = machine.leading.service.claim(held[0][1].key)
    assert claim is not None and claim.leads
    claim.release()
