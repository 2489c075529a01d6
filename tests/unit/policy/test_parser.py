"""Reading a policy file: what each construct becomes, and that every mistake is shown where it stands."""

from __future__ import annotations

import pytest

from accel.policy import document, nodes
from accel.policy.parser import parse
from accel.policy.problems import PolicyError


def parsed(text: str) -> document.Policy:
    """Return a policy with these parts."""
    return parse("policy 1\n" + text, "x.policy")


def statements(text: str, phase: str = "request") -> tuple[nodes.Statement, ...]:
    """Return what one phase's block holds."""
    return parsed(f"{phase} {{\n{text}\n}}").phases[0].body


def problems_of(text: str) -> list[tuple[int, int, str]]:
    """Return line, column and message of everything that is wrong."""
    with pytest.raises(PolicyError) as raised:
        parse(text, "x.policy")
    return [(problem.place.line, problem.place.column, problem.what) for problem in raised.value.problems]


def test_a_line_end_and_a_semicolon_end_a_statement() -> None:
    assert len(statements("seal; query sort\ncookies keep none\n\n  lookup")) == 4


def test_a_statement_goes_on_after_a_comma_an_operator_and_inside_brackets() -> None:
    (when,) = statements('when path under (\n"/a/",\n"/b/"\n) and\n  method ==\n "GET" { lookup }')

    assert isinstance(when, nodes.When)
    assert isinstance(when.condition, nodes.AllOf)


@pytest.mark.parametrize("gap", [" ", "\n"])
def test_else_may_stand_on_the_next_line_and_chains(gap: str) -> None:
    (when,) = statements(f'when path == "/a" {{ lookup }}{gap}else when path == "/b" {{ pipe }}{gap}else {{ seal }}')

    assert isinstance(when, nodes.When)
    (second,) = when.otherwise
    assert isinstance(second, nodes.When)
    assert isinstance(second.otherwise[0], nodes.Seal)


def test_else_may_stand_on_the_same_line() -> None:
    (when,) = statements('when path == "/a" { lookup } else when path == "/b" { pipe } else { seal }')

    assert isinstance(when, nodes.When)
    assert isinstance(when.otherwise[0], nodes.When)


def test_and_binds_closer_than_or_and_not_closest() -> None:
    (found,) = parsed('def x = not cookie.a exists and path == "/" or method == "GET"').defs

    assert isinstance(found.condition, nodes.AnyOf)
    first = found.condition.parts[0]
    assert isinstance(first, nodes.AllOf)
    assert isinstance(first.parts[0], nodes.Not)


def test_a_bare_name_as_a_condition_is_a_def() -> None:
    (when,) = statements("when logged_in { lookup }")

    assert isinstance(when, nodes.When)
    assert isinstance(when.condition, nodes.Use)


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("30s", 30), ("10m", 600), ("1.5h", 5400), ("7d", 604800), ("1y", 31536000)]
)
def test_a_time_has_a_unit(text: str, seconds: float) -> None:
    (ttl,) = statements(f"ttl {text}", "response")

    assert isinstance(ttl, nodes.Ttl)
    assert ttl.duration is not None and ttl.duration.seconds == seconds


def test_a_comparison_takes_texts_numbers_ranges_sets_and_lists() -> None:
    operands = ('"/a"', "404", "500..599", "{301, 404}", '("a", "b")', "@bots", "office", "64K", "10m")
    kinds = [parsed(f"def x = status == {operand}").defs[0].condition for operand in operands]

    assert [type(kind.operand).__name__ for kind in kinds if isinstance(kind, nodes.Compare)] == [
        "Text", "Number", "StatusRange", "Many", "Many", "ListName", "Name", "Size", "Duration",
    ]  # fmt: skip


def test_an_odd_name_of_a_cookie_stands_in_quotes() -> None:
    (found,) = parsed('def x = cookie."a[b]" exists').defs

    assert isinstance(found.condition, nodes.Exists)
    assert found.condition.input.argument == "a[b]"


def test_escapes_in_a_text() -> None:
    (synth,) = statements(r'synth 200 "a \"b\"\n\\ c"')

    assert isinstance(synth, nodes.Synth)
    assert synth.body is not None and synth.body.value == 'a "b"\n\\ c'


def test_a_comment_is_no_part_of_anything_and_none_begins_in_a_text() -> None:
    (verdict,) = statements('pass "a # b" # why\n# more')

    assert isinstance(verdict, nodes.Verdict)
    assert verdict.why is not None and verdict.why.value == "a # b"


def test_a_pools_settings_are_words_and_values() -> None:
    (pool,) = parsed("pool app { servers 127.0.0.1:8001-8008, unix:/run/a.sock; limit 32 per server }").pools

    assert [(setting.word, len(setting.values)) for setting in pool.settings] == [("servers", 2), ("limit", 3)]


def test_the_steps_of_a_test() -> None:
    (test,) = parsed(
        'test "t" {\n origin GET "/" -> 200 type "text/html"\n'
        ' get "/" cookie "a=1" from 10.0.0.1 -> hit, header "X" "y"\n'
        ' after 61s\n origin fails\n get "/" -> stale, origin saw cookie "a=1", no header "Server"\n}'
    ).tests

    says, ask, after, fails, again = test.steps
    assert isinstance(says, document.OriginSays) and says.fields[0][0] == "content-type"
    assert isinstance(ask, document.Ask) and ask.client is not None and ask.client.name == "10.0.0.1"
    assert isinstance(after, document.After) and after.duration.seconds == 61
    assert isinstance(fails, document.Fails) and fails.is_failing
    assert isinstance(again, document.Ask)
    assert [(held.word, held.name) for held in again.expectations] == [
        ("stale", ""), ("origin saw", "cookie"), ("no header", "Server"),
    ]  # fmt: skip


def test_every_wrong_line_is_shown_with_its_place() -> None:
    text = "policy 1\npol app { }\nrequest {\n  ttl 30\n  deny 9000\n}\nrespones { }\n"

    assert [(line, column) for line, column, _ in problems_of(text)] == [(2, 1), (4, 7), (5, 8), (7, 1)]


def test_a_file_that_ends_too_early_says_so() -> None:
    assert problems_of("policy 1\nrequest {\n seal\n") == [(3, 1, "the file ends too early")]


def test_an_else_without_when_is_a_problem() -> None:
    assert problems_of("policy 1\nrequest {\n else { seal }\n}") == [(3, 2, "this else has no `when` before it")]


@pytest.mark.parametrize("text", ["", "\n", "policy", "policy 2", "}", '"', "policy 1 1", "\0", "policy 1\r\n{"])
def test_what_is_no_policy_is_a_policy_error(text: str) -> None:
    assert problems_of(text)


def test_a_message_shows_the_line_a_caret_and_a_hint() -> None:
    with pytest.raises(PolicyError) as raised:
        parse("policy 1\nrequest { lokup }", "shop.policy")

    assert str(raised.value) == (
        "shop.policy:2:11: 'lokup' does not fit here\n"
        "    request { lokup }\n"
        "              ^^^^^\n"
        "    hint: did you mean lookup?"
    )


@pytest.mark.parametrize(
    "condition",
    ["(" * 5000 + 'path == "/"' + ")" * 5000, "not " * 5000 + 'path == "/"', "not (" * 40 + "a" + ")" * 40],
    ids=["brackets", "nots", "both"],
)
def test_what_is_nested_too_deep_is_a_problem_and_no_crash(condition: str) -> None:
    ((_, _, what),) = problems_of(f"policy 1\ndef x = {condition}\n")

    assert what == "this stands over 32 brackets deep"


def test_blocks_nested_too_deep_are_a_problem() -> None:
    whens = 'when method == "GET" {\n' * 2000

    assert "this stands over 32 brackets deep" in problems_of(f"policy 1\nrequest {{\n{whens}")[0][2]


def test_a_long_chain_of_elses_is_a_problem() -> None:
    chain = " else ".join('when path == "/a" { seal }' for _ in range(3000))

    assert problems_of(f"policy 1\nrequest {{ {chain} }}")[0][2] == "over 100 elses"
