"""What the rules of a phase read: the whole of what their verdict can depend on.

Owns the one walk over statements that collects inputs. Names of fields are lower case; a split stands for what it
splits by; an edit of the query reads `parameter`, one of the cookies reads `cookie`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from accel.policy import nodes
from accel.policy.checking_names import Names, leaves
from accel.policy.logic import subject
from accel.policy.nodes import Input
from accel.policy.templates import pieces


def reads_of(statements: Sequence[nodes.Statement], names: Names) -> frozenset[str]:
    """Return every input that statements read, with the conditions around them and the definitions in those."""
    found: set[str] = set()
    blocks = [statements]
    seen: set[str] = set()
    while blocks:
        for statement in blocks.pop():
            if isinstance(statement, nodes.When):
                found.update(_names_of(_in_condition(statement.condition, names, seen), names))
                blocks += [statement.body, statement.otherwise]
            else:
                found.update(_names_of(_in_statement(statement), names))
                found.update(_EDITS.get(type(statement), ()))
    return frozenset(found)


_EDITS: dict[type, tuple[str, ...]] = {nodes.Query: ("parameter",), nodes.Cookies: ("cookie",)}


def _names_of(inputs: Iterator[Input], names: Names) -> Iterator[str]:
    for read in inputs:
        split = names.splits.get(read.argument) if read.name == "split" else None
        yield subject(split.by if split is not None else read)


def _in_condition(condition: nodes.Condition, names: Names, seen: set[str]) -> Iterator[Input]:
    left = [condition]
    while left:
        for part in leaves(left.pop()):
            if not isinstance(part, nodes.Use):
                yield part.input
            elif part.name in names.defs and part.name not in seen:
                seen.add(part.name)
                left.append(names.defs[part.name])


def _in_statement(statement: nodes.Statement) -> Iterator[Input]:
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
            yield from _in_statement(statement.otherwise)


def _in_value(value: nodes.Text | Input | None) -> Iterator[Input]:
    if isinstance(value, Input):
        yield value
    elif value is not None:
        yield from (piece for piece in pieces(value) if isinstance(piece, Input))
