"""The language's two examples: they check, they compile, and their own tests hold."""

from __future__ import annotations

from pathlib import Path

import pytest
from broken_files import missing
from making import CACHING

from accel.config import CachingOptions
from accel.http.message import Fields, Request
from accel.policy.check import check
from accel.policy.compile import CompiledPolicy, compiled
from accel.policy.parser import parse
from accel.policy.shipped import preset
from accel.policy.testing import run_tests, shown
from accel.policy.verdict import Action

EXAMPLES = Path(__file__).parent / "examples"


def example(name: str) -> CompiledPolicy:
    """Return one of the examples, compiled."""
    text = (EXAMPLES / name).read_text("utf-8")
    return compiled(check(parse(text, name), preset, missing), CACHING)


@pytest.mark.parametrize("name", ["shop.policy", "blog.policy"])
def test_the_examples_own_tests_hold(name: str) -> None:
    policy = example(name)

    assert [shown(outcome, policy.checked.lines) for outcome in run_tests(policy) if not outcome.is_passed] == []


def test_the_shop_decides_as_it_reads() -> None:
    policy = example("shop.policy")

    def ask(target: bytes, **fields: bytes) -> tuple[Action, str, bytes]:
        request = Request(b"GET", target, b"h", b"h", fields=Fields([(k.encode(), v) for k, v in fields.items()]))
        decision = policy.request(request, "192.0.2.1")
        return decision.action, decision.why, decision.asked.target

    assert ask(b"/static/a.css?v=1&utm_source=x") == (Action.LOOKUP, "", b"/static/a.css?v=1")
    assert ask(b"/cart/?utm_source=x") == (Action.PASS, "private area", b"/cart/?utm_source=x")
    assert ask(b"/b?z=1&a=2", cookie=b"_ga=1") == (Action.LOOKUP, "", b"/b?a=2&z=1")
    assert ask(b"/b", cookie=b"sessionid=x") == (Action.PASS, "logged in", b"/b")
    assert ask(b"/old-shop") == (Action.DENY, "redirect", b"/old-shop")


def test_a_failing_test_shows_expected_got_and_the_rule_that_decided() -> None:
    text = 'policy 1\nrequest {\n when path under "/a/" { pass "mine" }\n}\ntest "t" {\n get "/a/b" -> hit\n}\n'
    policy = compiled(check(parse(text, "x.policy"), preset, missing), CachingOptions())

    (outcome,) = run_tests(policy)

    assert shown(outcome, policy.checked.lines) == (
        "FAIL  t\n"
        '      x.policy:6: get "/a/b" -> hit\n'
        "        expected  hit\n"
        '        got       pass "mine"\n'
        '        decided by x.policy:3: when path under "/a/" { pass "mine" }'
    )
