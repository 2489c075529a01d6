"""One fetch for the cache: how its wait ends, who may claim what came, and who may still join."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from wire_scene import Scene

from accel.caching.invalidation import Purge, What
from accel.errors import OriginTimeout
from accel.http.message import Fields, Request
from accel.proxy.asking import Asking
from accel.proxy.fill import Ending, Fill
from accel.proxy.origin_view import origin_request

REQUEST = Request(b"GET", b"/", b"a", b"a", 1, Fields())
PRIMARY = b"a\0/"


class Stage(Scene):
    """A worker's parts, with fills begun by hand."""

    def fill(self, leader: object = None) -> Fill:
        """Begin a fill that others may join."""
        found = self.cache.find(REQUEST, self.now)
        policy = self.service.policies.of(REQUEST.host)
        asking = Asking(policy, REQUEST, policy.request(REQUEST, ""))
        fill = Fill(self.service, found, asking, origin_request(REQUEST, "", whole=True), leader)
        self.flights.begin(found, fill, None)
        return fill

    def joinable(self) -> Fill | None:
        """Return what a request that comes now would join."""
        return self.flights.find(self.service, self.cache.find(REQUEST, self.now))


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """Return a stage whose end is checked as that of every scene."""
    stage = Stage()
    yield stage
    await stage.end()


async def test_a_storable_response_is_streamed_and_stored(stage: Stage) -> None:
    fill = stage.fill(leader := object())
    assert stage.joinable() is fill
    call = await stage.call()
    call.answer(b"hello", cache_control="max-age=60")
    assert await fill.head() is Ending.STREAMING
    reader = fill.body.reader()
    assert (await reader.read(), await reader.read()) == (b"hello", b"")
    reader.close()
    assert fill.claim(leader) is None
    await stage.settle()
    assert stage.joinable() is None
    assert stage.cache.find(REQUEST, stage.now).entry is not None


async def test_an_uncacheable_response_is_the_leaders_once(stage: Stage) -> None:
    fill = stage.fill(leader := object())
    (await stage.call()).answer(b"x", cache_control="private")
    assert await fill.head() is Ending.UNCACHEABLE
    assert fill.claim(object()) is None
    response = fill.claim(leader)
    assert response is not None
    assert fill.claim(leader) is None
    fill.release(leader)
    response.close()
    await stage.settle()
    assert stage.joinable() is None


@pytest.mark.parametrize("released_first", [True, False])
async def test_an_uncacheable_response_that_nobody_claims_is_closed(stage: Stage, released_first: bool) -> None:
    fill = stage.fill(leader := object())
    waiting = asyncio.ensure_future(fill.head())
    call = await stage.call()
    fill.release(object())
    if released_first:
        fill.release(leader)
    reply = call.answer(b"x", cache_control="private")
    assert await waiting is Ending.UNCACHEABLE
    fill.release(leader)
    assert reply.is_closed


async def test_a_failure_ends_the_wait_of_all(stage: Stage) -> None:
    fill = stage.fill(object())
    waiting = [asyncio.ensure_future(fill.head()) for _ in range(3)]
    (await stage.call()).fail(OriginTimeout("slow"))
    assert await asyncio.gather(*waiting) == [Ending.FAILED] * 3
    assert isinstance(fill.error, OriginTimeout)
    assert stage.joinable() is None


async def test_the_last_who_leaves_ends_the_fetch(stage: Stage) -> None:
    fill = stage.fill(object())
    waiting = [asyncio.ensure_future(fill.head()) for _ in range(2)]
    call = await stage.call()
    waiting[0].cancel()
    await stage.settle()
    assert not call.was_cancelled
    waiting[1].cancel()
    await stage.settle()
    assert call.was_cancelled
    assert await fill.head() is Ending.FAILED
    assert stage.joinable() is None


async def test_a_refresh_needs_nobody(stage: Stage) -> None:
    fill = stage.fill(leader=None)
    waiting = asyncio.ensure_future(fill.head())
    call = await stage.call()
    waiting.cancel()
    await stage.settle()
    assert not call.was_cancelled
    call.answer(b"x", cache_control="max-age=60")
    await stage.settle()
    assert stage.cache.find(REQUEST, stage.now).entry is not None


async def test_nobody_joins_from_behind_a_purge(stage: Stage) -> None:
    old = stage.fill(object())
    await stage.machine.invalidate(Purge(What.URL, (PRIMARY,)), counted=False)
    assert stage.joinable() is None
    new = stage.fill(object())
    assert stage.joinable() is new
    (await stage.call(0)).answer(b"old", cache_control="max-age=60")
    await stage.settle()
    assert stage.joinable() is new, "the end of the old one took the new one out"
    assert await old.head() is Ending.STREAMING
    assert stage.cache.find(REQUEST, stage.now).entry is None


async def test_nobody_joins_what_outgrew_the_store(stage: Stage) -> None:
    fill = stage.fill(object())
    waiting = asyncio.ensure_future(fill.head())
    reply = (await stage.call()).begin(cache_control="max-age=60")
    await waiting
    reader = fill.body.reader()
    reply.send(b"x" * (stage.store.max_body_bytes + 1))
    await stage.settle()
    assert stage.joinable() is None
    reader.close()
    reply.end()
