"""Tables in front of rules: which rules of a block can hold for this host and path, found without trying each.

A block's rules are numbered; every table gives a set of them as the bits of a number. A rule that asks for no host is
in the set of every host, and so for paths. The sets are joined with `&` and what is left runs in the order written, so
the result is that of trying all of them. Prefixes end at a slash (`under`), so a path's own slashes name the few keys
that can be in the table. Owns this and nothing of what the rules do. Invariant: a rule is left out only if its
condition cannot hold; it is called without the part of its condition that the tables have answered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from accel.policy import nodes
from accel.policy.checked import Checked
from accel.policy.conditions import texts
from accel.policy.runtime import View

LEAST_ARMS = 4
"""Rules with a table's answer in a block that make a table worth its 400 ns."""
_REMEMBERED = 1024
"""Sets of rules whose functions are kept as a list."""

Step = Callable[[View, Any], Any]


@dataclass(frozen=True, slots=True)
class Paths:
    """Which paths a rule can hold for."""

    exact: frozenset[bytes] = frozenset()
    stems: frozenset[bytes] = frozenset()
    """Prefixes without the slash that they end at."""


@dataclass(frozen=True, slots=True)
class Guard:
    """What tables can answer of a rule's condition; None: it does not ask."""

    hosts: frozenset[bytes] | None = None
    paths: Paths | None = None
    rest: tuple[nodes.Condition, ...] = ()
    """What is left to be tested; all of it must hold."""

    @property
    def is_tabled(self) -> bool:
        """Whether a table answers anything."""
        return self.hosts is not None or self.paths is not None


def guard_of(condition: nodes.Condition, checked: Checked) -> Guard:
    """Return what the tables can answer of a condition."""
    match condition:
        case nodes.Use() if condition.name in checked.defs:
            found = guard_of(checked.defs[condition.name], checked)
            return found if not found.rest else Guard(rest=(condition,))
        case nodes.Compare():
            return _compared(condition, checked) or Guard(rest=(condition,))
        case nodes.AllOf():
            return _joined(condition, [guard_of(part, checked) for part in condition.parts])
        case nodes.AnyOf():
            return _either([guard_of(part, checked) for part in condition.parts]) or Guard(rest=(condition,))
        case _:
            return Guard(rest=(condition,))


def _compared(node: nodes.Compare, checked: Checked) -> Guard | None:
    if node.input.name not in ("path", "host") or node.operator not in ("==", "in", "under"):
        return None
    members = node.operand.members if isinstance(node.operand, nodes.Many) else (node.operand,)
    values = frozenset(text.encode() for text in texts(checked, members))
    if node.input.name == "host":
        return Guard(hosts=values)
    if node.operator != "under":
        return Guard(paths=Paths(exact=values))
    stems = frozenset(value.rstrip(b"/") for value in values)
    if not all(stem.startswith(b"/") for stem in stems):
        return None  # everything (`under "/"`), or nothing
    return Guard(paths=Paths(stems=stems))


def _joined(node: nodes.AllOf, guards: Sequence[Guard]) -> Guard:
    hosts, paths, rest = None, None, list[nodes.Condition]()
    for part, guard in zip(node.parts, guards, strict=True):
        if (guard.hosts is not None and hosts is not None) or (guard.paths is not None and paths is not None):
            rest.append(part)
            continue
        hosts = guard.hosts if hosts is None else hosts
        paths = guard.paths if paths is None else paths
        rest += guard.rest
    return Guard(hosts, paths, tuple(rest))


def _either(guards: Sequence[Guard]) -> Guard | None:
    """Return the guard of `a or b` if all of it is about the path, or all about the host."""
    if any(guard.rest for guard in guards):
        return None
    if all(guard.hosts is None for guard in guards):
        paths = [guard.paths for guard in guards if guard.paths is not None]
        exact = frozenset[bytes]().union(*(path.exact for path in paths))
        return Guard(paths=Paths(exact, frozenset[bytes]().union(*(path.stems for path in paths))))
    if all(guard.paths is None for guard in guards):
        return Guard(hosts=frozenset[bytes]().union(*(guard.hosts or () for guard in guards)))
    return None


class Dispatch:
    """The rules of one block behind their tables."""

    def __init__(self, arms: Sequence[tuple[Guard, Step]]) -> None:
        self._steps = tuple(step for _, step in arms)
        self._exact: dict[bytes, int] = {}
        self._stems: dict[bytes, int] = {}
        self._hosts: dict[bytes | None, int] = {}
        self._any_path = self._any_host = 0
        for number, (guard, _) in enumerate(arms):
            self._enter(1 << number, guard)
        for host in self._hosts:
            self._hosts[host] |= self._any_host
        self._depth = max((stem.count(b"/") for stem in self._stems), default=0)
        self._lists: dict[int, tuple[Step, ...]] = {}

    def __call__(self, view: View, draft: Any) -> Any:
        """Run the rules that can hold; return the first ruling, None if none made one."""
        path = view.path
        chosen = self._any_path | self._exact.get(path, 0)
        stems = self._stems
        if stems:
            chosen |= stems.get(path, 0)
            end = path.find(b"/", 1)
            for _ in range(self._depth):
                if end < 0:
                    break
                chosen |= stems.get(path[:end], 0)
                end = path.find(b"/", end + 1)
        chosen &= self._hosts.get(view.host, self._any_host)
        steps = self._lists.get(chosen)
        if steps is None:
            steps = self._listed(chosen)
        for step in steps:
            ruling = step(view, draft)
            if ruling is not None:
                return ruling
        return None

    def _enter(self, bit: int, guard: Guard) -> None:
        if guard.hosts is None:
            self._any_host |= bit
        for host in guard.hosts or ():
            self._hosts[host] = self._hosts.get(host, 0) | bit
        if guard.paths is None:
            self._any_path |= bit
            return
        _add(self._exact, guard.paths.exact, bit)
        _add(self._stems, guard.paths.stems, bit)

    def _listed(self, chosen: int) -> tuple[Step, ...]:
        steps = tuple(step for number, step in enumerate(self._steps) if chosen >> number & 1)
        if len(self._lists) < _REMEMBERED:
            self._lists[chosen] = steps
        return steps


def _add(table: dict[bytes, int], keys: Iterable[bytes], bit: int) -> None:
    for key in keys:
        table[key] = table.get(key, 0) | bit
