"""Uses of overrides: which slot counts them, over reloads, many workers, and more reasons than slots."""

from __future__ import annotations

import pytest

from accel.policy.check import check
from accel.policy.checked import Checked
from accel.policy.overrides import overrides_of
from accel.policy.parser import parse
from accel.policy.shipped import preset
from accel.server.overrides import OTHERS, OverrideRow, OverrideSlots
from accel.server.scoreboard import Scoreboard


def policy(*reasons: str, above: str = "") -> Checked:
    """Return a file that overrides private for each of these reasons, a line each."""
    rules = "\n".join(f'when header.x == "{reason}" {{ override private reason "{reason}" }}' for reason in reasons)
    return check(parse(f"policy 1\n{above}response {{\n{rules}\n}}", "a.policy"), preset, str)


class Machine:
    """An arbiter's registry and the rows of two workers, under rules that change."""

    def __init__(self) -> None:
        self.board = Scoreboard()
        self.board.use_rows(2)
        self.slots = OverrideSlots()
        self.rows = [OverrideRow(self.board.override_uses(row)) for row in range(2)]
        self.policy = policy()

    def reload(self, new: Checked, told: tuple[int, ...] = (0, 1)) -> None:
        """Put rules into force; only some workers have been told yet."""
        self.policy = new
        self.slots.take([new])
        for row in told:
            self.rows[row].know([new], self.slots.of([new]))

    def use(self, row: int, rules: Checked, times: int = 1) -> None:
        """Have a worker use each override of these rules."""
        for override in overrides_of(rules):
            for _ in range(times):
                self.rows[row].used(override)

    def uses(self) -> dict[str, int]:
        """Return the uses by reason."""
        return {name.reason: uses for name, uses in self.slots.uses(self.board.override_sums()).items()}


@pytest.fixture
def machine() -> Machine:
    """Return two workers under rules that override nothing."""
    return Machine()


def test_uses_are_added_up_over_workers_by_reason(machine: Machine) -> None:
    machine.reload(policy("theme", "one site"))
    machine.use(0, policy("theme"), 2)
    machine.use(1, policy("theme", "one site"))

    assert machine.uses() == {"theme": 3, "one site": 1}


def test_what_moves_in_its_file_or_comes_back_counts_on(machine: Machine) -> None:
    for rules in (policy("theme", "one site"), policy("new", "one site", above="\n\n"), policy("theme")):
        machine.reload(rules)
        machine.use(0, rules)

    assert machine.uses() == {"theme": 2, "one site": 2, "new": 1}


def test_an_exchange_under_the_old_rules_counts_for_them(machine: Machine) -> None:
    machine.reload(policy("old"))
    machine.reload(policy("new"), told=(0,))
    machine.use(0, policy("old"))
    machine.use(1, policy("old"))
    machine.use(0, policy("new"))

    assert machine.uses() == {"old": 2, "new": 1}


def test_a_successor_of_a_dead_worker_counts_on_in_its_row(machine: Machine) -> None:
    rules = policy("theme")
    machine.reload(rules)
    machine.use(1, rules)
    machine.board.clear_gauges(1)
    machine.rows[1] = OverrideRow(machine.board.override_uses(1))
    machine.rows[1].know([rules], machine.slots.of([rules]))
    machine.use(1, rules)

    assert machine.uses() == {"theme": 2}


def test_beyond_the_last_slot_uses_are_counted_together_and_that_is_said(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    many = policy(*(f"reason {number}" for number in range(OTHERS + 2)))
    machine.reload(many)
    machine.reload(many)
    machine.use(0, many)
    machine.use(1, many)
    sums = machine.board.override_sums()
    facts = machine.slots.facts([many], sums)
    listed = facts["overrides"]

    assert isinstance(listed, list)
    assert (facts["total"], facts["others"]) == (2 * (OTHERS + 2), 4)
    assert [one["uses"] for one in listed] == [2] * OTHERS + [None] * 2
    assert capsys.readouterr().err.count("override-slots-full counted_together=2 own_slots=63") == 1


def test_what_left_the_rules_is_listed_as_long_as_it_was_ever_used(machine: Machine) -> None:
    machine.reload(policy("used", "unused"))
    machine.use(0, policy("used"))
    machine.reload(policy("new"))

    facts = machine.slots.facts([machine.policy], machine.board.override_sums())

    line = {"what": "private", "file": "a.policy"}
    assert facts == {
        "total": 1,
        "others": 0,
        "overrides": [
            line | {"reason": "new", "lines": [3], "uses": 0, "is_in_force": True},
            line | {"reason": "used", "lines": [], "uses": 1, "is_in_force": False},
        ],
    }
