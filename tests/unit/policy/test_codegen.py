"""Rules as functions: they bear the policy's file and lines, and no shape of a file is too deep or too long."""

from __future__ import annotations

import traceback
from unittest.mock import patch

import pytest
from making import checked, decide, get, made, ruled, unjudged

from accel.policy.compile import compiled
from accel.policy.verdict import Action


def test_a_traceback_names_the_policys_file_and_line() -> None:
    policy = ruled('cookies keep none\nwhen header.x-a exists {\n  set header "X-B" "${query.q}"\n}')

    broken = patch("accel.policy.runtime.decoded", side_effect=ZeroDivisionError)
    with broken, pytest.raises(ZeroDivisionError) as raised:
        policy.request(get("/?q=%41", x_a="1"), "")

    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(raised.value.__traceback__)]
    assert ("x.policy", 6) in frames


def test_blocks_in_blocks() -> None:
    depth = 30
    opened = "".join(f"when cookie.c{n} exists {{\n" for n in range(depth))
    policy = compiled(unjudged("", f"{opened}deny\n{'}' * depth}"))

    assert policy.request(get(cookie="; ".join(f"c{n}=1" for n in range(depth))), "").action is Action.DENY
    assert policy.request(get(cookie="c1=1"), "").action is Action.LOOKUP


@pytest.mark.parametrize("condition", ['path == "/{n}"', 'cookie.a == "{n}"'])
def test_long_chains_take_the_first_arm_that_holds(condition: str) -> None:
    arms = " else ".join(
        f'when {condition.format(n=n)} {{ set header "X-A" "{n}" }}' for n in range(100)
    ) + ' else { set header "X-A" "none" }'  # fmt: skip
    policy = compiled(unjudged("", arms))

    for n, shown in ((0, b"0"), (99, b"99"), (100, b"none")):
        asked = policy.request(get(f"/{n}", cookie=f"a={n}"), "").asked
        assert asked.fields.get(b"x-a") == shown


def test_an_arm_that_rules_nothing_keeps_the_others_of_its_chain_from_running_but_not_what_follows() -> None:
    arms = " else ".join(f'when path under "/{n}" {{ key + cookie.a }}' for n in "abcd")
    policy = ruled(f'{arms} else when path under "/e" {{ deny }}\nwhen path == "/a" {{ pass "after" }}')

    assert decide(policy, get("/a")).why == "after"
    assert decide(policy, get("/e/f")).action is Action.DENY
    assert decide(policy, get("/b")).asked.key_extra


def test_settings_between_tabled_rules_keep_their_turn() -> None:
    rules = "\n".join(f'when path under "/{n}" {{ pool p }}\npool q' if n == "c" else
                      f'when path under "/{n}" {{ pool p }}' for n in "abcdef")  # fmt: skip
    policy = ruled(rules, "pool p { servers 127.0.0.1:1 }\npool q { servers 127.0.0.1:2 }")

    assert [decide(policy, get(f"/{n}")).pool for n in "abcdex"] == ["q", "q", "q", "p", "p", "q"]


def test_presets_rules_come_first_and_bear_their_own_file() -> None:
    policy = compiled(checked('use "tracking-params"\nrequest { query drop @tracking-params }'))

    assert policy.request(get("/?utm_a=1"), "").asked.target == b"/"


def test_templates_of_every_phase() -> None:
    policy = made(
        'request { when path == "/r" { redirect 302 "https://x.example${url}" }\n'
        'when path == "/s" { synth 200 "you are ${client}, ${header.x-a}!" }\n'
        'when path == "/l" { limit 6/m per client burst 3 else synth 429 "slow, ${client}" } }\n'
        'error { synth 503 "no ${path}: ${cause}" }'
    )

    redirect, synthetic = (decide(policy, get(target), "::1").answer for target in ("/r?a=%20", "/s"))
    (check,) = decide(policy, get("/l"), "2001:db8::1").limits
    error = policy.error(get("/x"), "", 503, b"timeout").answer

    assert redirect is not None and redirect.lines == ((b"location", b"https://x.example/r?a=%20"),)
    assert synthetic is not None and synthetic.body == b"you are ::1, !"
    assert (check.value, check.rate, check.burst) == (b"6:20010db800000000", 0.1, 3)
    assert check.otherwise is not None and check.otherwise.body == b"slow, 2001:db8::1"
    assert error is not None and error.body == b"no /x: timeout"


def bucket_names(statements: str) -> list[str]:
    return [check.name for check in decide(ruled(statements), get("/a/b")).limits]


TWO_LIMITS = """when path under "/a" { limit 1/s per client burst 5 else synth 429 "slow" }
when path under "/a/b" { limit 60/m per client burst 5 else deny 429 }"""


def test_each_limit_counts_by_itself_also_beside_another_on_its_line() -> None:
    assert len(set(bucket_names(TWO_LIMITS))) == 2
    assert len(set(bucket_names(TWO_LIMITS.replace("\n", ";")))) == 2


def test_an_edit_elsewhere_in_the_file_leaves_a_limit_its_counts_and_one_of_the_rate_does_not() -> None:
    before = bucket_names(TWO_LIMITS)

    assert bucket_names(f'seal\nquery drop "x"\n\n{TWO_LIMITS}') == before
    assert bucket_names("limit 9/s per client burst 9 else deny 429\n" + TWO_LIMITS)[1:] == before
    assert bucket_names(TWO_LIMITS.replace("60/m", "30/m"))[0] == before[0]
    assert set(bucket_names(TWO_LIMITS.replace("burst 5", "burst 4"))).isdisjoint(before)


def test_a_split_is_stable_and_keeps_its_shares() -> None:
    policy = ruled('key + split.s', "split s by cookie.v { old 75%, mid 15%, new 10% }")

    arms = [policy.request(get(cookie=f"v={n}"), "").asked.key_extra.rpartition(b":")[2] for n in range(4000)]

    assert 2850 < arms.count(b"old") < 3150 and 500 < arms.count(b"mid") < 700 and 320 < arms.count(b"new") < 480
    assert policy.request(get(), "").asked.key_extra.endswith(b"old")
    assert arms[:9] == [policy.request(get(cookie=f"v={n}"), "").asked.key_extra.rpartition(b":")[2] for n in range(9)]
