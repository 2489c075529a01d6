# cython: annotation_typing=False, show_performance_hints=False
"""Which backend gets the next fetch. Decides only; connects to nothing and waits for nothing.

What all workers know together (whose turn, who is up, how many fetches are in flight) lies behind
`BackendBoard`. A pick claims its place there at once: it adds itself, then looks, and steps back if that
was one too many. Two workers that race for the last place may both step back, but never both stay:
`max_connections` holds over the machine. Compiled, if it can be, as `wire` is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import gcd
from random import Random
from typing import Protocol

from accel.config import Address, BackendConfig, Balance

FULL_RAMP = 1000
"""A backend that takes its whole weight, in permille."""


class BackendBoard(Protocol):
    """What all workers know about the backends; a row is a backend's number on the machine."""

    def next_turn(self) -> int:
        """Take the next number of a counter that all workers share."""
        ...

    def changes(self) -> object:
        """Return a value that differs after each change of what `is_available` and `ramp` say."""
        ...

    def is_available(self, row: int) -> bool:
        """Tell whether the backend is up and not draining."""
        ...

    def ramp(self, row: int) -> int:
        """Return the permille of its weight that a returning backend takes, 1 to 1000."""
        ...

    def in_flight(self, row: int) -> int:
        """Return the fetches in flight over all workers."""
        ...

    def add_in_flight(self, row: int, delta: int) -> None:
        """Count a fetch of this worker in or out."""
        ...

    def note_success(self, row: int) -> None:
        """A backend gave a good head."""
        ...

    def note_failure(self, row: int, why: str) -> None:
        """A backend failed a fetch."""
        ...


@dataclass(frozen=True, slots=True)
class Backend:
    """One member of the pool."""

    row: int
    address: Address
    weight: int
    label: str
    """The address as the log shows it."""


Order = Callable[["Balancer", Sequence[Backend]], Iterator[Backend]]
"""Yields each available backend once, the best first."""


class Balancer:
    """Picks backends for one worker."""

    __slots__ = (
        "_backups",
        "_board",
        "_first",
        "_max_connections",
        "_order",
        "_random",
        "_seen",
        "_takes_turns",
        "_turns",
        "backends",
    )

    def __init__(
        self,
        balance: Balance,
        members: Sequence[BackendConfig],
        rows: Sequence[int],
        board: BackendBoard,
        max_connections: int = 0,
        random: Random | None = None,
        backups: Sequence[BackendConfig] = (),
    ) -> None:
        """`rows` are those of `members`, then those of `backups`."""
        self.backends = tuple(
            Backend(row, member.address, member.weight, str(member.address))
            for row, member in zip(rows, (*members, *backups), strict=True)
        )
        self._first, self._backups = self.backends[: len(members)], self.backends[len(members) :]
        self._board = board
        self._order = _ORDERS[balance]
        self._takes_turns = balance is Balance.ROUND_ROBIN
        self._max_connections = max_connections
        self._random = random or Random()
        self._seen: object = None
        self._turns: tuple[Backend, ...] = ()

    def pick(self, exclude: Collection[int] = ()) -> Backend | None:
        """Claim a place on a backend outside `exclude` (rows); None if none is up or all of them are full."""
        if self._takes_turns and not exclude:
            own = self._own_turn()
            if own is not None:
                return own
        available = self._available(exclude)
        if not available:
            return None
        for backend in self._order(self, available):
            if self._claim(backend.row):
                return backend
        return None

    def _own_turn(self) -> Backend | None:
        """Claim a place on whose turn it is, as nearly every fetch does; the order is kept while no backend changes.

        None, and no turn was taken, unless all that are up take their whole weight, without limit.
        """
        changes = self._board.changes()  # before what they are about
        if changes != self._seen:
            available = self._available(())
            is_simple = all(self._board.ramp(backend.row) >= FULL_RAMP for backend in available)
            schedule = smooth_schedule(tuple([backend.weight for backend in available])) if available else ()
            self._turns = tuple([available[place] for place in schedule]) if is_simple else ()
            self._seen = changes
        if not self._turns or self._max_connections:
            return None
        backend = self._turns[self._board.next_turn() % len(self._turns)]
        self._board.add_in_flight(backend.row, 1)
        return backend

    def release(self, backend: Backend) -> None:
        """Give a claimed place back."""
        self._board.add_in_flight(backend.row, -1)

    def has_available(self, exclude: Collection[int] = ()) -> bool:
        """Tell whether a backend outside `exclude` is up, full or not."""
        return bool(self._available(exclude))

    def free_places(self) -> int | None:
        """Return how many fetches more would find a place, as far as can be seen; None: any number."""
        limit = self._max_connections
        if not limit:
            return None
        return sum(max(0, limit - self._board.in_flight(backend.row)) for backend in self._available(()))

    def _available(self, exclude: Collection[int]) -> tuple[Backend, ...]:
        """Return who may be asked: backups only if there is nobody else."""
        is_available = self._board.is_available
        found = tuple([b for b in self._first if b.row not in exclude and is_available(b.row)])
        if found or not self._backups:
            return found
        return tuple([b for b in self._backups if b.row not in exclude and is_available(b.row)])

    def _claim(self, row: int) -> bool:
        board, limit = self._board, self._max_connections
        if limit and board.in_flight(row) >= limit:
            return False
        board.add_in_flight(row, 1)
        if limit and board.in_flight(row) > limit:
            board.add_in_flight(row, -1)
            return False
        return True

    def _load(self, backend: Backend) -> float:
        """Return how full a backend would be with one fetch more, for its weight and ramp."""
        return (self._board.in_flight(backend.row) + 1) / (backend.weight * self._board.ramp(backend.row))

    def _round_robin(self, available: Sequence[Backend]) -> Iterator[Backend]:
        """Yield the turn's own backend first, then the others from a place that moves with each round.

        A ramping backend takes `ramp` permille of its rounds, spread evenly; the turns that it leaves, and
        those of a full one, go to a different neighbour each round.
        """
        schedule = smooth_schedule(tuple([backend.weight for backend in available]))
        cycle, place = divmod(self._board.next_turn(), len(schedule))
        own = schedule[place]
        ramp = self._board.ramp(available[own].row)
        takes_turn = ramp >= FULL_RAMP or (cycle + 1) * ramp // FULL_RAMP > cycle * ramp // FULL_RAMP
        if takes_turn:
            yield available[own]
        others = [*available[own + 1 :], *available[:own]]
        for step in range(len(others)):
            yield others[(cycle + step) % len(others)]
        if not takes_turn:
            yield available[own]

    def _least_conn(self, available: Sequence[Backend]) -> Iterator[Backend]:
        """Yield by load, the least first; equal loads take turns."""
        start = self._board.next_turn() % len(available)
        yield from sorted([*available[start:], *available[:start]], key=self._load)

    def _two_choices(self, available: Sequence[Backend]) -> Iterator[Backend]:
        """Yield the less loaded of two distinct random picks, the other one, then the rest by load."""
        picks = self._random.sample(available, min(2, len(available)))
        yield from sorted(picks, key=self._load)
        yield from sorted([backend for backend in available if backend not in picks], key=self._load)


_ORDERS: dict[Balance, Order] = {
    Balance.ROUND_ROBIN: Balancer._round_robin,
    Balance.LEAST_CONN: Balancer._least_conn,
    Balance.TWO_CHOICES: Balancer._two_choices,
}


@lru_cache(maxsize=256)
def smooth_schedule(weights: tuple[int, ...]) -> tuple[int, ...]:
    """Return positions in `weights`, each as often as its weight in lowest terms and spread as evenly as
    can be.

    nginx's smooth weighted round-robin: each step every credit grows by its weight, and the largest pays
    for all.
    """
    shared = gcd(*weights)
    steps = [weight // shared for weight in weights]
    total = sum(steps)
    credits = [0] * len(steps)
    schedule = []
    for _ in range(total):
        credits = [credit + step for credit, step in zip(credits, steps, strict=True)]
        best = max(range(len(credits)), key=credits.__getitem__)
        credits[best] -= total
        schedule.append(best)
    return tuple(schedule)
