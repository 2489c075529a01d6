"""What a policy file is made of, as values: pools, lists, definitions, phases, tests, and the file itself.

Owns the shapes and nothing else; what stands in a phase's block is `policy.nodes`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from accel.policy.nodes import Condition, Duration, Input, Name, Number, Percent, Place, Size, Statement, Text

SettingValue = Text | Number | Duration | Size | Percent | Name


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of a pool or of `purge`: a word and its values, in the order written."""

    word: str
    values: tuple[SettingValue, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Pool:
    """`pool app { servers …; balance …; … }`."""

    name: Name
    settings: tuple[Setting, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Acl:
    """`acl office { 10.0.0.0/8, 192.0.2.7 }`."""

    name: Name
    networks: tuple[Name, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class ListOf:
    """`list private-pages { "/a/", "/b/" }` or `list bots from "bots.txt"`."""

    name: Name
    members: tuple[Text | Name, ...]
    file: Text | None
    place: Place


@dataclass(frozen=True, slots=True)
class Def:
    """`def logged_in = cookie.sessionid exists`."""

    name: Name
    condition: Condition
    place: Place


@dataclass(frozen=True, slots=True)
class Split:
    """`split checkout by cookie.visitor { old 90%, new 10% }`: read as `split.checkout`."""

    name: Name
    by: Input
    arms: tuple[tuple[Name, Percent], ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Phase:
    """`request { … }`, `response { … }`, `deliver { … }`, `error { … }`."""

    word: str
    body: tuple[Statement, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Purge:
    """`purge { allow office; methods PURGE; mode soft }`."""

    settings: tuple[Setting, ...]
    place: Place


# Tests.


@dataclass(frozen=True, slots=True)
class OriginSays:
    """`origin GET "/" -> 200 type "text/html" cache-control "max-age=60"`."""

    method: Name
    target: Text
    status: Number
    fields: tuple[tuple[str, Text], ...]
    body: Text | None
    place: Place


@dataclass(frozen=True, slots=True)
class Ask:
    """`get "/?a=1" cookie "x=1" from 10.0.0.1 -> hit, header "X" "y", origin saw cookie "x=1"`."""

    method: str
    target: Text
    fields: tuple[tuple[str, Text], ...]
    client: Name | None
    expectations: tuple[Expectation, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Expectation:
    """One thing that an answer must be."""

    word: str
    """An outcome (`hit`, `miss`, `pass`, …), or one of `building_tests`' other words."""
    name: str
    value: Text | Number | None
    place: Place


@dataclass(frozen=True, slots=True)
class After:
    """`after 61s`: the clock goes on."""

    duration: Duration
    place: Place


@dataclass(frozen=True, slots=True)
class Fails:
    """`origin fails`: from here on no backend answers; `origin works` ends it."""

    is_failing: bool
    place: Place


Step = OriginSays | Ask | After | Fails


@dataclass(frozen=True, slots=True)
class Test:
    """`test "campaign links share one response" { … }`."""

    name: Text
    steps: tuple[Step, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Policy:
    """One file."""

    file: str
    version: Number
    sites: tuple[Name, ...] = ()
    uses: tuple[Text, ...] = ()
    pools: tuple[Pool, ...] = ()
    acls: tuple[Acl, ...] = ()
    lists: tuple[ListOf, ...] = ()
    defs: tuple[Def, ...] = ()
    splits: tuple[Split, ...] = ()
    purges: tuple[Purge, ...] = ()
    phases: tuple[Phase, ...] = ()
    tests: tuple[Test, ...] = ()
    lines: tuple[str, ...] = field(default=(), repr=False)
    """The text, line by line, for messages."""
