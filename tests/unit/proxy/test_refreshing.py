"""Refreshes behind stale hits: so many at once, the hottest first, and none in vain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from test_ruled_exchanges import sites
from wire_scene import Scene

from accel.caching.invalidation import Purge, What
from accel.caching.key import primary_key
from accel.config import CachingOptions
from accel.errors import OriginTimeout
from accel.proxy.refreshing import Refreshing, share_of

GRACE = "max-age=1, stale-while-revalidate=600"


class Stage(Scene):
    """A worker with stale pages, which may refresh two of them at once."""

    def __init__(self, refreshes: int | None = 2) -> None:
        super().__init__(caching=CachingOptions(refreshes=refreshes))

    async def stale(self, *targets: str) -> None:
        """Store pages and let them become stale; from then on the origin answers when the test says so."""
        for target in targets:
            self.origin.page(target, cache_control=GRACE)
            await self.get(target)
        await self.after(2)
        self.origin.script.clear()
        self.origin.calls.clear()

    async def hit(self, target: str, times: int = 1) -> None:
        """Ask for a stale page; it is answered from the store whatever the refreshes do."""
        for _ in range(times):
            assert (await self.get(target)).cache_status[0] == "hit"

    def asked(self) -> list[str]:
        """Return what was refreshed so far, in order."""
        return [call.request.target.decode() for call in self.origin.calls]

    async def answer(self, number: int) -> None:
        """Answer one refresh."""
        self.origin.calls[number].answer(b"new", cache_control=GRACE)
        await self.settle()


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """Return a stage whose end is checked as that of every scene."""
    stage = Stage()
    yield stage
    await stage.end()


async def test_no_more_than_the_share_run_at_once(stage: Stage) -> None:
    await stage.stale("/1", "/2", "/3", "/4")
    for target in ("/1", "/2", "/3", "/4"):
        await stage.hit(target)
    assert stage.asked() == ["/1", "/2"]

    await stage.answer(1)
    assert stage.asked() == ["/1", "/2", "/3"]
    await stage.answer(0)
    await stage.answer(2)
    await stage.answer(3)
    assert stage.asked() == ["/1", "/2", "/3", "/4"]
    assert stage.counts("refreshes", "refreshes_deferred", "refreshes_left_out") == (4, 2, 0)
    assert stage.counts("hits", "hits_stale") == (4, 4)


async def test_the_hottest_goes_first(stage: Stage) -> None:
    await stage.stale("/1", "/2", "/cold", "/hot", "/warm")
    for target, times in (("/1", 1), ("/2", 1), ("/cold", 1), ("/warm", 2), ("/hot", 3)):
        await stage.hit(target, times)

    for number in range(5):
        await stage.answer(number)

    assert stage.asked()[2:] == ["/hot", "/warm", "/cold"]


async def test_what_runs_is_not_asked_for_again(stage: Stage) -> None:
    await stage.stale("/1", "/2")
    await stage.hit("/1", 3)
    await stage.hit("/2", 3)

    assert stage.asked() == ["/1", "/2"]
    assert stage.count("refreshes_deferred") == 0


async def test_a_failed_refresh_makes_room_for_the_next(stage: Stage) -> None:
    await stage.stale("/1", "/2", "/3")
    for target in ("/1", "/2", "/3"):
        await stage.hit(target)

    stage.origin.calls[0].fail(OriginTimeout("slow"))
    await stage.settle()

    assert stage.asked() == ["/1", "/2", "/3"]


async def test_what_was_purged_while_it_waited_is_skipped(stage: Stage) -> None:
    await stage.stale("/1", "/2", "/gone", "/4")
    for target in ("/1", "/2", "/gone", "/4"):
        await stage.hit(target)
    await stage.get("/gone", "PURGE")

    await stage.answer(0)

    assert stage.asked() == ["/1", "/2", "/4"]


async def test_what_a_visitor_renewed_while_it_waited_is_skipped(stage: Stage) -> None:
    await stage.stale("/1", "/2", "/renewed", "/4")
    for target in ("/1", "/2", "/renewed", "/4"):
        await stage.hit(target)
    stage.client().ask("/renewed", cache_control="no-cache")
    (await stage.call()).answer(b"new", cache_control="max-age=600")

    await stage.answer(0)

    assert stage.asked() == ["/1", "/2", "/renewed", "/4"], "once for its visitor, and not again"


async def test_what_a_visitor_fetches_right_now_is_skipped(stage: Stage) -> None:
    await stage.stale("/1", "/2", "/fetched", "/4")
    for target in ("/1", "/2", "/fetched", "/4"):
        await stage.hit(target)
    stage.client().ask("/fetched", cache_control="no-cache")

    await stage.answer(0)

    assert stage.asked() == ["/1", "/2", "/fetched", "/4"]


async def test_where_too_many_wait_a_page_comes_again_with_a_later_hit(stage: Stage) -> None:
    stage.refreshing = stage.service.refreshing = Refreshing(most_waiting=1)
    stage.refreshing.use(stage.service, 1)
    await stage.stale("/1", "/2", "/3")
    for target in ("/1", "/2", "/3"):
        await stage.hit(target)
    assert stage.counts("refreshes_deferred", "refreshes_left_out") == (1, 1)

    await stage.answer(0)
    await stage.hit("/3")
    await stage.answer(1)

    assert stage.asked() == ["/1", "/2", "/3"]


async def test_a_larger_share_is_used_at_once(stage: Stage) -> None:
    targets = [f"/{number}" for number in range(6)]
    await stage.stale(*targets)
    for target in targets:
        await stage.hit(target)
    assert len(stage.asked()) == 2

    stage.refreshing.use(stage.service, 4)
    await stage.settle()
    assert len(stage.asked()) == 4
    stage.refreshing.use(stage.service, None)
    await stage.settle()

    assert len(stage.asked()) == 6


async def test_what_waits_over_a_reload_is_refreshed_by_the_new_rules(stage: Stage) -> None:
    await stage.stale("/1", "/2", "/3", "/4")
    for target in ("/1", "/2", "/3", "/4"):
        await stage.hit(target)

    stage.service.policies = sites('request { when path == "/3" { pass "by now" }\n set header "X-Rules" "new" }')
    await stage.answer(0)
    await stage.answer(1)

    assert stage.asked() == ["/1", "/2", "/4"]
    assert stage.origin.calls[2].fields.get(b"x-rules") == b"new"


async def test_after_a_purge_of_all_that_waits_nothing_is_left_waiting(stage: Stage) -> None:
    targets = [f"/{number}" for number in range(50)]
    await stage.stale(*targets)
    for target in targets:
        await stage.hit(target)
    for target in targets[2:]:
        await stage.machine.invalidate(Purge(What.URL, (primary_key(b"example.org", target.encode()),)), counted=False)

    await stage.answer(0)

    assert stage.asked() == ["/0", "/1"]
    assert not stage.refreshing._hits and not stage.refreshing._asked


async def test_a_soft_purge_of_everything_refreshes_the_hit_pages_within_the_share(stage: Stage) -> None:
    targets = ("/1", "/2", "/3")
    for target in targets:
        stage.client().ask(target)
        (await stage.call()).answer(b"old", cache_control="max-age=600")
    await stage.machine.invalidate(Purge(What.ALL, (), True), counted=False)

    assert [(await stage.get(target)).body for target in targets] == [b"old"] * 3
    assert len(stage.origin.calls) == 3 + 2
    for number in (3, 4, 5):
        (await stage.call(number)).answer(b"new", cache_control="max-age=600")
    await stage.settle()

    assert [(await stage.get(target)).body for target in targets] == [b"new"] * 3
    assert len(stage.origin.calls) == 6


async def test_a_stop_begins_nothing_more(stage: Stage) -> None:
    await stage.stale("/1", "/2", "/3")
    before = asyncio.all_tasks()
    for target in ("/1", "/2", "/3"):
        await stage.hit(target)

    for task in asyncio.all_tasks() - before:
        task.cancel()
    await stage.settle()

    assert stage.asked() == ["/1", "/2"]


@pytest.mark.parametrize(
    ("refreshes", "workers", "share"), [(32, 2, 16), (32, 3, 10), (2, 8, 1), (1, 1, 1), (None, 4, None)]
)
def test_a_workers_share(refreshes: int | None, workers: int, share: int | None) -> None:
    assert share_of(refreshes, workers) == share
