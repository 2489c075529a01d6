"""What an exchange leaves in the log: the way it took, in times, verdict, reason, rule, backend, age and tags."""

from __future__ import annotations

from math import isnan

import pytest
from wire_scene import NOW, MakeScene, Scene

from accel.config import LOOPBACK, CachingOptions
from accel.errors import OriginTimeout
from accel.http.cache_status import Forward
from accel.policy.built_in import built_in
from accel.policy.check import check
from accel.policy.compile import compiled
from accel.policy.parser import parse
from accel.policy.sites import Sites
from accel.proxy.outcome import Outcome
from accel.stats.records import OUTCOMES, REASONS, LogRecord


def ruled(make_scene: MakeScene, text: str) -> Scene:
    """Return a scene under rules of one file, `a.policy`."""
    caching = CachingOptions()
    checked = check(parse("policy 1\n" + text, "a.policy"), lambda name: None, str)
    return make_scene(policies=Sites([compiled(checked, caching, LOOPBACK)], built_in(caching, LOOPBACK)))


def last(scene: Scene) -> LogRecord:
    """Return the record of the exchange that ended last."""
    return scene.log.records[-1]


async def test_a_miss_says_what_it_waited_for_and_what_came(scene: Scene) -> None:
    client = scene.client()
    client.ask("/a")
    call = await scene.call()
    await scene.after(2)
    reply = call.begin(length=4, cache_control="max-age=60", surrogate_key="news front")
    await scene.after(1)
    reply.send(b"body").end()
    await scene.settle()

    record = last(scene)
    assert (record.at, record.outcome, record.reason, record.backend) == (NOW, "miss", "uri-miss", "origin:1")
    assert (record.first_byte_s, record.origin_s, record.duration_s) == (2, 2, 3)
    assert (record.age_s, record.ttl_s, record.tags) == (2, 58, b"news front"), "the wait counts (RFC 9111 §4.2.3)"
    assert (record.rule, record.retries, record.number) == ("", 0, 1)


async def test_a_hit_says_how_old_it_is_and_asked_no_origin(scene: Scene) -> None:
    scene.origin.page("/a")
    await scene.get("/a")
    await scene.after(20)

    await scene.get("/a")

    record = last(scene)
    assert (record.outcome, record.reason, record.backend, record.origin_s) == ("hit", "", "", 0)
    assert (record.age_s, record.ttl_s, record.first_byte_s) == (20, 40, 0)


async def test_a_stale_hit_has_a_negative_ttl(scene: Scene) -> None:
    scene.origin.page("/a", cache_control="max-age=10, stale-while-revalidate=60")
    await scene.get("/a")
    await scene.after(25)

    await scene.get("/a")

    record = next(record for record in scene.log.records if record.outcome == "stale")
    assert (record.age_s, record.ttl_s) == (25, -15)


async def test_who_joined_a_fetch_waited_for_the_origin_too(scene: Scene) -> None:
    for _ in range(2):
        scene.client().ask("/a")
    call = await scene.call()
    await scene.after(0.05, step_s=0.05)
    call.answer(b"page", cache_control="max-age=60")
    await scene.settle()

    assert [round(record.origin_s, 2) for record in scene.log.records] == [0.05, 0.05]


async def test_the_rule_that_decided_is_named_by_its_place(make_scene: MakeScene) -> None:
    rules = 'request {\n when path under "/cart" { pass "cart" }\n when path == "/no" { deny 403 }\n}'
    scene = ruled(make_scene, rules)
    scene.origin.page("/cart")

    await scene.get("/cart")
    await scene.get("/no")

    passed, denied = scene.log.records
    assert (passed.rule, passed.outcome, passed.reason) == ("a.policy:3", "pass", "bypass")
    assert (denied.rule, denied.outcome, denied.reason, denied.status) == ("a.policy:4", "synthetic", "", 403)


async def test_a_fetch_that_was_tried_again_says_how_often(scene: Scene) -> None:
    client = scene.client()
    client.ask("/a")
    call = await scene.call()
    call.begin(length=0, cache_control="no-store").end().retries = 2
    await scene.settle()

    assert last(scene).retries == 2


async def test_a_failed_fetch_says_how_long_it_was_waited_for(scene: Scene) -> None:
    client = scene.client()
    client.ask("/a")
    call = await scene.call()
    await scene.after(15)
    call.fail(OriginTimeout("slow"))
    await scene.settle()

    record = last(scene)
    assert (record.outcome, record.status, record.reason, record.origin_s) == ("error", 504, "uri-miss", 15)


async def test_a_client_that_left_unanswered_has_no_first_byte(scene: Scene) -> None:
    client = scene.client()
    client.ask("/a")
    await scene.call()
    await scene.after(1)
    client.transport.lose()
    await scene.settle()

    record = last(scene)
    assert (record.status, record.duration_s, record.origin_s) == (0, 1, 1)
    assert isnan(record.first_byte_s)


async def test_what_could_not_be_read_is_logged_without_a_target(scene: Scene) -> None:
    scene.client().send(b"GET / HTTP/1.1\r\nNONSENSE\r\n\r\n")
    await scene.settle()

    record = last(scene)
    assert (record.status, record.method, record.target, record.rule) == (400, b"-", b"-", "")


@pytest.mark.parametrize(("words", "table"), [
    ([outcome.word for outcome in Outcome], OUTCOMES),
    (["", *(reason.value.decode() for reason in Forward)], REASONS),
])  # fmt: skip
def test_the_words_of_a_record_are_those_of_the_proxy(words: list[str], table: tuple[str, ...]) -> None:
    assert tuple(words) == table


async def test_each_exchange_and_each_connection_has_a_number_of_its_own(scene: Scene) -> None:
    scene.origin.page("/a")
    first, second = scene.client(), scene.client()
    for client in (first, second, first):
        await scene.get("/a", client=client)

    records = scene.log.records
    assert len({record.exchange_id for record in records}) == 3
    assert records[0].connection_id == first.connection.id == 1
    assert records[1].connection_id == second.connection.id == 2


async def test_exchanges_are_numbered_as_they_began_whichever_ends_first(scene: Scene) -> None:
    scene.client().ask("/slow")
    call = await scene.call()
    scene.origin.page("/a")
    await scene.get("/a")
    call.answer(b"late")
    await scene.settle()

    assert [(record.target, record.exchange_id) for record in scene.log.records] == [(b"/a", 2), (b"/slow", 1)]


async def test_what_has_one_key_has_one_hash_whatever_was_sent_and_the_rest_has_none(make_scene: MakeScene) -> None:
    scene = ruled(make_scene, 'request {\n  query drop "utm_*"\n  when path == "/mine" { pass }\n}')
    for target in ("/a", "/b", "/mine"):
        scene.origin.page(target)
    for target in ("/a?utm_x=1", "/a", "/b", "/mine"):
        await scene.get(target)

    tagged, plain, other, passed = scene.log.records
    assert tagged.key_hash == plain.key_hash != 0
    assert other.key_hash not in (0, plain.key_hash)
    assert passed.key_hash == 0


async def test_the_target_that_an_origin_was_asked_for_is_told_where_rules_changed_it(make_scene: MakeScene) -> None:
    scene = ruled(make_scene, 'request { query drop "utm_*" }')
    for target in ("/a", "/b"):
        scene.origin.page(target)
    for target in ("/a?utm_x=1", "/b", "/a?utm_x=2"):
        await scene.get(target)

    assert [(record.outcome, record.asked) for record in scene.log.records] == [
        ("miss", b"/a"), ("miss", b""), ("hit", b""),
    ]  # fmt: skip


async def test_a_miss_beside_stored_variants_says_what_tells_them_apart(scene: Scene) -> None:
    scene.origin.page("/a", cache_control="max-age=60", vary="Accept-Language, User-Agent")
    for language, agent in (("de", "x"), ("en", "x"), ("en", "y"), ("en", "y")):
        await scene.get("/a", accept_language=language, user_agent=agent)

    first, second, third, hit = (record.varies.split() for record in scene.log.records)
    assert (first, hit) == ([], [])
    assert (second[0], third[0]) == (b"1", b"2"), "variants that are stored"
    names = [[part.partition(b"=")[0] for part in said[1:]] for said in (second, third)]
    assert names == [[b"accept-language", b"user-agent"]] * 2
    assert second[1] == third[1], "the same language"
    assert second[2] != third[2], "another agent"
