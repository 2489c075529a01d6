"""The rates at which requests come where the answers' times are the figure, and whether they did come so.

Owns what a rate is and when a time counts. Knows no peer but the limit, and no work.

A server's capacity is what its CPU a request allows one core, measured while all connections always wait. Its own rate
is 70 % of that; the even rate is 70 % of the slowest one's, the same for all. No rate is above what the generator holds
against the limit, for beyond that it would be the generator whose queue is measured. All rates are found once, so every
round asks as often as the one before. A server works dearer the less it is asked (fewer answers a turn of its loop, a
wake-up for each), so at 70 % of its capacity a core is busier than 70 %; how busy, the report says.

A time counts from the instant when its request was due. It is the server's only if the generator was there to ask, so a
measurement is made again, a few times, where one request in a thousand was sent `AT_MOST_LATE_US` late though a
connection was free, and where a server of one thread waited for its core (of threads that wait for each other's turn,
nobody can tell). Where that never succeeds, the report says so and gives no figure: others use the machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from statistics import median

LOAD_SHARE = 0.7
CONNECTIONS = 512
"""Far more than are under way: a server that stops for 5 ms must not stop the generator."""
AT_MOST_LATE_US = 300.0
"""In quiet it is 20 to 110; another process on the generator's core makes it thousands."""
AT_MOST_WAITED = 0.015
"""Of the time, ready to run and not running. In quiet it is 0.006 (wake-ups); one slice of another process is 4 ms."""
TRIES = 6
PAUSE_S = 0.3
STEP = 0.9
STEPS = 8


@dataclass(frozen=True, slots=True)
class Paced:
    """What one measurement at a rate saw."""

    per_second: float
    p50_us: float
    p99_us: float
    busy: float
    """The server's CPU, as a share of one core."""
    late_us: float
    """One request in a thousand was sent later than that, by the generator's own fault."""
    waited: float
    """The share of the time in which the server was kept from its core."""

    @property
    def counts(self) -> bool:
        """Whether the times are the server's."""
        return self.late_us <= AT_MOST_LATE_US and self.waited <= AT_MOST_WAITED


def tried(measure: Callable[[], Paced]) -> Paced:
    """Measure until it counts, or give the last try back."""
    for _ in range(TRIES - 1):
        if (seen := measure()).counts:
            return seen
        time.sleep(PAUSE_S)
    return measure()


@dataclass(slots=True)
class Rates:
    """How many requests a second each server gets."""

    cost_us: Callable[[str], float]
    """CPU a request of the server of that name, measured now."""
    at_the_limit: Callable[[float], Paced]
    """The limit, measured now at that rate."""
    _capacities: dict[str, float] = field(default_factory=dict)
    most: float = 0.0
    """What the generator holds; 0: nobody has asked."""

    def own(self, server: str) -> float:
        """Return 70 % of one server's capacity, or what the generator holds."""
        return min(LOAD_SHARE * self._capacity(server), self.held())

    def even(self, servers: Iterable[str]) -> float:
        """Return 70 % of the slowest one's capacity."""
        return min(map(self.own, servers))

    def held(self) -> float:
        """Return the rate that the generator holds: 70 % of the limit's capacity, or what is left of it."""
        if not self.most:
            most = LOAD_SHARE * self._capacity("limit")
            rates = (most * STEP**step for step in range(STEPS))
            self.most = next(filter(self._is_held, rates), most * STEP**STEPS)
        return self.most

    def _is_held(self, rate: float) -> bool:
        return tried(lambda: self.at_the_limit(rate)).counts

    def _capacity(self, server: str) -> float:
        if server not in self._capacities:
            self._capacities[server] = 1e6 / median(self.cost_us(server) for _ in range(3))
        return self._capacities[server]
