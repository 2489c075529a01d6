"""Storing: may this response be kept, and what of it? (RFC 9111 §3)

Owns the floor under every policy: what is refused here is stored only by an explicit override. Invariant:
nothing meant for one client, nothing whose reuse is not understood and nothing that could never be reused is
stored.
RFC 9111 §3, §3.1, §3.5, §5.2.2; RFC 9110 §6.6.1.
"""

from __future__ import annotations

from enum import Enum

from accel.caching.freshness import (
    HEURISTIC_STATUSES,
    LifetimeSource,
    Terms,
    corrected_initial_age,
    governing,
    withheld_fields,
)
from accel.caching.key import vary_names
from accel.caching.stored import Stored
from accel.config import CachingOptions
from accel.http.conditional import etag_of, last_modified_of
from accel.http.fields import Directives, cache_control, format_date, hop_by_hop, http_date
from accel.http.message import Fields, Request, Response


class Storing(Enum):
    """Whether a response is stored, or what forbids it."""

    STORE = "store"
    """Nothing forbids it, and it can be reused."""
    METHOD = "method"
    """Only answers to GET without a body are stored: a key covers no body."""
    STATUS = "status"
    """The status is not understood, or belongs to one request's credentials, precondition or connection."""
    RANGE = "range"
    """It is a part of something (RFC 9111 §3.3: parts need not be stored)."""
    REQUEST_NO_STORE = "request-no-store"
    """The client forbids it (RFC 9111 §5.2.1.5)."""
    NO_STORE = "no-store"
    """The origin forbids it (RFC 9111 §5.2.2.5)."""
    PRIVATE = "private"
    """It is for one user (RFC 9111 §5.2.2.7)."""
    SET_COOKIE = "set-cookie"
    """It sets a cookie, and the origin did not say that it may be stored without."""
    AUTHORIZATION = "authorization"
    """The request carried credentials, and nothing says that others may see the answer (RFC 9111 §3.5)."""
    VARY_STAR = "vary-star"
    """No other request can match it (RFC 9111 §4.1)."""
    NO_FRESHNESS = "no-freshness"
    """It is not fresh for any time and cannot be validated: it would never be used."""
    POLICY = "policy"
    """A rule says so."""
    TOO_LARGE = "too-large"
    """Its body is larger than what may be stored."""


UNDERSTOOD_STATUSES = HEURISTIC_STATUSES | frozenset(
    {302, 303, 307, 400, 403, 405, 413, 414, 415, 422, 429, 431, 451, 500, 501, 502, 503, 504}
)
"""Statuses whose answers may be stored. Not among them: 206 and 304, which are parts and updates; 401, 407, 412,
416, 417, 421, 425, 426, 428, which answer to one request's credentials, condition or connection; the unknown."""


NOTHING_LIFTED: frozenset[str] = frozenset()


def decide(
    request: Request,
    response: Response,
    terms: Terms,
    options: CachingOptions,
    lifted: frozenset[str] = NOTHING_LIFTED,
) -> Storing:
    """Decide whether the response to `request`, received on `terms`, may be stored (RFC 9111 §3).

    `lifted` names what a rule overrides: `set-cookie`, `private`, `no-store`, `authorization`; of all else the floor
    stays.
    """
    directives = governing(response.fields)
    return (
        _refused_by_kind(request, response)
        or _refused_by_directive(request, directives, lifted)
        or _refused_by_field(request, response, directives, lifted)
        or _refused_as_useless(response, terms, options)
        or Storing.STORE
    )


def needed(
    request: Request, response: Response, terms: Terms, options: CachingOptions, lifted: frozenset[str]
) -> frozenset[str]:
    """Return which of `lifted` a response that is stored could not have been stored without."""
    return frozenset(
        what for what in lifted if decide(request, response, terms, options, lifted - {what}) is not Storing.STORE
    )


def _refused_by_kind(request: Request, response: Response) -> Storing | None:
    if request.method != b"GET" or request.body_length != 0:
        return Storing.METHOD
    if response.status == 206 or b"content-range" in response.fields:
        return Storing.RANGE
    if response.status not in UNDERSTOOD_STATUSES:
        return Storing.STATUS
    return None


def _refused_by_directive(request: Request, directives: Directives, lifted: frozenset[str]) -> Storing | None:
    if b"no-store" in cache_control(request.fields.get(b"cache-control")):
        return Storing.REQUEST_NO_STORE
    # must-understand lifts no-store where the status is known (§5.2.2.3); the others are refused by now.
    if b"no-store" in directives and b"must-understand" not in directives and "no-store" not in lifted:
        return Storing.NO_STORE
    if b"private" in directives and not withheld_fields(directives, b"private") and "private" not in lifted:
        return Storing.PRIVATE
    return None


_SHAREABLE = frozenset({b"public", b"must-revalidate", b"s-maxage"})
"""The directives that let an answer to a request with credentials be stored (RFC 9111 §3.5)."""


def _refused_by_field(
    request: Request, response: Response, directives: Directives, lifted: frozenset[str]
) -> Storing | None:
    is_cookie_kept_out = "set-cookie" in lifted or b"set-cookie" in _withheld(directives)
    if b"set-cookie" in response.fields and not is_cookie_kept_out:
        return Storing.SET_COOKIE
    is_shared = "authorization" in lifted or not _SHAREABLE.isdisjoint(directives)
    if b"authorization" in request.fields and not is_shared:
        return Storing.AUTHORIZATION
    if vary_names(response.fields) is None:
        return Storing.VARY_STAR
    return None


def is_shareable(stored: Stored) -> bool:
    """Whether a stored response may answer a request with credentials: its origin or a rule said so (§3.5)."""
    return stored.terms.is_shared or not _SHAREABLE.isdisjoint(governing(stored.fields))


def _refused_as_useless(response: Response, terms: Terms, options: CachingOptions) -> Storing | None:
    if not (_is_servable(terms) or _is_validatable(response, terms)):
        return Storing.NO_FRESHNESS
    if options.max_body_bytes is not None and response.body_length > options.max_body_bytes:
        return Storing.TOO_LARGE
    return None


def _is_servable(terms: Terms) -> bool:
    """Whether there is any time at which the response could be served without asking the origin."""
    if terms.no_cache or terms.source is LifetimeSource.NONE:
        return False
    return max(terms.lifetime_s, terms.grace_s, terms.if_error_s) > 0


def _is_validatable(response: Response, terms: Terms) -> bool:
    """Whether the origin said that it is to be validated each time, and gave something to do it with."""
    is_asked_for = terms.is_explicit or (terms.no_cache and response.status in HEURISTIC_STATUSES)
    validators = (etag_of(response.fields), last_modified_of(response.fields))
    return is_asked_for and validators != (None, None)


_NEVER_STORED = frozenset({b"age", b"content-length", b"set-cookie", b"set-cookie2"})
"""Written anew with every answer (Age, Content-Length), or meant for one client."""


def stored_fields(response: Response) -> Fields:
    """Return the fields of a response that are stored (RFC 9111 §3.1, §5.2.2.4, §5.2.2.7)."""
    connection = hop_by_hop(response.fields.get(b"connection"))
    return response.fields.without(_NEVER_STORED | connection | _withheld(governing(response.fields)))


def stored_response(
    response: Response, terms: Terms, request_at: float, response_at: float, number: int, tags: tuple[bytes, ...] = ()
) -> Stored:
    """Return what is stored of a response; lacking a Date it gets that of its arrival (RFC 9110 §6.6.1)."""
    fields = stored_fields(response)
    if http_date(fields.get(b"date") or b"") is None:
        fields.set(b"date", format_date(response_at))
    return Stored(
        status=response.status,
        reason=response.reason,
        fields=fields,
        request_at=request_at,
        response_at=response_at,
        initial_age_s=corrected_initial_age(response, request_at, response_at),
        terms=terms,
        number=number,
        tags=tags,
    )


def _withheld(directives: Directives) -> frozenset[bytes]:
    return withheld_fields(directives, b"private") | withheld_fields(directives, b"no-cache")
