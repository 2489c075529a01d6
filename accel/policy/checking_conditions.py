"""Whether conditions compare what can be compared: operators by type, values by input, definitions by phase.

Owns the messages about comparisons. It looks at one comparison at a time; what several say together is
`policy.reachability`'s.
"""

from __future__ import annotations

from collections.abc import Iterator

from accel.policy import nodes
from accel.policy.checking_inputs import check_input, listed, phases_of
from accel.policy.checking_names import MOST_COMPARISONS, Names, leaves
from accel.policy.checking_values import A, ValueChecker
from accel.policy.findings import Findings
from accel.policy.problems import did_you_mean
from accel.policy.vocabulary import ALWAYS_THERE, INPUTS, OPERATORS, Phase, Type

_UNDER = frozenset({"path", "url"})
_SEVERAL = {"==": "in", "!=": "in"}


class ConditionChecker:
    """Checks the conditions of one file."""

    def __init__(self, names: Names, findings: Findings) -> None:
        self._names = names
        self._findings = findings
        self._values = ValueChecker(names, findings)

    def check(self, condition: nodes.Condition, phase: Phase | None) -> None:
        """Note what is wrong; `phase` None: a definition, which may be used in any phase that knows what it reads."""
        parts = list(leaves(condition))
        size = sum(self._names.sizes.get(part.name, 1) if isinstance(part, nodes.Use) else 1 for part in parts)
        if phase is not None and size > MOST_COMPARISONS:
            hint = f"{MOST_COMPARISONS} is the most, with all definitions; put values in a list"
            self._findings.problem(condition.place, f"this condition comes to {size} comparisons", hint)
        for part in parts:
            before = len(self._findings.problems)
            if isinstance(part, nodes.Use):
                self._use(part, phase)
            elif isinstance(part, nodes.Exists):
                self._exists(part, phase)
            else:
                self._compare(part, phase)
            if len(self._findings.problems) > before:
                self._findings.doubtful.add(part.place)

    def definition(self, name: nodes.Name, condition: nodes.Condition) -> None:
        """Check a definition: its comparisons, and that there is a phase in which it can be used."""
        self.check(condition, None)
        if not self._phases(condition):
            read = ", ".join(sorted({str(read) for read in self._inputs(condition)}))
            hint = f"no phase knows all of {read}"
            self._findings.problem(name.place, f"the definition {name.name} can be used nowhere", hint)

    def _use(self, part: nodes.Use, phase: Phase | None) -> None:
        name, findings = part.name, self._findings
        if name not in self._names.defs:
            self._unknown_definition(part)
            return
        if phase is None:
            return
        for read in self._inputs(self._names.defs[name]):
            if phase not in phases_of(read):
                known = _phase_names(self._phases(self._names.defs[name]))
                what = f"{name} reads {read}, which is not known in {phase.value} rules"
                findings.problem(part.place, what, f"it can be used in {known} rules")
                return

    def _unknown_definition(self, part: nodes.Use) -> None:
        name, defs = part.name, self._names.defs
        if name.partition(".")[0] in INPUTS or name in INPUTS:
            hint = f"write `{name} exists`, or compare it with something"
            self._findings.problem(part.place, f"{name} alone is no condition", hint)
            return
        near = did_you_mean(name, [*defs, *INPUTS]) if defs else ""
        hint = near if near.startswith("did you mean") else f"define it: def {name} = cookie.session exists"
        self._findings.problem(part.place, f"there is no definition {name}", hint)

    def _exists(self, part: nodes.Exists, phase: Phase | None) -> None:
        found = check_input(part.input, phase, self._names, self._findings)
        if found is not None and part.input.name in ALWAYS_THERE:
            self._findings.problem(part.place, f"{part.input} always exists", "leave it out, or compare it")

    def _compare(self, part: nodes.Compare, phase: Phase | None) -> None:
        found = check_input(part.input, phase, self._names, self._findings)
        if found is None:
            return
        if self._is_operator_right(part, found):
            self._values.check(part, found)

    def _is_operator_right(self, part: nodes.Compare, kind: Type) -> bool:
        operator, read, findings = part.operator, part.input, self._findings
        is_several = isinstance(part.operand, nodes.Many | nodes.ListName | nodes.StatusRange)
        if operator not in OPERATORS[kind]:
            known = listed(sorted(OPERATORS[kind] - ({"under"} if read.name not in _UNDER else set())))
            what = f"{read} is {A[kind]} and cannot be compared with `{operator}`"
            findings.problem(part.place, what, f"it can be with {known}")
        elif operator == "under" and read.name not in _UNDER:
            findings.problem(part.place, f"`under` is for path and url, not for {read}", f'write {read} glob "…*"')
        elif operator in _SEVERAL and is_several:
            hint = f"write {'not ' if operator == '!=' else ''}{read} in …"
            findings.problem(part.operand.place, f"`{operator}` compares with one value", hint)
        elif operator == "in" and kind not in (Type.ADDRESS, Type.STATUS) and isinstance(part.operand, nodes.Text):
            hint = f"write {read} == … for one, or {read} in (…, …)" if kind is Type.TEXT else f"write {read} glob …"
            findings.problem(part.operand.place, "`in` takes several values", hint)
        else:
            return True
        return False

    def _inputs(self, condition: nodes.Condition) -> Iterator[nodes.Input]:
        """Yield what a condition reads, with the definitions that it uses."""
        left, seen = [condition], set[str]()
        while left:
            for part in leaves(left.pop()):
                if not isinstance(part, nodes.Use):
                    yield part.input
                elif part.name in self._names.defs and part.name not in seen:
                    seen.add(part.name)
                    left.append(self._names.defs[part.name])

    def _phases(self, condition: nodes.Condition) -> frozenset[Phase]:
        return frozenset(Phase).intersection(*(phases_of(read) for read in self._inputs(condition)))


def _phase_names(phases: frozenset[Phase]) -> str:
    return listed([phase.value for phase in Phase if phase in phases]) or "no"
