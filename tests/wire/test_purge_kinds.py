"""Purges by tag, of everything, bans and soft ones, in between fetches and from a client's side."""

from __future__ import annotations

import json

import pytest
from memory_origin import Call
from wire_scene import Client, Scene

COVERING = ({"surrogate_key": "news"}, {"ban": "field.x-kind == page"}, {"purge": "all"})


def told(client: Client) -> list[bytes]:
    """Return the bodies of a client's answers."""
    return [answer.body for answer in client.answers]


def tagged(call: Call, body: bytes, **fields: str) -> None:
    """Answer a fetch with a page that each of COVERING covers."""
    call.answer(body, **{"cache_control": "max-age=60", "surrogate_key": "news", "x_kind": "page", **fields})


@pytest.mark.parametrize("covering", COVERING)
@pytest.mark.parametrize("frees", [True, False])
async def test_who_joined_a_fetch_after_what_covers_it_does_not_get_it(
    scene: Scene, covering: dict[str, str], frees: bool
) -> None:
    """Of a tag nobody knows, when the fetch is joined, that the response will carry it."""
    scene.machine.frees = frees
    before, after = scene.client(), scene.client()
    before.ask()
    old = await scene.call()
    await scene.get("/", "PURGE", **covering)
    after.ask()
    await scene.settle()

    tagged(old, b"old")
    new = await scene.call()
    assert new is not old
    tagged(new, b"new")
    await scene.settle()

    assert (told(before), told(after)) == ([b"old"], [b"new"])
    assert (await scene.get()).body == b"new"


@pytest.mark.parametrize("covering", COVERING)
async def test_who_joined_a_body_under_way_after_what_covers_it_does_not_get_it(
    scene: Scene, covering: dict[str, str]
) -> None:
    before, after = scene.client(), scene.client()
    before.ask()
    fields = {"cache_control": "max-age=60", "surrogate_key": "news", "x_kind": "page"}
    old = (await scene.call()).begin(**fields).send(b"ol")
    await scene.settle()
    await scene.get("/", "PURGE", **covering)
    after.ask()
    tagged(await scene.call(), b"new")
    await scene.settle()
    old.send(b"d").end()
    await scene.settle()

    assert (told(before), told(after)) == ([b"old"], [b"new"])
    assert (await scene.get()).body == b"new"


@pytest.mark.parametrize("covering", COVERING)
async def test_what_is_covered_does_not_stand_in_for_a_failing_origin(scene: Scene, covering: dict[str, str]) -> None:
    client = scene.client()
    client.ask()
    tagged(await scene.call(), b"old", cache_control="max-age=1, stale-if-error=60", etag='"a"')
    await scene.after(2)
    client.ask()
    validation = await scene.call()
    await scene.get("/", "PURGE", **covering)
    validation.answer(b"oops", 503)
    await scene.settle()

    assert [answer.status for answer in client.answers] == [200, 502]


async def test_a_304_to_what_was_purged_by_tag_meanwhile_is_not_stored(scene: Scene) -> None:
    client = scene.client()
    client.ask()
    tagged(await scene.call(), b"old", cache_control="max-age=1", etag='"a"')
    await scene.after(2)
    client.ask()
    validation = await scene.call()
    await scene.get("/", "PURGE", xkey="news")
    validation.answer(status=304, etag='"a"', cache_control="max-age=60")
    await scene.settle()

    scene.origin.page("/", b"new")
    assert (await scene.get()).body == b"new"


async def test_a_304_brings_tags_that_count_from_then_on(scene: Scene) -> None:
    client = scene.client()
    client.ask()
    tagged(await scene.call(), b"page", cache_control="max-age=1", etag='"a"')
    await scene.after(2)
    client.ask()
    (await scene.call()).answer(status=304, etag='"a"', cache_control="max-age=60", surrogate_key="moved")
    await scene.settle()

    await scene.get("/", "PURGE", surrogate_key="news")
    assert (await scene.get()).cache_status[0] == "hit"
    await scene.get("/", "PURGE", surrogate_key="moved")
    client.ask()
    assert await scene.call() is scene.origin.calls[2]


async def test_a_soft_purge_is_refreshed_once_behind_its_first_hit(scene: Scene) -> None:
    client = scene.client()
    client.ask()
    tagged(await scene.call(), b"old", etag='"a"')
    await scene.settle()
    answer = await scene.get("/", "PURGE", soft_purge="1")
    assert (answer.status, json.loads(answer.body)["touched"]) == (200, 1)

    bodies = [(await scene.get()).body for _ in range(3)]
    assert (bodies, len(scene.origin.calls)) == ([b"old"] * 3, 2)
    tagged(await scene.call(), b"new")
    await scene.settle()

    assert (await scene.get()).body == b"new"
    assert len(scene.origin.calls) == 2
    assert scene.counts("hits", "hits_stale", "refreshes") == (4, 3, 1)


async def test_what_is_purged_softly_while_it_comes_is_stored_as_stale(scene: Scene) -> None:
    client = scene.client()
    client.ask()
    old = await scene.call()
    await scene.get("/", "PURGE", xkey="news", soft_purge="1")
    tagged(old, b"old")
    await scene.settle()

    assert (await scene.get()).body == b"old"
    tagged(await scene.call(1), b"new")
    await scene.settle()
    assert (await scene.get()).body == b"new"


async def test_a_soft_purge_of_nothing_is_a_404(scene: Scene) -> None:
    assert (await scene.get("/", "PURGE", soft_purge="1")).status == 404


async def test_a_star_is_everything(scene: Scene) -> None:
    for target in ("/a", "/b?c"):
        scene.origin.page(target)
        await scene.get(target)

    answer = await scene.get("*", "PURGE")

    assert json.loads(answer.body)["dropped"] == 2
    assert (await scene.get("/a")).cache_status[0] == "fwd=uri-miss"


async def test_a_purge_that_is_refused_says_why_and_keeps_the_connection(scene: Scene) -> None:
    client = scene.client()

    answer = await scene.get("/", "PURGE", client, ban="url ~ (")

    assert (answer.status, client.is_open) == (400, True)
    assert json.loads(answer.body)["error"].startswith("column 7: no regular expression (missing ): ()")
