# cython: annotation_typing=False, show_performance_hints=False
"""Fetches under way on the whole machine: who leads one, and how the others are woken when it gets on or ends.

A table of claims in memory that all workers map. A claim is one word: 32 bits of the key's hash, the leader's row, a
running number. It is put by compare-and-swap and taken back by compare-and-swap, so one process leads a key. (Two may,
if both come just when a claim that stood in the key's way ends: a fetch too many.) Two keys that share place and hash
bits wait for each other once in a very long while, and then look again.

A leader may show how far it is (where, is not known here: under the claim's `name`). Then it makes a step, which is a
count beside the claim, and wakes who waits without ending the claim.

Who writes what: the claim, whoever wins the swap, and then its leader alone (the arbiter for a dead one); the steps,
the leader by fetch-add; the words of waiting rows, everybody by fetch-or, and the leader by exchange when it has made
a step or ended its claim. Each worker sleeps on an eventfd of its own: nobody polls.

The order is the whole argument. A leader shows, makes its step or ends its claim, and takes the waiting rows after; a
follower sets its bit first and looks after: at steps and claim before it sleeps. So either the leader finds the bit,
or the follower finds what is new. A follower that saw anything shown had set its bit before: so a leader whose steps
and end found no bit knows that nobody follows.

What a kill -9 leaves: a claim, or, between two steps of a release, rows that nobody woke. For both the arbiter
ends the dead one's claims and wakes every worker; whoever waits looks at its own claim again. A bit without a waiter
is a wake-up too many, which does no harm. A leader that is stopped holds its followers until it is judged stuck. What
a dead leader showed goes with its segment: its name is given to nobody again in practice (a turn begins anywhere in
24 bits), and whoever reads on compares what it reads with what it began with.

Compiled, if it can be, with the types of `flights.pxd`: each miss claims.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import secrets
from collections.abc import Sequence

from accel.store._flights import MOST_ROWS, PLACE_WORDS, Table

PLACES = 8192
_PAGE = 4096


class FlightArena:
    """The table and the eventfds; made by the arbiter before the first fork."""

    def __init__(self, row_count: int) -> None:
        """For `row_count` workers, 128 at most."""
        assert row_count <= MOST_ROWS
        self.table = Table(mmap.mmap(-1, PLACES * PLACE_WORDS * 8))
        self.name = secrets.token_bytes(8)
        """Tells this table's claims from those of another program that uses the same store."""
        self.bells = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(row_count)]

    def forget_worker(self, row: int) -> None:
        """End what the dead worker of `row` led, and let everybody look again. Arbiter only."""
        self.table.forget(row)
        for bell in self.bells:
            os.eventfd_write(bell, 1)


class Claim:
    """The fetch of one key: ours to make, or another process's to wait for."""

    __slots__ = ("_claim", "_flights", "_place", "is_followed", "leads")

    def __init__(self, flights: SharedFlights, place: int, claim: int, leads: bool) -> None:
        self._flights, self._place, self._claim = flights, place, claim
        self.leads = leads
        """Whether this process fetches; then it must `release`."""
        self.is_followed = False
        """Whether anybody was woken by a step or the end; known after `release`."""

    @property
    def name(self) -> bytes:
        """What leader and followers call it, and nobody else calls anything."""
        return self._flights.name + self._claim.to_bytes(8, "big")

    def step(self) -> None:
        """There is more to see of what comes: everybody looks again. The leader's alone."""
        self.is_followed |= self._flights.stepped(self._place)

    @property
    def stands(self) -> bool:
        """Whether the fetch goes on."""
        return self._flights.stands(self._place, self._claim)

    def release(self) -> None:
        """What came is stored, or is known not to come: everybody looks again. Idempotent."""
        self.is_followed |= self._flights.released(self._place, self._claim)

    def follow(self) -> int:
        """Ask to be woken; return the step that the leader is at. To be called before looking at what it shows."""
        return self._flights.followed(self._place, self._claim)

    async def changed(self, step: int) -> bool:
        """Return when another's fetch has got on from `step`, or has ended in whatever way: whether it goes on."""
        return await self._flights.changed(self._place, self._claim, step)


class SharedFlights:
    """One worker's hands on the table."""

    __slots__ = ("_bells", "_row", "_table", "_turn", "_waiting", "name")

    def __init__(self, arena: FlightArena, row: int) -> None:
        """Listens on its bell in the running event loop."""
        self._table = arena.table
        self._bells: Sequence[int] = arena.bells
        self.name = arena.name
        self._row = row
        self._turn = secrets.randbits(24)
        self._waiting: dict[tuple[int, int], dict[asyncio.Future[None], int]] = {}
        asyncio.get_running_loop().add_reader(self._bells[row], self._rung)

    def claim(self, key: bytes) -> Claim | None:
        """Lead the fetch of `key`, or follow who leads it; None if the table has no room, or we lead it already."""
        self._turn = turn = self._turn + 1
        hashed = hash(key) & 0xFFFF_FFFF_FFFF_FFFF
        place, claim = self._table.claim(hashed, self._row, turn)
        if not claim:
            return None
        row, claimed_turn = claim >> 24 & 0xFF, claim & 0xFF_FFFF
        if row != self._row:
            return Claim(self, place, claim, leads=False)
        return Claim(self, place, claim, leads=True) if claimed_turn == turn & 0xFF_FFFF else None

    def stands(self, place: int, claim: int) -> bool:
        """Whether a claim has not ended."""
        return bool(self._table.stands(place, claim))

    def released(self, place: int, claim: int) -> bool:
        """End a claim of ours and ring at everybody who waits for it; whether anybody did."""
        return self._ring(self._table.release(place, claim))

    def stepped(self, place: int) -> bool:
        """Make a step in a fetch of ours and ring at everybody who waits for it; whether anybody did."""
        return self._ring(self._table.step(place))

    def followed(self, place: int, claim: int) -> int:
        """Set our bit, then return the steps made so far."""
        self._table.join(place, claim, self._row)
        return self._table.steps(place)

    async def changed(self, place: int, claim: int, step: int) -> bool:
        """Wait until a claim has ended or made another step than `step`; return whether it stands."""
        waiter = asyncio.get_running_loop().create_future()
        waiters = self._waiting.setdefault((place, claim), {})
        waiters[waiter] = step
        try:
            if self._table.join(place, claim, self._row) and self._table.steps(place) == step:
                await waiter
        finally:
            del waiters[waiter]
            if not waiters:
                self._waiting.pop((place, claim), None)
        return self._table.stands(place, claim)

    def _ring(self, rows: Sequence[int]) -> bool:
        for row in rows:
            os.eventfd_write(self._bells[row], 1)
        return bool(rows)

    def _rung(self) -> None:
        os.eventfd_read(self._bells[self._row])
        for (place, claim), waiters in list(self._waiting.items()):
            # Nothing new means that the bell rang for another; our bit may be gone with that, so it is set again.
            stands, steps = self._table.join(place, claim, self._row), self._table.steps(place)
            for waiter, step in waiters.items():
                if not waiter.done() and not (stands and steps == step):
                    waiter.set_result(None)
