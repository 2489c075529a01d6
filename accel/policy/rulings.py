"""What compiled rules write while they run: a draft that settings fill in, and the ruling that ends a phase.

Owns these shapes and the small functions that compiled rules call (see `policy.codegen`); `policy.compile` makes a
decision of them. A draft lives for one phase of one request.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TypeVar

from accel.http.cache_status import Forward
from accel.policy.decision import Answer, Edit, EditMode, ErrorDecision, LimitCheck, Override, Rule
from accel.policy.edits import NameEdit, field_value, redirect_target
from accel.policy.matching import Client
from accel.policy.verdict import Action


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a verdict says."""

    action: Action
    why: str = ""
    forward: Forward = Forward.BYPASS
    status: int = 403
    answer: Answer | None = None
    rule: Rule | None = None


@dataclass(frozen=True, slots=True)
class Ttl:
    """What `ttl` says."""

    source: str
    seconds: float | None
    rule: Rule


class Draft:
    """What the rules of one phase have set so far; a class attribute stands for what none has set."""

    # Not a dataclass: most requests set two of these, and an instance that holds only those costs 60 ns.
    pool = ""
    host: bytes | None = None
    is_sealed = False
    is_sorted = False
    query: tuple[NameEdit, ...] = ()
    cookies: tuple[NameEdit, ...] = ()
    keyed: tuple[bytes, ...] = ()
    shown: tuple[bytes, ...] = ()
    """Fields that the key names."""
    edits: tuple[Edit, ...] = ()
    limits: tuple[LimitCheck, ...] = ()
    ttl: Ttl | None = None
    jitter_percent = 0
    grace_s: float | None = None
    if_error_s: float | None = None
    keep_s: float | None = None
    pass_memory_s: float | None = None
    tags: tuple[bytes, ...] = ()
    overrides: tuple[Override, ...] = ()
    matched: tuple[Rule, ...] = ()


_Answering = TypeVar("_Answering", Ruling, ErrorDecision, LimitCheck)


def saying(ruling: _Answering, body: bytes) -> _Answering:
    """Return a ruling whose page says `body`."""
    answer = ruling.answer if not isinstance(ruling, LimitCheck) else ruling.otherwise
    assert answer is not None
    if isinstance(ruling, LimitCheck):
        return replace(ruling, otherwise=replace(answer, body=body))
    return replace(ruling, answer=replace(answer, body=body))


def leading(ruling: _Answering, target: bytes, starts_with_input: bool) -> _Answering:
    """Return a ruling that redirects to `target`."""
    assert isinstance(ruling, Ruling | ErrorDecision) and ruling.answer is not None
    lines = ((b"location", redirect_target(target, starts_with_input)),)
    return replace(ruling, answer=replace(ruling.answer, lines=lines))


def edit(mode: EditMode, name: bytes, value: bytes | None) -> tuple[Edit, ...]:
    """Return the edit that sets or adds a field; none if what it is taken from is missing."""
    return () if value is None else (Edit(mode, (name,), field_value(value)),)


def counted(check: LimitCheck, value: bytes | None) -> LimitCheck:
    """Return a check for one bucket; requests that lack what it is counted by share one."""
    return replace(check, value=value or b"")


def client_bucket(client: Client | None) -> bytes:
    """Return whom a client's requests are counted for: an IPv6 client has a whole /64 to come from."""
    if client is None:
        return b""
    version, number = client
    return b"%d:%x" % (version, number if version == 4 else number >> 64)


def digits(value: float | None) -> bytes | None:
    """Return a number as text."""
    return None if value is None else b"%d" % value


def tagged(value: bytes | None) -> tuple[bytes, ...]:
    """Return the tags of a text or field, which spaces or commas part."""
    return tuple(value.replace(b",", b" ").split()) if value else ()


@dataclass(frozen=True, slots=True)
class Arms:
    """A split: the share of values up to which each arm goes."""

    name: bytes
    bounds: tuple[tuple[int, bytes], ...]

    def of(self, value: bytes | None) -> bytes:
        """Return the arm of a value: always the same for it, and independent of other splits' arms."""
        if value is None:
            return self.bounds[0][1]
        digest = hashlib.blake2b(value, digest_size=8, key=self.name[:64]).digest()
        share = int.from_bytes(digest, "big") % 10000
        return next((arm for bound, arm in self.bounds if share < bound * 100), self.bounds[-1][1])
