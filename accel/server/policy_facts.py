"""The policies in force as an operator sees them, in plain values. Pure: versions in, JSON out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from accel.policy import nodes
from accel.policy.checked import Checked
from accel.policy.vocabulary import Phase
from accel.server.policy_versions import Live, Version, Versions

Facts = dict[str, object]


def facts_of(versions: Versions, path: str | None) -> Facts:
    """Return everything that `accelctl policies` shows; places are `FILE:LINE`."""
    current = versions.current
    refused = {one.file: one.text for one in current.refused}
    return {
        "path": path,
        "version": current.number,
        "since": current.since_at,
        "files": [_file(live, refused) for live in current.files],
        "refused": refused,
        "earlier": [_earlier(version) for version in reversed(versions.earlier)],
    }


def lines_of(version: Version, explanation: Mapping[str, Any]) -> dict[str, str]:
    """Return the text of each rule that an explanation names, by `FILE:LINE`; of presets there is none."""
    sources = {policy.file: policy.lines for policy in version.policies}
    stored = explanation.get("stored") or {}
    texts = {}
    for rule in (*explanation.get("matched", ()), *stored.get("matched", ())):
        file, _, number = str(rule).rpartition(":")
        lines = sources.get(file, ())
        if number.isdigit() and 0 < int(number) <= len(lines):
            texts[rule] = lines[int(number) - 1].strip()
    return texts


def _file(live: Live, refused: dict[str, str]) -> Facts:
    checked = live.checked
    return {
        "file": checked.file,
        "since": live.since_at,
        "is_last_good": checked.file in refused,
        "hosts": list(checked.hosts),
        "rules": sum(1 for statements in checked.phases.values() for _ in _rules(statements)),
        "tests": len(checked.tests),
        "pools": list(checked.pools),
        "overrides": list(_overrides(checked)),
        "reads": {phase.value: sorted(inputs) for phase, inputs in checked.reads.items()},
    }


def _earlier(version: Version) -> Facts:
    files = [policy.file for policy in version.policies]
    return {"version": version.number, "since": version.since_at, "files": files}


def _rules(statements: Sequence[nodes.Statement]) -> Iterator[nodes.Statement]:
    """Yield everything that rules do, conditions opened."""
    for statement in statements:
        if isinstance(statement, nodes.When):
            yield from _rules(statement.body)
            yield from _rules(statement.otherwise)
        else:
            yield statement


def _overrides(checked: Checked) -> Iterator[Facts]:
    for rule in _rules(checked.phases[Phase.RESPONSE]):
        if isinstance(rule, nodes.Override):
            place = f"{rule.place.file}:{rule.place.line}"
            yield {"what": rule.what.name, "reason": rule.reason.value, "rule": place}
