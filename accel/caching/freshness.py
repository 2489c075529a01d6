"""Freshness: for how long a response may be reused, and how old it is (RFC 9111 §4.2).

Owns the reading of a response's own terms. Knows no request and no policy. Invariant: of conflicting or
unreadable terms the one with the shorter life holds, and nothing stale may be served under s-maxage,
proxy-revalidate or must-revalidate, whatever stands beside it (RFC 9111 §4.2.4).
RFC 5861 §3, §4; RFC 8246; RFC 9213 §2.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import TYPE_CHECKING

from accel.config import CachingOptions
from accel.http.fields import Directives, cache_control, delta_seconds, http_date, parse_list
from accel.http.message import Fields, Response
from accel.http.targeted import targeted_cache_control

if TYPE_CHECKING:
    from accel.caching.stored import Glimpse, Stored


class LifetimeSource(Enum):
    """What a freshness lifetime was taken from."""

    CDN_CACHE_CONTROL = 1
    """s-maxage or max-age of CDN-Cache-Control (RFC 9213)."""
    S_MAXAGE = 2
    """Cache-Control: s-maxage (RFC 9111 §5.2.2.10)."""
    MAX_AGE = 3
    """Cache-Control: max-age (RFC 9111 §5.2.2.1)."""
    EXPIRES = 4
    """Expires less Date (RFC 9111 §5.3)."""
    HEURISTIC = 5
    """A share of the time since Last-Modified (RFC 9111 §4.2.2)."""
    POLICY = 6
    """A rule of the operator's."""
    NONE = 7
    """The response does not say, and nobody guesses."""


EXPLICIT = frozenset(LifetimeSource) - {LifetimeSource.HEURISTIC, LifetimeSource.NONE}
"""The sources by which somebody said how long, rather than the cache guessing."""

HEURISTIC_STATUSES = frozenset({200, 203, 204, 300, 301, 308, 404, 410})
"""Statuses reusable without explicit freshness: RFC 9110 §15.1's, less those that the request caused."""


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a response may be reused."""

    lifetime_s: float = 0.0
    """Freshness lifetime (RFC 9111 §4.2.1)."""
    source: LifetimeSource = LifetimeSource.NONE
    grace_s: float = 0.0
    """How long beyond its lifetime it may be served while it is refreshed (RFC 5861 §3)."""
    if_error_s: float = 0.0
    """How long beyond its lifetime it may be served when the origin fails (RFC 5861 §4)."""
    must_revalidate: bool = False
    """It may never be served stale (RFC 9111 §5.2.2.2, §5.2.2.8, §5.2.2.10)."""
    no_cache: bool = False
    """It may never be served without validation (RFC 9111 §5.2.2.4)."""
    immutable: bool = False
    """It will not change while it is fresh (RFC 8246)."""
    keep_s: float = inf
    """How long after all of this it may still be validated; beyond that it is as if it were not there."""
    is_shared: bool = False
    """A rule says that it may answer requests with credentials, though its origin does not (RFC 9111 §3.5)."""

    @property
    def is_explicit(self) -> bool:
        """Whether the origin or a rule said how long, rather than the cache guessing."""
        return self.source in EXPLICIT


def governing(fields: Fields) -> Directives:
    """Return the directives that govern a response: CDN-Cache-Control's alone if valid (RFC 9213 §2.2)."""
    targeted = targeted_cache_control(fields.get(b"cdn-cache-control"))
    return cache_control(fields.get(b"cache-control")) if targeted is None else targeted


_INDISPENSABLE = frozenset(
    b"cache-control cdn-cache-control content-encoding content-length content-range content-type date etag"
    b" expires last-modified location vary".split()
)


def withheld_fields(directives: Directives, name: bytes) -> frozenset[bytes]:
    """Return the fields that `private="…"` or `no-cache="…"` keeps out (RFC 9111 §5.2.2.4, §5.2.2.7).

    Empty when it lists none, or one without which the rest means another thing: then it covers the whole.
    """
    names = directives.field_names(name)
    return names if names.isdisjoint(_INDISPENSABLE) else frozenset()


def terms(response: Response, options: CachingOptions, now: float) -> Terms:
    """Return the terms of a response that was received at `now` (RFC 9111 §4.2.1)."""
    directives = governing(response.fields)
    lifetime_s, source = _explicit_lifetime(response.fields, directives, now)
    if source is LifetimeSource.NONE and options.heuristic:
        lifetime_s, source = heuristic_lifetime(response, options, now)
    must_revalidate = not directives.keys().isdisjoint(_FORBID_STALE)
    return Terms(
        lifetime_s=lifetime_s,
        source=source,
        grace_s=0.0 if must_revalidate else directives.seconds(b"stale-while-revalidate") or 0.0,
        if_error_s=0.0 if must_revalidate else directives.seconds(b"stale-if-error") or 0.0,
        must_revalidate=must_revalidate,
        no_cache=b"no-cache" in directives and not withheld_fields(directives, b"no-cache"),
        immutable=b"immutable" in directives,
    )


_FORBID_STALE = frozenset({b"must-revalidate", b"proxy-revalidate", b"s-maxage"})

_LIFETIME_DIRECTIVES = ((b"s-maxage", LifetimeSource.S_MAXAGE), (b"max-age", LifetimeSource.MAX_AGE))


def _explicit_lifetime(fields: Fields, directives: Directives, now: float) -> tuple[float, LifetimeSource]:
    is_targeted = targeted_cache_control(fields.get(b"cdn-cache-control")) is not None
    for name, source in _LIFETIME_DIRECTIVES:
        if name in directives:
            # A lifetime that cannot be read is none: the response is stale (RFC 9111 §4.2.1).
            lifetime_s = float(directives.seconds(name) or 0)
            return lifetime_s, LifetimeSource.CDN_CACHE_CONTROL if is_targeted else source
    expires = fields.get(b"expires")
    if expires is None or is_targeted:
        return 0.0, LifetimeSource.NONE
    expires_at = http_date(expires)
    if expires_at is None:
        return 0.0, LifetimeSource.EXPIRES
    return max(0.0, expires_at - date_at(fields, now)), LifetimeSource.EXPIRES


def heuristic_lifetime(response: Response, options: CachingOptions, now: float) -> tuple[float, LifetimeSource]:
    """Return a guess from Last-Modified, capped; source NONE where nothing may be guessed (RFC 9111 §4.2.2)."""
    last_modified = http_date(response.fields.get(b"last-modified") or b"")
    if last_modified is None or response.status not in HEURISTIC_STATUSES:
        return 0.0, LifetimeSource.NONE
    unchanged_s = max(0.0, date_at(response.fields, now) - last_modified)
    lifetime_s = min(unchanged_s * options.heuristic_fraction, float(options.heuristic_cap_s))
    return lifetime_s, LifetimeSource.HEURISTIC


def date_at(fields: Fields, received_at: float) -> float:
    """Return when a response was made: its Date, or when it was received if it has none (RFC 9110 §6.6.1)."""
    date = http_date(fields.get(b"date") or b"")
    return received_at if date is None else date


def corrected_initial_age(response: Response, request_at: float, response_at: float) -> float:
    """Return a response's age, in seconds, when it was received (RFC 9111 §4.2.3)."""
    # Date has whole seconds: against a finer clock it would age every response by the second's fraction.
    apparent_age = max(0.0, response_at // 1 - date_at(response.fields, response_at) // 1)
    response_delay = max(0.0, response_at - request_at)
    return max(apparent_age, _age_value(response.fields) + response_delay)


def _age_value(fields: Fields) -> int:
    """Return the Age field's first member; 0 if it is absent or no number (RFC 9111 §5.1)."""
    members = parse_list(fields.get(b"age") or b"")
    return (delta_seconds(members[0]) or 0) if members else 0


def current_age(stored: Stored | Glimpse, now: float) -> float:
    """Return how old a stored response is, in seconds (RFC 9111 §4.2.3)."""
    return stored.initial_age_s + max(0.0, now - stored.response_at)
