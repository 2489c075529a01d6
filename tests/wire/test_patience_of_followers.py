"""How long those wait who came second: a little in doubt, to the end or not at all where it is known what will come."""

from __future__ import annotations

import pytest
from wire_scene import Client, MakeScene, Scene

from accel.config import CachingOptions
from accel.errors import OriginTimeout
from accel.proxy.patience import Evidence

MINUTE = "max-age=60"


@pytest.fixture
async def held(make_scene: MakeScene) -> Scene:
    """Return a scene in which no timer fires but by `after`, and the wait is 200 ms."""
    scene = make_scene(caching=CachingOptions(coalesce_wait_s=0.2))
    scene.hold_clock()
    return scene


def ask_all(scene: Scene, target: str, count: int = 4, **fields: str) -> list[Client]:
    """Return clients that all asked the same."""
    clients = [scene.client() for _ in range(count)]
    for client in clients:
        client.ask(target, **fields)
    return clients


def bodies(clients: list[Client]) -> list[bytes]:
    """Return what each client got, whole answers only."""
    return [b"".join(answer.body for answer in client.answers if answer.is_whole) for client in clients]


async def seen(scene: Scene, cache_control: str, *targets: str) -> None:
    """Let pages be asked for once each."""
    for target in targets:
        scene.origin.page(target, cache_control=cache_control)
        await scene.get(target)
    scene.origin.calls.clear()
    scene.origin.script.clear()


async def test_of_an_unknown_page_all_wait_a_little_and_then_fetch_at_once(held: Scene) -> None:
    clients = ask_all(held, "/slow")
    await held.after(0.15, 0.05)
    assert len(held.origin.calls) == 1
    await held.after(0.1, 0.05)
    assert len(held.origin.calls) == 4

    for number, call in enumerate(held.origin.calls):
        call.answer(b"%d" % number, cache_control="private")
    await held.settle()
    assert bodies(clients) == [b"0", b"1", b"2", b"3"]
    assert held.counts("waits_given_up", "collapsed", "misses") == (3, 0, 4)


async def test_a_head_within_the_wait_answers_all(held: Scene) -> None:
    clients = ask_all(held, "/quick")
    await held.after(0.15, 0.05)
    reply = held.origin.calls[0].begin(cache_control=MINUTE).send(b"o")
    await held.after(5)
    reply.send(b"ne").end()
    await held.settle()

    assert bodies(clients) == [b"one"] * 4
    assert len(held.origin.calls) == 1
    assert held.count("waits_given_up") == 0


async def test_who_comes_later_has_a_wait_of_its_own(held: Scene) -> None:
    first = ask_all(held, "/slow", 2)
    await held.after(0.15, 0.05)
    late = ask_all(held, "/slow", 2)
    await held.after(0.1, 0.05)
    assert len(held.origin.calls) == 2

    held.origin.calls[0].answer(b"one", cache_control=MINUTE)
    await held.settle()
    assert bodies([first[0], *late]) == [b"one"] * 3
    assert len(held.origin.calls) == 2
    held.origin.calls[1].answer(b"own", cache_control=MINUTE)


async def test_a_loop_that_was_busy_gives_up_nothing(held: Scene) -> None:
    clients = ask_all(held, "/quick")
    await held.after(10, 10)
    (call,) = held.origin.calls
    call.answer(b"one", cache_control=MINUTE)
    await held.settle()

    assert bodies(clients) == [b"one"] * 4


async def test_a_wait_is_for_all_fetches_together(held: Scene) -> None:
    ask_all(held, "/slow")
    await held.after(0.15, 0.05)
    held.origin.calls[0].fail(OriginTimeout("slow"))
    await held.settle()
    assert len(held.origin.calls) == 2, "the first to come leads, the rest wait for it"
    await held.after(0.1, 0.01)

    assert len(held.origin.calls) == 4


async def test_where_the_kin_were_stored_all_wait_to_the_end(held: Scene) -> None:
    await seen(held, MINUTE, "/d/1", "/d/2", "/d/3")
    clients = ask_all(held, "/d/slow")
    await held.after(10)
    (call,) = held.origin.calls
    call.answer(b"one", cache_control=MINUTE)
    await held.settle()

    assert bodies(clients) == [b"one"] * 4


async def test_where_the_kin_could_not_be_stored_nobody_waits(held: Scene) -> None:
    await seen(held, "private", "/d/1", "/d/2", "/d/3")
    ask_all(held, "/d/slow")
    await held.settle()

    assert len(held.origin.calls) == 4


async def test_a_purged_page_is_fetched_once_however_slow(held: Scene) -> None:
    await seen(held, MINUTE, "/page")
    await held.get("/page", "PURGE")
    clients = ask_all(held, "/page")
    await held.after(10)
    (call,) = held.origin.calls
    call.answer(b"new", cache_control=MINUTE)
    await held.settle()

    assert bodies(clients) == [b"new"] * 4


async def test_what_is_stored_though_stale_is_validated_once_however_slow(held: Scene) -> None:
    await seen(held, "max-age=1, must-revalidate", "/page")
    await held.after(2)
    clients = ask_all(held, "/page")
    await held.after(10)
    (call,) = held.origin.calls
    call.answer(b"new", cache_control=MINUTE)
    await held.settle()

    assert bodies(clients) == [b"new"] * 4


async def test_of_those_who_gave_up_one_fills_the_store(held: Scene) -> None:
    clients = ask_all(held, "/slow")
    await held.after(0.25, 0.05)
    for call in held.origin.calls[1:]:
        call.begin(cache_control=MINUTE).send(b"own")
    await held.settle()
    for call in held.origin.calls[1:]:
        assert call.reply is not None
        call.reply.end()
    await held.settle()

    assert bodies(clients[1:]) == [b"own"] * 3
    assert held.count("stored") == 1
    assert (await held.get("/slow")).cache_status[0] == "hit"
    held.origin.calls[0].answer(b"leader's", cache_control=MINUTE)
    await held.settle()
    assert (await held.get("/slow")).body == b"leader's"


async def test_one_who_gave_up_and_comes_after_another_was_stored_leaves_that(held: Scene) -> None:
    clients = ask_all(held, "/slow", 3)
    await held.after(0.25, 0.05)
    held.origin.calls[1].answer(b"first", cache_control=MINUTE)
    await held.settle()
    held.origin.calls[2].answer(b"second", cache_control=MINUTE)
    await held.settle()

    assert bodies(clients[1:]) == [b"first", b"second"]
    assert (await held.get("/slow")).body == b"first"
    held.origin.calls[0].answer(b"leader's", cache_control="private")


async def test_what_was_begun_before_a_purge_does_not_keep_the_newer_out(held: Scene) -> None:
    ask_all(held, "/slow", 2)
    await held.after(0.25, 0.05)
    old = held.origin.calls[1].begin(cache_control=MINUTE).send(b"old")
    await held.settle()
    await held.get("/slow", "PURGE")
    held.cache.evidence = Evidence()  # the old one's head has said that the page can be stored: who knows it waits
    ask_all(held, "/slow", 2)
    await held.after(0.25, 0.05)
    held.origin.calls[3].answer(b"new", cache_control=MINUTE)
    await held.settle()
    old.end()
    await held.settle()

    assert (await held.get("/slow")).body == b"new"
    held.origin.calls[0].answer(b"x", cache_control="private")
    held.origin.calls[2].answer(b"x", cache_control="private")


async def test_a_follower_whose_leader_left_gives_up_for_a_fetch_of_its_own(held: Scene) -> None:
    leader, follower = ask_all(held, "/slow", 2)
    await held.settle()
    leader.transport.lose()
    await held.after(0.25, 0.05)
    first, own = held.origin.calls
    assert first.was_cancelled
    own.answer(b"own", cache_control=MINUTE)
    await held.settle()

    assert bodies([follower]) == [b"own"]


async def test_no_more_give_up_than_there_are_places_for(held: Scene) -> None:
    held.origin.places = 1
    clients = ask_all(held, "/slow")
    await held.after(10)
    leaders, own = held.origin.calls
    leaders.answer(b"one", cache_control=MINUTE)
    own.answer(b"own", cache_control=MINUTE)
    await held.settle()

    assert sorted(bodies(clients)) == [b"one", b"one", b"one", b"own"]


@pytest.mark.parametrize(("wait_s", "fetches"), [(None, 1), (0.0, 4)])
async def test_the_wait_is_the_operators(make_scene: MakeScene, wait_s: float | None, fetches: int) -> None:
    scene = make_scene(caching=CachingOptions(coalesce_wait_s=wait_s))
    scene.hold_clock()
    ask_all(scene, "/slow")
    await scene.after(10)

    assert len(scene.origin.calls) == fetches
