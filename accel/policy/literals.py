"""Literals: what a word or a quoted text of a policy is, said in words where it is not what must stand there.

Owns the forms of durations, sizes, rates, statuses and texts. Invariant: it never fails: what cannot be read is
noted in `problems` and stands as a value of the right kind, so that the rest of the file is still looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from lark import Token

from accel.policy import document, nodes
from accel.policy.nodes import Place
from accel.policy.problems import Problem
from accel.policy.templates import as_input

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31536000.0}
_UNITS_BYTES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(ms|[smhdwy])")
_SIZE = re.compile(r"(\d{1,12})([KMG])")
_NUMBER = re.compile(r"\d{1,12}")
_PERCENT = re.compile(r"(\d{1,3})%")
_RATE = re.compile(r"(\d{1,9})/([smh])")
_RANGE = re.compile(r"(\d{3})\.\.(\d{3})")
_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\", "$": "\\$"}


class Literals:
    """Reads the literals of one file."""

    def __init__(self, file: str) -> None:
        self.problems: list[Problem] = []
        self._file = file

    def place(self, token: Token) -> Place:
        """Return where a token stands."""
        return Place(self._file, token.line or 1, token.column or 1, len(token))

    def problem(self, place: Place, what: str, hint: str = "") -> None:
        """Note something that is wrong."""
        self.problems.append(Problem(place, what, hint))

    def name(self, token: Token) -> nodes.Name:
        """Return a bare word as it is."""
        return nodes.Name(str(token), self.place(token))

    def text(self, token: Token) -> nodes.Text:
        """Return a quoted text; a bare word where a text must stand is a problem."""
        if token.type != "STRING":
            self.problem(self.place(token), f"{str(token)!r} must stand in quotes", f'write "{token}"')
            return nodes.Text(str(token), self.place(token))
        return nodes.Text(_ESCAPE.sub(self._escape(token), token[1:-1]), self.place(token))

    def number(self, token: Token, what: str = "a number") -> nodes.Number:
        """Return a whole number."""
        if _NUMBER.fullmatch(token) is None:
            self.problem(self.place(token), f"{str(token)!r} is not {what}", "write digits alone")
            return nodes.Number(0, self.place(token))
        return nodes.Number(int(token), self.place(token))

    def status(self, token: Token) -> nodes.Number:
        """Return a status, 100 to 599."""
        number = self.number(token, "a status")
        if not 100 <= number.value <= 599:
            self.problem(number.place, f"{token} is no status", "a status has three digits, 100 to 599")
        return number

    def duration(self, token: Token) -> nodes.Duration:
        """Return a time."""
        found = _DURATION.fullmatch(token)
        if found is None:
            unit = "a unit is missing: " if token.isdigit() else ""
            self.problem(self.place(token), f"{str(token)!r} is not a time", f"{unit}write 500ms, 30s, 10m, 1h, 7d, 1y")
            return nodes.Duration(0.0, self.place(token))
        return nodes.Duration(float(found[1]) * _UNITS_S[found[2]], self.place(token))

    def percent(self, token: Token) -> nodes.Percent:
        """Return a share, 0 to 100."""
        found = _PERCENT.fullmatch(token)
        if found is None or int(found[1]) > 100:
            self.problem(
                self.place(token), f"{str(token)!r} is not a share", "write a number from 0 to 100 with %: 10%"
            )
            return nodes.Percent(0, self.place(token))
        return nodes.Percent(int(found[1]), self.place(token))

    def rate(self, token: Token) -> nodes.Rate:
        """Return so many in a time."""
        found = _RATE.fullmatch(token)
        if found is None or not int(found[1]):
            self.problem(self.place(token), f"{str(token)!r} is not a rate", "write 20/s, 100/m or 1000/h")
            return nodes.Rate(1, 1.0, self.place(token))
        return nodes.Rate(int(found[1]), _UNITS_S[found[2]], self.place(token))

    def input(self, token: Token) -> nodes.Input:
        """Return something to read: `path`, `cookie.name`, `header."odd name"`, `cache.age`."""
        read = as_input(str(token), self.place(token))
        if token.endswith((".", '.""')):
            self.problem(read.place, f"{str(token)!r} ends with a dot", f"write {read.name}.NAME")
        return read

    def member(self, token: Token) -> nodes.Member:
        """Return what may stand behind a comparison, by its form."""
        place = self.place(token)
        if token.type == "STRING":
            return self.text(token)
        if token.type == "LISTNAME":
            return nodes.ListName(str(token[1:]), place)
        if found := _RANGE.fullmatch(token):
            return nodes.StatusRange(int(found[1]), int(found[2]), place)
        if _NUMBER.fullmatch(token):
            return nodes.Number(int(token), place)
        if _DURATION.fullmatch(token):
            return self.duration(token)
        if found := _SIZE.fullmatch(token):
            return nodes.Size(int(found[1]) * _UNITS_BYTES[found[2]], place)
        return nodes.Name(str(token), place)

    def setting(self, token: Token) -> document.SettingValue:
        """Return a value of a pool's or a purge's setting, by its form."""
        if _PERCENT.fullmatch(token):
            return self.percent(token)
        found = self.member(token)
        return self.name(token) if isinstance(found, nodes.ListName | nodes.StatusRange) else found

    def _escape(self, token: Token) -> Callable[[re.Match[str]], str]:
        def replaced(found: re.Match[str]) -> str:
            if found[1] not in _ESCAPES:
                self.problem(self.place(token), f"\\{found[1]} means nothing in a text", r"there is \" \\ \n \t \$")
            return _ESCAPES.get(found[1], found[1])

        return replaced
