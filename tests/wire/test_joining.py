"""A large response that one worker fetches and the clients of another read as it comes: two workers, one memory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest
from memory_origin import OriginReply
from wire_scene import Client, MakeScene, Scene

from accel.store.flights import FlightArena, SharedFlights
from accel.store.shared import SharedArena

PIECE = 128 * 1024
SIZE = 3 << 20
BODY = os.urandom(SIZE)
ROWS = 2


class Machine:
    """Two workers over one arena."""

    def __init__(self, make_scene: MakeScene, arena: SharedArena, flights: FlightArena) -> None:
        self.arena, self.flights = arena, flights
        self.leading = make_scene(arena=arena, coalescer=SharedFlights(flights, 0))
        self.following = make_scene(arena=arena, row=1, coalescer=SharedFlights(flights, 1), beside=self.leading)

    async def begin(self, client: Client, **fields: str) -> OriginReply:
        """Let a client ask its worker, and the origin answer with a head."""
        client.ask("/big")
        named = {"cache_control": "max-age=60"} | fields
        return (await self.leading.call()).begin(length=SIZE, **named)

    async def send(self, reply: OriginReply, start: int, stop: int) -> None:
        """Let the origin send a part of BODY."""
        for at in range(start, stop, 65536):
            reply.send(BODY[at : min(at + 65536, stop)])
        await self.settle()

    async def settle(self) -> None:
        """Let everything happen in both."""
        for _ in range(20):
            await self.leading.settle()

    @property
    def shown(self) -> int:
        """Records that are stored or shown."""
        return self.leading.store.record_count


@pytest.fixture
async def flights() -> AsyncIterator[FlightArena]:
    """Return a table of fetches, closed when the workers have ended."""
    flights = FlightArena(ROWS)
    yield flights
    for bell in flights.bells:
        asyncio.get_running_loop().remove_reader(bell)
        os.close(bell)


@pytest.fixture
async def machine(flights: FlightArena, make_scene: MakeScene) -> Machine:
    """Return two workers."""
    return Machine(make_scene, SharedArena(128 << 20, ROWS), flights)


def follow(scene: Scene, count: int = 1, **fields: str) -> list[Client]:
    """Return clients that all asked for the body."""
    clients = [scene.client() for _ in range(count)]
    for client in clients:
        client.ask("/big", **fields)
    return clients


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


async def test_a_body_cut_short_ends_for_nobody_cleanly(machine: Machine) -> None:
    reply = await machine.begin(machine.leading.client())
    (follower,) = follow(machine.following)
    await machine.send(reply, 0, SIZE // 2)
    reply.cut()
    await machine.settle()
    assert follower.transport.is_cut
    assert not follower.answers[0].is_whole
    assert machine.following.count("joined_cut") == 1
    assert machine.shown == 0


async def test_who_had_nothing_yet_takes_over(machine: Machine) -> None:
    """A body that fails before anything of it was shown: one of those who wait leads."""
    reply = await machine.begin(machine.leading.client())
    followers = follow(machine.following, 2)
    await machine.send(reply, 0, 10_000)
    reply.cut()
    await machine.settle()
    again = (await machine.following.call(1)).begin(length=SIZE, cache_control="max-age=60")
    await machine.send(again, 0, SIZE)
    again.end()
    await machine.settle()
    assert [follower.answers[0].body for follower in followers] == [BODY] * 2
    assert len(machine.following.origin.calls) == 2


async def test_a_killed_leader_cuts_who_began(machine: Machine) -> None:
    reply = await machine.begin(machine.leading.client())
    (began,) = follow(machine.following)
    await machine.send(reply, 0, SIZE // 2)
    machine.arena.forget_worker(0)
    machine.flights.forget_worker(0)
    await machine.settle()
    assert began.transport.is_cut
    (late,) = follow(machine.following)
    again = (await machine.following.call(1)).begin(length=SIZE, cache_control="max-age=60")
    await machine.send(again, 0, SIZE)
    again.end()
    await machine.settle()
    assert late.answers[0].body == BODY


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
    reply = (await machine.leading.call()).begin(length=SIZE, cache_control="max-age=60", vary="accept-language")
    same, other = follow(machine.following, accept_language="de") + follow(machine.following, accept_language="en")
    await machine.send(reply, 0, SIZE // 2)
    english = await machine.following.call(1)
    english.answer(b"en", cache_control="max-age=60", vary="accept-language")
    await machine.send(reply, SIZE // 2, SIZE)
    reply.end()
    await machine.settle()
    assert (same.answers[0].body, other.answers[0].body) == (BODY, b"en")
    assert len(machine.leading.origin.calls) == 2


async def test_a_body_of_unknown_length_each_worker_fetches_itself(machine: Machine) -> None:
    leader = machine.leading.client()
    leader.ask("/big")
    reply = (await machine.leading.call()).begin(cache_control="max-age=60")
    (follower,) = follow(machine.following)
    own = (await machine.following.call(1)).begin(cache_control="max-age=60")
    for each in (reply, own):
        await machine.send(each, 0, SIZE)
        each.end()
    await machine.settle()
    assert leader.answers[0].body == follower.answers[0].body == BODY


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


async def test_nothing_of_a_body_under_way_is_held_but_what_is_not_shown_yet(machine: Machine) -> None:
    leader = machine.leading.client()
    leader.transport.stick()
    reply = await machine.begin(leader)
    (follower,) = follow(machine.following)
    await machine.send(reply, 0, SIZE - 1)
    (fill,), (join,) = machine.leading.flights._flights.values(), machine.following.flights._flights.values()
    assert sum(map(len, fill.body._chunks)) < 2 * PIECE
    assert not join.body._chunks
    leader.transport.drain()
    await machine.send(reply, SIZE - 1, SIZE)
    reply.end()
    await machine.settle()
    assert leader.answers[0].body == follower.answers[0].body == BODY
