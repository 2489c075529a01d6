"""What compiled rules answer, phase by phase: values that the engine carries out without asking again.

Owns the shapes; decides nothing and knows no rule. Invariant: a decision is a function of what the rules read, save
for `limits`, which the engine must count before it does the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from accel.caching.freshness import Terms
from accel.http.cache_status import Forward
from accel.http.message import Request
from accel.policy.verdict import Action


@dataclass(frozen=True, slots=True)
class Rule:
    """Where a rule stands."""

    file: str
    line: int
    text: str = field(init=False, repr=False, compare=False)
    """`file:line`; made once, since each exchange's record has it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", f"{self.file}:{self.line}")

    def __str__(self) -> str:
        return self.text


class EditMode(Enum):
    """What an edit does with its fields."""

    SET = "set"
    """Every line of the name goes, one comes."""
    ADD = "add"
    """One line more."""
    UNSET = "unset"
    """Every line of the names goes."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of a message's fields."""

    mode: EditMode
    names: tuple[bytes, ...]
    """Lower case; one, save for UNSET."""
    value: bytes = b""
    """Without control characters."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the rules answer themselves: a page, a redirect."""

    status: int
    lines: tuple[tuple[bytes, bytes], ...] = ()
    """Fields, lower case: Content-Type, Location."""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class LimitCheck:
    """A rate that a request must keep to; the engine counts over all workers."""

    name: str
    """Of the bucket's kind: the rule's own, through every edit of its file that leaves the rule as it is.

    Requests share a bucket if name and `value` are equal.
    """
    value: bytes
    """Of what it is counted by: one client's address, one cookie."""
    rate: float
    """Requests a second that are granted in the long run."""
    burst: int
    """Requests that are granted at once, at least 1."""
    otherwise: Answer | None
    """What is answered beyond it; None: the built-in page of `status`."""
    status: int
    rule: Rule


@dataclass(slots=True)
class RequestDecision:
    """The `request` phase's answer. Not frozen: one is made for each request, and that would cost it 1.1 us more."""

    action: Action
    asked: Request
    """The request as the key and the origin see it; the very request itself if nothing edits it."""
    client_ip: str = ""
    """Whoever asked, for the phases to come."""
    why: str = ""
    """For the log and for operators."""
    forward: Forward = Forward.BYPASS
    """The reason for a PASS in the words of RFC 9211."""
    status: int = 403
    """What a DENY answers."""
    answer: Answer | None = None
    """What a DENY answers with; None: the built-in page of `status`."""
    pool: str = ""
    """The pool that is asked; empty: the site's first, or the command line's."""
    limits: tuple[LimitCheck, ...] = ()
    """In the order of the rules; the first that is exceeded answers instead of everything else."""
    is_sealed: bool = False
    """The origin may be shown nothing but `asked` (no X-Forwarded-For, no condition and range of the client's)."""
    is_soft: bool = False
    """Of a PURGE: what is stored becomes stale instead of going."""
    rule: Rule | None = None
    """Which rule decided; None: the language's own default."""
    matched: tuple[Rule, ...] = ()
    """Every rule that matched, in order; filled in by `explain` alone."""


class OverrideName(NamedTuple):
    """By what uses of an override are counted: it stays when its rule moves to another line."""

    file: str
    what: str
    reason: str


@dataclass(frozen=True, slots=True)
class Override:
    """One thing of the safety floor that a rule lifts (`vocabulary.OVERRIDES`), and why."""

    what: str
    reason: str
    rule: Rule

    @property
    def name(self) -> OverrideName:
        """By what its uses are counted."""
        return OverrideName(self.rule.file, self.what, self.reason)


@dataclass(frozen=True, slots=True)
class ResponseDecision:
    """The `response` phase's answer."""

    terms: Terms
    """On what terms it may be reused, `keep` among them."""
    pass_why: str | None = None
    """Why a rule forbids to store it; None: no rule does."""
    overrides: tuple[Override, ...] = ()
    edits: tuple[Edit, ...] = ()
    """Of what is stored and sent on. They touch no field that the floor or the key is read from."""
    tags: tuple[bytes, ...] = ()
    pass_memory_s: float | None = None
    """How long a hit-for-miss mark stands; None: as configured."""
    rule: Rule | None = None
    """Which rule decided: the `pass`, else the last that changed the lifetime."""
    matched: tuple[Rule, ...] = ()

    @property
    def lifted(self) -> frozenset[str]:
        """The names of what is overridden, for `caching.storing.decide`."""
        return frozenset(override.what for override in self.overrides)


@dataclass(frozen=True, slots=True)
class DeliverDecision:
    """The `deliver` phase's answer."""

    edits: tuple[Edit, ...] = ()
    matched: tuple[Rule, ...] = ()


class Recovery(Enum):
    """What becomes of a request that no origin answered usably."""

    DEFAULT = "as without rules: stale where its terms allow it, else an error page"
    STALE = "what is stored, however old, unless it may never be served stale; else as DEFAULT"
    RETRY = "ask another pool, once"
    ANSWER = "what the rules wrote"


@dataclass(frozen=True, slots=True)
class ErrorDecision:
    """The `error` phase's answer."""

    recovery: Recovery = Recovery.DEFAULT
    pool: str = ""
    """Of a RETRY."""
    answer: Answer | None = None
    """Of an ANSWER."""
    rule: Rule | None = None
    matched: tuple[Rule, ...] = ()
