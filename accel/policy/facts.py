"""Single comparisons as facts about one value: which values fit, what one fact says about another.

Owns the algebra of one comparison with one other; whole conditions are `policy.logic`'s. Invariant: it answers True
only where that is certain; where it cannot tell it says False, and nobody is told of a mistake that may be none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import inf, prod
from typing import Any

from accel.config import Network
from accel.policy.matching import globs, regex_fault, searcher

Value = str | int | float | Network

STATUSES = range(100, 600)
_ORDERED = frozenset({"<", "<=", ">", ">="})
_FLIPPED = {"==": "!=", "in": "!=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_MOST_PAIRS = 20_000
"""Of one fact's values with another's: of longer lists nothing is concluded but what sets tell at once."""


@dataclass(frozen=True, slots=True)
class Fact:
    """That the value of `subject` is there, and `operator` holds for any of `values` (`!=`: for all)."""

    subject: str
    """`path`, `cookie.sessionid`."""
    operator: str
    values: tuple[Value, ...]
    is_set: bool = False
    """The subject is a set of names, and one of them fits."""
    finite: frozenset[Value] | None = field(default=None, compare=False)
    """All the values that fit, where they can be counted."""
    _fits: Callable[[bytes], object] = field(default=bool, compare=False, repr=False)
    """Whether a value fits the patterns, if these are patterns."""

    def holds(self, value: Value) -> bool:
        """Whether the fact is true of a value."""
        return _HOLDS[self.operator](self, value)


def fact(subject: str, operator: str, values: tuple[Value, ...], *, is_set: bool = False) -> Fact:
    """Return a comparison as a fact. Raises ValueError for a pattern that is none."""
    texts = [value for value in values if isinstance(value, str)]
    if operator == "glob" and not any(map(_is_glob, texts)):
        operator = "in"
    operator = "in" if operator == "==" else operator
    made = Fact(subject, operator, tuple(sorted(set(values), key=str)), is_set, None, _test(operator, texts))
    if subject == "status":
        return replace(made, finite=frozenset(status for status in STATUSES if made.holds(status)))
    is_counted = operator == "in" and not any(map(_is_network, values))
    return replace(made, finite=frozenset(values)) if is_counted else made


def _test(operator: str, texts: Sequence[str]) -> Callable[[bytes], object]:
    patterns = [text.encode() for text in texts]
    if operator == "glob":
        return globs(patterns).fits
    if operator != "matches":
        return bool
    if fault := regex_fault(patterns):
        raise ValueError(fault)
    return searcher(patterns)


def _is_glob(pattern: str) -> bool:
    return "*" in pattern or "?" in pattern


def opposite(of: Fact) -> Fact | None:
    """Return the fact that holds where `of` does not, if the value is there; None where there is no such fact."""
    if of.is_set:
        return None
    if of.operator == "!=":
        return fact(of.subject, "in", of.values)
    if of.operator in _FLIPPED and (of.operator not in _ORDERED or len(of.values) == 1):
        return fact(of.subject, _FLIPPED[of.operator], of.values)
    return None


def implies(a: Fact, b: Fact) -> bool:
    """Whether every value that fits `a` fits `b`."""
    if a.subject != b.subject:
        return False
    if a == b:
        return True
    if a.finite is not None and b.finite is not None:
        return a.finite <= b.finite
    if _are_too_many(a, b):
        return False
    if a.finite is not None:
        return all(map(b.holds, a.finite))
    if b.operator == "!=" and not a.is_set:
        return not any(map(a.holds, b.values))
    decide = _IMPLIES.get((a.operator, b.operator))
    if decide is not None:
        return all(any(decide(one, other) for other in b.values) for one in a.values)
    return _is_within(_interval(a), _interval(b))


def excludes(a: Fact, b: Fact) -> bool:
    """Whether no value fits both."""
    if a.subject != b.subject or a.is_set:
        return False
    if a.finite is not None and b.finite is not None:
        return a.finite.isdisjoint(b.finite)
    if _are_too_many(a, b):
        return False
    if a.finite is not None or b.finite is not None:
        first, second = (a, b) if a.finite is not None else (b, a)
        return not any(map(second.holds, first.finite or ()))
    decide = _EXCLUDES.get((a.operator, b.operator))
    if decide is not None:
        return all(decide(one, other) for one in a.values for other in b.values)
    return _are_apart(_interval(a), _interval(b))


def _are_too_many(a: Fact, b: Fact) -> bool:
    counts = (len(of.values if of.finite is None else of.finite) for of in (a, b))
    return prod(counts) > _MOST_PAIRS


# Which values fit.


def _is_in(of: Fact, value: Value) -> bool:
    if of.finite is not None:
        return value in of.finite
    return any(_covers(one, value) for one in of.values)


def _covers(one: Value, value: Value) -> bool:
    if _is_network(one) and _is_network(value):
        return _is_part(value, one)
    return one == value


def _is_under(path: str, prefix: str) -> bool:
    bare = prefix.rstrip("/")
    return path == bare or path.startswith(bare + "/")


def _fits(of: Fact, value: Value) -> bool:
    return bool(of._fits(str(value).encode()))


_HOLDS: dict[str, Callable[[Fact, Any], bool]] = {
    "in": _is_in,
    "!=": lambda of, value: not any(_covers(one, value) for one in of.values),
    "under": lambda of, value: any(_is_under(value, str(prefix)) for prefix in of.values),
    "glob": _fits,
    "matches": _fits,
    "contains": lambda of, value: any(str(part) in value for part in of.values),
    "<": lambda of, value: any(value < one for one in of.values),
    "<=": lambda of, value: any(value <= one for one in of.values),
    ">": lambda of, value: any(value > one for one in of.values),
    ">=": lambda of, value: any(value >= one for one in of.values),
}

# What one value of a fact says about one of another.


def _glob_in_glob(inner: str, outer: str) -> bool:
    """Whether all that fits `inner` fits `outer`: `?` of the outer may not stand for a `*`."""
    parts = (".*" if part == "*" else r"[^*]" if part == "?" else re.escape(part) for part in outer)
    return inner == outer or (outer.count("*") <= 2 and re.fullmatch("".join(parts), inner) is not None)


def glob_head(glob: str) -> str:
    """Return what every value that fits a glob begins with."""
    return re.split(r"[*?]", glob, maxsplit=1)[0]


def _tail(glob: str) -> str:
    return re.split(r"[*?]", glob)[-1]


def _glob_in_under(glob: str, prefix: str) -> bool:
    return glob_head(glob).startswith(prefix.rstrip("/") + "/")


def _under_in_glob(prefix: str, glob: str) -> bool:
    return glob.endswith("*") and not _is_glob(glob[:-1]) and prefix.rstrip("/").startswith(glob[:-1])


def _are_globs_apart(one: str, other: str) -> bool:
    heads, tails = (glob_head(one), glob_head(other)), (_tail(one), _tail(other))
    is_head_common = heads[0].startswith(heads[1]) or heads[1].startswith(heads[0])
    is_tail_common = tails[0].endswith(tails[1]) or tails[1].endswith(tails[0])
    return not (is_head_common and is_tail_common)


def _is_prefix_apart(prefix: str, glob: str) -> bool:
    head, bare = glob_head(glob), prefix.rstrip("/")
    return not (bare.startswith(head) or head.startswith(bare + "/") or head == bare + "/")


_IMPLIES: dict[tuple[str, str], Callable[[Any, Any], bool]] = {
    ("under", "under"): lambda one, other: _is_under(one.rstrip("/"), other),
    ("glob", "glob"): _glob_in_glob,
    ("glob", "under"): _glob_in_under,
    ("under", "glob"): _under_in_glob,
    ("contains", "contains"): lambda one, other: other in one,
    ("matches", "matches"): lambda one, other: one == other,
    ("in", "in"): lambda one, other: _covers(other, one),
}
_EXCLUDES: dict[tuple[str, str], Callable[[Any, Any], bool]] = {
    ("under", "under"): lambda one, other: not (_is_under(one.rstrip("/"), other) or _is_under(other.rstrip("/"), one)),
    ("glob", "glob"): _are_globs_apart,
    ("under", "glob"): _is_prefix_apart,
    ("glob", "under"): lambda glob, prefix: _is_prefix_apart(prefix, glob),
    ("in", "in"): lambda one, other: not (_covers(one, other) or _covers(other, one)),
}

# Times, sizes, counts.

_Interval = tuple[float, bool, float, bool]
"""Least and greatest value, each with whether it is one of them."""


def _interval(of: Fact) -> _Interval | None:
    if of.operator not in _ORDERED or not all(isinstance(value, int | float) for value in of.values):
        return None
    numbers = [float(value) for value in of.values if isinstance(value, int | float)]
    if of.operator in ("<", "<="):
        return -inf, False, max(numbers), of.operator == "<="
    return min(numbers), of.operator == ">=", inf, False


def _is_within(inner: _Interval | None, outer: _Interval | None) -> bool:
    if inner is None or outer is None:
        return False
    is_low = (inner[0], not inner[1]) >= (outer[0], not outer[1])
    return is_low and (inner[2], inner[3]) <= (outer[2], outer[3])


def _are_apart(one: _Interval | None, other: _Interval | None) -> bool:
    if one is None or other is None:
        return False
    low, high = (one, other) if one[2] <= other[2] else (other, one)
    return low[2] < high[0] or (low[2] == high[0] and not (low[3] and high[1]))


def _is_network(value: object) -> bool:
    return isinstance(value, Network)


def _is_part(inner: Any, outer: Any) -> bool:
    return bool(inner.version == outer.version and inner.subnet_of(outer))
