"""What the steps and words of a policy's own tests mean: each in a test that holds, and in one that does not."""

from __future__ import annotations

import pytest
from making import made

from accel.policy.testing import run_tests

HTML = 'origin GET "/" -> 200 type "text/html" cache-control "max-age=60" body "hello"'


def mismatches(rules: str, steps: str) -> list[tuple[str, str]]:
    """Return expected and got of everything that went otherwise."""
    policy = made(f'{rules}\ntest "t" {{\n{steps}\n}}')
    (outcome,) = run_tests(policy)
    return [(mismatch.expected, mismatch.got) for mismatch in outcome.mismatches]


@pytest.mark.parametrize(
    ("rules", "steps"),
    [
        ("", f'{HTML}\nget "/" -> miss, body "hello", status 200\nget "/?" -> miss\nget "/" -> hit, no fetch'),
        ("", f'{HTML}\nget "/" -> miss\nafter 61s\nget "/" -> miss\nget "/" -> hit'),
        ("", f'{HTML}\nget "/" -> miss\norigin fails\nget "/" -> hit\nafter 61s\nget "/" -> error, status 503'),
        ("response { if-error 1h }",
         f'{HTML}\nget "/"\norigin fails\nafter 61s\nget "/" -> stale\nafter 2h\nget "/" -> error'),
        ("error { stale }", f'{HTML}\nget "/"\norigin fails\nafter 9d\nget "/" -> stale'),
        ('error { synth 503 "sorry" }', 'origin fails\nget "/" -> synthetic, status 503, body "sorry"'),
        ("", 'post "/" -> pass "method", origin saw method "POST"'),
        ('request { deny 410 "gone" }', 'get "/" -> synthetic, status 410, body "gone", no fetch'),
        ('request { redirect 302 "/x" }', 'get "/" -> redirect "/x", status 302'),
        ("request { key + cookie.c }",
         f'{HTML}\nget "/" cookie "c=1" -> miss\nget "/" -> miss\nget "/" cookie "c=1" -> hit'),
        ("request { cookies keep a }", 'get "/" cookie "a=1; b=2" -> origin saw cookie "a=1"'),
        ("request { cookies keep none }", 'get "/" cookie "a=1" -> origin saw no cookie'),
        ('deliver { set header "X-Cache" "${cache.status}" }', f'{HTML}\nget "/"\nget "/" -> header "X-Cache" "hit"'),
        ('deliver { unset header "X-Y" }', 'origin GET "/" -> 200 x-y "z"\nget "/" -> no header "X-Y"'),
        ("pool a { servers 127.0.0.1:1 }\npool b { servers 127.0.0.1:2 }\nrequest { when path == \"/b\" { pool b } }",
         'get "/b" -> pool b\nget "/a" -> pool a'),
        ("purge { allow 10.0.0.0/8 }",
         f'{HTML}\nget "/"\npurge "/" -> status 403\npurge "/" from 10.0.0.1 -> status 200\nget "/" -> miss'),
        ("purge { allow 10.0.0.0/8 }",
         'origin GET "/a" -> 200 cache-control "max-age=60" surrogate-key "x y"\n'
         'origin GET "/b" -> 200 cache-control "max-age=60" cache-tag "y"\n'
         'get "/a"\nget "/b"\npurge "/" surrogate-key "x" from 10.0.0.1 -> status 200\n'
         'get "/a" -> miss\nget "/b" -> hit\npurge "/" purge "all" from 10.0.0.1 -> status 200\n'
         'get "/b" -> miss\nget "/a"\n'
         'purge "/" ban "url ~ ^/b" from 10.0.0.1 -> status 200\nget "/a" -> hit\nget "/b" -> miss\n'
         'purge "/" ban "url" from 10.0.0.1 -> status 400'),
        ("purge { allow 10.0.0.0/8; mode soft }",
         f'{HTML}\nget "/"\npurge "/" from 10.0.0.1 -> status 200\nget "/" -> stale\nget "/" -> hit'),
        ("response { tags \"shop\" }\npurge { allow 10.0.0.0/8 }",
         f'{HTML}\nget "/"\npurge "/" xkey "shop" from 10.0.0.1\nget "/" -> miss'),
        ("", f'{HTML}\nget "/"\npost "/" -> pass\nget "/" -> miss\nget "/" -> hit'),
        ('request { host canonical "a"; when cookie.s exists { pass }; query drop u, sort }',
         f'{HTML}\nget "/?a=1&b=2"\npost "/?u=3&b=2&a=1" cookie "s=1" -> pass\nget "/?a=1&b=2" -> miss'),
        ("", f'{HTML}\norigin POST "/new" -> 303 location "/"\nget "/"\npost "/new" -> pass\nget "/" -> miss'),
        ("", f'{HTML}\norigin POST "/" -> 403\nget "/"\npost "/" -> pass\nget "/" -> hit'),
        ('request { limit 1/s per client burst 2 else synth 429 "slow" }',
         'get "/"\nget "/"\nget "/" -> synthetic, status 429\nget "/" from 192.0.2.9 -> miss\n'
         'after 1s\nget "/" -> miss'),
        ("response { pass \"secret\" }", f'{HTML}\nget "/" -> pass "secret"\nget "/" -> pass'),
        ("", 'origin GET "/" -> 200 cache-control "max-age=9" vary "accept-language"\n'
             'get "/" accept-language "de" -> miss\nget "/" accept-language "en" -> miss\n'
             'get "/" accept-language "de" -> hit'),
        ("", 'origin GET "/" -> 200 etag "x" cache-control "max-age=9"\nget "/"\nafter 10s\nget "/" -> miss'),
        ("response { ttl 10s; grace 1m }", 'get "/" -> miss\nafter 11s\nget "/" -> stale\nget "/" -> hit'),
    ],
)  # fmt: skip
def test_what_is_so_is_no_mismatch(rules: str, steps: str) -> None:
    assert mismatches(rules, steps) == []


@pytest.mark.parametrize(
    ("steps", "expected", "got"),
    [
        ('get "/" -> hit', "hit", "miss (the answer is not stored: no-freshness)"),
        ('get "/" -> pass "why"', 'pass "why"', 'miss ""'),
        ('get "/" -> status 404', "status 404", "status 200"),
        ('get "/" -> header "X" "y"', 'header "X" "y"', 'no header "X"'),
        ('origin GET "/" -> 200 x "z"\nget "/" -> header "X" "y"', 'header "X" "y"', 'header "X" "z"'),
        ('origin GET "/" -> 200 x "z"\nget "/" -> no header "X"', 'no header "X"', 'header "X" "z"'),
        ('get "/" -> body "a"', 'body "a"', 'body ""'),
        ('get "/" -> redirect "/b"', 'redirect "/b"', "no redirect"),
        ('get "/?a" -> no fetch', "no fetch", "the origin was asked: GET /?a"),
        ('get "/" -> origin saw cookie "a=1"', 'origin saw cookie "a=1"', "origin saw no cookie"),
        ('get "/" x "1" -> origin saw no x', "origin saw no x", 'origin saw x "1"'),
    ],
)
def test_what_is_not_so_is_shown(steps: str, expected: str, got: str) -> None:
    assert mismatches("", steps) == [(expected, got)]
