"""Access logs replayed: what a policy would have made of each request, and what two policies make differently."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import CACHING, NOW, get, made, ruled

from accel.http.message import Fields
from accel.policy.built_in import built_in
from accel.policy.compile import CompiledPolicy
from accel.policy.rehearsal import Rehearsal, Said
from accel.policy.replay import Outcome, Replay, Way, unseen
from accel.policy.replay_origin import Assumed
from accel.policy.replay_tally import Tally
from accel.stats.records import LogRecord

BUILT_IN = built_in(CACHING, ())


def visit(target: str = "/", at: float = 0, status: int = 200, body_bytes: int = 1000, **fields: Any) -> LogRecord:
    """Return a record; `at` is in seconds since NOW."""
    record = LogRecord(NOW + at, "192.0.2.1", b"GET", b"h", target.encode(), 1, status, body_bytes, 0, "", "", b"", b"")
    return replace(record, **fields)


def replay(policy: CompiledPolicy, **assumed: Any) -> Replay:
    return Replay(lambda host: policy, Assumed(**assumed))


def ways(one: Replay, *visits: LogRecord) -> list[Way]:
    return [one.take(each).way for each in visits]


def test_what_rules_keep_is_fetched_once_and_answers_until_it_is_stale() -> None:
    one = replay(made("response { ttl 60s }"))

    outcomes = [one.take(visit(at=at, body_bytes=700)) for at in (0, 59, 61)]

    assert outcomes == [
        Outcome(Way.MISS, "", "x.policy:2", 1, 700),
        Outcome(Way.HIT, "", "x.policy:2"),
        Outcome(Way.MISS, "", "x.policy:2", 1, 700),
    ]


def test_a_stale_answer_costs_a_refresh_and_is_fresh_after_that() -> None:
    one = replay(made("response { ttl 60s; grace 10s }"))
    one.take(visit())

    stale = one.take(visit(at=65))

    assert stale == Outcome(Way.STALE, "", "x.policy:2", 1, 1000)
    assert ways(one, visit(at=70), visit(at=140)) == [Way.HIT, Way.MISS]


def test_what_the_origin_says_of_freshness_is_assumed() -> None:
    assert ways(replay(BUILT_IN), visit(), visit(at=1)) == [Way.UNSTORED, Way.UNSTORED]
    assert ways(replay(BUILT_IN, origin_ttl_s=60), visit(), visit(at=1)) == [Way.MISS, Way.HIT]


def test_verdicts_come_with_their_reason_and_rule() -> None:
    policy = ruled(
        'when path under "/cart" { pass "cart" }\nwhen path == "/old" { redirect 301 "/new" }\ndeny 403 "no"'
    )
    one = replay(policy)

    assert one.take(visit("/cart/", body_bytes=5)) == Outcome(Way.PASS, "cart", "x.policy:4", 1, 5)
    assert one.take(visit("/old")) == Outcome(Way.ANSWERED, "301 redirect", "x.policy:5")
    assert one.take(visit("/x")) == Outcome(Way.ANSWERED, "403 no", "x.policy:6")


def test_other_methods_pass_and_a_head_is_answered_from_a_get() -> None:
    one = replay(made("response { ttl 1m }"))

    assert ways(one, visit(method=b"POST"), visit(method=b"HEAD")) == [Way.PASS, Way.UNSTORED]
    assert ways(one, visit(), visit(method=b"HEAD")) == [Way.MISS, Way.HIT]


def test_edits_of_the_query_let_urls_share_an_answer() -> None:
    one = replay(ruled('query drop "utm_*", sort', head="response { ttl 1m }"))

    assert ways(one, visit("/a?b=1&utm_source=x"), visit("/a?b=1"), visit("/a?b=2")) == [Way.MISS, Way.HIT, Way.MISS]


def test_a_key_by_something_logged_tells_visitors_apart() -> None:
    one = replay(ruled("key + header.user-agent", head="response { ttl 1m }"))

    assert ways(one, visit(user_agent=b"a"), visit(user_agent=b"b"), visit(user_agent=b"a")) == [
        Way.MISS,
        Way.MISS,
        Way.HIT,
    ]


@pytest.mark.parametrize(
    ("rule", "field", "values"),
    [
        ("client in 192.0.2.0/24", "client", ("192.0.2.7", "203.0.113.7")),
        ('header.referer contains "shop"', "referer", (b"https://shop.example/", b"https://other.example/")),
        ('header.user-agent glob "*bot*"', "user_agent", (b"a bot", b"a person")),
    ],
)
def test_requests_for_one_url_differ_by_what_rules_read(rule: str, field: str, values: tuple[Any, Any]) -> None:
    one = replay(ruled(f'when {rule} {{ pass "that" }}'))

    assert ways(one, *(visit(**{field: value}) for value in values)) == [Way.PASS, Way.UNSTORED]


def test_who_may_purge_is_asked_each_time() -> None:
    one = replay(made("acl us { 192.0.2.1 }\npurge { allow us }\nresponse { ttl 1h }"))
    one.take(visit("/a"))

    denied = one.take(visit("/a", method=b"PURGE", client="203.0.113.9"))
    before, purged, after = one.take(visit("/a")), one.take(visit("/a", method=b"PURGE")), one.take(visit("/a"))

    assert denied.way is Way.ANSWERED and denied.why.startswith("403")
    assert (before.way, purged.why, after.way) == (Way.HIT, "purge", Way.MISS)


def test_limits_are_counted_in_the_time_of_the_log() -> None:
    one = replay(ruled('limit 1/s per client burst 2 else synth 429 "slow"'))
    visits = [visit(f"/{number}", at=at) for number, at in enumerate((0, 0, 0, 1.5, 1.5))]

    outcomes = [one.take(each) for each in visits]

    assert [outcome.why == "limit" for outcome in outcomes] == [False, False, True, False, True]
    assert outcomes[2] == Outcome(Way.ANSWERED, "limit", "x.policy:4")
    assert one.take(visit("/9", at=1.5, client="192.0.2.2")).way is not Way.ANSWERED


def test_a_part_or_a_304_stands_for_the_whole() -> None:
    one = replay(made("response { when status == 200 { ttl 1m } }"))

    first = one.take(visit(body_bytes=5000))
    later = one.take(visit(at=61, status=304, body_bytes=0))

    assert (first.fetched_bytes, later) == (5000, Outcome(Way.MISS, "", "x.policy:2", 1, 5000))
    assert ways(one, visit(at=62, status=206)) == [Way.HIT]


def test_the_floor_holds_and_an_error_is_not_kept_without_a_rule() -> None:
    one = replay(made("response { when status == 200 { ttl 1m } }"))

    assert one.take(visit("/a", status=500)).why == "no-freshness"
    assert one.take(visit("/b", status=401)).why == "status"


def test_a_stored_answer_stands_in_for_an_origin_that_fails() -> None:
    one = replay(made("response { when status == 200 { ttl 1m; if-error 1h } }"))

    assert ways(one, visit(), visit(at=100, status=503), visit(at=5000, status=503)) == [
        Way.MISS,
        Way.STALE,
        Way.UNSTORED,
    ]


def test_the_media_type_follows_from_the_extension() -> None:
    policy = made('response { when type == "text/css" { ttl 1m } else when type == "text/html" { pass "page" } }')

    assert replay(policy).take(visit("/a/b.css?v=1.png")).way is Way.MISS
    assert replay(policy).take(visit("/a.css/b")).why == "page"
    assert replay(policy, media_type=b"application/json").take(visit("/b")).why == "no-freshness"


def test_a_full_store_forgets_what_was_used_longest_ago() -> None:
    one = replay(made("response { ttl 1h }"), memory_bytes=20_000)
    names = [f"/{number}" for number in range(16)]

    ways(one, *map(visit, names), visit(names[0]), visit("/new"))

    assert ways(one, visit(names[0]), visit(names[1])) == [Way.HIT, Way.MISS]
    assert one.take(visit("/large", body_bytes=3000)).why == "too-large"


def test_hosts_have_the_rules_of_their_file_and_a_line_without_one_is_given_one() -> None:
    policies = {b"a": ruled('pass "a"'), b"b": ruled('pass "b"')}
    one = Replay(policies.__getitem__, Assumed(host=b"B"))

    assert [one.take(visit(host=host)).why for host in (b"A:80", b"b", b"")] == ["a", "b", "b"]


def test_what_no_log_holds_is_named() -> None:
    policy = made(
        'request { when cookie.sid exists { pass "in" } }\n'
        'response { tags from "Surrogate-Key"; when size > 1M and path under "/a" { ttl 1m } }'
    )

    assert unseen([policy.checked]) == ("cookie.sid", "response.surrogate-key")


MANY = made(
    """request {
  query drop "utm_*", sort
  when path under "/p" { pass "p" }
  when path == "/d" { deny 403 }
  limit 1/s per client burst 3 else synth 429 "slow"
}
response {
  when status == 404 { ttl 5s }
  when status == 200 { ttl 10s; grace 5s; if-error 1m }
  when path == "/no" { pass "no" }
}"""
)
TARGETS = ("/a", "/a?utm_source=x", "/b", "/p/1", "/d", "/no")


@given(
    st.lists(
        st.tuples(st.integers(0, 8), st.sampled_from(TARGETS), st.sampled_from((200, 404, 500)), st.booleans()),
        max_size=40,
    )
)
def test_a_replay_comes_to_what_the_rehearsal_of_the_same_requests_does(
    asked: list[tuple[int, str, int, bool]],
) -> None:
    one, rehearsal, at = replay(MANY), Rehearsal(MANY, CACHING, NOW), 0
    for gap, target, status, is_head in asked:
        at += gap
        method = "HEAD" if is_head else "GET"
        rehearsal.now = NOW + at
        path = target.partition("?")[0].encode()
        rehearsal.says(b"GET", path, Said(status, Fields([(b"content-type", b"text/html")]), b""))

        outcome = one.take(visit(target, at=at, status=status, method=method.encode()))
        seen = rehearsal.ask(get(target, method=method), "192.0.2.1")

        assert (_AS_SEEN[outcome.way], outcome.fetches) == (seen.outcome, len(seen.asked))


_AS_SEEN = {
    Way.HIT: "hit",
    Way.STALE: "stale",
    Way.MISS: "miss",
    Way.UNSTORED: "miss",
    Way.PASS: "pass",
    Way.ANSWERED: "synthetic",
}


def test_figures_say_hits_and_what_the_origin_has_to_do() -> None:
    tally = Tally(replay(made('request { when path == "/p" { pass "p" } }\nresponse { ttl 1m }')))
    for each in (visit("/a"), visit("/a"), visit("/a", status=304, body_bytes=0), visit("/p", body_bytes=10)):
        tally.take(each)

    figures = tally.facts(5)["new"]

    assert (figures["requests"], figures["hit_ratio"], figures["byte_hit_ratio"]) == (4, 0.5, 0.4975)
    assert (figures["origin_requests"], figures["origin_bytes"], figures["bytes"]) == (2, 1010, 2010)
    assert figures["ways"] == {"hit": 2, "stale": 0, "miss": 1, "not stored": 0, "pass": 1, "answered": 0}
    assert figures["rules"][0] == {"way": "hit", "why": "", "rule": "x.policy:3", "requests": 2}


def test_the_log_says_itself_what_its_hit_ratio_was() -> None:
    tally = Tally(replay(BUILT_IN))
    for at, outcome in enumerate(("hit", "stale", "miss", "pass")):
        tally.take(visit(at=at, outcome=outcome, host=b""))

    assert tally.facts(0)["log"] == {
        "requests": 4,
        "from": NOW,
        "to": NOW + 3,
        "without_host": 4,
        "hit_ratio": 0.5,
    }


def compared(new: str, old: str, *visits: LogRecord) -> dict[str, Any]:
    tally = Tally(replay(made(new)), replay(made(old)))
    for each in visits:
        tally.take(each)
    return tally.facts(5)


def test_a_policy_compared_with_itself_differs_in_nothing() -> None:
    text = 'request { when path == "/p" { pass "p" } }\nresponse { ttl 1m; grace 1h }'

    facts = compared(text, text, visit(), visit(), visit("/p"), visit(at=70))

    assert facts["new"] == facts["old"]
    assert facts["differences"] == []
    assert facts["become_cacheable"]["urls"] == facts["cease_to_be_cacheable"]["urls"] == 0


def test_differences_are_listed_by_the_rules_that_make_them() -> None:
    old = 'request {\n  when path under "/a" { pass "a" }\n}\nresponse { ttl 1m }'
    new = 'request {\n  when path under "/b" { pass "b" }\n}\nresponse { ttl 1m }'

    facts = compared(new, old, visit("/a/1"), visit("/a/1"), visit("/a/2"), visit("/b"), visit("/c"))

    assert facts["differences"] == [
        {
            "requests": 3,
            "old": {"way": "pass", "why": "a", "rule": "x.policy:3"},
            "new": {"way": "stored", "why": "", "rule": "x.policy:5"},
            "example": "h/a/1",
        },
        {
            "requests": 1,
            "old": {"way": "stored", "why": "", "rule": "x.policy:5"},
            "new": {"way": "pass", "why": "b", "rule": "x.policy:3"},
            "example": "h/b",
        },
    ]


def test_urls_that_become_cacheable_and_cease_to_be_come_with_the_reason_of_the_other_policy() -> None:
    old = 'request { when path under "/a" { pass "a" } }\nresponse { ttl 1m }'
    new = 'request { when path under "/b" { deny 403 "b" } }\nresponse { ttl 1m }'

    facts = compared(new, old, visit("/a/1"), visit("/a/2"), visit("/a/2"), visit("/b"), visit("/c"))

    assert facts["become_cacheable"] == {
        "urls": 2,
        "requests": 3,
        "top": [
            {"url": "h/a/2", "requests": 2, "way": "pass", "why": "a", "rule": "x.policy:2"},
            {"url": "h/a/1", "requests": 1, "way": "pass", "why": "a", "rule": "x.policy:2"},
        ],
    }
    assert facts["cease_to_be_cacheable"] == {
        "urls": 1,
        "requests": 1,
        "top": [{"url": "h/b", "requests": 1, "way": "answered", "why": "403 b", "rule": "x.policy:2"}],
    }


def test_another_lifetime_shows_as_who_had_to_fetch() -> None:
    facts = compared("response { ttl 1h }", "response { ttl 1m }", visit(), visit(at=70))

    [difference] = facts["differences"]
    assert (difference["old"]["way"], difference["new"]["way"]) == ("fetched, stored", "from the store")


def test_the_urls_that_cost_the_origin_most_are_listed_with_why() -> None:
    tally = Tally(replay(ruled('when path == "/p" { pass "p" }', head="response { ttl 1m }")))
    for target in ("/p", "/p", "/a", "/a", "/a"):
        tally.take(visit(target))

    assert [(row["url"], row["fetches"], row["requests"], row["why"]) for row in tally.facts(2)["most_fetched"]] == [
        ("h/p", 2, 2, "p"),
        ("h/a", 1, 3, ""),
    ]
