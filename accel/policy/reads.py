"""What the rules of a phase read: the whole of what their verdict can depend on.

Owns the walk over statements that collects inputs, and its steps. Names of fields are lower case; a split stands for
what it splits by; an edit of the query reads `parameter`, one of the cookies reads `cookie`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from accel.policy import nodes
from accel.policy.checked import SplitPlan
from accel.policy.checking_names import leaves
from accel.policy.logic import subject
from accel.policy.nodes import Input
from accel.policy.templates import pieces


class Defined(Protocol):
    """Where names are defined: a checked file, or one that is being checked."""

    @property
    def splits(self) -> Mapping[str, SplitPlan]:
        """Return the splits."""
        ...

    @property
    def defs(self) -> Mapping[str, nodes.Condition]:
        """Return the definitions."""
        ...


def reads_of(statements: Sequence[nodes.Statement], names: Defined) -> frozenset[str]:
    """Return every input that statements read, with the conditions around them and the definitions in those."""
    found: set[str] = set()
    seen: set[str] = set()
    for statement in each_statement(statements):
        if isinstance(statement, nodes.When):
            found.update(names_of((test.input for test in tests_in(statement.condition, names, seen)), names))
        else:
            found.update(names_of(in_statement(statement), names))
            found.update(_EDITS.get(type(statement), ()))
    return frozenset(found)


_EDITS: dict[type, tuple[str, ...]] = {nodes.Query: ("parameter",), nodes.Cookies: ("cookie",)}


def each_statement(statements: Sequence[nodes.Statement]) -> Iterator[nodes.Statement]:
    """Yield statements and those within them; a `when` comes before what is in it."""
    blocks = [statements]
    while blocks:
        for statement in blocks.pop():
            yield statement
            if isinstance(statement, nodes.When):
                blocks += [statement.body, statement.otherwise]


def names_of(inputs: Iterable[Input], names: Defined) -> Iterator[str]:
    """Yield what inputs are called."""
    for read in inputs:
        split = names.splits.get(read.argument) if read.name == "split" else None
        yield subject(split.by if split is not None else read)


def tests_in(condition: nodes.Condition, names: Defined, seen: set[str]) -> Iterator[nodes.Compare | nodes.Exists]:
    """Yield the comparisons that a condition is made of, also by definitions, but for those that are `seen`."""
    left = [condition]
    while left:
        for part in leaves(left.pop()):
            if not isinstance(part, nodes.Use):
                yield part
            elif part.name in names.defs and part.name not in seen:
                seen.add(part.name)
                left.append(names.defs[part.name])


def in_statement(statement: nodes.Statement) -> Iterator[Input]:
    """Yield the inputs that a statement reads itself."""
    match statement:
        case nodes.Key():
            yield from statement.inputs
        case nodes.Header():
            yield from _in_value(statement.value)
        case nodes.Redirect():
            yield from _in_value(statement.target)
        case nodes.Synth():
            yield from _in_value(statement.body)
        case nodes.Tags():
            for text in statement.texts:
                yield from _in_value(text)
            yield from (Input("response", name.value, name.place) for name in statement.fields)
        case nodes.Limit():
            yield statement.per
            yield from in_statement(statement.otherwise)


def _in_value(value: nodes.Text | Input | None) -> Iterator[Input]:
    if isinstance(value, Input):
        yield value
    elif value is not None:
        yield from (piece for piece in pieces(value) if isinstance(piece, Input))
