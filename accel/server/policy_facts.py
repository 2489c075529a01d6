"""The policies in force as an operator sees them, in plain values. Pure: versions in, JSON out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from accel.policy.checked import Checked
from accel.policy.decision import OverrideName
from accel.policy.overrides import by_name, opened
from accel.server.policy_versions import Live, Version, Versions

Facts = dict[str, object]


def facts_of(versions: Versions, path: str | None, uses: Mapping[OverrideName, int]) -> Facts:
    """Return everything that `accelctl policies` shows; places are `FILE:LINE`, `uses` those of overrides."""
    current = versions.current
    refused = {one.file: one.text for one in current.refused}
    return {
        "path": path,
        "version": current.number,
        "since": current.since_at,
        "files": [_file(live, refused, uses) for live in current.files],
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


def _file(live: Live, refused: dict[str, str], uses: Mapping[OverrideName, int]) -> Facts:
    checked = live.checked
    return {
        "file": checked.file,
        "since": live.since_at,
        "is_last_good": checked.file in refused,
        "hosts": list(checked.hosts),
        "rules": sum(1 for statements in checked.phases.values() for _ in opened(statements)),
        "tests": len(checked.tests),
        "pools": list(checked.pools),
        "overrides": list(_overrides(checked, uses)),
        "reads": {phase.value: sorted(inputs) for phase, inputs in checked.reads.items()},
    }


def _earlier(version: Version) -> Facts:
    files = [policy.file for policy in version.policies]
    return {"version": version.number, "since": version.since_at, "files": files}


def _overrides(checked: Checked, uses: Mapping[OverrideName, int]) -> Iterator[Facts]:
    for name, rules in by_name([checked]).items():
        places = [str(override.rule) for override in rules]
        yield {"what": name.what, "reason": name.reason, "rules": places, "uses": uses.get(name)}
