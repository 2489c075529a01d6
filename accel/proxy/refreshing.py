"""Refreshes behind stale hits, so many at once and the hottest first (RFC 5861 §3).

After a mass expiry or a soft purge everything is stale at once. To refresh it all as fast as it is asked for would be
the very storm on the origins that serving stale is to spare them. So a worker runs at most its share of `--refreshes`
at once. A page beyond that goes on being served stale, and waits in a table with the number of stale hits that it has
had; whenever a refresh ends, the page with the most begins.

The share: a word that all workers write would make it exact to the last, and a killed worker would leave its part in
it; a part for each worker costs nothing and leaves nothing, and accepting spreads the clients anyway.

When its turn comes a page is looked at again, and once more when the claim on it is ours: what is fresh by now (another
worker's, or a visitor's fetch), gone, or under way elsewhere is skipped. The table is bounded; where it is full, a page
is left out until its next hit, which the hot ones have soon. A page that is never hit again was at least once. What
stands in it is one request each, at most `--head-size`. A stop cancels what runs, and begins nothing more.

Owns one worker's running and waiting refreshes. Knows nothing of what a refresh does (`proxy.fill`). Invariants: never
more than the share run, and nothing waits while fewer do.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from accel.caching.reuse import Reuse, judge
from accel.policy.verdict import Action
from accel.proxy.asking import Asking
from accel.proxy.contents import Found
from accel.proxy.fill import shared_fill
from accel.stats.counters import index

if TYPE_CHECKING:
    from accel.proxy.service import Service

_REFRESHES, _DEFERRED, _LEFT_OUT = index("refreshes"), index("refreshes_deferred"), index("refreshes_left_out")
_MOST_WAITING = 1024
_LOOKS = 16
"""So many waiting pages are looked at in one turn: some 10 us each, and after a purge of everything all are skipped."""


def share_of(refreshes: int | None, workers: int) -> int | None:
    """Return a worker's part of what all may refresh at once; None: no limit."""
    return None if refreshes is None else max(1, refreshes // workers)


class Refreshing:
    """The refreshes of one worker."""

    def __init__(self, most_waiting: int = _MOST_WAITING) -> None:
        self._most_waiting = most_waiting
        self._service: Service
        self._share: int | None = None
        self._running = 0
        self._hits: dict[bytes, int] = {}
        """Of what waits: stale hits since it does."""
        self._asked: dict[bytes, Asking] = {}
        """Of what waits: what was asked."""

    def use(self, service: Service, share: int | None) -> None:
        """Refresh by this configuration from now on, `share` at once (None: no limit)."""
        self._service, self._share = service, share
        self._go_on()

    def ask(self, asking: Asking, found: Found) -> None:
        """A stale response was served to `asking`, a plain GET: refresh it, now or when its turn comes."""
        if found.key in self._hits:
            self._hits[found.key] += 1
        elif not self._is_full:
            self._begin(asking, found)
        elif self._service.flights.find(self._service, found) is None:
            self._defer(asking, found.key)

    @property
    def _is_full(self) -> bool:
        return self._share is not None and self._running >= self._share

    def _defer(self, asking: Asking, key: bytes) -> None:
        is_room = len(self._hits) < self._most_waiting
        self._service.counters[_DEFERRED if is_room else _LEFT_OUT] += 1
        if is_room:
            self._hits[key] = 1
            self._asked[key] = asking

    def _begin(self, asking: Asking, found: Found) -> None:
        """Refresh what was found, unless that is under way here or in another worker."""
        service = self._service
        if service.flights.find(service, found) is not None:
            return
        claim = service.claim(found.key)
        if claim is not None and not claim.leads:
            return
        fill = None
        try:
            now_found = self._stale(asking)  # another worker may have refreshed it between our look and our claim
            if now_found is None or now_found.key != found.key:
                return
            fill = shared_fill(service, asking, now_found, None)
            self._running += 1
            service.counters[_REFRESHES] += 1
            service.flights.begin(now_found, fill, claim)
            fill.when_done(self._ended)
        finally:
            if fill is None and claim is not None:
                claim.release()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running -= 1
        if not task.cancelled():
            self._go_on()

    def _go_on(self) -> None:
        """Begin what has waited, the hottest first, while the share allows it."""
        for _ in range(_LOOKS):
            if self._is_full or not self._hits:
                return
            self._look_again(max(self._hits, key=self._hits.__getitem__))
        asyncio.get_running_loop().call_soon(self._go_on)

    def _look_again(self, key: bytes) -> None:
        """Refresh a page whose turn has come, if it still is what it was: stored, and stale."""
        del self._hits[key]
        asking = self._by_rules_in_force(self._asked.pop(key))
        found = self._stale(asking) if asking is not None else None
        if asking is not None and found is not None:
            self._begin(asking, found)

    def _stale(self, asking: Asking) -> Found | None:
        """Return what is stored for it now; None: nothing, or what is fresh."""
        service = self._service
        now = service.now()
        found = service.cache.find(asking.asked, now)
        entry = found.entry
        if entry is None:
            return None
        judgement = judge(entry.stored, asking.request.fields, now, service.caching, entry.is_soft_purged)
        return None if judgement.reuse is Reuse.FRESH else found

    def _by_rules_in_force(self, asking: Asking) -> Asking | None:
        """Decide anew on what has waited over a reload: its pool may be gone; None: it is not looked up any more."""
        policy = self._service.policies.of(asking.request.host)
        if policy is asking.policy:
            return asking
        decision = policy.request(asking.request, asking.decision.client_ip)
        return Asking(policy, asking.request, decision).plain() if decision.action is Action.LOOKUP else None
