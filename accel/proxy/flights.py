# cython: annotation_typing=False, show_performance_hints=False
"""The fetches of one worker that further requests may join, and those that store, by key.

Owns who may join what: a fetch that began before an invalidation is never joined by a request that came after it.
The table over all workers is `store.flights`. Compiled, if it can be, as `origin.wire` is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from accel.proxy.contents import Found
from accel.proxy.fill import Fill
from accel.proxy.following import Join

if TYPE_CHECKING:
    from accel.proxy._relay import Relay
    from accel.proxy.service import Claim, Service

    Flight: TypeAlias = Fill | Join | Relay


class Flights:
    """The fetches under way that further requests of this worker may join, by key."""

    __slots__ = ("_flights", "_storing")

    def __init__(self) -> None:
        self._flights: dict[bytes, Flight] = {}
        self._storing: dict[bytes, Fill] = {}
        """The last to begin, where several do so under one key."""

    def find(self, service: Service, found: Found) -> Fill | Join | None:
        """Return the fetch under way for this key, unless an invalidation came after it began."""
        flight = self._flights.get(found.key)
        if flight is None or not _is_uncovered(service, found, flight):
            return None
        return flight if isinstance(flight, (Fill, Join)) else flight.shared()

    def is_flying(self, key: bytes) -> bool:
        """Whether a fetch is under way for this key."""
        return key in self._flights

    def is_storing(self, service: Service, found: Found) -> bool:
        """Whether some fill, joinable or not, stores for this key, and no invalidation came after it began."""
        fill = self._storing.get(found.key)
        return fill is not None and _is_uncovered(service, found, fill)

    def begins_storing(self, key: bytes, fill: Fill) -> None:
        """`fill` has a body to store for `key`."""
        self._storing[key] = fill

    def ends_storing(self, key: bytes, fill: Fill) -> None:
        """`fill` has stored it, or not."""
        if self._storing.get(key) is fill:
            del self._storing[key]

    def under_way(self) -> list[Fill | Join]:
        """Return all that may be joined, or store, but for relays: each of those is one exchange's alone so far."""
        flights = [flight for flight in self._flights.values() if isinstance(flight, (Fill, Join))]
        return list(dict.fromkeys((*flights, *self._storing.values())))

    def begin(self, found: Found, fill: Fill, claim: Claim | None) -> None:
        """Start a fill that others may join, here by `find` and in other workers by `claim`."""
        fill.share(claim)
        self.add(found.key, fill)
        fill.start(lambda ended: self.remove(found.key, ended))

    def add(self, key: bytes, flight: Flight) -> None:
        """From now on requests for `key` may join this one."""
        self._flights[key] = flight

    def remove(self, key: bytes, flight: Flight) -> None:
        """No further request may join this one; idempotent."""
        if self._flights.get(key) is flight:
            del self._flights[key]


def _is_uncovered(service: Service, found: Found, flight: Flight) -> bool:
    """Whether no invalidation came since it began: of its key, or, once its head has come, of its tags."""
    cache = service.cache
    if not cache.may_join(found.primary, flight.number):
        return False
    return flight.entry is None or cache.may_serve(found.primary, flight.entry)
