"""Conditions of the policy language about anything that has named values: for filters, such as of the live log.

Owns what a comparison means there, which is what it means in a rule; the caller owns the words (`Words`). Invariant: a
text becomes a test or a PolicyError that says what is wrong with it; the test never raises, and a value that is missing
makes a comparison false.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from accel.policy import matching, nodes
from accel.policy.nodes import Place
from accel.policy.parser import parse
from accel.policy.problems import PolicyError, Problem, did_you_mean
from accel.policy.vocabulary import OPERATORS, Type

Test = Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Word:
    """One thing that a condition may read."""

    type: Type
    """Any but NAMES."""
    read: Callable[[Any], Any]
    """Returns bytes of a TEXT, a text of an ADDRESS, else a number; None or NaN: it is missing."""
    meaning: str
    values: frozenset[str] = frozenset()
    """What it may be; empty: anything."""


Words = Mapping[str, Word]

_BEFORE = "policy 1\ndef q = "
_COLUMNS = len("def q = ")
_ORDERED: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq,
}  # fmt: skip
_UNDER = frozenset({"path", "url"})
_EXAMPLES = {
    Type.TEXT: '"a text"',
    Type.NUMBER: "a whole number",
    Type.STATUS: "a status such as 404, or 500..599",
    Type.DURATION: "a time such as 200ms or 10s",
    Type.SIZE: "a size such as 64K",
    Type.ADDRESS: "an address or a network such as 10.0.0.0/8",
}


def condition(text: str, words: Words, name: str) -> Test:
    """Return the test that a text is, such as `status >= 500 and host == "a"`; `name` stands for it in messages.

    Raises PolicyError.
    """
    return _Filter(text, words, name).test


class _Wrong(Exception):
    """A part of a condition that will not do."""

    def __init__(self, place: Place, what: str, hint: str) -> None:
        super().__init__(what)
        self.problem = Problem(place, what, hint)


class _Filter:
    """One text on its way to a test."""

    def __init__(self, text: str, words: Words, name: str) -> None:
        self._words, self._name, self._line = words, name, (text,)
        try:
            self.test = self._made(self._parsed(text))
        except _Wrong as error:
            raise self._refusal([error.problem]) from None

    def _parsed(self, text: str) -> nodes.Condition:
        if "\n" in text or not text.strip():
            raise _Wrong(Place("", 2, 1 + _COLUMNS), "this is no condition", "write one in one line: status >= 500")
        try:
            policy = parse(_BEFORE + text, "")
        except PolicyError as error:
            raise self._refusal(error.problems) from None
        if len(policy.defs) != 1 or any((policy.sites, policy.uses, policy.lists, policy.phases, policy.pools)):
            raise _Wrong(Place("", 2, 1 + _COLUMNS), "this is more than a condition", "join conditions with and, or")
        return policy.defs[0].condition

    def _refusal(self, problems: list[Problem]) -> PolicyError:
        moved = [Problem(self._moved(problem.place), problem.what, problem.hint) for problem in problems]
        return PolicyError(moved, {self._name: self._line})

    def _moved(self, place: Place) -> Place:
        return Place(self._name, 1, max(1, place.column - _COLUMNS), place.length)

    # Tests.

    def _made(self, node: nodes.Condition) -> Test:
        match node:
            case nodes.AnyOf(parts):
                anyone = tuple(map(self._made, parts))
                return lambda one: any(test(one) for test in anyone)
            case nodes.AllOf(parts):
                everyone = tuple(map(self._made, parts))
                return lambda one: all(test(one) for test in everyone)
            case nodes.Not(part):
                inner = self._made(part)
                return lambda one: not inner(one)
            case nodes.Exists(read):
                value_of = self._word(read.name, str(read), node.place).read
                return lambda one: not _is_missing(value_of(one))
            case nodes.Use(name):
                self._word(name.partition(".")[0], name, node.place)
                raise _Wrong(node.place, f"{name} alone is no condition", "compare it with something")
            case nodes.Compare():
                return self._compared(node)

    def _word(self, name: str, whole: str, place: Place) -> Word:
        found = self._words.get(whole)
        if found is None:
            hint = did_you_mean(whole, self._words) or f"there is {', '.join(self._words)}"
            raise _Wrong(place, f"there is nothing called {whole} to read", hint)
        return found

    def _compared(self, node: nodes.Compare) -> Test:
        read = str(node.input)
        word = self._word(node.input.name, read, node.input.place)
        allowed = OPERATORS[word.type] | ({"=="} if word.type in (Type.DURATION, Type.SIZE) else set())
        if node.operator not in allowed or (node.operator == "under" and read not in _UNDER):
            known = ", ".join(sorted(allowed - (set() if read in _UNDER else {"under"})))
            raise _Wrong(node.place, f"{read} cannot be compared with `{node.operator}`", f"it can be with {known}")
        members = node.operand.members if isinstance(node.operand, nodes.Many) else (node.operand,)
        if node.operator not in ("in", "under", "glob", "matches", "contains") and len(members) > 1:
            raise _Wrong(node.operand.place, f"`{node.operator}` compares with one value", f"write {read} in …")
        fits = self._fitting(word, node.operator, members)
        value_of, is_negated = word.read, node.operator == "!="
        return lambda one: not _is_missing(value := value_of(one)) and fits(value) is not is_negated

    def _fitting(self, word: Word, sign: str, members: tuple[nodes.Member, ...]) -> Test:
        """Return the test of a value that is there; of `!=` that of `==`."""
        sign = "==" if sign == "!=" else sign
        match word.type:
            case Type.TEXT:
                return self._text_test(sign, [self._text(word, member) for member in members], members)
            case Type.ADDRESS:
                hold = matching.Networks(map(self._network, members)).hold
                return lambda value: hold(matching.client(value))
            case _:
                spans = [self._span(word.type, member) for member in members]
                if sign in ("in", "=="):
                    return lambda value: any(low <= value <= high for low, high in spans)
                bound, is_so = spans[0][0], _ORDERED[sign]
                return lambda value: is_so(value, bound)

    def _text_test(self, sign: str, values: list[bytes], members: tuple[nodes.Member, ...]) -> Test:
        exact = frozenset(values)
        match sign:
            case "under":
                stems = frozenset(value.rstrip(b"/") for value in values)
                below = tuple(stem + b"/" for stem in stems)
                return lambda value: value.startswith(below) or value in stems
            case "glob":
                return matching.globs(values).fits
            case "matches":
                if fault := matching.regex_fault(values):
                    raise _Wrong(members[0].place, "this is no regular expression of RE2", fault)
                search = matching.searcher(values)
                return lambda value: search(value) is not None
            case "contains":
                return lambda value: any(part in value for part in values)
            case _:
                return lambda value: value in exact

    # Values.

    def _text(self, word: Word, member: nodes.Member) -> bytes:
        match member:
            case nodes.Text(value) | nodes.Name(value):
                text = value
            case nodes.Number(number):
                text = str(number)
            case _:
                raise _misfit(word.type, member)
        if word.values and text not in word.values:
            raise _Wrong(member.place, f"it is never {text!r}", did_you_mean(text, word.values))
        return text.encode()

    def _network(self, member: nodes.Member) -> Any:
        text = member.value if isinstance(member, nodes.Text) else getattr(member, "name", "")
        try:
            return ip_network(text, strict=False)
        except ValueError:
            raise _misfit(Type.ADDRESS, member) from None

    def _span(self, kind: Type, member: nodes.Member) -> tuple[float, float]:
        match kind, member:
            case (Type.STATUS, nodes.StatusRange(first, last)):
                return first, last
            case (Type.STATUS | Type.NUMBER | Type.SIZE, nodes.Number(value)):
                return value, value
            case (Type.DURATION, nodes.Duration(seconds)):
                return seconds, seconds
            case (Type.DURATION, nodes.Number(0)):
                return 0, 0
            case (Type.SIZE, nodes.Size(count)):
                return count, count
            case _:
                raise _misfit(kind, member)


def _misfit(kind: Type, member: nodes.Member) -> _Wrong:
    return _Wrong(member.place, "this value does not fit", f"write {_EXAMPLES[kind]}")


def _is_missing(value: Any) -> bool:
    return value is None or value != value  # NaN is not itself
