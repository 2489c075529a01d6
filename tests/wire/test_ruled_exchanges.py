"""What rules decide, carried out by the whole proxy: verdicts, keys, what origins and clients get to see."""

from __future__ import annotations

import pytest
from wire_scene import MakeScene, Scene

from accel.config import LOOPBACK, CachingOptions
from accel.errors import NoBackend, OriginTimeout
from accel.policy.built_in import built_in
from accel.policy.check import check
from accel.policy.compile import compiled
from accel.policy.parser import parse
from accel.policy.shipped import preset
from accel.policy.sites import Sites


def sites(*texts: str) -> Sites:
    """Return policies in force, one a text."""
    files = [parse("policy 1\n" + text, f"{number}.policy") for number, text in enumerate(texts)]
    caching = CachingOptions()
    return Sites([compiled(check(file, preset, str), caching, LOOPBACK) for file in files], built_in(caching, LOOPBACK))


def ruled(make_scene: MakeScene, *texts: str) -> Scene:
    """Return a scene under these rules."""
    return make_scene(policies=sites(*texts))


async def test_a_pass_is_neither_looked_up_nor_stored(make_scene: MakeScene) -> None:
    scene = ruled(make_scene, 'request { when path under "/cart" { pass "cart" } }')
    for number in range(2):
        client = scene.client()
        client.ask("/cart")
        (await scene.call(number)).answer(b"yours", cache_control="max-age=60")
        await scene.settle()

    assert scene.counts("passes", "stored") == (2, 0)


@pytest.mark.parametrize("verdict", ['pass "no sockets here"', "lookup", 'deny 403 "no"'])
async def test_an_upgrade_that_rules_do_not_pipe_is_not_offered_and_ends_the_connection(
    make_scene: MakeScene, verdict: str
) -> None:
    scene = ruled(make_scene, f"request {{ {verdict} }}")
    client = scene.client()

    client.ask("/ws", connection="upgrade", upgrade="websocket")
    await scene.settle()
    for call in scene.origin.calls:
        call.answer(b"plain", cache_control="no-store")
    await scene.settle()

    assert [call.request.upgrade for call in scene.origin.calls] in ([], [b""])
    assert [answer["connection"] for answer in client.answers] == ["close"]
    assert not client.is_open


async def test_a_redirect_a_page_and_a_refusal_are_answered_at_once(make_scene: MakeScene) -> None:
    scene = ruled(
        make_scene,
        'request {\n when path == "/old" { redirect 301 "https://www.example.org/new${url}" }\n'
        ' when path == "/page" { synth 200 "hello" }\n when path == "/no" { deny 403 "no" }\n}',
    )

    redirect, page, refusal = await scene.get("/old"), await scene.get("/page"), await scene.get("/no")

    assert (redirect.status, redirect["location"]) == (301, "https://www.example.org/new/old")
    assert (page.status, page.body) == (200, b"hello")
    assert refusal.status == 403
    assert not scene.origin.calls
    assert scene.count("synthetic") == 3


@pytest.mark.parametrize("status", [204, 205])
async def test_a_page_that_may_have_no_body_has_none(make_scene: MakeScene, status: int) -> None:
    scene = ruled(make_scene, f'request {{ when path == "/a" {{ synth {status} }}\n synth 200 "next" }}')
    client = scene.client()
    client.ask("/a")
    client.ask("/b")
    await scene.settle()

    assert b"\r\n\r\nHTTP/1.1 200 OK\r\n" in client.received
    assert ("content-length" in client.answers[0]) is (status == 205)


async def test_an_edited_query_is_the_key_and_what_the_origin_sees(make_scene: MakeScene) -> None:
    scene = ruled(make_scene, 'request { query drop "utm_*", sort }')
    client = scene.client()
    client.ask("/p?b=2&utm_source=x&a=1")
    call = await scene.call()
    call.answer(b"page", cache_control="max-age=60")
    await scene.settle()
    again = await scene.get("/p?a=1&b=2")

    assert call.request.target == b"/p?a=1&b=2"
    assert again["cache-status"].startswith("accel; hit")


async def test_an_extended_key_parts_what_a_purge_of_the_url_drops_together(make_scene: MakeScene) -> None:
    scene = ruled(make_scene, "request { key + cookie.currency }")
    for number, currency in enumerate(("eur", "usd")):
        scene.client().ask("/p", cookie=f"currency={currency}")
        (await scene.call(number)).answer(currency.encode(), cache_control="max-age=60")
        await scene.settle()

    euro, dollar = await scene.get("/p", cookie="currency=eur; x=1"), await scene.get("/p", cookie="currency=usd")
    receipt = await scene.get("/p", method="PURGE")

    assert (euro.body, dollar.body) == (b"eur", b"usd")
    assert b'"dropped": 2' in receipt.body


async def test_under_seal_the_origin_sees_only_what_is_keyed(make_scene: MakeScene) -> None:
    scene = ruled(make_scene, "request { seal; cookies keep lang }")
    client = scene.client()
    client.ask("/p", cookie="lang=de; session=1", user_agent="x", x_forwarded_host="evil", accept_encoding="gzip, br")
    call = await scene.call()
    call.answer(b"page", cache_control="max-age=60")
    await scene.settle()

    names = {name for name, _ in call.request.fields.lines}
    assert call.request.fields.get(b"cookie") == b"lang=de"
    assert call.request.fields.get(b"accept-encoding") == b"br,gzip"
    assert names.isdisjoint({b"user-agent", b"x-forwarded-for"})


async def test_conditions_see_the_request_as_it_came(make_scene: MakeScene) -> None:
    scene = ruled(make_scene, 'request {\n cookies keep none\n when cookie.session exists { pass "logged in" }\n}')
    scene.client().ask("/", cookie="session=1")
    (await scene.call()).answer(b"yours", cache_control="max-age=60")
    await scene.settle()

    assert scene.count("passes") == 1


async def test_a_lifetime_a_tag_and_an_edit_are_stored(make_scene: MakeScene) -> None:
    scene = ruled(make_scene, 'response { ttl 10m; tags "shop"; unset header "X-Powered-By"; set header "X-A" "b" }')
    client = scene.client()
    client.ask("/p")
    (await scene.call()).answer(b"page", x_powered_by="php")
    await scene.settle()
    hit = await scene.get("/p")
    receipt = await scene.get("/x", method="PURGE", xkey="shop")
    scene.client().ask("/p")
    (await scene.call(1)).answer(b"new")
    await scene.settle()

    for answer in (client.answers[0], hit):
        assert "x-powered-by" not in answer
        assert answer["x-a"] == "b"
    assert hit["cache-status"] == "accel; hit; ttl=600"
    assert b'"dropped": 1' in receipt.body


async def test_a_304_is_held_to_the_rules_as_a_200_is(make_scene: MakeScene) -> None:
    scene = ruled(make_scene, 'response { ttl 1m; unset header "Server" }')
    scene.client().ask("/p")
    (await scene.call()).answer(b"page", etag='"1"', server="x")
    await scene.after(61)
    client = scene.client()
    client.ask("/p")
    (await scene.call(1)).answer(b"", status=304, etag='"1"', server="x")
    await scene.settle()
    hit = await scene.get("/p")

    assert client.answers[0].body == hit.body == b"page"
    assert "server" not in hit
    assert hit["cache-status"] == "accel; hit; ttl=60"


async def test_what_a_rule_adds_is_added_once_however_often_it_is_validated(make_scene: MakeScene) -> None:
    scene = ruled(
        make_scene, 'response { ttl 1m; set header "X-A" "a"; add header "X-A" "b"; add header "Link" "</c>" }'
    )
    scene.client().ask("/p")
    (await scene.call()).answer(b"page", etag='"1"', link="</d>")
    for number, brought in enumerate(({}, {"link": "</e>"}), 1):
        await scene.after(61)
        scene.client().ask("/p")
        (await scene.call(number)).answer(b"", status=304, etag='"1"', **brought)
        await scene.settle()
        hit = await scene.get("/p")

        assert hit.all("x-a") == ["a", "b"]
        assert hit.all("link") == [brought.get("link", "</d>"), "</c>"]


async def test_who_has_another_key_does_not_wait_for_a_fetch(make_scene: MakeScene) -> None:
    scene = ruled(make_scene, "request { key + cookie.currency }")
    for currency in ("eur", "usd", "eur"):
        scene.client().ask("/p", cookie=f"currency={currency}")
    await scene.settle()
    assert len(scene.origin.calls) == 2
    for call in scene.origin.calls:
        call.answer(b"page", cache_control="max-age=60")
    await scene.settle()

    assert scene.counts("stored", "collapsed") == (2, 1)


async def test_an_override_stores_what_the_floor_forbids_and_is_counted(make_scene: MakeScene) -> None:
    scene = ruled(make_scene, 'response { ttl 1h; override set-cookie drop reason "the theme sets one" }')
    client = scene.client()
    client.ask("/a.css")
    (await scene.call()).answer(b"css", set_cookie="t=1")
    await scene.settle()
    hit = await scene.get("/a.css")

    assert "set-cookie" not in hit
    assert scene.count("hits") == 1
    assert scene.overrides.counted == {("0.policy", "set-cookie", "the theme sets one"): 1}


async def test_an_override_that_nothing_needed_is_not_counted(make_scene: MakeScene) -> None:
    lifts = 'override set-cookie drop reason "theme"; override private reason "one site"'
    scene = ruled(make_scene, f"response {{ ttl 1h; {lifts} }}")
    for target, fields in {"/plain": {}, "/private": {"cache_control": "private"}}.items():
        scene.client().ask(target)
        (await scene.call()).answer(b"page", **fields)
        await scene.settle()

    assert scene.count("stored") == 2
    assert scene.overrides.counted == {("0.policy", "private", "one site"): 1}


async def test_what_is_not_stored_uses_no_override(make_scene: MakeScene) -> None:
    scene = ruled(
        make_scene,
        'response { ttl 1h; override set-cookie drop reason "theme"; when response.x exists { pass "no" } }',
    )
    scene.client().ask("/passed")
    (await scene.call()).answer(b"page", set_cookie="a=1", x="1")
    await scene.settle()
    scene.client().ask("/varied")
    (await scene.call()).answer(b"page", set_cookie="a=1", vary="*")
    await scene.settle()

    assert scene.count("stored") == 0
    assert not scene.overrides.counted


async def test_what_a_304_keeps_past_the_floor_uses_the_override_again(make_scene: MakeScene) -> None:
    scene = ruled(make_scene, 'response { ttl 60s; override private reason "one site" }')
    scene.client().ask("/p")
    (await scene.call()).answer(b"page", cache_control="private", etag='"1"')
    await scene.after(61)
    scene.client().ask("/p")
    (await scene.call(1)).answer(b"", status=304, etag='"1"')
    await scene.settle()

    assert scene.count("hits_validated") == 1
    assert scene.overrides.counted == {("0.policy", "private", "one site"): 2}


async def test_a_response_that_a_rule_passes_is_marked(make_scene: MakeScene) -> None:
    scene = ruled(make_scene, 'response { when response.x-personal exists { pass "personal" } }')
    first, second = scene.client(), scene.client()
    first.ask("/me")
    (await scene.call()).answer(b"a", x_personal="1", cache_control="max-age=60")
    await scene.settle()
    first.ask("/me")
    second.ask("/me")
    await scene.settle()
    assert len(scene.origin.calls) == 3
    for call in scene.origin.calls[1:]:
        call.answer(b"b", x_personal="1", cache_control="max-age=60")
    await scene.settle()

    assert scene.counts("stored", "passes") == (0, 3)


async def test_answers_are_edited_on_their_way_out_whatever_they_are(make_scene: MakeScene) -> None:
    scene = ruled(
        make_scene,
        'deliver {\n unset header "Server"\n set header "X-Cache" "${cache.status}"\n'
        ' when cache.hits > 0 { set header "X-Hits" "${cache.hits}" }\n}\n'
        'request { when path == "/s" { synth 200 "s" } }',
    )
    client = scene.client()
    client.ask("/p")
    (await scene.call()).answer(b"page", etag='"1"', cache_control="max-age=60", server="x")
    await scene.settle()
    answers = [await scene.get("/p") for _ in range(2)]
    unchanged, part = await scene.get("/p", if_none_match='"1"'), await scene.get("/p", range="bytes=0-1")
    page = await scene.get("/s")

    words = [answer["x-cache"] for answer in (client.answers[0], *answers, unchanged, part, page)]
    assert words == ["miss", "hit", "hit", "hit", "hit", "synthetic"]
    assert "server" not in answers[0] and "server" not in page
    assert (unchanged.status, part.status, part.body) == (304, 206, b"pa")
    assert answers[1]["x-hits"] == "2"
    assert (unchanged["x-hits"], part["x-hits"]) == ("3", "4")


async def test_a_limit_answers_beyond_its_burst_and_says_when_to_come_again(make_scene: MakeScene) -> None:
    scene = ruled(make_scene, 'request { limit 1/s per client burst 2 else synth 429 "slow down"\n synth 200 "in" }')

    answers = [await scene.get("/s") for _ in range(3)]
    await scene.after(1.0)
    later = await scene.get("/s")

    assert [answer.status for answer in answers] == [200, 200, 429]
    assert (answers[2].body, answers[2]["retry-after"]) == (b"slow down", "1")
    assert later.status == 200


async def test_a_request_that_waited_in_its_connection_is_counted_when_its_turn_comes(make_scene: MakeScene) -> None:
    """Counted at the time it came, it would make the limiter think that the clock was set back, and free its bucket."""
    limit = 'limit 1/s per client burst 5 else synth 429 "slow down"; synth 200 "in"'
    scene = ruled(make_scene, f'request {{ when path == "/s" {{ {limit} }} }}')
    client = scene.client()
    client.send(client.request("/slow") + client.request("/s") * 3)
    client.methods = [b"GET"] * 4
    slow = await scene.call()
    await scene.after(100.0)
    before = [(await scene.get("/s")).status for _ in range(6)]

    slow.answer(b"slow")
    await scene.settle()

    assert before == [200] * 5 + [429]
    assert [answer.status for answer in client.answers] == [200, 429, 429, 429]
    assert (await scene.get("/s")).status == 429


async def test_an_error_is_answered_by_rule(make_scene: MakeScene) -> None:
    scene = ruled(make_scene, 'error { when cause == "timeout" { synth 504 "too slow" } }')
    slow, down = scene.client(), scene.client()
    slow.ask("/a", method="POST", body=b"x")
    (await scene.call()).fail(OriginTimeout("first byte"))
    down.ask("/b")
    (await scene.call(1)).fail(NoBackend("none is up"))
    await scene.settle()

    assert (slow.answers[0].status, slow.answers[0].body) == (504, b"too slow")
    assert down.answers[0].status == 503


async def test_a_rule_serves_stale_what_nothing_forbids_to(make_scene: MakeScene) -> None:
    scene = ruled(make_scene, "error { stale }")
    scene.client().ask("/p")
    (await scene.call()).answer(b"page", cache_control="max-age=1")
    await scene.after(3600, step_s=600)
    client = scene.client()
    client.ask("/p")
    (await scene.call(1)).fail(NoBackend("none is up"))
    await scene.settle()

    assert (client.answers[0].status, client.answers[0].body) == (200, b"page")


async def test_hosts_have_their_own_files(make_scene: MakeScene) -> None:
    scene = ruled(make_scene, 'site a.example\nrequest { synth 200 "a" }', 'request { synth 200 "other" }')

    assert (await scene.get("/", host="a.example")).body == b"a"
    assert (await scene.get("/", host="b.example")).body == b"other"


async def test_a_purge_may_be_soft_by_rule_and_is_for_those_whom_it_allows(make_scene: MakeScene) -> None:
    scene = ruled(make_scene, "purge { allow 192.0.2.0/24; mode soft }")
    scene.client().ask("/p")
    (await scene.call()).answer(b"page", cache_control="max-age=60")
    await scene.settle()

    denied = await scene.get("/p", method="PURGE")
    receipt = await scene.get("/p", method="PURGE", client=scene.client("192.0.2.7"))

    assert denied.status == 403
    assert b'"touched": 1' in receipt.body


async def test_methods_of_purging_are_taken_where_rules_name_them(make_scene: MakeScene) -> None:
    scene = ruled(make_scene, "purge { allow 127.0.0.1; methods PURGE, SOFTPURGE, BAN }")
    scene.client().ask("/p")
    (await scene.call()).answer(b"page", cache_control="max-age=60")
    await scene.settle()

    soft = await scene.get("/p", method="SOFTPURGE")
    banned = await scene.get("/", method="BAN", ban="url == /p")

    assert b'"touched": 1' in soft.body
    assert b'"what": "ban"' in banned.body
    assert len(scene.origin.calls) == 1


async def test_a_method_of_purging_that_no_rule_names_goes_nowhere(make_scene: MakeScene) -> None:
    scene = make_scene()

    assert (await scene.get("/p", method="SOFTPURGE")).status == 405
    assert not scene.origin.calls


async def test_a_post_drops_what_others_share_under_an_edited_query(make_scene: MakeScene) -> None:
    scene = ruled(make_scene, 'request { when cookie.session exists { pass "known" }\n query drop u, sort }')
    first = scene.client()
    first.ask("/p?a=1&b=2")
    (await scene.call(0)).answer(b"old", cache_control="max-age=60")
    await scene.settle()

    poster = scene.client()
    poster.ask("/p?b=2&u=9&a=1", method="POST", body=b"x", cookie="session=1")
    (await scene.call(1)).answer(b"taken")
    await scene.settle()
    reader = scene.client()
    reader.ask("/p?a=1&b=2")
    (await scene.call(2)).answer(b"new", cache_control="max-age=60")
    await scene.settle()

    assert reader.answers[0].body == b"new"
