"""How long responses may be reused when rules have their say."""

from __future__ import annotations

import pytest
from making import CACHING, NOW, answered, decide, get, made

from accel.caching.freshness import LifetimeSource, terms
from accel.caching.tags import ANY, MOST_TAGS
from accel.config import CachingOptions
from accel.http.fields import format_date
from accel.http.message import Fields, Response


@pytest.mark.parametrize(
    ("statement", "fields", "lifetime_s"),
    [
        ("ttl 10m", {}, 600),
        ("ttl 10m", {"cache_control": "max-age=5"}, 600),
        ("ttl 10m", {"cache_control": "max-age=5", "age": "100"}, 700),
        ("ttl origin else 60s", {"cache_control": "max-age=5"}, 5),
        ("ttl origin else 60s", {"cache_control": "max-age=0"}, 0),
        ("ttl origin else 60s", {}, 60),
        ("ttl origin else 60s", {"expires": "0"}, 0),
        ("ttl heuristic else 60s", {"last_modified": format_date(NOW - 1000).decode()}, 100),
        ("ttl heuristic else 60s", {}, 60),
        ("ttl heuristic else 60s", {"cache_control": "max-age=5", "last_modified": format_date(NOW - 9).decode()}, 5),
        ("ttl 10m; when status == 200 { ttl 1m }", {}, 60),
    ],
)
def test_ttl(statement: str, fields: dict[str, str], lifetime_s: float) -> None:
    assert answered(statement, **fields).terms.lifetime_s == lifetime_s


def test_without_a_rule_the_response_is_taken_at_its_word() -> None:
    head = Response(200, b"", Fields([(b"cache-control", b"max-age=7, stale-while-revalidate=3")]))
    policy = made("")
    stated = terms(head, CACHING, NOW)

    assert policy.response(decide(policy, get()), get(), head, stated, NOW).terms == stated


def test_a_fixed_time_lifts_no_cache_and_a_fallback_does_not() -> None:
    assert not answered("ttl 1m", cache_control="no-cache").terms.no_cache
    assert answered("ttl origin else 1m", cache_control="no-cache").terms.no_cache


@pytest.mark.parametrize(
    ("control", "grace_s"),
    [("max-age=5", 60), ("s-maxage=5", 60), ("max-age=5, must-revalidate", 0), ("s-maxage=5, proxy-revalidate", 0)],
)
def test_grace_yields_to_a_written_must_revalidate_alone(control: str, grace_s: float) -> None:
    granted = answered("grace 1m; if-error 1m", cache_control=control).terms

    assert (granted.grace_s, granted.if_error_s) == (grace_s, grace_s)
    assert granted.must_revalidate is (grace_s == 0)


def test_grace_and_if_error_replace_only_themselves() -> None:
    granted = answered("grace 1m", cache_control="max-age=5, stale-while-revalidate=9, stale-if-error=8").terms

    assert (granted.lifetime_s, granted.grace_s, granted.if_error_s) == (5, 60, 8)


def test_keep_bounds_validation() -> None:
    assert answered("keep 1h").terms.keep_s == 3600


def test_jitter_shortens_by_up_to_its_share_and_always_alike() -> None:
    policy = made("response { ttl 100s; jitter 20% }")
    head = Response(200, b"", Fields())

    def lifetime_s(target: str, now: float) -> float:
        request = get(target)
        stated = terms(head, CachingOptions(), now)
        return policy.response(decide(policy, request), request, head, stated, now).terms.lifetime_s

    found = {lifetime_s(f"/{n}", NOW) for n in range(100)}
    assert len(found) == 100
    assert min(found) >= 80 and max(found) <= 100 and max(found) - min(found) > 15
    assert lifetime_s("/1", NOW) == lifetime_s("/1", NOW) != lifetime_s("/1", NOW + 1)


def test_the_other_things_that_response_rules_say() -> None:
    decision = answered(
        'tags from "Surrogate-Key"; tags "page", "path-${path}"; pass-memory 5s; set header "X-A" "${status}"\n'
        'override set-cookie drop reason "theme"; override private reason "one site"; ttl 1m',
        surrogate_key="a b,a",
    )

    assert decision.tags == (b"a", b"b", b"page", b"path-/")
    assert decision.pass_memory_s == 5
    assert decision.edits[0].value == b"200"
    assert decision.lifted == {"set-cookie", "private"}
    assert [str(override.rule) for override in decision.overrides] == ["x.policy:5", "x.policy:5"]
    assert decision.terms.source is LifetimeSource.POLICY
    assert str(decision.rule) == "x.policy:5"


def test_a_pass_in_response_rules_says_why() -> None:
    assert answered('when status == 500 { pass "broken" }', status=500).pass_why == "broken"
    assert answered('when status == 500 { pass "broken" }').pass_why is None


def test_tags_are_bounded_and_a_purge_of_any_reaches_what_has_more() -> None:
    tags = answered('tags from "Surrogate-Key"', surrogate_key=" ".join(map(str, range(MOST_TAGS + 9)))).tags

    assert len(tags) == MOST_TAGS + 1 and tags[-1] == ANY
