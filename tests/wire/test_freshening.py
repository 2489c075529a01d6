"""Stale responses: validated, refreshed behind, or served because the origin failed (RFC 9111 §4.2.4, §4.3)."""

from __future__ import annotations

import pytest
from wire_scene import NOW, Scene

from accel.errors import ConnectFailed, NoBackend, OriginTimeout
from accel.http.fields import format_date

EARLIER = format_date(NOW - 86_400).decode()


async def stale(scene: Scene, cache_control: str = "max-age=5", **fields: str) -> None:
    """Store a response and let it become stale by five seconds."""
    scene.origin.page("/", b"stored", cache_control=cache_control, **fields)
    await scene.get()
    await scene.after(10)
    scene.origin.script.clear()


async def test_a_304_makes_it_fresh_again_and_its_fields_new(scene: Scene) -> None:
    await stale(scene, etag='"a"', last_modified=EARLIER, x_old="old", x_both="1", content_type="text/plain")
    client = scene.client()
    client.ask()
    call = await scene.call()
    assert (call.fields.get(b"if-none-match"), call.fields.get(b"if-modified-since")) == (b'"a"', EARLIER.encode())
    call.answer(status=304, etag='"a"', cache_control="max-age=100", x_both="2", x_new="new", content_length="0")
    await scene.settle()
    (answer,) = client.answers
    assert (answer.status, answer.body) == (200, b"stored")
    assert (answer["cache-control"], answer["x-old"], answer["x-both"], answer["x-new"]) == (
        "max-age=100",
        "old",
        "2",
        "new",
    )
    assert answer.cache_status == ["fwd=stale", "fwd-status=304", "ttl=100", "stored"]
    assert scene.counts("misses", "hits_validated", "fetches") == (2, 1, 0)
    again = await scene.get()
    assert (again.cache_status, again["x-both"], again.body) == (["hit", "ttl=100"], "2", b"stored")


async def test_a_new_response_replaces_the_stale_one(scene: Scene) -> None:
    await stale(scene, etag='"a"')
    scene.origin.page("/", b"new", etag='"b"', cache_control="max-age=60")
    answer = await scene.get()
    assert (answer.body, answer.cache_status) == (b"new", ["fwd=stale", "fwd-status=200", "ttl=60", "stored"])
    assert (await scene.get()).body == b"new"


async def test_validation_is_shared(scene: Scene) -> None:
    await stale(scene, etag='"a"')
    clients = [scene.client() for _ in range(3)]
    for client in clients:
        client.ask()
    (await scene.call()).answer(status=304, etag='"a"', cache_control="max-age=60")
    await scene.settle()
    assert [client.answers[0].body for client in clients] == [b"stored"] * 3
    assert len(scene.origin.calls) == 2
    assert scene.count("collapsed") == 2


async def test_the_clients_own_condition_is_judged_after_ours(scene: Scene) -> None:
    await stale(scene, etag='"a"')
    scene.origin.page("/", status=304, etag='"a"', cache_control="max-age=60")
    answer = await scene.get(if_none_match='"a"')
    assert answer.status == 304
    assert scene.origin.calls[-1].fields.get(b"if-none-match") == b'"a"'
    ranged = await scene.get(range="bytes=0-1", cache_control="no-cache")
    assert (ranged.status, ranged.body) == (206, b"st")


async def test_no_cache_is_validated_each_time(scene: Scene) -> None:
    scene.origin.page("/", b"stored", cache_control="no-cache", etag='"a"')
    await scene.get()
    scene.origin.page("/", status=304, etag='"a"', cache_control="no-cache")
    for _ in range(3):
        answer = await scene.get()
        assert (answer.status, answer.body) == (200, b"stored")
    assert len(scene.origin.calls) == 4


async def test_what_has_no_validator_is_fetched_again(scene: Scene) -> None:
    await stale(scene)
    scene.client().ask()
    call = await scene.call()
    assert not {b"if-none-match", b"if-modified-since"} & {name for name, _ in call.fields.lines}


async def test_heads_of_a_stale_response_go_to_the_origin(scene: Scene) -> None:
    await stale(scene, etag='"a"')
    scene.client().ask("/", "HEAD")
    assert (await scene.call()).request.method == b"HEAD"


# Behind (RFC 5861 §3).


@pytest.mark.parametrize(("method", "body"), [("HEAD", b""), ("GET", b"a body")])
async def test_any_stale_hit_is_refreshed_by_a_plain_get(scene: Scene, method: str, body: bytes) -> None:
    await stale(scene, "max-age=5, stale-while-revalidate=60")
    scene.client().ask("/", method, body=body)
    call = await scene.call()
    assert (call.request.method, call.request.body) == (b"GET", None)
    call.answer(b"newer", cache_control="max-age=30")
    await scene.settle()
    assert (await scene.get()).body == b"newer"


async def test_one_refresh_runs_behind_stale_hits(scene: Scene) -> None:
    await stale(scene, "max-age=5, stale-while-revalidate=60", etag='"a"')
    for _ in range(3):
        answer = await scene.get()
        assert (answer.body, answer.cache_status) == (b"stored", ["hit", "ttl=-5"])
    assert len(scene.origin.calls) == 2
    assert scene.counts("hits", "hits_stale", "refreshes") == (3, 3, 1)
    scene.origin.calls[1].answer(status=304, etag='"a"', cache_control="max-age=30")
    await scene.settle()
    assert (await scene.get()).cache_status == ["hit", "ttl=30"]


async def test_a_refresh_outlives_the_client_that_caused_it(scene: Scene) -> None:
    await stale(scene, "max-age=5, stale-while-revalidate=60")
    client = scene.client()
    client.ask()
    await scene.settle()
    client.transport.lose()
    (await scene.call()).answer(b"new", cache_control="max-age=60")
    await scene.settle()
    assert (await scene.get()).body == b"new"


async def test_a_refresh_that_brings_nothing_to_store_ends_the_stale_hits(scene: Scene) -> None:
    await stale(scene, "max-age=5, stale-while-revalidate=60")
    await scene.get()
    (await scene.call()).answer(b"secret", cache_control="private")
    await scene.settle()
    scene.origin.page("/", b"new")
    assert (await scene.get()).body == b"new"


async def test_a_refresh_that_fails_leaves_what_is_stored(scene: Scene) -> None:
    await stale(scene, "max-age=5, stale-while-revalidate=60")
    await scene.get()
    (await scene.call()).fail(OriginTimeout("slow"))
    await scene.settle()
    assert (await scene.get()).cache_status[0] == "hit"
    assert len(scene.origin.calls) == 3


async def test_beyond_its_grace_it_is_validated_first(scene: Scene) -> None:
    await stale(scene, "max-age=5, stale-while-revalidate=3")
    scene.origin.page("/", b"new")
    assert (await scene.get()).body == b"new"


@pytest.mark.parametrize("forbidding", ["must-revalidate", "proxy-revalidate", "s-maxage=5"])
async def test_what_must_be_revalidated_is_never_served_stale(scene: Scene, forbidding: str) -> None:
    await stale(scene, f"max-age=5, stale-while-revalidate=60, stale-if-error=60, {forbidding}")
    scene.origin.script[b"/"] = NoBackend("none is up")
    assert (await scene.get()).status == 503
    assert (await scene.get(cache_control="max-stale")).status == 503


# Because the origin failed (RFC 5861 §4).


@pytest.mark.parametrize("error", [NoBackend("none"), ConnectFailed("refused"), OriginTimeout("slow")])
async def test_stale_stands_in_for_an_origin_that_failed(scene: Scene, error: Exception) -> None:
    await stale(scene, "max-age=5, stale-if-error=60")
    scene.origin.script[b"/"] = error
    answer = await scene.get()
    assert (answer.status, answer.body, answer["age"]) == (200, b"stored", "10")
    assert answer.cache_status == ["fwd=stale", "ttl=-5"]
    assert scene.counts("hits", "hits_stale", "errors") == (1, 1, 0)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_stale_stands_in_for_an_error_of_the_origins(scene: Scene, status: int) -> None:
    await stale(scene, "max-age=5, stale-if-error=60", etag='"a"')
    scene.origin.page("/", b"oops", status)
    assert (await scene.get()).body == b"stored"
    await scene.after(60)
    answer = await scene.get()
    assert (answer.status, answer.body) == (status, b"oops")


async def test_all_who_wait_get_what_is_stale(scene: Scene) -> None:
    await stale(scene, "max-age=5, stale-if-error=60")
    clients = [scene.client() for _ in range(3)]
    for client in clients:
        client.ask()
    (await scene.call()).fail(OriginTimeout("slow"))
    await scene.settle()
    assert [client.answers[0].body for client in clients] == [b"stored"] * 3
    assert len(scene.origin.calls) == 2


async def test_an_error_passes_where_stale_was_not_allowed(scene: Scene) -> None:
    await stale(scene)
    scene.origin.page("/", b"oops", 503)
    answer = await scene.get()
    assert (answer.status, answer.body) == (503, b"oops")
    scene.origin.page("/", status=304)
    scene.origin.script[b"/"] = ConnectFailed("refused")
    assert (await scene.get()).status == 503


async def test_stale_credentials_answers_are_judged_too(scene: Scene) -> None:
    await stale(scene, "public, max-age=5, stale-if-error=60")
    scene.origin.script[b"/"] = NoBackend("none")
    assert (await scene.get(authorization="Basic eDp5")).body == b"stored"


# Age (RFC 9111 §4.2.3).


async def test_age_counts_from_where_the_response_was_made(scene: Scene) -> None:
    scene.origin.page("/", cache_control="max-age=100", age="30", date=format_date(NOW - 10).decode())
    assert (await scene.get())["age"] == "30"
    await scene.after(5)
    assert (await scene.get())["age"] == "35"
    await scene.after(65)
    assert (await scene.get()).cache_status[0] == "fwd=stale"


async def test_the_time_of_the_fetch_counts_as_age(scene: Scene) -> None:
    client = scene.client()
    client.ask()
    await scene.after(4)
    (await scene.call()).answer(b"x", cache_control="max-age=100", age="30")
    await scene.settle()
    assert (await scene.get())["age"] == "34"


async def test_what_a_ban_left_is_served_when_the_origin_fails(scene: Scene) -> None:
    await stale(scene, "max-age=5, stale-if-error=600")
    await scene.get("/", "PURGE", ban="url == /other")
    scene.origin.script[b"/"] = NoBackend("none is up")

    assert (await scene.get()).body == b"stored"


async def test_credentials_get_nothing_stale_that_they_would_not_get_fresh(scene: Scene) -> None:
    await stale(scene, "max-age=5, stale-if-error=600")
    scene.origin.script[b"/"] = NoBackend("none is up")

    assert (await scene.get(authorization="Basic eA==")).status == 503
    assert (await scene.get()).body == b"stored"
