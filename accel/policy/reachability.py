"""Rules that can never run, and conditions that never or always hold: what several statements say together.

Walks each phase top down with two things in hand: what holds inside the block (`known`), and what cannot come here any
more because an earlier rule ended the phase for it (`gone`). Owns the messages about order. Invariant: only what is
certain is reported (see `policy.logic`); rules of one file are never judged by those of its presets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from accel.policy import nodes
from accel.policy.checking_names import Names
from accel.policy.checking_statements import word_of
from accel.policy.facts import Fact
from accel.policy.findings import Findings
from accel.policy.logic import Every, Formula, Formulas, contradiction, is_always, members
from accel.policy.nodes import Place
from accel.policy.taken import Gone, Taken
from accel.policy.vocabulary import VERDICTS

_REPLACED = frozenset({"ttl", "jitter", "grace", "if-error", "keep", "pass-memory", "host", "pool", "seal"})
"""Settings of which the last said counts."""
_OF_TARGET = frozenset({"method", "host", "path", "url"})
"""What a client that follows a redirect to the same place sends again."""


@dataclass(slots=True)
class _Context:
    """What is certain where a statement stands."""

    known: tuple[Formula, ...] = ()
    gone: Gone = field(default_factory=Gone)


class Reachability:
    """Judges the phases of one file."""

    def __init__(self, names: Names, findings: Findings) -> None:
        self._formulas = Formulas(names, findings.doubtful)
        self._findings = findings

    def check(self, statements: Sequence[nodes.Statement]) -> None:
        """Note what can never run in a phase."""
        self._block(statements, _Context())

    def _block(self, statements: Sequence[nodes.Statement], context: _Context) -> bool:
        """Judge a block; return whether the phase has certainly ended behind it."""
        ended: nodes.Statement | None = None
        said: dict[str, Place] = {}
        for statement in statements:
            if ended is not None:
                self._behind(statement, ended)
                break
            if isinstance(statement, nodes.When):
                said.clear()
                ended = statement if self._chain(statement, context) else None
            else:
                self._said_again(statement, said)
                self._redirect_loop(statement, context)
                ended = statement if word_of(statement) in VERDICTS else None
        return ended is not None

    def _behind(self, statement: nodes.Statement, ended: nodes.Statement) -> None:
        line = ended.place.line
        if isinstance(ended, nodes.When):
            what = f"nothing comes here: every way of the `when` in line {line} ends the phase"
        else:
            what = f"nothing comes here: `{word_of(ended)}` in line {line} ends the phase"
        self._findings.problem(statement.place, what, "remove it, or move it up")

    def _said_again(self, statement: nodes.Statement, said: dict[str, Place]) -> None:
        word = word_of(statement)
        if word in _REPLACED and word in said:
            hint = "the last said counts: remove one"
            self._findings.problem(statement.place, f"`{word}` stands in line {said[word].line} already", hint)
        said[word] = statement.place

    def _redirect_loop(self, statement: nodes.Statement, context: _Context) -> None:
        if not isinstance(statement, nodes.Redirect):
            return
        target = statement.target.value
        if not all(isinstance(known, Fact) and known.subject in _OF_TARGET for known in context.known):
            return
        for known in context.known:
            if isinstance(known, Fact) and known.subject in ("path", "url") and target in (known.finite or ()):
                what = f"{target} is redirected to itself"
                self._findings.problem(statement.target.place, what, "no client would ever arrive")
                return

    # `when … else when … else …`.

    def _chain(self, first: nodes.When, context: _Context) -> bool:
        """Judge a `when` and what follows its else; return whether every way ends the phase."""
        others, ending = Gone(context.gone), list[Taken]()
        do_all_end = True
        for when, otherwise in _ways(first):
            if when is None:
                do_all_end = self._block(otherwise, replace(context, gone=Gone(others))) and do_all_end
                break
            formula = self._formulas.of(when.condition)
            if not self._is_wrong(when, formula, replace(context, gone=others)):
                inside = _Context((*context.known, *_parts(formula)), Gone(others))
                do_all_end = self._block(when.body, inside) and do_all_end
            else:
                self._block(when.body, _Context())
                do_all_end = False
            if do_all_end:
                ending.append(Taken(formula, when.place))
            others.add(Taken(formula, when.place, is_else=True))
        else:
            do_all_end = False
        for taken in ending:
            context.gone.add(taken)
        return do_all_end

    def _is_wrong(self, when: nodes.When, formula: Formula, context: _Context) -> bool:
        place, findings = when.place, self._findings
        where = (*context.known, formula)
        if contradiction((formula,)):
            findings.problem(place, "this condition never holds", "its parts exclude each other")
        elif contradiction(where):
            findings.problem(place, "this condition never holds here", "a `when` around it excludes it")
        elif is_always(formula):
            findings.problem(place, "this condition always holds", "of several things that differ one is: write `and`")
        elif taken := context.gone.taker(where):
            findings.problem(place, *_shadowed(formula, taken))
        else:
            return self._are_values_wrong(when, context)
        return True

    def _are_values_wrong(self, when: nodes.When, context: _Context) -> bool:
        """Judge each of several values by itself: `path under ("/a/", "/b/")`."""
        are_wrong = False
        for compare, others in _positive(when.condition):
            if not isinstance(compare.operand, nodes.Many):
                continue
            known = (*context.known, *map(self._formulas.of, others))
            for member in members(compare.operand):
                formula = self._formulas.of(replace(compare, operand=member))
                taken = context.gone.taker((*known, formula))
                if contradiction((*known, formula)):
                    self._findings.problem(member.place, "this value never fits here", "remove it")
                elif taken is not None:
                    what = f"this value is never reached: line {taken.place.line} takes it"
                    self._findings.problem(member.place, what, "put the narrower rule first, or remove it")
                else:
                    continue
                are_wrong = True
        return are_wrong


def _ways(first: nodes.When) -> Iterator[tuple[nodes.When | None, tuple[nodes.Statement, ...]]]:
    """Yield each `when` of a chain, and None with the statements of the last else, if there is one."""
    when = first
    while True:
        yield when, ()
        if len(when.otherwise) == 1 and isinstance(when.otherwise[0], nodes.When):
            when = when.otherwise[0]
            continue
        if when.otherwise:
            yield None, when.otherwise
        return


def _positive(condition: nodes.Condition) -> Iterator[tuple[nodes.Compare, tuple[nodes.Condition, ...]]]:
    """Yield the comparisons that must hold, each with what else must."""
    parts = condition.parts if isinstance(condition, nodes.AllOf) else (condition,)
    for part in parts:
        if isinstance(part, nodes.Compare) and part.operator != "!=":
            yield part, tuple(other for other in parts if other is not part)


def _parts(formula: Formula) -> tuple[Formula, ...]:
    return formula.parts if isinstance(formula, Every) else (formula,)


def _shadowed(formula: Formula, taken: Taken) -> tuple[str, str]:
    line = taken.place.line
    if taken.what == formula:
        ends = "and this is its else" if taken.is_else else "and ends the phase"
        return f"this rule is never reached: line {line} has the same condition, {ends}", "remove one of them"
    ends = "and this is its else" if taken.is_else else "which ends the phase"
    return f"this rule is never reached: whatever fits it fits line {line}, {ends}", "put the narrower rule first"
