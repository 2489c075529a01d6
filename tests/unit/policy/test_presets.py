"""The shipped presets: each is a policy that will do, alone and with all the others."""

from __future__ import annotations

import pytest
from broken_files import missing
from making import CACHING

from accel.policy.check import check
from accel.policy.compile import compiled
from accel.policy.nodes import When
from accel.policy.parser import parse
from accel.policy.shipped import preset
from accel.policy.testing import run_tests, shown
from accel.policy.vocabulary import PRESETS, VERDICTS, Phase


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_preset_passes_the_checker(name: str) -> None:
    policy = preset(name)

    assert policy is not None
    assert check(policy, preset, missing)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_its_names_begin_with_its_own_so_that_they_are_in_nobodys_way(name: str) -> None:
    policy = preset(name)

    assert policy is not None
    names = [part.name.name for part in (*policy.lists, *policy.defs, *policy.acls, *policy.splits)]
    assert names
    assert all(found.startswith(name) for found in names)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_it_leaves_a_way_to_the_rules_behind_it(name: str) -> None:
    policy = preset(name)

    assert policy is not None
    assert not policy.pools and not policy.sites and not policy.purges
    for phase in policy.phases:
        assert all(isinstance(part, When) or getattr(part, "word", "") not in VERDICTS for part in phase.body)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_it_says_on_top_what_it_decides(name: str) -> None:
    policy = preset(name)

    assert policy is not None
    assert sum(line.startswith("#") for line in policy.lines) >= 5
    assert f'use "{name}"' in "\n".join(policy.lines)


def test_all_presets_go_together() -> None:
    uses = ", ".join(f'"{name}"' for name in PRESETS)

    checked = check(parse(f"policy 1\nuse {uses}\nrequest {{ lookup }}\n", "x.policy"), preset, missing)

    assert checked.is_sealed
    assert len(checked.phases[Phase.REQUEST]) > 10


def test_there_is_no_other_preset() -> None:
    assert preset("drupal") is None
    assert preset("../default") is None


SCENES = {
    "tracking-params": """
request { query drop @tracking-params, sort }
test "campaigns share one response" {
  origin GET "/" -> 200 cache-control "max-age=60"
  get "/?utm_source=a&page=1&gclid=2" -> miss
  get "/?page=1&fbclid=3&_ga=4" -> hit
  get "/?page=2" -> miss
}""",
    "analytics-cookies": """
request { cookies drop @analytics-cookies }
test "only what the origin reads goes there" {
  get "/" cookie "_ga=1; theme=dark; _pk_id.1=2" -> miss, origin saw cookie "theme=dark"
}""",
    "static-assets": """
test "a file with a digest in its name lives for a year" {
  origin GET "/app.3f2a9c1b.js" -> 200 type "text/javascript"
  get "/app.3f2a9c1b.js" cookie "sid=1" accept "*/*" -> miss, origin saw no cookie, origin saw no accept
  after 300d
  get "/app.3f2a9c1b.js" cookie "sid=2" -> hit
}
test "another lives for an hour if its origin says nothing" {
  origin GET "/logo.svg" -> 200 type "image/svg+xml"
  get "/logo.svg" -> miss
  after 59m
  get "/logo.svg" -> hit
  after 2m
  get "/logo.svg" -> stale
}""",
    "wordpress": """
test "strangers share pages, whatever their browsers send" {
  origin GET "/hello/" -> 200 type "text/html"
  get "/hello/" cookie "_ga=1" user-agent "a" -> miss, origin saw no cookie, origin saw no user-agent
  get "/hello/" cookie "_ga=2" user-agent "b" -> hit
}
test "the known and the private are passed" {
  get "/hello/" cookie "wordpress_logged_in_1=x" -> pass "known visitor"
  get "/shop/" cookie "woocommerce_items_in_cart=1" -> pass "known visitor"
  get "/wp-admin/index.php" -> pass "back office, cart or account"
  get "/blog/wp-login.php" -> pass "back office, cart or account"
  get "/cart/" -> pass "back office, cart or account"
  get "/hello/?preview=true" -> pass "preview or action"
  get "/hello/?unapproved=2&moderation-hash=3f" -> pass "preview or action"
  get "/cart-page/?remove_item=7&_wpnonce=3f" -> pass "preview or action"
  get "/?wc-api=paid" -> pass "preview or action"
}
test "pages outlive the origin by three days" {
  origin GET "/" -> 200 type "text/html"
  get "/" -> miss
  origin fails
  after 2d
  get "/" -> stale
}""",
    "django": """
test "a session, a message and the admin are passed" {
  get "/" cookie "sessionid=a" -> pass "session"
  get "/" cookie "messages=a" -> pass "session"
  get "/admin/" -> pass "admin or account"
}
test "strangers share pages, and whoever has a token has pages of their own" {
  origin GET "/" -> 200 type "text/html"
  get "/" cookie "_ga=1" -> miss, origin saw no cookie
  get "/" cookie "_ga=2" -> hit
  get "/" cookie "csrftoken=a; _ga=3" -> miss, origin saw cookie "csrftoken=a"
  get "/" cookie "csrftoken=b" -> miss
  get "/" cookie "csrftoken=a" -> hit
}
test "static files need no cookies" {
  origin GET "/static/a.0123456789ab.css" -> 200 type "text/css"
  get "/static/a.0123456789ab.css" cookie "sessionid=a" -> miss, origin saw no cookie
  after 300d
  get "/static/a.0123456789ab.css" -> hit
}""",
    "api": """
test "credentials are passed" {
  get "/v1/me" authorization "Bearer x" -> pass "credentials"
  get "/v1/me" x-api-key "x" -> pass "credentials"
  get "/v1/me" cookie "sid=x" -> pass "credentials"
}
test "answers are shared by format and origin, whatever the order of parameters" {
  origin GET "/v1/prices?a=1&b=2" -> 200 type "application/json"
  get "/v1/prices?b=2&a=1" accept "application/json" user-agent "a" -> miss, origin saw no user-agent
  get "/v1/prices?a=1&b=2" accept "application/json" user-agent "b" -> hit
  get "/v1/prices?a=1&b=2" accept "text/csv" -> miss, origin saw accept "text/csv"
  get "/v1/prices?a=1&b=2" accept "application/json" origin "https://shop.example" -> miss
  after 6s
  get "/v1/prices?a=1&b=2" accept "application/json" -> stale
}""",
}


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_it_does_what_it_says(name: str) -> None:
    text = f'policy 1\nuse "{name}"\n{SCENES[name]}\n'
    policy = compiled(check(parse(text, "x.policy"), preset, missing), CACHING)

    failed = [shown(outcome, policy.checked.lines) for outcome in run_tests(policy) if not outcome.is_passed]

    assert failed == []
