"""Fetches under way on the whole machine: who leads one, and how the others are woken when it ends.

A table of claims in memory that all workers map. A claim is one word: 32 bits of the key's hash, the leader's row, a
running number. It is put by compare-and-swap and taken back by compare-and-swap, so at most one process leads a key.
Two keys that share place and hash bits wait for each other once in a very long while, and then look again.

Who writes what: the claim, whoever wins the swap, and then its leader alone (the arbiter for a dead one); the words of
waiting rows, everybody by fetch-or, and the leader by exchange when its claim has ended. Each worker sleeps on an
eventfd of its own: nobody polls.

The order is the whole argument. A leader ends its claim first and takes the waiting rows after; a follower sets its
bit first and looks at the claim after. So either the leader finds the bit, or the follower finds the claim ended.

What a kill -9 leaves: a claim, or, between the two steps of a release, rows that nobody woke. For both the arbiter
ends the dead one's claims and wakes every worker; whoever waits looks at its own claim again. A bit without a waiter
is a wake-up too many, which does no harm. A leader that is stopped holds its followers until it is judged stuck.
"""

from __future__ import annotations

import asyncio
import mmap
import os
from collections.abc import Sequence
from itertools import count

from accel.store._flights import MOST_ROWS, PLACE_WORDS, Table

PLACES = 8192
_PAGE = 4096


class FlightArena:
    """The table and the eventfds; made by the arbiter before the first fork."""

    def __init__(self, row_count: int) -> None:
        """For `row_count` workers, 128 at most."""
        assert row_count <= MOST_ROWS
        self.table = Table(mmap.mmap(-1, PLACES * PLACE_WORDS * 8))
        self.bells = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(row_count)]

    def forget_worker(self, row: int) -> None:
        """End what the dead worker of `row` led, and let everybody look again. Arbiter only."""
        self.table.forget(row)
        for bell in self.bells:
            os.eventfd_write(bell, 1)


class Claim:
    """The fetch of one key: ours to make, or another process's to wait for."""

    __slots__ = ("_claim", "_flights", "_place", "leads")

    def __init__(self, flights: SharedFlights, place: int, claim: int, leads: bool) -> None:
        self._flights, self._place, self._claim = flights, place, claim
        self.leads = leads
        """Whether this process fetches; then it must `release`."""

    @property
    def stands(self) -> bool:
        """Whether the fetch goes on."""
        return self._flights.stands(self._place, self._claim)

    def release(self) -> None:
        """What came is stored, or is known not to come: everybody looks again. Idempotent."""
        self._flights.released(self._place, self._claim)

    async def wait(self) -> None:
        """Return when another's fetch has ended, in whatever way."""
        await self._flights.ended(self._place, self._claim)


class SharedFlights:
    """One worker's hands on the table."""

    def __init__(self, arena: FlightArena, row: int) -> None:
        """Listens on its bell in the running event loop."""
        self._table = arena.table
        self._bells: Sequence[int] = arena.bells
        self._row = row
        self._turns = count(1)
        self._waiting: dict[tuple[int, int], set[asyncio.Future[None]]] = {}
        asyncio.get_running_loop().add_reader(self._bells[row], self._rung)

    def claim(self, key: bytes) -> Claim | None:
        """Lead the fetch of `key`, or follow who leads it; None if the table has no room, or we lead it already."""
        turn = next(self._turns)
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

    def released(self, place: int, claim: int) -> None:
        """End a claim of ours and ring at everybody who waits for it."""
        for row in self._table.release(place, claim):
            os.eventfd_write(self._bells[row], 1)

    async def ended(self, place: int, claim: int) -> None:
        """Wait until a claim has ended."""
        waiter = asyncio.get_running_loop().create_future()
        waiters = self._waiting.setdefault((place, claim), set())
        waiters.add(waiter)
        try:
            if self._table.join(place, claim, self._row):
                await waiter
        finally:
            waiters.discard(waiter)
            if not waiters:
                self._waiting.pop((place, claim), None)

    def _rung(self) -> None:
        os.eventfd_read(self._bells[self._row])
        for (place, claim), waiters in list(self._waiting.items()):
            # Still standing means that the bell rang for another; our bit may be gone with that, so it is set again.
            if self._table.stands(place, claim) and self._table.join(place, claim, self._row):
                continue
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)
