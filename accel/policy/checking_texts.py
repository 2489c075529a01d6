"""Whether texts of rules will do where they stand: what is filled in, what a header or a log line can hold.

Owns the messages about quoted texts that are no operands.
"""

from __future__ import annotations

import re

from accel.policy import nodes
from accel.policy.checking_inputs import check_input
from accel.policy.checking_names import Names
from accel.policy.findings import Findings
from accel.policy.templates import pieces, plain
from accel.policy.vocabulary import Phase, Type

LONGEST_LINE = 1024
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_OPEN = re.compile(r"(?<!\\)\$\{[^}]*\Z")
_FILLED = re.compile(r"(?<!\\)\$\{[^}]*\}")


def check_template(text: nodes.Text, phase: Phase, names: Names, findings: Findings) -> None:
    """Check what is filled into a text."""
    if _OPEN.search(text.value):
        findings.problem(text.place, "`${` has no closing brace", r"write ${path}, or \$ for a dollar")
    for piece in pieces(text):
        if isinstance(piece, nodes.Input):
            check_value(piece, phase, names, findings)


def check_value(read: nodes.Input, phase: Phase, names: Names, findings: Findings) -> None:
    """Check an input whose value is put somewhere: it exists and is one value."""
    if not str(read):
        findings.problem(read.place, "`${}` names nothing", "write ${path}, or another input")
        return
    if check_input(read, phase, names, findings) is Type.NAMES:
        hint = "write cookie.NAME" if read.name == "cookie" else "write query.NAME"
        findings.problem(read.place, f"{read} is a set of names, not one value", hint)


def check_line(text: nodes.Text, findings: Findings) -> None:
    """Check a text that goes into a header: one line, of bounded length."""
    if _CONTROL.search(text.value):
        findings.problem(text.place, "a line end or control character cannot stand in a header", "leave it out")
    elif len(text.value) > LONGEST_LINE:
        hint = f"at most {LONGEST_LINE} characters"
        findings.problem(text.place, f"this text is {len(text.value)} characters long", hint)


def check_reason(text: nodes.Text, word: str, findings: Findings) -> None:
    """Check a text that operators read in logs and counters: it says something, and nothing is filled in."""
    if not plain(text).strip():
        findings.problem(text.place, f"{word} gives no reason", "say in a few words why: it is shown to operators")
    elif _FILLED.search(text.value):
        findings.problem(text.place, f"nothing is filled into the reason of {word}", "reasons are counted: keep few")
    else:
        check_line(text, findings)
