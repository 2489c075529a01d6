"""The overrides of a file: found wherever they stand, and named so that uses are counted on when they move."""

from __future__ import annotations

from making import answered, checked

from accel.policy.overrides import by_name, overrides_of

NESTED = """response {
  override private reason "one site"
  when status == 200 {
    ttl 1m
    when path under "/a" { override set-cookie drop reason "theme" } else { override no-store reason "old proxy" }
  }
  when path under "/b" { override set-cookie drop reason "theme" }
}"""


def test_overrides_are_found_in_every_branch_in_their_order() -> None:
    found = [(override.what, override.rule.line) for override in overrides_of(checked(NESTED))]

    assert found == [("private", 3), ("set-cookie", 6), ("no-store", 6), ("set-cookie", 8)]


def test_rules_that_say_the_same_for_the_same_reason_have_one_name() -> None:
    found = {name: [override.rule.line for override in rules] for name, rules in by_name([checked(NESTED)]).items()}

    assert found == {
        ("x.policy", "private", "one site"): [3],
        ("x.policy", "set-cookie", "theme"): [6, 8],
        ("x.policy", "no-store", "old proxy"): [6],
    }


def test_a_rule_that_two_files_share_stands_in_one_place() -> None:
    policy = checked(NESTED)

    assert by_name([policy, policy]) == by_name([policy])


def test_a_decision_names_an_override_as_it_is_found() -> None:
    statements = 'override private reason "costs \\\\$5"'
    (decided,) = answered(statements).overrides
    (found,) = overrides_of(checked(f"\nresponse {{\n{statements}\n}}"))

    assert decided == found
    assert decided.name == ("x.policy", "private", "costs $5")
