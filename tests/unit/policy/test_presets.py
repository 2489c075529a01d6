"""The shipped presets: each is a policy that will do, alone and with all the others."""

from __future__ import annotations

import pytest
from broken_files import missing

from accel.policy.check import check
from accel.policy.nodes import When
from accel.policy.parser import parse
from accel.policy.shipped import preset
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
