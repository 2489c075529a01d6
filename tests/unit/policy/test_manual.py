"""The manual, policies/README.md: its examples do what they say, and it leaves no word of the language out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from broken_files import missing
from making import CACHING

from accel.policy.check import check
from accel.policy.compile import CompiledPolicy, compiled
from accel.policy.parser import parse
from accel.policy.shipped import preset
from accel.policy.testing import run_tests, shown
from accel.policy.vocabulary import (
    INPUTS,
    OPERATORS,
    OVERRIDES,
    POOL_SETTINGS,
    PRESETS,
    PURGE_SETTINGS,
    STATEMENTS,
    VALUES,
    Phase,
)

MANUAL = (Path(__file__).parents[3] / "policies" / "README.md").read_text("utf-8")
EXAMPLES = {
    f"line {MANUAL.count(chr(10), 0, found.start()) + 2}": found[1]
    for found in re.finditer(r"^```policy\n(.*?)^```$", MANUAL, re.MULTILINE | re.DOTALL)
}
CODE = set(re.findall(r"[\w.%@/+-]+", " ".join(re.findall(r"`([^`\n]+)`", MANUAL))))
"""Every word that stands in the manual's running text as code."""
WORDS = {
    **dict.fromkeys(INPUTS, "inputs"),
    **dict.fromkeys(STATEMENTS, "statements"),
    **dict.fromkeys(OVERRIDES, "overrides"),
    **dict.fromkeys(POOL_SETTINGS, "settings of a pool"),
    **dict.fromkeys(PURGE_SETTINGS, "settings of purge"),
    **dict.fromkeys(PRESETS, "presets"),
    **dict.fromkeys((phase.value for phase in Phase), "phases"),
    **dict.fromkeys((value for values in VALUES.values() for value in values), "values"),
    **dict.fromkeys(("site", "use", "pool", "acl", "list", "def", "split", "purge", "test", "burst"), "other words"),
}


def rows_of(heading: str) -> Iterator[list[str]]:
    """Yield the cells of each row of the tables in a section."""
    section = MANUAL.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    for line in section.splitlines():
        if line.startswith("|") and not line.startswith("|---"):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


HABITS = {row[0]: row[-1] for row in rows_of("From VCL and nginx") if "`" in row[-1]}


def made(text: str) -> CompiledPolicy:
    """Return an example, compiled."""
    return compiled(check(parse(text, "README.md"), preset, missing), CACHING)


@pytest.mark.parametrize("line", EXAMPLES)
def test_its_examples_hold(line: str) -> None:
    policy = made(EXAMPLES[line])

    failed = [shown(outcome, policy.checked.lines) for outcome in run_tests(policy) if not outcome.is_passed]

    assert failed == []
    assert policy.checked.tests


@pytest.mark.parametrize("habit", HABITS)
def test_what_others_write_can_be_said_as_its_table_says(habit: str) -> None:
    snippets = re.findall(r"`([^`]+)`", HABITS[habit])

    made("\n".join(["policy 1", *snippets]))


def test_its_table_is_about_twenty_habits() -> None:
    assert len(HABITS) >= 20


@pytest.mark.parametrize("word", sorted(WORDS))
def test_every_word_of_the_vocabulary_is_in_it(word: str) -> None:
    assert word in CODE or any(code.startswith(f"{word}.") for code in CODE), WORDS[word]


def test_every_operator_is_in_its_table() -> None:
    documented = {code for row in rows_of("What rules read") for code in re.findall(r"`([^`]+)`", row[0])}

    assert frozenset[str]().union(*OPERATORS.values()) <= documented


@pytest.mark.parametrize("word", sorted(STATEMENTS))
def test_every_statement_has_a_row_in_each_of_its_phases(word: str) -> None:
    headings = {
        Phase.REQUEST: "Request",
        Phase.RESPONSE: "Response",
        Phase.DELIVER: "Deliver",
        Phase.ERROR: "Error",
    }

    for phase in STATEMENTS[word]:
        documented = " ".join(row[0] for row in rows_of(headings[phase]))
        assert re.search(rf"(?<![\w-]){word}(?![\w-])", documented), headings[phase]
