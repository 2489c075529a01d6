"""Reuse: may this stored response answer this request now? (RFC 9111 §4)

Owns the decision; the key has matched already. Invariant: a response is served stale only where its own terms
or the request allow it, and never where its terms forbid it.
RFC 9111 §4.2.4, §5.2.1, §5.4; RFC 5861; RFC 8246 §2; RFC 9211 §2.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import floor, inf

from accel.caching.freshness import current_age
from accel.caching.stored import Stored
from accel.config import CachingOptions
from accel.http.cache_status import Forward
from accel.http.fields import NO_DIRECTIVES, Directives, cache_control
from accel.http.message import Fields


class Reuse(Enum):
    """What a stored response is good for."""

    FRESH = "fresh"
    """Serve it."""
    STALE_SERVE = "stale-serve"
    """Serve it, and refresh it behind."""
    VALIDATE = "validate"
    """Ask the origin first."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What to do with a stored response, and why it goes to the origin first if it does."""

    reuse: Reuse
    forward: Forward | None = None


FRESH = Judgement(Reuse.FRESH)
STALE_SERVE = Judgement(Reuse.STALE_SERVE)
VALIDATE_STALE = Judgement(Reuse.VALIDATE, Forward.STALE)
VALIDATE_REQUEST = Judgement(Reuse.VALIDATE, Forward.REQUEST)

_RELOAD = frozenset({b"no-cache", b"max-age", b"min-fresh"})
"""The request directives by which a client asks for something newer than what merely may be served."""

_PRAGMA_NO_CACHE = Directives({b"no-cache": None})


def judge(
    stored: Stored, request: Fields, now: float, options: CachingOptions, is_soft_purged: bool = False
) -> Judgement:
    """Decide whether `stored`, whose key matches, may answer a request with these fields (RFC 9111 §4).

    What is `is_soft_purged` counts as stale: HTTP allows its use for as long as it is fresh, so it is served while it
    is refreshed behind; after that the usual grace applies.
    """
    terms = stored.terms
    if terms.no_cache:
        return VALIDATE_STALE
    age_s = current_age(stored, now)
    directives = _request_directives(request, options)
    if age_s < terms.lifetime_s:
        if not _accepts_fresh(directives, stored, age_s):
            return VALIDATE_REQUEST
        return STALE_SERVE if is_soft_purged else FRESH
    if terms.must_revalidate or age_s - terms.lifetime_s >= _accepted_staleness(directives, stored, age_s):
        return VALIDATE_STALE
    return STALE_SERVE


def may_validate(stored: Stored, now: float) -> bool:
    """Whether the origin may still be asked if it holds: a rule can bound that (`Terms.keep_s`)."""
    terms = stored.terms
    return current_age(stored, now) - terms.lifetime_s < max(terms.grace_s, terms.if_error_s) + terms.keep_s


def may_serve_on_error(stored: Stored, request: Fields, now: float, options: CachingOptions) -> bool:
    """Whether a stale response may stand in for an origin that failed (RFC 5861 §4, RFC 9111 §4.2.4)."""
    terms = stored.terms
    directives = _request_directives(request, options)
    if terms.must_revalidate or terms.no_cache or not _RELOAD.isdisjoint(directives):
        return False
    window_s = max(terms.if_error_s, directives.seconds(b"stale-if-error") or 0)
    return current_age(stored, now) - terms.lifetime_s < window_s


def may_serve_stale(stored: Stored) -> bool:
    """Whether nothing forbids to serve a response stale, if somebody wants it at all (RFC 9111 §4.2.4)."""
    return not (stored.terms.must_revalidate or stored.terms.no_cache)


def only_if_cached(request: Fields) -> bool:
    """Whether the client wants an answer from the store or none: 504 (RFC 9111 §5.2.1.7)."""
    return b"only-if-cached" in cache_control(request.get(b"cache-control"))


def remaining_s(stored: Stored, now: float) -> int:
    """Return the freshness left in whole seconds, negative when stale: Cache-Status' ttl (RFC 9211 §2.4)."""
    return floor(stored.terms.lifetime_s - current_age(stored, now))


def _request_directives(request: Fields, options: CachingOptions) -> Directives:
    """Return the request's directives; Pragma speaks only where Cache-Control is absent (RFC 9111 §5.4)."""
    value = request.get(b"cache-control")
    if value is not None:
        directives = cache_control(value)
    elif b"no-cache" in cache_control(request.get(b"pragma")):
        directives = _PRAGMA_NO_CACHE
    else:
        return NO_DIRECTIVES
    if options.ignore_reload:
        return Directives({name: argument for name, argument in directives.items() if name not in _RELOAD})
    return directives


def _accepts_fresh(directives: Directives, stored: Stored, age_s: float) -> bool:
    """Whether the client takes a response that is fresh (RFC 9111 §5.2.1.1, §5.2.1.3, §5.2.1.4)."""
    if not directives:
        return True
    if b"no-cache" in directives:
        return False
    if b"min-fresh" in directives:
        min_fresh_s = directives.seconds(b"min-fresh")
        if min_fresh_s is None or age_s + min_fresh_s > stored.terms.lifetime_s:
            return False
    # A reload sends max-age=0; of what does not change while fresh there is nothing newer (RFC 8246 §2).
    return stored.terms.immutable or age_s <= _max_age(directives)


def _accepted_staleness(directives: Directives, stored: Stored, age_s: float) -> float:
    """Return below how many seconds of staleness the client and the response's terms both allow its use."""
    if b"no-cache" in directives or age_s > _max_age(directives):
        return 0.0
    if b"max-stale" in directives:
        # Given, it is the client's bound, whether wider or narrower than the response's own grace (§5.2.1.2).
        return inf if directives[b"max-stale"] is None else directives.seconds(b"max-stale") or 0.0
    return stored.terms.grace_s if _RELOAD.isdisjoint(directives) else 0.0


def _max_age(directives: Directives) -> float:
    """Return the greatest age that the client takes; 0 if it gives one that cannot be read."""
    return directives.seconds(b"max-age") or 0 if b"max-age" in directives else inf
