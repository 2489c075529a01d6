"""What holds for every policy that can be written: the guarantees of the language, over random rules and requests."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from making import CACHING, NOW, checked, unjudged
from random_policies import CLIENTS, HEAD, REQUEST_RULES, REQUESTS, RESPONSE_RULES, TABLED_RULES

from accel.caching.key import EXTRA, primary_key, selecting_values
from accel.http.message import Fields, Request
from accel.policy.checking_names import collected
from accel.policy.compile import compiled
from accel.policy.decision import RequestDecision
from accel.policy.findings import Findings
from accel.policy.parser import parse
from accel.policy.reads import reads_of
from accel.policy.rehearsal import Rehearsal, Said
from accel.policy.verdict import Action
from accel.policy.vocabulary import Phase
from accel.proxy.origin_view import origin_request

RANDOM = settings(max_examples=60, deadline=None)
"""Each example is parsed and compiled, which takes milliseconds; `tests/fuzz` runs many more."""


@RANDOM
@given(REQUEST_RULES, REQUESTS, CLIENTS)
def test_the_same_request_gets_the_same_decision(rules: str, request: Request, client: str) -> None:
    policy = compiled(unjudged(HEAD, rules))
    before = replace(request, fields=Fields(request.fields.lines))

    first = policy.request(request, client)

    assert policy.request(before, client) == first
    assert compiled(unjudged(HEAD, rules)).request(request, client) == first
    assert request == before


def verdict_of(decision: RequestDecision) -> object:
    """Return what rules decided, without what they pass through."""
    return decision.action, decision.why, decision.pool, decision.rule, decision.is_sealed


@RANDOM
@given(REQUEST_RULES, REQUESTS, REQUESTS, CLIENTS)
def test_only_what_the_rules_read_matters(rules: str, one: Request, other: Request, client: str) -> None:
    policy = unjudged(HEAD, rules)
    reads = reads_of(policy.phases[Phase.REQUEST], collected([parse(f"policy 1\n{HEAD}\n", "x")], str, Findings({})))
    read = {name.partition(".")[2].encode() for name in reads if name.startswith("header.")}
    if any(name.startswith("cookie") for name in reads):
        read.add(b"cookie")
    assume("authorization" not in reads)
    kept = [line for line in one.fields.lines if line[0] in read]
    mixed = Fields([*(line for line in other.fields.lines if line[0] not in read), *kept])
    host = one.host if "host" in reads else other.host
    is_target_read = not reads.isdisjoint({"path", "url"}) or any(n.startswith(("query", "param")) for n in reads)
    target = one.target if is_target_read else other.target
    changed = Request(one.method, target, host, host, other.minor, mixed)

    decide = compiled(policy).request
    redirects = "redirect" in rules
    assert verdict_of(decide(one, client)) == verdict_of(decide(changed, client))
    assert redirects or decide(one, client).answer == decide(changed, client).answer


def key_of(asked: Request) -> tuple[bytes, bytes]:
    """Return where the answer to a request lies, apart from Vary."""
    return primary_key(asked.host, asked.target), selecting_values(asked, (EXTRA,))


@RANDOM
@given(REQUEST_RULES, st.lists(st.tuples(REQUESTS, CLIENTS), min_size=12, max_size=24))
def test_under_seal_two_requests_with_one_key_reach_the_origin_identically(
    rules: str, asking: list[tuple[Request, str]]
) -> None:
    policy = compiled(unjudged(HEAD, f"seal\n{rules}"))
    seen: dict[object, object] = {}
    for request, client in asking:
        decision = policy.request(replace(request, method=b"GET"), client)
        assert decision.is_sealed is (decision.action is Action.LOOKUP)
        if decision.is_sealed:
            view = origin_request(decision.asked, "", whole=True)
            shown = (view.method, view.target, view.fields.lines, view.upgrade, decision.pool)
            assert seen.setdefault(key_of(decision.asked), shown) == shown


UNKEYED_DIFFERENCES = [
    ("cookies keep none\nwhen cookie.a exists { pool q }", Fields([(b"cookie", b"a=1")])),
    ("when header.x-a exists { pool q }", Fields([(b"x-a", b"1")])),
    ('when header.x-a exists { set header "X-B" "1" }', Fields([(b"x-a", b"1")])),
    ('add header "X-B" "${header.x-a}"', Fields([(b"x-a", b"1")])),
    ('set header "X-B" header.x-a', Fields([(b"x-a", b"1")])),
    ('when header.x-a exists { host canonical "h9" }', Fields([(b"x-a", b"1")])),
    ("when header.x-a exists { query keep none }", Fields([(b"x-a", b"1")])),
    ("when header.x-a exists { cookies keep none }", Fields([(b"x-a", b"1"), (b"cookie", b"a=1")])),
    ("when cookie.a exists { key + header.x-b }", Fields([(b"x-b", b"1"), (b"cookie", b"a=1")])),
    ("key + split.s", Fields([(b"cookie", b"b=2")])),
    ("cookies drop b", Fields([(b"cookie", b"a=1; b=2")])),
    ("", Fields([(b"accept-encoding", b"br"), (b"range", b"bytes=0-1"), (b"x-forwarded-host", b"evil")])),
    ("", Fields([(b"connection", b"x-a"), (b"via", b"1.0 evil"), (b"cookie", b"a=1")])),
]


@pytest.mark.parametrize(("rules", "fields"), UNKEYED_DIFFERENCES)
def test_under_seal_what_reaches_the_origin_differently_has_another_key(rules: str, fields: Fields) -> None:
    policy = compiled(unjudged(HEAD, f"seal\n{rules}"))
    bare = Request(b"GET", b"/a?q=1", host=b"h0")

    first, second = policy.request(bare, ""), policy.request(replace(bare, fields=fields, minor=0), "")

    views = [(origin_request(found.asked, "", whole=True).fields, found.asked.target, found.pool)
             for found in (first, second)]  # fmt: skip
    assert (key_of(first.asked) == key_of(second.asked)) <= (views[0] == views[1])
    assert (key_of(first.asked) != key_of(second.asked)) <= (views[0] != views[1] or "split" in rules)


@RANDOM
@given(REQUESTS, st.sampled_from(["", "cookies keep none", "key + header.x-a", 'set header "X-B" header.x-a']))
def test_what_is_unkeyed_does_not_keep_requests_apart_under_seal(one: Request, rule: str) -> None:
    policy = compiled(unjudged(HEAD, f"seal\n{rule}"))
    varied = replace(one, fields=Fields([*one.fields.lines, (b"x-poison", b"1"), (b"x-forwarded-host", b"evil")]))

    assert key_of(policy.request(one, "").asked) == key_of(policy.request(varied, "").asked)


@RANDOM
@given(TABLED_RULES, REQUESTS, CLIENTS)
def test_tables_choose_what_trying_every_rule_would(rules: str, request: Request, client: str) -> None:
    with patch("accel.policy.codegen.LEAST_ARMS", 10**9):
        tried = compiled(unjudged(HEAD, rules)).request(request, client)

    assert compiled(unjudged(HEAD, rules)).request(request, client) == tried


@RANDOM
@given(TABLED_RULES, REQUESTS, CLIENTS)
def test_explaining_decides_alike(rules: str, request: Request, client: str) -> None:
    policy = compiled(unjudged(HEAD, rules))
    explained = policy.explaining.request(request, client)

    assert replace(explained, matched=()) == policy.request(request, client)
    assert explained.rule is None or explained.rule in explained.matched


FORBIDDEN = st.sampled_from(
    [
        ([(b"set-cookie", b"a=1")], [], 200),
        ([(b"cache-control", b"private, max-age=60")], [], 200),
        ([(b"cache-control", b"no-store")], [], 200),
        ([(b"vary", b"*")], [], 200),
        ([(b"content-range", b"bytes 0-1/9")], [], 206),
        ([], [], 401),
        ([], [(b"authorization", b"Basic x")], 200),
        ([], [(b"cache-control", b"no-store")], 200),
    ]
)


@RANDOM
@given(REQUEST_RULES, RESPONSE_RULES, FORBIDDEN, REQUESTS, CLIENTS)
def test_no_rule_but_an_override_makes_the_cache_share_what_the_floor_forbids(
    rules: str,
    response_rules: str,
    forbidden: tuple[list[tuple[bytes, bytes]], list[tuple[bytes, bytes]], int],
    request: Request,
    client: str,
) -> None:
    lines, asked_with, status = forbidden
    policy = compiled(unjudged(HEAD, rules, response_rules))
    rehearsal = Rehearsal(policy, CACHING, NOW)
    asked = replace(request, fields=Fields([*request.fields.lines, *asked_with]))
    said = Said(status, Fields([(b"content-type", b"text/html"), *lines]), b"secret")
    for target in {request.target, *(decision.asked.target for decision in [policy.request(asked, client)])}:
        rehearsal.says(b"GET", target, said)

    rehearsal.ask(asked, client)

    assert rehearsal.ask(request, "192.0.2.9").outcome not in ("hit", "stale")


def test_an_override_lets_one_thing_past() -> None:
    policy = compiled(checked('response { ttl 1m; override set-cookie drop reason "assets" }'))
    rehearsal = Rehearsal(policy, CACHING, NOW)
    rehearsal.says(b"GET", b"/", Said(200, Fields([(b"set-cookie", b"a=1")]), b""))
    request = Request(b"GET", b"/")

    assert rehearsal.ask(request, "").outcome == "miss"
    seen = rehearsal.ask(request, "")
    assert seen.outcome == "hit" and b"set-cookie" not in seen.fields


def test_an_override_of_credentials_shares_the_answer_with_others_credentials() -> None:
    policy = compiled(checked('response { ttl 1m; override authorization reason "one token for all" }'))
    rehearsal = Rehearsal(policy, CACHING, NOW)

    outcomes = [
        rehearsal.ask(Request(b"GET", b"/", fields=Fields([(b"authorization", token)])), "").outcome
        for token in (b"a", b"b")
    ]

    assert outcomes == ["miss", "hit"]
