"""Conditions and inputs as Python expressions, in source form; `policy.codegen` makes rules of them.

Owns what each comparison means when it runs: a missing input makes it false, whatever the operator. The expressions
read the names `v` (a view, see `policy.runtime`) and constants handed to `Constants`. Invariant: the size of all code
is linear in the size of the file: a definition that is not small is a function of its own, asked once a request.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network

from accel.config import Network
from accel.policy import nodes
from accel.policy.checked import Checked
from accel.policy.matching import Networks, globs, literal_start, searcher
from accel.policy.rulings import Arms, client_bucket, digits
from accel.policy.templates import plain
from accel.policy.vocabulary import INPUTS, Type

_INLINE_MOST = 4
"""Comparisons of a definition that is written out where it is used."""

_READING = {
    "method": "v.method",
    "host": "v.host",
    "path": "v.path",
    "url": "v.url",
    "query": "v.parameters.get({})",
    "parameter": "v.parameters",
    "header": "v.header({})",
    "cookie": "v.cookies.get({})",
    "client": "v.client",
    "status": "v.status",
    "type": "v.media_type",
    "size": "v.size",
    "response": "v.response({})",
    "cache.status": "v.cache_status",
    "cache.age": "v.cache_age",
    "cache.hits": "v.cache_hits",
    "cause": "v.cause",
}
_NEVER_MISSING = frozenset(
    {"method", "path", "url", "parameter", "status", "cache.status", "cache.hits", "cause", "split"}
)
_FIELDS = frozenset({"header", "response"})


class Constants:
    """The values that code refers to by name."""

    def __init__(self) -> None:
        self.names: dict[str, object] = {}

    def name(self, value: object) -> str:
        """Return a name for a value."""
        name = f"k{len(self.names)}"
        self.names[name] = value
        return name


class Conditions:
    """Writes the conditions of one file."""

    def __init__(self, checked: Checked, constants: Constants) -> None:
        self._checked = checked
        self._constant = constants.name
        self.functions: dict[str, str] = {}
        """Definitions that are functions: the function's name by the definition's."""
        self._temporaries = 0

    # Inputs.

    def reading(self, read: nodes.Input) -> str:
        """Return the expression of an input's value: bytes, a number, names; None if it is missing."""
        if read.name == "split":
            return self._arm(read.argument)
        if read.name == "cookie" and not read.argument:
            return "v.cookies"
        if read.name == "header" and read.argument.lower() == "host":
            return "v.host"
        argument = read.argument.lower() if read.name in _FIELDS else read.argument
        return _READING[read.name].format(repr(argument.encode()))

    def text(self, read: nodes.Input, is_uri: bool = False) -> str:
        """Return the expression of an input as bytes, None if it is missing; in a URI as it was sent."""
        value = self.reading(read)
        if is_uri and read.name == "query":
            return f"v.sent_parameter({read.argument.encode()!r})"
        match type_of(read):
            case Type.TEXT:
                return value
            case Type.ADDRESS:
                return "v.client_ip.encode()"
            case Type.NAMES:
                return f'b",".join(sorted({value}))'
            case _:
                return f"{self._constant(digits)}({value})"

    def bucket(self, read: nodes.Input) -> str:
        """Return the expression of what requests are counted by."""
        if type_of(read) is Type.ADDRESS:
            return f"{self._constant(client_bucket)}(v.client)"
        return self.text(read)

    def _arm(self, name: str) -> str:
        plan = self._checked.splits[name]
        bound, bounds = 0, []
        for arm, percent in plan.arms:
            bound += percent
            bounds.append((bound, arm.encode()))
        return f"{self._constant(Arms(name.encode(), tuple(bounds)))}.of({self.text(plan.by)})"

    # Conditions.

    def expression(self, node: nodes.Condition) -> str:
        """Return what is true if the condition holds."""
        match node:
            case nodes.AnyOf():
                return "(" + " or ".join(map(self.expression, node.parts)) + ")"
            case nodes.AllOf():
                # What costs least is asked first: conditions change nothing, so their order is free.
                return "(" + " and ".join(map(self.expression, sorted(node.parts, key=_cost))) + ")"
            case nodes.Not():
                return f"(not {self.expression(node.part)})"
            case nodes.Exists():
                return self._exists(node.input)
            case nodes.Use():
                return self._use(node.name)
            case nodes.Compare():
                return self._compare(node)

    def _use(self, name: str) -> str:
        condition = self._checked.defs[name]
        if name not in self.functions:
            if _is_small(condition):
                return self.expression(condition)
            self.functions[name] = f"def_{len(self.functions)}"
        return f"{self.functions[name]}(v)"

    def _exists(self, read: nodes.Input) -> str:
        if type_of(read) is Type.NAMES:
            return f"bool({self.reading(read)})"
        return f"({self.reading(read)} is not None)"

    def _compare(self, node: nodes.Compare) -> str:
        match type_of(node.input):
            case Type.TEXT:
                return self._text(node)
            case Type.ADDRESS:
                return self._address(node)
            case Type.NAMES:
                return self._names(node)
            case _:
                return self._number(node)

    def _number(self, node: nodes.Compare) -> str:
        read, operator = self.reading(node.input), node.operator
        members = _members(node.operand)
        if operator in ("==", "!=", "in"):
            known = self._constant(frozenset(number for member in members for number in _numbers(member)))
            test = f"{read} {'not in' if operator == '!=' else 'in'} {known}"
        else:
            test = f"{read} {operator} {_numbers(members[0])[0]!r}"
        return f"({test})" if node.input.name in _NEVER_MISSING else f"({read} is not None and {test})"

    def _address(self, node: nodes.Compare) -> str:
        networks: list[Network] = []
        for member in _members(node.operand):
            word = member.name if isinstance(member, nodes.Name) else plain(_text_of(member))
            networks += self._checked.acls.get(word) or (ip_network(word),)
        known = self._constant(Networks(networks).hold)
        if node.operator == "!=":
            return f"(v.client is not None and not {known}(v.client))"
        return f"{known}(v.client)"

    def _names(self, node: nodes.Compare) -> str:
        values = self._values(node.operand)
        names = self.reading(node.input)
        match node.operator:
            case "glob":
                return f"{self._constant(globs(values).fits_any)}({names})"
            case "contains":
                return f"any(part in name for name in {names} for part in {tuple(values)!r})"
            case _:
                return f"(not {self._constant(frozenset(values))}.isdisjoint({names}))"

    def _text(self, node: nodes.Compare) -> str:
        values, read = self._values(node.operand), self.reading(node.input)
        if node.operator in ("==", "in"):
            if len(values) == 1:
                return f"({read} == {values[0]!r})"
            return f"({read} in {self._constant(frozenset(values))})"
        if node.input.name in _NEVER_MISSING and node.input.name != "split":
            return f"({self._text_test(node.operator, read, values)})"
        self._temporaries += 1
        value = f"t{self._temporaries}"
        return f"(({value} := {read}) is not None and ({self._text_test(node.operator, value, values)}))"

    def _text_test(self, operator: str, value: str, values: list[bytes]) -> str:
        """Return the expression of a test of `value`, which is not missing."""
        match operator:
            case "!=":
                return f"{value} not in {self._constant(frozenset(values))}"
            case "under":
                stems = tuple(stem.rstrip(b"/") for stem in values)
                below = tuple(stem + b"/" for stem in stems)
                return f"{value}.startswith({_one_or_all(below)}) or {value} in {self._constant(frozenset(stems))}"
            case "glob":
                return self._glob_test(value, values)
            case "matches":
                found = f"{self._constant(searcher(values))}({value}) is not None"
                start = literal_start(values[0]) if len(values) == 1 else b""
                # Asking RE2 costs a microsecond, looking at the beginning a twentieth.
                return f"{value}.startswith({start!r}) and {found}" if start else found
            case _:
                return " or ".join(f"{part!r} in {value}" for part in values)

    def _glob_test(self, value: str, patterns: list[bytes]) -> str:
        ready = globs(patterns)
        tests = [f"{value} in {self._constant(ready.exact)}"] if ready.exact else []
        tests += [f"{value}.startswith({_one_or_all(ready.prefixes)})"] if ready.prefixes else []
        tests += [f"{value}.endswith({_one_or_all(ready.suffixes)})"] if ready.suffixes else []
        tests += [f"{self._constant(test)}({value})" for test in ready.others]
        return " or ".join(tests) or "False"

    def _values(self, operand: nodes.Operand) -> list[bytes]:
        return [text.encode() for text in texts(self._checked, _members(operand))]


def texts(checked: Checked, members: Iterable[nodes.Member]) -> list[str]:
    """Return the texts that members stand for, a list's own members for its name."""
    found: list[str] = []
    for member in members:
        match member:
            case nodes.ListName():
                found += checked.lists[member.name]
            case nodes.Text():
                found.append(plain(member))
            case nodes.Name():
                found.append(member.name)
            case nodes.Number():
                found.append(str(member.value))
            case _:
                raise TypeError(f"{member} is no text")
    return found


def type_of(read: nodes.Input) -> Type:
    """Return what an input is."""
    return Type.NAMES if read.name == "cookie" and not read.argument else INPUTS[read.name].type


def uses(node: nodes.Condition) -> list[str]:
    """Return the definitions that a condition names."""
    match node:
        case nodes.AnyOf() | nodes.AllOf():
            return [name for part in node.parts for name in uses(part)]
        case nodes.Not():
            return uses(node.part)
        case nodes.Use():
            return [node.name]
        case _:
            return []


_COSTS = {"path": 0, "method": 0, "host": 0, "status": 0, "url": 0, "header": 1, "response": 1, "split": 3}
_DEAR = 4


def _cost(node: nodes.Condition) -> int:
    """Return a rank by what a condition costs to ask; what parses something comes behind what compares bytes."""
    if isinstance(node, nodes.Not):
        return _cost(node.part)
    if isinstance(node, nodes.Compare) and node.operator == "matches":
        return _DEAR
    return _COSTS.get(node.input.name, 2) if isinstance(node, nodes.Compare | nodes.Exists) else _DEAR


def _is_small(node: nodes.Condition) -> bool:
    parts = node.parts if isinstance(node, nodes.AnyOf | nodes.AllOf) else (node,)
    leaves = [part.part if isinstance(part, nodes.Not) else part for part in parts]
    return len(leaves) <= _INLINE_MOST and all(isinstance(leaf, nodes.Compare | nodes.Exists) for leaf in leaves)


def _members(operand: nodes.Operand) -> tuple[nodes.Member, ...]:
    return operand.members if isinstance(operand, nodes.Many) else (operand,)


def _numbers(member: nodes.Member) -> range | tuple[float]:
    match member:
        case nodes.StatusRange():
            return range(member.first, member.last + 1)
        case nodes.Number():
            return (member.value,)
        case nodes.Duration():
            return (member.seconds,)
        case nodes.Size():
            return (member.bytes,)
        case _:
            raise TypeError(f"{member} is no number")


def _text_of(member: nodes.Member) -> nodes.Text:
    assert isinstance(member, nodes.Text)
    return member


def _one_or_all(values: tuple[bytes, ...]) -> str:
    return repr(values[0] if len(values) == 1 else values)
