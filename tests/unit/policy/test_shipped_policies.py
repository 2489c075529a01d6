"""The policies that come with the project: loaded together, set in their form, and true to the tests that they hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from accel.policy.compile import compiled
from accel.policy.formatting import formatted
from accel.policy.testing import run_tests, shown
from accel.server.policies import load_path

POLICIES = Path(__file__).parents[3] / "policies"
PRESETS = Path(__file__).parents[3] / "accel" / "policy" / "presets"
FILES = [path.relative_to(POLICIES).as_posix() for path in sorted(POLICIES.rglob("*.policy"))]


@pytest.mark.parametrize("directory", [POLICIES, POLICIES / "sites"])
def test_a_directory_of_them_is_one_set_of_sites(directory: Path) -> None:
    loaded = load_path(directory)

    assert {file: str(error) for file, error in loaded.refused.items()} == {}
    assert len(loaded.policies) == len(list(directory.glob("*.policy")))


@pytest.mark.parametrize("name", FILES)
def test_its_own_tests_hold(name: str) -> None:
    (policy,) = load_path(POLICIES / name).policies

    failed = [shown(outcome, policy.lines) for outcome in run_tests(compiled(policy)) if not outcome.is_passed]

    assert failed == []
    assert policy.tests


@pytest.mark.parametrize("path", [*POLICIES.rglob("*.policy"), *PRESETS.glob("*.policy")], ids=lambda path: path.name)
def test_it_is_set_as_fmt_sets_it(path: Path) -> None:
    assert formatted(path.read_text("utf-8")) == path.read_text("utf-8")


@pytest.mark.parametrize("name", FILES)
def test_the_manual_leads_to_it(name: str) -> None:
    manual = (POLICIES / "README.md").read_text("utf-8")

    assert f"]({name})" in manual or f"]({name.partition('/')[0]}/)" in manual


def test_the_default_is_the_built_in_file_itself() -> None:
    assert (POLICIES / "default.policy").resolve() == PRESETS.parent / "built_in.policy"
