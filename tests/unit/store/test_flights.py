"""The machine's fetches under way: one leads a key, the others wake when it ends, whatever kills or stops them."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from accel.store.flights import Claim, FlightArena, SharedFlights

KEY = b"a\0/page"


@pytest.fixture
def arena() -> Iterator[FlightArena]:
    """Return a table for four workers."""
    arena = FlightArena(4)
    yield arena
    for bell in arena.bells:
        os.close(bell)


async def watched(claim: Claim) -> bool:
    """Wait for the next step or the end; whether the fetch goes on."""
    return await claim.changed(claim.follow())


async def test_one_leads_and_the_others_wake_when_it_ends(arena: FlightArena) -> None:
    leader, *others = (SharedFlights(arena, row) for row in range(4))
    lead = leader.claim(KEY)
    follows = [other.claim(KEY) for other in others]
    assert lead is not None and lead.leads
    waits = [asyncio.create_task(watched(follow)) for follow in follows if follow is not None and not follow.leads]
    assert len(waits) == 3
    await asyncio.sleep(0)

    lead.release()

    await asyncio.wait_for(asyncio.gather(*waits), 5)
    after = others[0].claim(KEY)
    assert after is not None and after.leads


async def test_a_fetch_that_has_ended_is_not_waited_for(arena: FlightArena) -> None:
    leader, other = SharedFlights(arena, 0), SharedFlights(arena, 1)
    lead, follow = leader.claim(KEY), other.claim(KEY)
    assert lead is not None and follow is not None
    lead.release()
    lead.release()

    await asyncio.wait_for(watched(follow), 5)


async def test_a_second_claim_by_the_same_worker_is_its_own_business(arena: FlightArena) -> None:
    flights = SharedFlights(arena, 0)
    flights.claim(KEY)

    assert flights.claim(KEY) is None


async def test_a_bell_that_rings_for_another_fetch_wakes_nobody_too_early(arena: FlightArena) -> None:
    leader, other = SharedFlights(arena, 0), SharedFlights(arena, 1)
    lead, follow = leader.claim(KEY), other.claim(KEY)
    assert lead is not None and follow is not None
    wait = asyncio.create_task(watched(follow))
    await asyncio.sleep(0)

    os.eventfd_write(arena.bells[1], 1)
    for _ in range(20):
        await asyncio.sleep(0)
    assert not wait.done()

    lead.release()
    await asyncio.wait_for(wait, 5)


async def test_who_stops_waiting_leaves_nothing_behind(arena: FlightArena) -> None:
    leader, other = SharedFlights(arena, 0), SharedFlights(arena, 1)
    lead, follow = leader.claim(KEY), other.claim(KEY)
    assert lead is not None and follow is not None
    wait = asyncio.create_task(watched(follow))
    await asyncio.sleep(0)

    wait.cancel()
    with pytest.raises(asyncio.CancelledError):
        await wait

    assert other._waiting == {}


@pytest.mark.parametrize("dies_between_the_steps", [False, True])
async def test_a_killed_leaders_followers_wake_as_soon_as_it_is_buried(
    arena: FlightArena, dies_between_the_steps: bool
) -> None:
    ready, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        hashed = hash(KEY) & 0xFFFF_FFFF_FFFF_FFFF
        place, claim = arena.table.claim(hashed, 2, 1)
        os.write(write, f"{place} {claim}".encode())
        signal.pause()
        os._exit(0)
    place, claim = map(int, os.read(ready, 100).split())
    other = SharedFlights(arena, 1)
    follow = other.claim(KEY)
    assert follow is not None and not follow.leads
    wait = asyncio.create_task(watched(follow))
    await asyncio.sleep(0)

    if dies_between_the_steps:
        arena.table.release(place, claim)  # the claim is taken back, and nobody is woken
    os.kill(pid, signal.SIGKILL)
    await asyncio.to_thread(os.waitpid, pid, 0)
    arena.forget_worker(2)

    await asyncio.wait_for(wait, 5)
    for end in (ready, write):
        os.close(end)


async def test_a_full_neighbourhood_leaves_each_on_its_own(arena: FlightArena) -> None:
    places = 4
    taken = [arena.table.claim((number << 32) | 7, 0, number)[1] for number in range(1, places + 1)]
    assert all(taken)

    assert arena.table.claim((99 << 32) | 7, 1, 1) == (0, 0)


async def test_a_step_wakes_who_follows_and_the_fetch_goes_on(arena: FlightArena) -> None:
    leader, other = SharedFlights(arena, 0), SharedFlights(arena, 1)
    lead, follow = leader.claim(KEY), other.claim(KEY)
    assert lead is not None and follow is not None
    assert lead.name == follow.name
    wait = asyncio.create_task(watched(follow))
    await asyncio.sleep(0)

    lead.step()

    assert await asyncio.wait_for(wait, 5)
    wait = asyncio.create_task(watched(follow))
    await asyncio.sleep(0)
    lead.release()
    assert not await asyncio.wait_for(wait, 5)


async def test_a_step_between_looking_and_sleeping_is_not_missed(arena: FlightArena) -> None:
    leader, other = SharedFlights(arena, 0), SharedFlights(arena, 1)
    lead, follow = leader.claim(KEY), other.claim(KEY)
    assert lead is not None and follow is not None
    looked_at = follow.follow()

    lead.step()

    assert await asyncio.wait_for(follow.changed(looked_at), 5)


async def test_a_leader_knows_whether_anybody_followed(arena: FlightArena) -> None:
    leader, other = SharedFlights(arena, 0), SharedFlights(arena, 1)
    alone, followed = leader.claim(b"a\0/alone"), leader.claim(KEY)
    follow = other.claim(KEY)
    assert alone is not None and followed is not None and follow is not None

    follow.follow()
    for claim in (alone, followed):
        claim.step()
        claim.release()

    assert (alone.is_followed, followed.is_followed) == (False, True)


async def test_no_two_claims_have_one_name(arena: FlightArena) -> None:
    first, again, elsewhere = SharedFlights(arena, 0), SharedFlights(arena, 0), SharedFlights(FlightArena(2), 0)
    names = set()
    for flights in (first, again, elsewhere):
        claim = flights.claim(KEY)
        assert claim is not None
        names.add(claim.name)
        claim.release()

    assert len(names) == 3


def test_a_place_that_becomes_free_gives_a_fetch_under_way_no_second_leader(arena: FlightArena) -> None:
    table, other, key = arena.table, 1 << 32, 2 << 32  # both hashes begin at one place
    other_place, other_claim = table.claim(other, 0, 1)
    place, claim = table.claim(key, 0, 2)
    table.release(other_place, other_claim)

    assert other_place != place
    assert table.claim(key, 1, 3) == (place, claim)
