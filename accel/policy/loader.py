"""Several policy files as one set: each checked by itself, then against the others. Pure: disks are `server.policies`'.

Invariant: a file that will not do is refused alone and the others stand; hosts belong to one file each, and at most
one file is for every other host. Of two files that claim one host the first by name stands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from accel.policy.check import check
from accel.policy.checked import Checked
from accel.policy.document import Policy
from accel.policy.nodes import Place
from accel.policy.parser import parse
from accel.policy.problems import PolicyError, Problem
from accel.policy.shipped import preset

ReadFile = Callable[[str, str], str]
"""Returns a text by the policy file that names it and its name there; raises OSError or ValueError."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of a set of files."""

    policies: tuple[Checked, ...]
    """Those that will do, by name; the one without `site`, if there is one, is for every other host."""
    refused: dict[str, PolicyError]
    """By file, what is wrong with the others."""


def load(texts: Mapping[str, str | ValueError], read_file: ReadFile) -> Loaded:
    """Return the policies of these files; a text that could not be read stands as the error that says why."""
    good: list[Checked] = []
    refused: dict[str, PolicyError] = {}
    hosts: dict[str, Checked] = {}
    for file in sorted(texts):
        try:
            policy = _parsed(texts[file], file)
            checked = check(policy, preset, partial(read_file, file))
            _claim(policy, checked, hosts)
        except PolicyError as error:
            refused[file] = error
        else:
            good.append(checked)
    return Loaded(tuple(good), refused)


def _parsed(text: str | ValueError, file: str) -> Policy:
    if isinstance(text, ValueError):
        raise PolicyError([Problem(Place(file, 1, 1), str(text))], {})
    return parse(text, file)


_OTHERS = ""
"""Stands for every host that no file names."""


def _claim(policy: Policy, checked: Checked, hosts: dict[str, Checked]) -> None:
    """Take a file's hosts; raises PolicyError if another file has one of them."""
    problems = []
    for host, place in zip(checked.hosts, (site.place for site in policy.sites), strict=True):
        if host in hosts:
            hint = "a host belongs to one file: remove it from one of them"
            problems.append(Problem(place, f"{hosts[host].file} is for the host {host} already", hint))
    if not checked.hosts and _OTHERS in hosts:
        what = f"{hosts[_OTHERS].file} is for every other host already"
        problems.append(Problem(policy.version.place, what, "write `site HOST` for the hosts of this file"))
    if problems:
        raise PolicyError(problems, {checked.file: checked.lines})
    hosts.update(dict.fromkeys(checked.hosts or (_OTHERS,), checked))
