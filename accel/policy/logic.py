"""Whole conditions as formulas: what one implies, what cannot hold together, what always holds.

Owns reasoning over `and`, `or`, `not` and definitions; single comparisons are `policy.facts`. Invariant: it answers
True only where that is certain, and in bounded steps: a question that would take more is answered with False.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from accel.addresses import network
from accel.policy import facts, nodes
from accel.policy.checking_names import Names
from accel.policy.facts import Fact, Value, fact
from accel.policy.nodes import Place
from accel.policy.templates import plain
from accel.policy.vocabulary import ALWAYS_THERE

_MOST_VALUES = 500
"""Longer lists are not gone through value by value."""
_MOST_STEPS = 2000
"""Of one question. Conditions that people write take a few dozen."""


@dataclass(frozen=True, slots=True)
class Present:
    """That an input exists."""

    subject: str


@dataclass(frozen=True, slots=True)
class Opaque:
    """Something that nothing is known about, but that it is what it is."""

    what: object


@dataclass(frozen=True, slots=True)
class No:
    """That `part` does not hold."""

    part: Formula


@dataclass(frozen=True, slots=True)
class Every:
    """That all of `parts` hold."""

    parts: tuple[Formula, ...]


@dataclass(frozen=True, slots=True)
class Some:
    """That any of `parts` holds."""

    parts: tuple[Formula, ...]


Formula = Fact | Present | Opaque | No | Every | Some


class Formulas:
    """Makes formulas of a file's conditions."""

    def __init__(self, names: Names, doubtful: Collection[Place] = ()) -> None:
        """`doubtful` are comparisons of which something is wrong."""
        self._names = names
        self._doubtful = doubtful
        self._defs: dict[str, Formula] = {}

    def of(self, condition: nodes.Condition) -> Formula:
        """Return a condition's formula, definitions resolved."""
        match condition:
            case nodes.AllOf():
                return Every(tuple(map(self.of, condition.parts)))
            case nodes.AnyOf():
                return Some(tuple(map(self.of, condition.parts)))
            case nodes.Not():
                return negated(self.of(condition.part))
            case nodes.Exists():
                return Present(subject(condition.input))
            case nodes.Use():
                return self._definition(condition.name)
            case nodes.Compare():
                return self._compare(condition)

    def _definition(self, name: str) -> Formula:
        if name not in self._defs:
            found = self._names.defs.get(name)
            self._defs[name] = self.of(found) if found is not None else Opaque(name)
        return self._defs[name]

    def _compare(self, part: nodes.Compare) -> Formula:
        if part.place in self._doubtful:
            return Opaque(part.place)
        try:
            values = tuple(value for member in members(part.operand) for value in self._values(part, member))
            is_set = part.input.name in ("cookie", "parameter") and not part.input.argument
            made = fact(subject(part.input), part.operator, values, is_set=is_set)
        except ValueError:
            return Opaque((subject(part.input), part.operator, part.place))
        return made if values else Opaque((made, part.place))

    def _values(self, part: nodes.Compare, member: nodes.Member) -> Iterator[Value]:
        match member:
            case nodes.Text():
                yield plain(member)
            case nodes.Number():
                yield member.value
            case nodes.Duration():
                yield member.seconds
            case nodes.Size():
                yield member.bytes
            case nodes.StatusRange():
                yield from range(member.first, member.last + 1)
            case nodes.ListName():
                yield from self._names.lists.get(member.name, ())
            case nodes.Name() if member.name in self._names.acls:
                yield from self._names.acls[member.name]
            case nodes.Name():
                yield network(member.name) if part.input.name == "client" else member.name


def subject(read: nodes.Input) -> str:
    """Return what identifies an input: names of fields in lower case."""
    return str(read).lower() if read.name in ("header", "response") else str(read)


def members(operand: nodes.Operand) -> tuple[nodes.Member, ...]:
    """Return an operand's values, one or several."""
    return operand.members if isinstance(operand, nodes.Many) else (operand,)


def negated(formula: Formula) -> Formula:
    """Return what holds where `formula` does not."""
    if isinstance(formula, No):
        return formula.part
    if isinstance(formula, Fact) and formula.subject in ALWAYS_THERE:
        return facts.opposite(formula) or No(formula)
    if isinstance(formula, Every):
        return Some(tuple(map(negated, formula.parts)))
    if isinstance(formula, Some):
        return Every(tuple(map(negated, formula.parts)))
    return No(formula)


def implies(a: Formula, b: Formula) -> bool:
    """Whether `b` certainly holds wherever `a` does."""
    return _Reasoner().implies(a, b)


def excludes(a: Formula, b: Formula) -> bool:
    """Whether `a` and `b` certainly never hold together."""
    return _Reasoner().excludes(a, b)


def contradiction(parts: tuple[Formula, ...]) -> bool:
    """Whether formulas that must all hold certainly cannot."""
    flat, reasoner = tuple(_flat(parts)), _Reasoner()
    return any(reasoner.excludes(a, b) for index, a in enumerate(flat) for b in flat[:index]) or _is_emptied(flat)


def is_always(formula: Formula) -> bool:
    """Whether a formula holds whatever is asked."""
    return contradiction((negated(formula),)) if isinstance(formula, Some) else False


def _flat(parts: tuple[Formula, ...]) -> Iterator[Formula]:
    for part in parts:
        if isinstance(part, Every):
            yield from _flat(part.parts)
        else:
            yield part


def _is_emptied(parts: tuple[Formula, ...]) -> bool:
    """Whether one input's facts together leave no value that fits."""
    single = [part for part in parts if isinstance(part, Fact) and not part.is_set]
    for part in single:
        if part.finite is not None and len(part.finite) <= _MOST_VALUES:
            others = [other for other in single if other.subject == part.subject]
            if not any(all(other.holds(value) for other in others) for value in part.finite):
                return True
    return False


class _Reasoner:
    """Answers one question."""

    def __init__(self) -> None:
        self._left = _MOST_STEPS

    def implies(self, a: Formula, b: Formula) -> bool:
        if not self._step():
            return False
        if a == b:
            return True
        if isinstance(b, Every):
            return all(self.implies(a, part) for part in b.parts)
        if isinstance(a, Some):
            return all(self.implies(part, b) for part in a.parts)
        if isinstance(a, Every) and any(self.implies(part, b) for part in a.parts):
            return True
        if isinstance(b, Some):
            return any(self.implies(a, part) for part in b.parts)
        if isinstance(b, No):
            return not isinstance(a, Every) and self.excludes(a, b.part)
        return self._implies_leaf(a, b)

    def _implies_leaf(self, a: Formula, b: Formula) -> bool:
        if isinstance(a, Fact) and isinstance(b, Fact):
            return facts.implies(a, b)
        return isinstance(a, Fact) and isinstance(b, Present) and a.subject == b.subject

    def excludes(self, a: Formula, b: Formula) -> bool:
        if not self._step():
            return False
        for one, other in ((a, b), (b, a)):
            if isinstance(one, Some):
                return all(self.excludes(part, other) for part in one.parts)
        for one, other in ((a, b), (b, a)):
            if isinstance(one, Every):
                return any(self.excludes(part, other) for part in one.parts)
        if isinstance(a, No):
            return self.implies(b, a.part)
        if isinstance(b, No):
            return self.implies(a, b.part)
        return isinstance(a, Fact) and isinstance(b, Fact) and facts.excludes(a, b)

    def _step(self) -> bool:
        self._left -= 1
        return self._left > 0
