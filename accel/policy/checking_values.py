"""Whether the values that an input is compared with can ever be its own: type, unit, spelling, form.

Owns the messages about values: a comparison that never can be true is a mistake of whoever wrote it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from difflib import get_close_matches
from urllib.parse import quote

from accel.addresses import network
from accel.http.request_parser import METHODS
from accel.policy import nodes
from accel.policy.checking_names import Names, host_form
from accel.policy.findings import Findings
from accel.policy.matching import regex_fault
from accel.policy.nodes import Place
from accel.policy.problems import did_you_mean
from accel.policy.templates import plain
from accel.policy.vocabulary import PRESETS, VALUES, Type

_SHOWN = {
    Type.DURATION: "a time, such as 30s, 10m or 1h",
    Type.SIZE: "a size, such as 64K, 10M or 1G",
    Type.NUMBER: "a whole number",
    Type.STATUS: "a status, such as 404, or several: 500..599",
    Type.TEXT: 'a text in quotes, such as "…"',
    Type.NAMES: 'a text in quotes, such as "…"',
    Type.ADDRESS: "an address, a network, or an acl",
}
A = {
    Type.DURATION: "a time",
    Type.SIZE: "an amount of bytes",
    Type.NUMBER: "a number",
    Type.STATUS: "a status",
    Type.TEXT: "a text",
    Type.NAMES: "a set of names",
    Type.ADDRESS: "an address",
}
"""Types in sentences."""
_TARGETS = frozenset({"path", "url"})
_SPELLED = frozenset({"method", "host", "type", "path", "url"})
"""Inputs whose values hold no brackets."""


class ValueChecker:
    """Checks what stands on the right of comparisons."""

    def __init__(self, names: Names, findings: Findings) -> None:
        self._names = names
        self._findings = findings

    def check(self, part: nodes.Compare, kind: Type) -> None:
        """Note what is wrong with a comparison's values, each by itself and all together."""
        seen: dict[object, Place] = {}
        for member in self._members(part.operand):
            said = _said(member)
            if said in seen:
                self._findings.problem(
                    member.place, f"{self._findings.written(member.place)} stands here twice", "leave one out"
                )
            seen[said] = member.place
            self._member(part, kind, member)
        if part.operator == "matches" and kind is Type.TEXT:
            self._expressions_together(part)

    def _expressions_together(self, part: nodes.Compare) -> None:
        """Note expressions that are fine one by one, and too much in the one program that RE2 makes of them."""
        texts: list[str] = []
        for member in self._members(part.operand):
            texts += [plain(member)] if isinstance(member, nodes.Text) else ()
            texts += self._names.lists.get(member.name, ()) if isinstance(member, nodes.ListName) else ()
        together, single = regex_fault([text.encode() for text in texts]), any(map(_wrong_regex, texts))
        if len(texts) > 1 and together and not single:
            hint = "use fewer, or glob and contains where they do"
            self._findings.problem(part.operand.place, f"these expressions together: {together}", hint)

    def _members(self, operand: nodes.Operand) -> Iterator[nodes.Member]:
        yield from operand.members if isinstance(operand, nodes.Many) else (operand,)

    def _member(self, part: nodes.Compare, kind: Type, member: nodes.Member) -> None:
        if isinstance(member, nodes.ListName):
            self._list(part, kind, member)
        elif kind in (Type.TEXT, Type.NAMES):
            self._text(part, member)
        elif kind is Type.STATUS:
            self._status(member)
        elif kind is Type.ADDRESS:
            self._address(part, member)
        elif not isinstance(member, _NODES[kind]):
            self._wrong(part, kind, member)

    def _list(self, part: nodes.Compare, kind: Type, member: nodes.ListName) -> None:
        if member.name not in self._names.lists:
            unknown_list(member, self._names, self._findings)
        elif kind not in (Type.TEXT, Type.NAMES):
            hint = "write an acl" if kind is Type.ADDRESS else f"write {_SHOWN[kind]}"
            self._findings.problem(member.place, f"a list holds texts, and {part.input} is none", hint)
        else:
            for text in self._names.lists[member.name]:
                if wrong := _wrong_text(part, text):
                    what = f"{text!r} of the list {member.name} {wrong[0]}"
                    self._findings.problem(member.place, what, wrong[1])
                    return

    def _text(self, part: nodes.Compare, member: nodes.Member) -> None:
        if not isinstance(member, nodes.Text):
            shown = str(_said(member))
            if isinstance(member, nodes.Name) and member.name in self._names.lists:
                hint = f"a list is written @{shown}"
            elif shown in ("none", "null", "nil", "empty", "missing"):
                hint = f"write not {part.input} exists"
            else:
                hint = f'write "{shown}"' if isinstance(member, nodes.Name | nodes.Number) else "write it in quotes"
            self._findings.problem(
                member.place, f"{part.input} is a text, and {self._findings.written(member.place)} is none", hint
            )
        elif wrong := self._wrong_arm(part.input, plain(member)) or _wrong_text(part, plain(member)):
            self._findings.problem(member.place, f"{member.value!r} {wrong[0]}", wrong[1])

    def _wrong_arm(self, read: nodes.Input, text: str) -> _Wrong | None:
        split = self._names.splits.get(read.argument) if read.name == "split" else None
        arms = [arm for arm, _ in split.arms] if split is not None else []
        return ("is no arm of the split", did_you_mean(text, arms)) if arms and text not in arms else None

    def _status(self, member: nodes.Member) -> None:
        first, last = 0, 0
        if isinstance(member, nodes.Number):
            first = last = member.value
        elif isinstance(member, nodes.StatusRange):
            first, last = member.first, member.last
        else:
            hint = f"write {member.value}" if isinstance(member, nodes.Text) else f"write {_SHOWN[Type.STATUS]}"
            self._findings.problem(member.place, f"{self._findings.written(member.place)} is no status", hint)
            return
        if first > last:
            self._findings.problem(member.place, f"{first}..{last} is empty", f"write {last}..{first}")
        elif not (first >= 100 and last <= 599):
            self._findings.problem(
                member.place, f"{self._findings.written(member.place)} is no status", "statuses go from 100 to 599"
            )

    def _address(self, part: nodes.Compare, member: nodes.Member) -> None:
        if isinstance(member, nodes.Text):
            hint = f"write {member.value}"
            self._findings.problem(member.place, "an address stands without quotes", hint)
        elif not isinstance(member, nodes.Name):
            self._wrong(part, Type.ADDRESS, member)
        elif member.name in self._names.acls:
            if part.operator != "in":
                self._findings.problem(member.place, f"{member.name} is an acl", f"write client in {member.name}")
        else:
            self._network(part, member)

    def _network(self, part: nodes.Compare, member: nodes.Name) -> None:
        try:
            found = network(member.name)
        except ValueError as error:
            is_name = member.name[:1].isalpha() and ":" not in member.name
            hint = did_you_mean(member.name, self._names.acls) or f"define it: acl {member.name} {{ 10.0.0.0/8 }}"
            what = f"there is no acl {member.name}" if is_name else f"{member.name} is no address and no network"
            self._findings.problem(member.place, what, hint if is_name else str(error))
            return
        if part.operator != "in" and found.num_addresses > 1:
            self._findings.problem(member.place, f"{member.name} is a network", f"write client in {member.name}")

    def _wrong(self, part: nodes.Compare, kind: Type, member: nodes.Member) -> None:
        what = f"{part.input} is {A[kind]}, and {self._findings.written(member.place)} is none"
        unit = "a unit is missing: " if isinstance(member, nodes.Number) and kind in (Type.DURATION, Type.SIZE) else ""
        if kind is Type.SIZE and isinstance(member, nodes.Duration):
            unit = "the units of sizes are upper case: "
        self._findings.problem(member.place, what, f"{unit}write {_SHOWN[kind]}")


def unknown_list(name: nodes.ListName, names: Names, findings: Findings) -> None:
    """Note a list that there is not; its preset, if it is one of a preset."""
    near = get_close_matches(name.name, [*names.lists, *PRESETS], n=1)
    preset = next((preset for preset in PRESETS if preset in near or preset.startswith(name.name)), None)
    if preset is not None and preset not in names.lists:
        findings.problem(name.place, f"there is no list {name.name}", f'write use "{preset}" above, and @{preset} here')
        return
    findings.unknown(name.place, "list", name.name, names.lists, f'define it: list {name.name} {{ "…" }}')


_NODES: dict[Type, type[nodes.Duration | nodes.Size | nodes.Number]] = {
    Type.DURATION: nodes.Duration,
    Type.SIZE: nodes.Size,
    Type.NUMBER: nodes.Number,
}


def _said(member: nodes.Member) -> object:
    """Return a member's value without its place."""
    match member:
        case nodes.Text() | nodes.Number():
            return member.value
        case nodes.Duration():
            return f"{member.seconds:g}s"
        case nodes.Size():
            return f"{member.bytes} bytes"
        case nodes.StatusRange():
            return f"{member.first}..{member.last}"
        case nodes.ListName():
            return f"@{member.name}"
        case nodes.Name():
            return member.name


_Wrong = tuple[str, str]
"""What is wrong with a text, and the hint."""


def _wrong_text(part: nodes.Compare, text: str) -> _Wrong | None:
    """Return why a text can never fit, or None."""
    name, operator = part.input.name, part.operator
    if operator == "matches":
        return _wrong_regex(text)
    if operator == "contains" and not text:
        return "is in every text", f"write {part.input} exists"
    if operator == "glob" and (wrong := glob_problem(name, text)):
        return wrong
    if name in VALUES and operator in ("==", "!=", "in") and text not in VALUES[name]:
        return f"is never the {name}", did_you_mean(text, VALUES[name])
    if name in _TARGETS:
        return _wrong_target(name, operator, text)
    if name in _FORMS and operator in ("==", "!=", "in"):
        return _FORMS[name](text)
    return None


def _wrong_regex(text: str) -> _Wrong | None:
    if fault := regex_fault([text.encode()]):
        hint = "expressions are RE2's: no look-ahead, no back-references (github.com/google/re2/wiki/Syntax)"
        return f"is no regular expression: {fault}", hint
    return None if text else ("is in every text", "write what must be found")


def glob_problem(name: str, text: str) -> _Wrong | None:
    """Return why a glob says nothing that its writer can have meant, and the hint; else None."""
    if not text:
        return "is an empty glob", "`*` is any text"
    if text.startswith("@"):
        return "is a text, not a list", f"write {text} without quotes"
    if "{" in text and "}" in text:
        return "has braces, which a glob does not know", 'write the globs one by one: ("*.css", "*.js")'
    if "[" in text and "]" in text and name in _SPELLED:
        return "has brackets, which a glob does not know", "there are * and ?; for more write matches"
    return None


def _wrong_target(name: str, operator: str, text: str) -> _Wrong | None:
    if not (text.isascii() and text.isprintable() and " " not in text):
        return f"never stands in a {name}, which is compared as it was sent", f'write "{quote(text, "/%?=&*+:@,;~")}"'
    if name == "path" and operator != "glob" and "?" in text:
        return "has a `?`, and path ends before it", "compare url, or query.NAME"
    if operator != "contains" and not text.startswith(("/", "*", "?") if operator == "glob" else "/"):
        return f"never fits a {name}, which begins with /", f'write "/{text}"'
    return None


def _wrong_method(text: str) -> _Wrong | None:
    if text.upper().encode() in METHODS:
        return None if text == text.upper() else ("is no method as it is sent", f'write "{text.upper()}"')
    hint = did_you_mean(text.upper(), [known.decode() for known in METHODS])
    return "is no method that is let in", hint


def _wrong_host(text: str) -> _Wrong | None:
    try:
        form = host_form(text)
    except ValueError as error:
        return "is no host", 'write glob "*.example.org"' if text.startswith("*") else str(error)
    return None if form == text else ("is not how a host is compared: lower case, without port 80", f'write "{form}"')


def _wrong_type(text: str) -> _Wrong | None:
    bare = text.partition(";")[0].strip().lower()
    if "*" in bare:
        return "has a star", f'write type glob "{bare}"'
    if "/" not in bare:
        return "is no media type", "write it whole, such as text/html or image/png"
    return (
        None if bare == text else ("is not how a type is compared: lower case, without parameters", f'write "{bare}"')
    )


_FORMS: dict[str, Callable[[str], _Wrong | None]] = {
    "method": _wrong_method,
    "host": _wrong_host,
    "type": _wrong_type,
}
