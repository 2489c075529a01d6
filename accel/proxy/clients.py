"""All client connections of one worker: how many there may be, how long an idle one is kept, when they must go.

Owns the set of connections and the options that all share; each connection owns itself. Invariant: a worker never
holds more than `limit` connections: the longest idle one makes room, and where none is idle the newcomer gets a 503.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from accel.config import ClientTimeouts, Limits
from accel.errors import RequestError
from accel.proxy.connection import ClientConnection
from accel.proxy.service import Service
from accel.stats.counters import index

_CONNECTIONS, _REFUSED, _EVICTED = (
    index("connections"),
    index("connections_refused"),
    index("connections_evicted"),
)
_BAD_REQUESTS = index("bad_requests")
_REFUSALS: dict[int, int | None] = {
    405: index("method_refused"),
    408: None,
    413: index("body_too_large"),
    414: index("target_too_long"),
    417: index("expectation_refused"),
    431: index("head_too_large"),
    501: index("method_refused"),
    503: None,
    505: index("version_refused"),
}
_CROWDED = 0.75
"""Above this share of the limit, idle connections are kept for a fifth of their time."""
_SLICE = 512
_SLICE_EVERY_S = 0.01
"""So many connections are looked at in one turn: under a millisecond in which no hit is answered."""
_LOOKED_AT = 64
"""Connections that are looked at for one idle since its place was noted; then any idle one makes room."""
_LEAVING_IDLE_S = 2.0
"""A worker that stops keeps an idle connection for this long: time for a request on its way to arrive."""


class Clients:
    """What the connections of one worker share."""

    def __init__(self, service: Service, limits: Limits, timeouts: ClientTimeouts, limit: int) -> None:
        self.service = service
        self.limits = limits
        self.timeouts = timeouts
        self.counters = service.counters
        self.is_stopping = False
        self.on_change: Callable[[int], None] = lambda count: None
        """Called with the number of connections whenever it changes."""
        self.emptied = asyncio.Event()
        """Set when the last connection of a stopping worker has ended."""
        self.now_mono = time.monotonic
        self._limit = limit
        self._connections: dict[ClientConnection, None] = {}
        self.idle: dict[ClientConnection, float] = {}
        """Those between two requests and since when: longest idle first, but for those that only replayed since."""
        self._unchecked: list[ClientConnection] = []

    def __len__(self) -> int:
        return len(self._connections)

    @property
    def connections(self) -> list[ClientConnection]:
        """All of them, as they are now."""
        return list(self._connections)

    def configure(self, service: Service, limits: Limits, timeouts: ClientTimeouts, limit: int) -> None:
        """Use a new configuration for every request that begins from now on."""
        self.service, self.limits, self.timeouts, self._limit = service, limits, timeouts, limit

    def admit(self, connection: ClientConnection) -> None:
        """Take in a new connection, making room if there is none."""
        self.counters[_CONNECTIONS] += 1
        connection.id = self.counters[_CONNECTIONS]
        self._connections[connection] = None
        self.idle[connection] = connection.since
        self.on_change(len(self._connections))
        if len(self._connections) > self._limit and not self._evict_idle(connection):
            self.counters[_REFUSED] += 1
            connection.refuse(503)

    def discharge(self, connection: ClientConnection) -> None:
        """Forget a closed connection."""
        if self._connections.pop(connection, connection) is None:
            self.on_change(len(self._connections))
            self._note_empty()

    def note_refusal(self, error: RequestError) -> None:
        """Count a message that may not be acted on (408 and 503 were counted where they were decided)."""
        counter = _REFUSALS.get(error.status, _BAD_REQUESTS)
        if counter is not None:
            self.counters[counter] += 1

    def idle_s(self) -> float:
        """Return how long a connection may wait for its next request."""
        idle_s = self.timeouts.idle_s
        if len(self._connections) > self._limit * _CROWDED:
            idle_s /= 5
        return min(idle_s, _LEAVING_IDLE_S) if self.is_stopping else idle_s

    def check(self) -> None:
        """Hold every connection to its time limits, a slice at a time; a round that still goes on is not doubled."""
        if not self._unchecked:
            self._unchecked = list(self._connections)
            self._check_slice()

    def _check_slice(self) -> None:
        now = self.now_mono()
        connections = self._unchecked[-_SLICE:]
        del self._unchecked[-_SLICE:]
        if self._unchecked:
            asyncio.get_running_loop().call_later(_SLICE_EVERY_S, self._check_slice)
        for connection in connections:
            connection.check(now)

    def stop(self) -> None:
        """Close each connection with its next answer, and idle ones after a moment that begins now."""
        self.is_stopping = True
        if self.service.hot is not None:
            self.service.hot.stop()
        for connection in self.idle:
            connection.since = self.now_mono()
        self._note_empty()

    def abort(self) -> None:
        """Close all connections at once."""
        for connection in list(self._connections):
            connection.retire()

    def _note_empty(self) -> None:
        if self.is_stopping and not self._connections:
            self.emptied.set()

    def _evict_idle(self, newcomer: ClientConnection) -> bool:
        """Close the connection that has been idle longest; False if none is idle."""
        for looked_at in range(len(self.idle)):
            connection, since = next(iter(self.idle.items()))
            is_longest = connection.since == since or looked_at >= _LOOKED_AT
            if is_longest and connection.is_idle and connection is not newcomer:
                del self.idle[connection]  # at once: whoever comes in the same turn needs another's place
                connection.retire()
                self.counters[_EVICTED] += 1
                return True
            del self.idle[connection]  # it replayed since, or has not read its last answer: behind the others
            self.idle[connection] = connection.since
        return False
