"""What earlier rules take, so that it does not come to later ones: a table asked by each later rule.

Owns the look-up alone. A rule that asks for paths or for single values is found by those, so that a file of a thousand
rules is judged in a thousand steps and not in a million; all others are asked one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from accel.policy.facts import Fact, Value, glob_head
from accel.policy.logic import Every, Formula, Some, implies
from accel.policy.nodes import Place

_MOST_KEYS = 20
"""A rule of more values is asked one by one."""
_Key = tuple[str, str, Value]
"""Subject, `in` or `under`, value; a prefix without its last slash."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Requests that do not come this far."""

    what: Formula
    place: Place
    is_else: bool = False
    """They went another way of the same `when`."""


class Gone:
    """Everything that earlier rules took, in this block and in those around it."""

    def __init__(self, around: Gone | None = None) -> None:
        self._around = around
        self._by_key: dict[_Key, list[Taken]] = {}
        self._others: list[Taken] = []

    def add(self, taken: Taken) -> None:
        """Note what a rule takes."""
        keys = _registered(taken.what)
        for key in keys:
            self._by_key.setdefault(key, []).append(taken)
        if not keys:
            self._others.append(taken)

    def taker(self, where: tuple[Formula, ...]) -> Taken | None:
        """Return the first rule that certainly takes all of which `where` holds, or None."""
        held, keys = Every(where), frozenset(_asked(where))
        table: Gone | None = self
        found: list[Taken] = []
        while table is not None:
            found += [taken for taken in table._candidates(keys) if implies(held, taken.what)]
            table = table._around
        return min(found, key=lambda taken: taken.place, default=None)

    def _candidates(self, keys: frozenset[_Key]) -> Iterator[Taken]:
        yield from self._others
        for key in keys:
            yield from self._by_key.get(key, ())


def _registered(formula: Formula) -> list[_Key]:
    """Return keys of which whatever implies the formula asks for at least one; none if there are no such."""
    for part in formula.parts if isinstance(formula, Every) else (formula,):
        keys: list[_Key] = []
        if isinstance(part, Fact) and part.operator == "under":
            keys = [(part.subject, "under", str(value).rstrip("/")) for value in part.values]
        elif isinstance(part, Fact) and part.finite is not None:
            keys = [(part.subject, "in", value) for value in part.finite]
        if 0 < len(keys) <= _MOST_KEYS:
            return keys
    return []


def _asked(parts: Sequence[Formula]) -> Iterator[_Key]:
    """Yield the keys of what holds; of several ways the first is enough, for each must be taken."""
    left = list(parts)
    while left:
        part = left.pop()
        if isinstance(part, Every):
            left += part.parts
        elif isinstance(part, Some):
            left += part.parts[:1]
        elif isinstance(part, Fact):
            yield from _keys_of(part)


def _keys_of(of: Fact) -> Iterator[_Key]:
    value = next(iter(of.finite), None) if of.finite is not None else of.values[0]
    if of.finite is not None and value is not None:
        yield of.subject, "in", value
    if isinstance(value, str) and (of.finite is not None or of.operator in ("under", "glob")):
        path = value.rstrip("/") + "/" if of.operator != "glob" else glob_head(value)
        yield from ((of.subject, "under", path[:at]) for at, letter in enumerate(path) if letter == "/")
