"""What a file overrides of the safety floor: its `override` rules, found in their order. Pure; counts nothing.

Invariant: what is found here is what decisions name when such a rule holds, so uses can be counted by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from accel.policy import nodes
from accel.policy.checked import Checked
from accel.policy.decision import Override, OverrideName
from accel.policy.statements import override_of
from accel.policy.vocabulary import Phase


def overrides_of(checked: Checked) -> Iterator[Override]:
    """Yield each `override` of a file, its presets' among them."""
    for rule in opened(checked.phases[Phase.RESPONSE]):
        if isinstance(rule, nodes.Override):
            yield override_of(rule)


def by_name(policies: Iterable[Checked]) -> dict[OverrideName, list[Override]]:
    """Return all overrides of several files: rules that say the same for the same reason are one."""
    found: dict[OverrideName, list[Override]] = {}
    for policy in policies:
        for override in overrides_of(policy):
            same = found.setdefault(override.name, [])
            if override not in same:  # two files have one preset
                same.append(override)
    return found


def opened(statements: Sequence[nodes.Statement]) -> Iterator[nodes.Statement]:
    """Yield everything that rules do, conditions opened."""
    for statement in statements:
        if isinstance(statement, nodes.When):
            yield from opened(statement.body)
            yield from opened(statement.otherwise)
        else:
            yield statement
