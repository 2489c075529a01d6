"""Many pages that are stale at once: they are served, and refreshed a few at a time, the hottest first."""

from __future__ import annotations

import asyncio

import pytest
from accel_process import StartAccel
from children import eventually
from fault_origin import FaultOrigin, Talk, reply
from http_clients import Load, ask, wait_stale

pytestmark = pytest.mark.scene
GRACE = "Cache-Control: max-age=1, stale-while-revalidate=600"
PAGES = [f"/page/{number}" for number in range(200)]
HOT = PAGES[39::40]
AT_ONCE = 4
TAKES_S = 0.01


class Busy:
    """An origin's pages that take their time once the gate is open; how many were asked for at once, at most."""

    def __init__(self) -> None:
        self.peak = self._running = 0

    async def __call__(self, talk: Talk) -> bool:
        """Answer one request."""
        self._running += 1
        self.peak = max(self.peak, self._running)
        try:
            await talk.gate()
            await asyncio.sleep(TAKES_S)
            return await reply(b"new", "Cache-Control: max-age=600")(talk)
        finally:
            self._running -= 1


def test_of_many_stale_pages_few_are_refreshed_at_once_and_the_hottest_first(
    start_accel: StartAccel, fault: FaultOrigin
) -> None:
    accel = start_accel([fault.backend], "--refreshes", str(AT_ONCE))
    for page in PAGES:
        fault.on(page, reply(b"old", GRACE))
        ask(accel, page)
    wait_stale(accel, PAGES[-1])
    busy = Busy()
    for page in PAGES:
        fault.on(page, busy)
    fault.seen.clear()

    with Load(accel.port, [page for cold in PAGES for page in (cold, *HOT)]) as load:
        eventually("nearly all wait", lambda: accel.counter("refreshes_deferred") > len(PAGES) - 20)
        load.wait_more(len(PAGES) * 2 * len(HOT))
        first = len(fault.seen)
        fault.open_gate()
        eventually("all were refreshed", lambda: {seen.target for seen in fault.seen} >= set(PAGES))

    order = [seen.target for seen in fault.seen]
    assert first <= AT_ONCE and busy.peak <= AT_ONCE
    assert {*HOT} <= {*order[: len(PAGES) // 4]}
    assert not load.failures and set(load.statuses) == {200}
