"""Bans: expressions over stored responses, and what they match.

Owns the language and its meaning; knows no store. Invariant: a ban means the same in every process and at every time:
`age` is the age at the time when the ban was published, and a stored response never changes.

    ban        condition { && condition }
    condition  name operator value
    name       url | host | status | age | field.NAME                  (Varnish: req.url, req.http.host, obj.status,
                                                                        obj.age, obj.http.NAME)
    operator   == != ~ !~ (texts)   == != < <= > >= (numbers)
    value      a word, or "text" with \\" and \\\\ inside; an age is a number with ms, s, m, h, d or w

`~` searches anywhere for a regular expression of RE2, whose time grows with the text alone: no ban can stall a worker.
A field that a response lacks equals nothing and matches nothing: only != and !~ hold.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import re2

from accel.http.fields import is_token
from accel.http.message import Fields


@dataclass(frozen=True, slots=True)
class Subject:
    """A stored response as bans see it."""

    host: bytes
    """In key form."""
    target: bytes
    status: int
    age_s: float
    """When the ban was published."""
    fields: Callable[[], Fields]
    """Decoded only when a condition asks for one."""


Condition = Callable[[Subject], bool]


@dataclass(frozen=True, slots=True)
class Ban:
    """A parsed expression."""

    text: str
    conditions: tuple[Condition, ...]
    """All must hold; those about fields come last, for they cost the most."""

    def matches(self, subject: Subject) -> bool:
        """Whether the ban covers a stored response."""
        return all(holds(subject) for holds in self.conditions)


_SPACE = re.compile(r"\s*")
_NAME = re.compile(r"[^\s=!~<>&\"]+")
_OPERATOR = re.compile(r"[=!~<>]+")
_VALUE = re.compile(r'"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>(?!")(?:(?!&&)\S)+)')
_AND = re.compile(r"&&")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}

_ALIASES = {"req.url": "url", "req.http.host": "host", "obj.status": "status", "obj.age": "age"}
_FIELD_PREFIXES = ("field.", "obj.http.")
_NUMBER_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TEXT_OPERATORS = ("==", "!=", "~", "!~")
_TEXTS: dict[str, Callable[[Subject], bytes]] = {"url": lambda one: one.target, "host": lambda one: one.host}
_NUMBERS: dict[str, Callable[[Subject], float]] = {"status": lambda one: one.status, "age": lambda one: one.age_s}
_NAMES = "url, host, status, age or field.NAME"


def parse(text: str) -> Ban:
    """Return the ban that an expression means.

    Raises ValueError that says in which column (from 1) what is wrong and how to mend it.
    """
    reader = _Reader(text)
    conditions = [_condition(reader)]
    while not reader.has_ended:
        reader.take(_AND, "join conditions with &&")
        conditions.append(_condition(reader))
    conditions.sort(key=lambda pair: pair[0])
    return Ban(text, tuple(condition for _, condition in conditions))


class _Reader:
    """Takes an expression apart from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self.column = 1
        """Where the last piece began."""

    @property
    def has_ended(self) -> bool:
        """Whether nothing but space is left."""
        return not self._text[self._at :].strip()

    def take(self, pattern: re.Pattern[str], mend: str) -> re.Match[str]:
        """Return the next piece, which must be of this form."""
        begin = _SPACE.match(self._text, self._at)
        assert begin is not None
        self.column = begin.end() + 1
        found = pattern.match(self._text, begin.end())
        if found is None:
            rest = self._text[begin.end() :].split(maxsplit=1)
            raise self.wrong(f"{rest[0]!r} is out of place" if rest else "something is missing", mend)
        self._at = found.end()
        return found

    def wrong(self, what: str, mend: str) -> ValueError:
        """Return the error of the piece taken last."""
        return ValueError(f"column {self.column}: {what}; {mend}")


def _condition(reader: _Reader) -> tuple[bool, Condition]:
    """Return the next condition, and whether it is about a field."""
    written = reader.take(_NAME, f"begin with a name: {_NAMES}")[0]
    name = _ALIASES.get(written.lower(), written.lower())
    if name in _NUMBERS:
        return False, _about_number(reader, name)
    if name in _TEXTS:
        return False, _about_text(reader, _TEXTS[name], is_host=name == "host")
    prefix = next((prefix for prefix in _FIELD_PREFIXES if name.startswith(prefix)), None)
    if prefix is None:
        raise reader.wrong(f"{written!r} is not known", f"write {_NAMES}")
    field = name.removeprefix(prefix).encode()
    if not is_token(field):
        raise reader.wrong(f"{written!r} names no field", "write a field of the response, such as field.content-type")
    return True, _about_text(reader, lambda one: one.fields().get(field), is_host=False)


def _about_number(reader: _Reader, name: str) -> Condition:
    compare = _NUMBER_OPERATORS[_operator(reader, name, tuple(_NUMBER_OPERATORS))]
    wanted = _number(reader, _value(reader), is_age=name == "age")
    get = _NUMBERS[name]
    return lambda one: compare(get(one), wanted)


def _about_text(reader: _Reader, get: Callable[[Subject], bytes | None], is_host: bool) -> Condition:
    """Return a condition on a text; a host's letter case means nothing."""
    sign = _operator(reader, "a text", _TEXT_OPERATORS)
    value = _value(reader).encode()
    is_negated = sign.startswith("!")
    if sign.endswith("~"):
        search = _expression(reader, b"(?i)" + value if is_host else value).search
        return lambda one: ((there := get(one)) is not None and search(there) is not None) is not is_negated
    wanted = value.lower() if is_host else value
    return lambda one: (get(one) == wanted) is not is_negated


def _operator(reader: _Reader, what: str, known: tuple[str, ...]) -> str:
    sign = reader.take(_OPERATOR, f"compare {what} by {' '.join(known)}")[0]
    if sign not in known:
        raise reader.wrong(f"{sign!r} does not compare {what}", f"write {' '.join(known)}")
    return sign


def _value(reader: _Reader) -> str:
    found = reader.take(_VALUE, 'write a word, or "text" in quotes')
    if found["quoted"] is None:
        return found["bare"]
    return re.sub(r'\\(["\\])', r"\1", found["quoted"])


def _number(reader: _Reader, value: str, is_age: bool) -> float:
    if not is_age:
        if not value.isdigit() or not value.isascii():
            raise reader.wrong(f"{value!r} is no status", "write a number such as 404")
        return int(value)
    found = _DURATION.fullmatch(value)
    if found is None:
        raise reader.wrong(f"{value!r} is no age", "write a number and its unit, such as 30s, 10m, 1d")
    return float(found[1]) * _UNITS[found[2]]


def _expression(reader: _Reader, pattern: bytes) -> Any:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # bytes as they are
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        why = error.args[0].decode("latin-1")
        raise reader.wrong(f"no regular expression ({why})", "see RE2's syntax; quote it if it has spaces") from None
