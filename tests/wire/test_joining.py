"""A large response that one worker fetches and the clients of another read as it comes: two workers, one memory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
from memory_origin import OriginReply
from wire_scene import Client, MakeScene, Scene

from accel.store.flights import FlightArena, SharedFlights
from accel.store.shared import SharedArena

ETAG = '"one"'
PIECE = 128 * 1024
SIZE = 3 << 20
BODY = os.urandom(SIZE)
ROWS = 3


class Machine:
    """Two workers over one arena, and a third where a test asks for it."""

    def __init__(self, make_scene: MakeScene, arena: SharedArena, flights: FlightArena) -> None:
        self.arena, self.flights, self._make_scene = arena, flights, make_scene
        self.leading = make_scene(arena=arena, coalescer=SharedFlights(flights, 0))
        self.following = make_scene(arena=arena, row=1, coalescer=SharedFlights(flights, 1), beside=self.leading)

    def third(self, knows_flights: bool = True) -> Scene:
        """Return another worker; in an upgrade those of the other program do not know who fetches here."""
        coalescer = SharedFlights(self.flights, 2) if knows_flights else None
        return self._make_scene(arena=self.arena, row=2, coalescer=coalescer, beside=self.leading)

    async def kill(self, row: int = 0) -> None:
        """Do what the arbiter does when a worker was killed."""
        self.arena.forget_worker(row)
        self.flights.forget_worker(row)
        await self.settle()

    async def half_read(self, **fields: str) -> Client:
        """Return a client of the second worker that has half a body whose fetch, in the first, has died."""
        reply = await self.begin(self.leading.client(), **fields)
        (client,) = follow(self.following)
        await self.send(reply, 0, SIZE // 2)
        await self.kill()
        return client

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


async def test_who_had_a_part_of_a_killed_leaders_body_gets_the_rest_from_a_new_fetch(machine: Machine) -> None:
    reply = await machine.begin(machine.leading.client(), etag=ETAG)
    followers = follow(machine.following, 2) + follow(machine.following, range="bytes=1000000-2999999")
    await machine.send(reply, 0, SIZE // 2)
    await machine.kill()
    again = (await machine.following.call(1)).begin(length=SIZE, cache_control="max-age=60", etag=ETAG)
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
    reply = await machine.begin(machine.leading.client(), etag=ETAG)
    (follower,) = follow(machine.following)
    await machine.send(reply, 0, SIZE // 2)
    reply.cut()
    again = (await machine.following.call(1)).begin(length=SIZE, cache_control="max-age=60", etag=ETAG)
    await machine.send(again, 0, SIZE)
    again.end()
    await machine.settle()
    assert follower.answers[0].body == BODY


@pytest.mark.parametrize("etag", [{}, {"etag": 'W/"one"'}])
async def test_without_a_strong_validator_nothing_is_resumed(machine: Machine, etag: dict[str, str]) -> None:
    began = await machine.half_read(**etag)
    assert began.transport.is_cut
    assert len(machine.following.origin.calls) == 1
    assert machine.following.counts("joined_resumed", "joined_cut") == (0, 1)


@pytest.mark.parametrize(
    "other",
    [
        {"etag": '"two"'},
        {"etag": f"W/{ETAG}"},
        {},
        {"etag": ETAG, "length": SIZE - 1},
        {"etag": ETAG, "length": None},
        {"etag": ETAG, "status": 404},
        {"etag": ETAG, "content_encoding": "gzip"},
        {"etag": ETAG, "vary": "accept-language"},
        {"etag": ETAG, "cache_control": "no-store"},
    ],
)
async def test_another_response_completes_nothing(machine: Machine, other: dict[str, Any]) -> None:
    began = await machine.half_read(etag=ETAG)
    again = (await machine.following.call(1)).begin(**{"length": SIZE, "cache_control": "max-age=60"} | other)
    await machine.settle()
    assert began.transport.is_cut
    await machine.send(again, 0, other.get("length") or SIZE)
    again.end()
    await machine.settle()
    assert BODY.startswith(began.answers[0].body)
    assert machine.following.counts("joined_resumed", "joined_cut") == (0, 1)


@pytest.mark.parametrize("etag", [ETAG, '"two"'])
async def test_what_is_stored_by_now_completes_it_or_nothing_does(machine: Machine, etag: str) -> None:
    """A worker of another program was quicker."""
    third = machine.third(knows_flights=False)
    reply = await machine.begin(machine.leading.client(), etag=ETAG)
    (began,) = follow(machine.following)
    await machine.send(reply, 0, SIZE // 2)
    third.now += 1
    third.client().ask("/big")
    own = (await third.call(1)).begin(length=SIZE, cache_control="max-age=60", etag=etag)
    await machine.send(own, 0, SIZE)
    own.end()
    await machine.settle()
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
    reply = await machine.begin(old, etag=ETAG)
    await machine.send(reply, 0, SIZE)
    reply.end()
    await machine.settle()
    machine.leading.now = machine.following.now = machine.leading.now + 100
    old.ask("/big")
    reply = (await machine.leading.call(1)).begin(length=SIZE, cache_control="max-age=60", etag=renewed)
    (began,) = follow(machine.following)
    await machine.send(reply, 0, SIZE // 2)
    await machine.kill()
    if renewed != ETAG:
        call = await machine.following.call(2)
        assert call.fields.get(b"if-none-match") == ETAG.encode()
        again = call.begin(length=SIZE, cache_control="max-age=60", etag=renewed)
        await machine.send(again, 0, SIZE)
        again.end()
        await machine.settle()
    assert began.answers[0].body == BODY
    assert len(machine.leading.origin.calls) == (2 if renewed == ETAG else 3)


async def test_of_two_workers_that_resume_one_fetches(machine: Machine) -> None:
    third = machine.third()
    reply = await machine.begin(machine.leading.client(), etag=ETAG)
    followers = follow(machine.following) + follow(third)
    await machine.send(reply, 0, SIZE // 2)
    await machine.kill()
    again = (await machine.following.call(1)).begin(length=SIZE, cache_control="max-age=60", etag=ETAG)
    await machine.send(again, 0, SIZE)
    again.end()
    await machine.settle()
    assert [follower.answers[0].body for follower in followers] == [BODY] * 2
    assert len(third.origin.calls) == 2
    assert (machine.following.count("joined_resumed"), third.count("joined_resumed")) == (1, 1)


async def test_a_second_death_cuts(machine: Machine) -> None:
    third = machine.third()
    reply = await machine.begin(machine.leading.client(), etag=ETAG)
    (began,) = follow(machine.following)
    await machine.send(reply, 0, SIZE // 2)
    machine.flights.table.forget(0)
    third.client().ask("/big")
    again = (await third.call(1)).begin(length=SIZE, cache_control="max-age=60", etag=ETAG)
    await machine.kill()
    await machine.send(again, 0, SIZE * 3 // 4)
    assert len(began.answers[0].body) > SIZE // 2 and began.is_open
    await machine.kill(2)
    assert began.transport.is_cut
    assert BODY.startswith(began.answers[0].body)
    assert len(third.origin.calls) == 2
    assert machine.following.counts("joined_resumed", "joined_cut") == (1, 1)


async def test_a_second_failure_cuts(machine: Machine) -> None:
    began = await machine.half_read(etag=ETAG)
    (await machine.following.call(1)).begin(length=SIZE, cache_control="max-age=60", etag=ETAG).cut()
    await machine.settle()
    assert began.transport.is_cut
    assert len(machine.following.origin.calls) == 2


async def test_what_was_purged_is_not_resumed(machine: Machine) -> None:
    reply = await machine.begin(machine.leading.client(), etag=ETAG)
    (began,) = follow(machine.following)
    await machine.send(reply, 0, SIZE // 2)
    await machine.leading.get("/big", "PURGE")
    await machine.kill()
    assert began.transport.is_cut
    assert len(machine.following.origin.calls) == 1


@pytest.mark.parametrize("has_head", [False, True])
async def test_those_who_resume_may_leave(machine: Machine, has_head: bool) -> None:
    """The fetch goes on, as any that no client leads."""
    began = await machine.half_read(etag=ETAG)
    call = await machine.following.call(1)
    if not has_head:
        began.transport.lose()
        await machine.settle()
    again = call.begin(length=SIZE, cache_control="max-age=60", etag=ETAG)
    await machine.settle()
    began.transport.lose()
    await machine.send(again, 0, SIZE)
    again.end()
    await machine.settle()
    assert (await machine.following.get("/big")).body == BODY
    assert machine.following.counts("joined_resumed", "joined_cut") == (int(has_head), 0)


async def test_who_resumes_in_another_workers_fetch_and_leaves_lets_go(machine: Machine) -> None:
    third = machine.third()
    reply = await machine.begin(machine.leading.client(), etag=ETAG)
    (began,) = follow(machine.following)
    await machine.send(reply, 0, SIZE // 2)
    machine.flights.table.forget(0)
    third.client().ask("/big")
    again = (await third.call(1)).begin(length=SIZE, cache_control="max-age=60", etag=ETAG)
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
    reply = await machine.begin(machine.leading.client(), etag=ETAG)
    slow, quick = follow(machine.following, 2)
    slow.transport.stick()
    await machine.send(reply, 0, SIZE // 2)
    await machine.kill()
    again = (await machine.following.call(1)).begin(length=SIZE, cache_control="max-age=60", etag=ETAG)
    await machine.send(again, 0, SIZE)
    again.end()
    await machine.settle()
    assert quick.answers[0].body == BODY
    slow.transport.drain()
    await machine.settle()
    assert slow.answers[0].body == BODY


async def test_who_finds_something_else_in_another_workers_fetch_lets_go(machine: Machine) -> None:
    third = machine.third()
    reply = await machine.begin(machine.leading.client(), etag=ETAG)
    (began,) = follow(machine.following)
    await machine.send(reply, 0, SIZE // 2)
    machine.flights.table.forget(0)
    third.client().ask("/big")
    other = (await third.call(1)).begin(length=SIZE, cache_control="max-age=60", etag='"two"')
    await machine.kill()
    await machine.send(other, 0, SIZE // 4)
    assert began.transport.is_cut
    assert not machine.following.flights._flights
    other.end()
    await machine.settle()
