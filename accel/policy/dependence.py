"""What an answer from the store can depend on, under the rules of one file: for whoever gives decisions again.

Owns the walk over the rules of requests and answers that says so; `policy.reads` says what is read at all, which is
more: a rate is counted anew for each request, and an edit of cookies matters only where what it leaves is keyed.
Invariant: two requests for one URL that agree in all that is named here are decided alike, and look in one place for
one answer, unless that varies on something else; decisions that count against a limit are left out of it.

Cookies are named by globs, so that those which only scripts in the browser read need not agree. What rules keep of
them is a function of those that a `keep` names on every way to a look-up (a `keep` starts over from what was sent).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from accel.policy import nodes
from accel.policy.checked import Checked
from accel.policy.conditions import texts
from accel.policy.logic import members
from accel.policy.matching import Globs, globs
from accel.policy.reads import each_statement, in_statement, names_of, tests_in
from accel.policy.vocabulary import Phase

_ALL = "*"
_OF_THE_TARGET = frozenset({"path", "url", "query", "parameter"})
_Way = tuple[bool, bool]
"""Of a way through the rules: whether it seals, and whether it keeps some cookies and no others."""


@dataclass(frozen=True, slots=True)
class Dependence:
    """What matters of a request beside method, host and target."""

    reads: frozenset[str]
    """Inputs, as in `Checked.reads`, but for cookies."""
    cookies: Globs
    """Those that conditions and texts read."""
    kept: Globs | None
    """Those that may be left for the origin; None: any may."""
    is_sealed: bool
    """Whether what is left of them may join the key."""


def dependence(checked: Checked) -> Dependence:
    """Return what answers from the store depend on under a file's rules."""
    reads: set[str] = set()
    cookies: set[str] = set()
    kept: set[str] = set()
    seen: set[str] = set()
    for phase in (Phase.REQUEST, Phase.DELIVER):
        for statement in each_statement(checked.phases[phase]):
            if isinstance(statement, nodes.When):
                for test in tests_in(statement.condition, checked, seen):
                    reads.update(names_of((test.input,), checked))
                    cookies.update(_names_in(test, checked))
            elif isinstance(statement, nodes.Cookies):
                kept.update(texts(checked, statement.names) if statement.mode == "keep" else ())
            elif not isinstance(statement, nodes.Limit):
                read = set(names_of(in_statement(statement), checked))
                reads |= read
                cookies.update((_ALL,) if "cookie" in read else ())
    named = {read.removeprefix("cookie.") for read in reads if read.startswith("cookie.")}
    ways = _ways_to_lookup(checked.phases[Phase.REQUEST])
    return Dependence(
        frozenset(read for read in reads if read.partition(".")[0] != "cookie"),
        _globs(cookies | named),
        _globs(kept) if all(keeps for _, keeps in ways) else None,
        any(seals for seals, _ in ways),
    )


def looks_up_alike(checked: Checked) -> bool:
    """Whether requests that differ in nothing but path and query are decided alike, and go on as they came."""
    statements = each_statement(checked.phases[Phase.REQUEST])
    if not all(isinstance(statement, nodes.When | nodes.Verdict | nodes.ToPool) for statement in statements):
        return False
    return _OF_THE_TARGET.isdisjoint(read.partition(".")[0] for read in dependence(checked).reads)


def _names_in(test: nodes.Compare | nodes.Exists, checked: Checked) -> Iterable[str]:
    """Return globs of the cookies whose names a test asks for."""
    if test.input.name != "cookie" or test.input.argument:
        return ()
    if isinstance(test, nodes.Exists) or test.operator not in ("glob", "in"):
        return (_ALL,)
    written = texts(checked, members(test.operand))
    return written if test.operator == "glob" else [_ALL if "*" in text or "?" in text else text for text in written]


def _globs(patterns: set[str]) -> Globs:
    return globs(sorted(pattern.encode() for pattern in patterns))


def _ways_to_lookup(statements: Sequence[nodes.Statement]) -> set[_Way]:
    """Return the ways on which a request may come to a look-up, and some more: conditions are not looked at."""
    ends: set[_Way] = set()
    return ends | _ways(statements, {(False, False)}, ends)


def _ways(statements: Sequence[nodes.Statement], ways: set[_Way], ends: set[_Way]) -> set[_Way]:
    """Return the ways behind statements; those that end in a look-up are added to `ends`."""
    for statement in statements:
        match statement:
            case nodes.Seal():
                ways = {(True, keeps) for _, keeps in ways}
            case nodes.Cookies(mode="keep"):
                ways = {(seals, True) for seals, _ in ways}
            case nodes.When():
                ways = _ways(statement.body, ways, ends) | _ways(statement.otherwise, ways, ends)
            case nodes.Verdict(word="lookup"):
                ends |= ways
                return set()
            case nodes.Verdict() | nodes.Redirect() | nodes.Synth():
                return set()
    return ways
