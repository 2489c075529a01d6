"""What a policy file says, as values: the parser makes them, the checker judges them, the compiler runs them.

Owns the shapes and nothing else. Invariant: every node knows its `Place`, so whatever is found wrong later can be
shown where it stands; a node says what was written, not what it means (a duration is seconds, a name is a name).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where something stands."""

    file: str
    line: int
    """From 1."""
    column: int
    """From 1, in characters."""
    length: int = 1
    """Characters that a caret underlines."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


# Values.


@dataclass(frozen=True, slots=True)
class Text:
    """A quoted string; `${path}` in it is filled in where the statement says that it may be."""

    value: str
    place: Place


@dataclass(frozen=True, slots=True)
class Number:
    """A whole number: a status, a count."""

    value: int
    place: Place


@dataclass(frozen=True, slots=True)
class Duration:
    """A time, as `90s`, `10m`, `1d`."""

    seconds: float
    place: Place


@dataclass(frozen=True, slots=True)
class Size:
    """An amount of bytes, as `64K`."""

    bytes: int
    place: Place


@dataclass(frozen=True, slots=True)
class Percent:
    """A share, as `10%`."""

    value: int
    place: Place


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in a time, as `20/s`."""

    count: int
    seconds: float
    place: Place


@dataclass(frozen=True, slots=True)
class StatusRange:
    """Statuses from `first` to `last`, both in it: `500..599`."""

    first: int
    last: int
    place: Place


@dataclass(frozen=True, slots=True)
class ListName:
    """A reference to a `list`: `@tracking-params`."""

    name: str
    place: Place


@dataclass(frozen=True, slots=True)
class Name:
    """A bare name: an acl, a pool, a backend's address, a keyword of a setting."""

    name: str
    place: Place


@dataclass(frozen=True, slots=True)
class Input:
    """Something that a rule reads: `path`, `cookie.sessionid`, `cache.age`."""

    name: str
    """The first part: see `policy.vocabulary.INPUTS`."""
    argument: str
    """What follows the dot, as written; empty if nothing does."""
    place: Place

    def __str__(self) -> str:
        return f"{self.name}.{self.argument}" if self.argument else self.name


@dataclass(frozen=True, slots=True)
class Many:
    """Several values: `("/a/", "/b/")`, `{404, 410}`."""

    members: tuple[Member, ...]
    place: Place


Member = Text | Number | Duration | Size | StatusRange | ListName | Name
Operand = Member | Many


# Conditions.


@dataclass(frozen=True, slots=True)
class AnyOf:
    """`a or b`."""

    parts: tuple[Condition, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class AllOf:
    """`a and b`."""

    parts: tuple[Condition, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Not:
    """`not a`."""

    part: Condition
    place: Place


@dataclass(frozen=True, slots=True)
class Compare:
    """`path under "/static/"`; a missing input makes it false, whatever the operator."""

    input: Input
    operator: str
    """`==` `!=` `<` `<=` `>` `>=` `in` `under` `glob` `matches` `contains`."""
    operand: Operand
    place: Place


@dataclass(frozen=True, slots=True)
class Exists:
    """`cookie.sessionid exists`."""

    input: Input
    place: Place


@dataclass(frozen=True, slots=True)
class Use:
    """The name of a `def`, standing for its condition."""

    name: str
    place: Place


Condition = AnyOf | AllOf | Not | Compare | Exists | Use


# Statements of the phases.


@dataclass(frozen=True, slots=True)
class When:
    """`when a { … } else when b { … } else { … }`; `otherwise` holds what follows else."""

    condition: Condition
    body: tuple[Statement, ...]
    otherwise: tuple[Statement, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Verdict:
    """`lookup`, `pass "why"`, `pipe`, `deny 403 "why"`, `purge`, `stale`: ends its phase."""

    word: str
    status: Number | None
    why: Text | None
    place: Place


@dataclass(frozen=True, slots=True)
class Redirect:
    """`redirect 301 "/shop/"`: ends its phase."""

    status: Number
    target: Text
    place: Place


@dataclass(frozen=True, slots=True)
class Synth:
    """`synth 429 "slow down"`, `synth 503 from "sorry.html"`: ends its phase."""

    status: Number
    body: Text | None
    file: Text | None
    place: Place


@dataclass(frozen=True, slots=True)
class ToPool:
    """`pool app` in a request; `retry pool spare` in an error."""

    pool: Name
    is_retry: bool
    place: Place


@dataclass(frozen=True, slots=True)
class Query:
    """`query drop @tracking-params, "ref", sort`: edits the target, for the key and for the origin."""

    mode: str
    """`drop`, `keep`, or empty for sorting alone."""
    names: tuple[Text | Name | ListName, ...]
    """Globs of parameter names; empty for `keep none`."""
    is_sorted: bool
    place: Place


@dataclass(frozen=True, slots=True)
class Cookies:
    """`cookies keep sessionid, "csrf*"`, `cookies keep none`, `cookies drop @analytics`: what the origin sees."""

    mode: str
    """`drop` or `keep`."""
    names: tuple[Text | Name | ListName, ...]
    """Globs of cookie names; empty for `keep none`."""
    place: Place


@dataclass(frozen=True, slots=True)
class Key:
    """`key + cookie.currency, header.x-device`: requests that differ in these share nothing."""

    inputs: tuple[Input, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Host:
    """`host canonical "blog.example.org"`: the host of the key and of the origin's request."""

    name: Text
    place: Place


@dataclass(frozen=True, slots=True)
class Header:
    """`set header "X-A" "b"`, `add header …`, `unset header "A", "B"`."""

    mode: str
    """`set`, `add` or `unset`."""
    names: tuple[Text, ...]
    value: Text | Input | None
    place: Place


@dataclass(frozen=True, slots=True)
class Limit:
    """`limit 20/s per client burst 40 else synth 429 "slow down"`."""

    rate: Rate
    per: Input
    burst: Number | None
    otherwise: Synth | Verdict
    place: Place


@dataclass(frozen=True, slots=True)
class Seal:
    """`seal`: the origin sees only what is part of the key."""

    place: Place


@dataclass(frozen=True, slots=True)
class Ttl:
    """`ttl 10m`, `ttl origin else 60s`, `ttl heuristic else 1m`."""

    source: str
    """`fixed`, `origin` or `heuristic`."""
    duration: Duration | None
    place: Place


@dataclass(frozen=True, slots=True)
class Span:
    """`grace 1d`, `if-error 6h`, `keep 1h`, `pass-memory 2m`."""

    word: str
    duration: Duration
    place: Place


@dataclass(frozen=True, slots=True)
class Jitter:
    """`jitter 10%`: lifetimes differ by up to this share, so that they do not end together."""

    share: Percent
    place: Place


@dataclass(frozen=True, slots=True)
class Tags:
    """`tags from "Surrogate-Key"`, `tags "a", "b"`."""

    fields: tuple[Text, ...]
    texts: tuple[Text, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Override:
    """`override set-cookie drop reason "theme sets one on assets"`: passes the safety floor, one thing at a time."""

    what: Name
    reason: Text
    place: Place


Statement = (
    When
    | Verdict
    | Redirect
    | Synth
    | ToPool
    | Query
    | Cookies
    | Key
    | Host
    | Header
    | Limit
    | Seal
    | Ttl
    | Span
    | Jitter
    | Tags
    | Override
)
