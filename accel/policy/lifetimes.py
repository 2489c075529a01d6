"""How long a response may be reused, when rules have their say: from its own terms and a draft to the terms granted.

Owns `ttl`, `jitter`, `grace`, `if-error` and `keep`. Pure: a jitter is a share that the key and the time of arrival
give. Invariants: what a rule does not mention stays as the response says; a written must-revalidate or
proxy-revalidate is kept whatever a rule grants (RFC 9111 §5.2.2.2, §5.2.2.8), while the same that s-maxage only
implies yields to a rule's own grace.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from accel.caching.freshness import LifetimeSource, Terms, corrected_initial_age, governing, heuristic_lifetime
from accel.config import CachingOptions
from accel.http.message import Request, Response
from accel.policy.rulings import Draft

_FORBID_STALE = frozenset({b"must-revalidate", b"proxy-revalidate"})


def granted(
    draft: Draft, terms: Terms, asked: Request, response: Response, options: CachingOptions, now: float
) -> Terms:
    """Return the terms on which a response that arrived at `now` may be reused."""
    terms = _with_lifetime(draft, terms, response, options, now)
    if draft.jitter_percent and terms.lifetime_s > 0:
        shortened = terms.lifetime_s * (1 - draft.jitter_percent / 100 * _share(asked, now))
        terms = replace(terms, lifetime_s=shortened)
    if draft.grace_s is not None or draft.if_error_s is not None:
        terms = _with_grace(draft, terms, response)
    if draft.keep_s is not None:
        terms = replace(terms, keep_s=draft.keep_s)
    is_shared = any(override.what == "authorization" for override in draft.overrides)
    return replace(terms, is_shared=True) if is_shared else terms


def _with_lifetime(draft: Draft, terms: Terms, response: Response, options: CachingOptions, now: float) -> Terms:
    ttl = draft.ttl
    if ttl is None:
        return terms
    if ttl.source != "fixed":
        if terms.is_explicit or (ttl.source == "origin" and terms.source is not LifetimeSource.NONE):
            return terms
        if ttl.source == "heuristic":
            lifetime_s, source = heuristic_lifetime(response, options, now)
            if source is not LifetimeSource.NONE:
                return replace(terms, lifetime_s=lifetime_s, source=source)
        if ttl.seconds is None:
            return terms
    # A rule means the time from now on: what it has behind it, or a clock that goes wrong, is not taken off.
    lifetime_s = (ttl.seconds or 0.0) + corrected_initial_age(response, now, now)
    return replace(
        terms, lifetime_s=lifetime_s, source=LifetimeSource.POLICY, no_cache=_stays_no_cache(ttl.source, terms)
    )


def _stays_no_cache(source: str, terms: Terms) -> bool:
    """Whether no-cache holds: a fixed time is the operator's own word for how long, a fallback is not."""
    return terms.no_cache and source != "fixed"


def _with_grace(draft: Draft, terms: Terms, response: Response) -> Terms:
    if not _FORBID_STALE.isdisjoint(governing(response.fields)):
        return terms
    return replace(
        terms,
        grace_s=terms.grace_s if draft.grace_s is None else draft.grace_s,
        if_error_s=terms.if_error_s if draft.if_error_s is None else draft.if_error_s,
        must_revalidate=False,
    )


def _share(asked: Request, now: float) -> float:
    """Return a number from 0 to 1 that differs from response to response, and is always the same for one."""
    seed = b"%b\0%b\0%b\0%d" % (asked.host, asked.target, asked.key_extra, int(now * 1e6))
    return int.from_bytes(hashlib.blake2b(seed, digest_size=8).digest(), "big") / 2**64
