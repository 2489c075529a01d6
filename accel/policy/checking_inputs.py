"""Whether what a rule reads exists, has the name that it needs, and is known in the rule's phase.

Owns the messages about inputs; what they are compared with is `policy.checking_conditions`'s.
"""

from __future__ import annotations

from collections.abc import Sequence

from accel.http.fields import is_token
from accel.policy.checking_names import Names
from accel.policy.findings import Findings
from accel.policy.nodes import Input
from accel.policy.problems import did_you_mean
from accel.policy.vocabulary import ELSEWHERE, INPUTS, InputKind, Phase, Type

_NAMES_ALONE = {"cookie": Type.NAMES}
"""Inputs that may stand without their argument too, and what they are then."""


def check_input(read: Input, phase: Phase | None, names: Names, findings: Findings) -> Type | None:
    """Return the type of what is read, or None with a problem noted; `phase` None: any, as in a definition."""
    kind = INPUTS.get(read.name)
    if kind is None:
        _unknown(read, findings)
    elif not read.argument and kind.argument and read.name not in _NAMES_ALONE:
        _argument_missing(read, kind, findings)
    elif read.argument and not kind.argument:
        hint = f"query.{read.argument}" if read.name == "parameter" else read.name
        findings.problem(read.place, f"{read.name} has no parts", f"write {hint}")
    elif phase is not None and phase not in kind.phases:
        findings.problem(read.place, f"{read} is not known in {phase.value} rules", _where_known(kind))
    elif _is_argument_right(read, names, findings):
        return _NAMES_ALONE.get(read.name, kind.type) if not read.argument else kind.type
    return None


def phases_of(read: Input) -> frozenset[Phase]:
    """Return the phases in which an input is known; of an unknown one, all: it is reported elsewhere."""
    kind = INPUTS.get(read.name)
    return kind.phases if kind is not None else frozenset(Phase)


def _unknown(read: Input, findings: Findings) -> None:
    words = str(read)
    first = next((word for word in (words, f"{read.name}.{read.argument.partition('.')[0]}") if word in ELSEWHERE), "")
    known = ELSEWHERE.get(first.lower()) or ELSEWHERE.get(read.name.lower())
    rest = words[len(first) :].lstrip(".") if first else read.argument
    if known is not None:
        hint = f"here it is {known}.{rest or 'NAME'}" if INPUTS[known].argument else f"here it is {known}"
    else:
        hint = did_you_mean(read.name, INPUTS)
    findings.problem(read.place, f"there is nothing called {words} to read", hint)


def _argument_missing(read: Input, kind: InputKind, findings: Findings) -> None:
    hint = f"write {read.name}.NAME" + ("; the names of all are `parameter`" if read.name == "query" else "")
    findings.problem(read.place, f"{read.name} needs the name of a {kind.argument}", hint)


def _where_known(kind: InputKind) -> str:
    phases = [phase.value for phase in Phase if phase in kind.phases]
    return f"it is known in {listed(phases)} rules: {kind.meaning}"


def listed(words: Sequence[str]) -> str:
    """Return words as a sentence has them: a, b and c."""
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)


def _is_argument_right(read: Input, names: Names, findings: Findings) -> bool:
    if read.name in ("header", "response") and not is_token(read.argument.encode()):
        findings.problem(
            read.place, f"{read.argument!r} is no name of a field", "letters, digits and `-`: header.X-Shop"
        )
    elif read.name == "header" and read.argument.lower() == "cookie":
        findings.problem(read.place, "cookies are read one by one", "write cookie.NAME, or cookie for all names")
    elif read.name == "header" and read.argument.lower() == "host":
        findings.problem(read.place, "the Host field is the input host", "write host")
    elif read.name == "split" and read.argument not in names.splits:
        otherwise = f"define it: split {read.argument} by cookie.visitor {{ old 90%, new 10% }}"
        findings.unknown(read.place, "split", read.argument, names.splits, otherwise)
    else:
        return True
    return False
