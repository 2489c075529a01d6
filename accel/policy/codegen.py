"""Rules as Python functions: source is written from a file's nodes, and compiled with the file's own name and lines.

So a traceback and a profile name the rule, not generated code. Each function is written line by line, every line
knowing which line of the policy it stands for; the compiled tree gets those numbers. A block with many rules for
hosts and paths stands behind tables (`policy.dispatch`), its rules as functions.

Owns functions, blocks and `when`; what stands in them is `policy.statements`' and `policy.conditions`' to write. The
functions take a view and a draft (`v`, `d`) and return the ruling that ends the phase, or None. Invariants: the code
is straight, no loop, no recursion; its size is linear in the file's. In explaining code every rule that holds notes
itself in its draft.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from accel.policy import nodes
from accel.policy.checked import Checked
from accel.policy.conditions import Conditions, Constants
from accel.policy.dispatch import LEAST_ARMS, Dispatch, Guard, Step, guard_of
from accel.policy.statements import Statements, rule_of
from accel.policy.vocabulary import Phase

Function = Callable[[Any, Any], Any]

_DEEPEST = 20
"""Blocks in blocks that are written as one function; Python's own limit is 100 levels."""
_DONE = "DONE"
"""What an arm of a chain (`when … else when …`) returns that held and ruled nothing: the others are not asked."""


class Functions:
    """Compiles the phases of one file."""

    def __init__(self, checked: Checked, is_explaining: bool = False) -> None:
        self._checked = checked
        self._is_explaining = is_explaining
        self._constants = Constants()
        self._constant = self._constants.name
        self._conditions = Conditions(checked, self._constants)
        self._statements = Statements(checked, self._conditions, self._constants)
        self._names = self._constants.names
        self._names[_DONE] = _DONE
        self._count = 0

    def phase(self, phase: Phase) -> Function | None:
        """Return the function of a phase; None if it has no statements."""
        statements = self._checked.phases.get(phase, ())
        if not statements:
            return None
        parts = [list(part) for _, part in groupby(statements, key=lambda statement: statement.place.file)]
        functions = [self._named(self._block(part, phase, phase.value)) for part in parts]
        self._write_definitions()
        return functions[0] if len(functions) == 1 else _in_turn(functions)

    def _named(self, name: str) -> Function:
        found: Function = self._names[name]  # type: ignore[assignment]
        return found

    # Functions.

    def _block(self, statements: Sequence[nodes.Statement], phase: Phase, name: str) -> str:
        """Write a function of a block; return its name."""
        guards = [self._guard(statement) for statement in statements]
        if _are_many(guards):
            return self._tabled(statements, guards, phase, name)
        return self._straight(statements, phase, name)

    def _guard(self, statement: nodes.Statement) -> Guard:
        is_alone = isinstance(statement, nodes.When) and not statement.otherwise
        return guard_of(statement.condition, self._checked) if is_alone else Guard()  # type: ignore[union-attr]

    def _tabled(self, statements: Sequence[nodes.Statement], guards: Sequence[Guard], phase: Phase, name: str) -> str:
        """Put a block behind tables: each rule that they answer for is an arm, what lies between is one too."""
        arms: list[tuple[Guard, Step]] = []
        for is_tabled, part in groupby(zip(statements, guards, strict=True), key=lambda pair: pair[1].is_tabled):
            pairs = list(part)
            if not is_tabled:
                between = self._straight([statement for statement, _ in pairs], phase, name)
                arms.append((Guard(), self._named(between)))
                continue
            for statement, guard in pairs:
                assert isinstance(statement, nodes.When)
                arms.append((guard, self._arm(statement, guard, phase, name, "None")))
        return self._constant(Dispatch(arms))

    def _straight(self, statements: Sequence[nodes.Statement], phase: Phase, name: str) -> str:
        lines, first = _Lines(), statements[0].place
        for statement in statements:
            self._statement(statement, phase, lines, 1)
        return self._define(f"{name}_{first.line}", "v, d", lines, first.file)

    def _arm(self, when: nodes.When, guard: Guard, phase: Phase, name: str, held: str) -> Function:
        """Write a rule as a function, which returns `held` if it held and ruled nothing.

        What its tables have answered is not tested again.
        """
        lines, line = _Lines(), when.place.line
        rest = " and ".join(map(self._conditions.expression, guard.rest)) or "True"
        self._branch(f"if {rest}:", when, phase, lines, 1)
        lines.add(line, 2, f"return {held}")
        return self._named(self._define(f"{name}_{line}", "v, d", lines, when.place.file))

    def _chained(self, chain: Sequence[nodes.When], phase: Phase, name: str) -> str:
        """Put a chain behind tables: the first arm that holds is the only one that runs."""
        arms = []
        for when in chain:
            guard = guard_of(when.condition, self._checked)
            arms.append((guard, self._arm(when, guard, phase, name, _DONE)))
        rest = chain[-1].otherwise
        if rest:
            arms.append((Guard(), self._named(self._straight(rest, phase, name))))
        return self._constant(Dispatch(arms))

    def _define(self, name: str, arguments: str, lines: _Lines, file: str) -> str:
        """Compile a function; return the name that other code calls it by."""
        self._count += 1
        unique = f"f{self._count}"
        found = lines.compiled(_identifier(name), arguments, file, self._names)
        self._names[unique] = found
        return unique

    def _write_definitions(self) -> None:
        """Write the functions of the definitions that were used, and of those that these use."""
        written: set[str] = {name for name, function in self._conditions.functions.items() if function in self._names}
        while waiting := [name for name in self._conditions.functions if name not in written]:
            for name in waiting:
                written.add(name)
                self._write_definition(name, self._conditions.functions[name])

    def _write_definition(self, name: str, function: str) -> None:
        condition, lines = self._checked.defs[name], _Lines()
        line = condition.place.line
        lines.add(line, 1, "known = v.known")
        lines.add(line, 1, f"if {name!r} not in known:")
        lines.add(line, 2, f"known[{name!r}] = {self._conditions.expression(condition)}")
        lines.add(line, 1, f"return known[{name!r}]")
        self._names[function] = lines.compiled(_identifier(name), "v", condition.place.file, self._names)

    # Statements.

    def _statement(self, statement: nodes.Statement, phase: Phase, lines: _Lines, depth: int) -> None:
        if isinstance(statement, nodes.When):
            self._when(statement, phase, lines, depth)
            return
        self._note(statement, lines, depth)
        for text in self._statements.written(statement, phase):
            lines.add(statement.place.line, depth, text)

    def _when(self, when: nodes.When, phase: Phase, lines: _Lines, depth: int) -> None:
        chain = _chain_of(when)
        if len(chain) > 1 and _are_many([guard_of(arm.condition, self._checked) for arm in chain]):
            _call(self._chained(chain, phase, phase.value), lines, when.place.line, depth)
            return
        for word, arm in zip(("if", *("elif" for _ in chain[1:])), chain, strict=True):
            self._branch(f"{word} {self._conditions.expression(arm.condition)}:", arm, phase, lines, depth)
        if rest := chain[-1].otherwise:
            lines.add(rest[0].place.line, depth, "else:")
            self._body(rest, phase, lines, depth + 1)

    def _branch(self, head: str, when: nodes.When, phase: Phase, lines: _Lines, depth: int) -> None:
        lines.add(when.place.line, depth, head)
        self._note(when, lines, depth + 1)
        self._body(when.body, phase, lines, depth + 1)

    def _body(self, statements: Sequence[nodes.Statement], phase: Phase, lines: _Lines, depth: int) -> None:
        if not statements:
            lines.add(1, depth, "pass")
        elif depth > _DEEPEST or _are_many([self._guard(statement) for statement in statements]):
            _call(self._block(statements, phase, phase.value), lines, statements[0].place.line, depth)
        else:
            for statement in statements:
                self._statement(statement, phase, lines, depth)

    def _note(self, statement: nodes.Statement, lines: _Lines, depth: int) -> None:
        if self._is_explaining:
            lines.add(statement.place.line, depth, f"d.matched += ({self._constant(rule_of(statement))},)")


class _Lines:
    """A function being written: each line of code with the line of the policy that it stands for."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._numbers: list[int] = []

    def add(self, number: int, depth: int, text: str) -> None:
        """Write one line at a depth of blocks."""
        self._lines.append(" " * depth + text)
        self._numbers.append(number)

    def compiled(self, name: str, arguments: str, file: str, names: dict[str, Any]) -> Function:
        """Return the function; it looks its names up in `names` when it runs."""
        body = self._lines or [" return None"]
        numbers = self._numbers or [1]
        tree = ast.parse("\n".join([f"def {name}({arguments}):", *body]))
        for node in ast.walk(tree):
            if isinstance(node, ast.stmt | ast.expr | ast.arg):
                node.lineno = node.end_lineno = numbers[max(0, node.lineno - 2)]
        made: dict[str, Function] = {}
        code = compile(tree, file, "exec")
        exec(code, names, made)
        return made[name]


def _in_turn(functions: Sequence[Function]) -> Function:
    """Return what runs the rules of several files until one makes a ruling."""

    def run(view: Any, draft: Any) -> Any:
        for function in functions:
            ruling = function(view, draft)
            if ruling is not None:
                return ruling
        return None

    return run


def _call(name: str, lines: _Lines, line: int, depth: int) -> None:
    """Write the call of a block that is a function, or behind tables."""
    lines.add(line, depth, f"r = {name}(v, d)")
    lines.add(line, depth, f"if r is not None and r is not {_DONE}:")
    lines.add(line, depth + 1, "return r")


def _are_many(guards: Sequence[Guard]) -> bool:
    return sum(guard.is_tabled for guard in guards) >= LEAST_ARMS


def _chain_of(when: nodes.When) -> list[nodes.When]:
    """Return `when a … else when b …` as its arms; what a plain `else` holds is the last one's `otherwise`."""
    chain = [when]
    while len(chain[-1].otherwise) == 1 and isinstance(follower := chain[-1].otherwise[0], nodes.When):
        chain.append(follower)
    return chain


def _identifier(name: str) -> str:
    return "".join(character if character.isalnum() else "_" for character in f"rule_{name}")
