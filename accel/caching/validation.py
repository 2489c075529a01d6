"""Validation: asking the origin whether a stored response still holds, and freshening it when it does.

Owns the conditional request's fields, the update by a 304, and which responses may make up one body. Invariant: a
stored response is freshened only by a 304 that is about it, and keeps the body it has: no field that says how the body
is coded or framed is updated.
RFC 9111 §3.2, §3.4, §4.3; RFC 9110 §8.8.1, §13.1, §15.3.7.3, §15.4.5.
"""

from __future__ import annotations

from accel.caching.freshness import terms
from accel.caching.key import vary_names
from accel.caching.stored import Stored
from accel.caching.storing import stored_response
from accel.caching.tags import tags_of
from accel.config import CachingOptions
from accel.http.conditional import etag_of, last_modified_of
from accel.http.fields import format_date, hop_by_hop, http_date, strong_match, weak_match
from accel.http.message import Fields, Line, Response

_NEVER_UPDATED = frozenset({b"content-encoding", b"content-length", b"content-range"})
"""They describe the body that is stored, and the update brings none (RFC 9111 §3.2)."""


def conditional_fields(stored: Stored) -> list[Line]:
    """Return the fields that make a request ask whether `stored` still holds (RFC 9111 §4.3.1)."""
    lines = ((b"if-none-match", stored.etag), (b"if-modified-since", stored.last_modified))
    return [(name, value) for name, value in lines if value is not None]


def confirms(stored: Stored, response: Response) -> bool:
    """Whether a 304 is about `stored`: if not, ask again without `conditional_fields` (RFC 9111 §4.3.4)."""
    if b"vary" in response.fields and vary_names(response.fields) != vary_names(stored.fields):
        return False
    etag, last_modified = etag_of(response.fields), last_modified_of(response.fields)
    if etag is not None:
        match = weak_match if etag.startswith(b"W/") else strong_match
        return stored.etag is not None and match(etag, stored.etag)
    if last_modified is not None and stored.last_modified is not None:
        return http_date(last_modified) == http_date(stored.last_modified)
    # Without a validator it can only mean the one that it was asked about.
    return last_modified is None


def may_complete(begun: Stored, other: Stored | Response) -> bool:
    """Whether the rest of a body that began with `begun` may be taken from `other`, of the same target.

    As where parts are combined (RFC 9111 §3.4, RFC 9110 §15.3.7.3) only the same strong validator says so. Lengths are
    for the caller to compare. `begun` is asked about itself to learn whether anything may complete it.
    """
    tag, other_tag = etag_of(begun.fields), etag_of(other.fields)
    if tag is None or other_tag is None or not strong_match(tag, other_tag):
        return False
    coding = b"content-encoding"  # some origins give every coding of a page the same tag
    return begun.status == other.status and begun.fields.get(coding) == other.fields.get(coding)


def freshened(
    stored: Stored,
    response: Response,
    request_at: float,
    response_at: float,
    options: CachingOptions,
    number: int,
) -> Stored:
    """Return `stored` updated by the fields of a 304 that confirms it (RFC 9111 §3.2, §4.3.4).

    Whether it may stay stored is for `storing.decide` to say again: a 304 may bring no-store.
    """
    update = response.fields.without(_NEVER_UPDATED | hop_by_hop(response.fields.get(b"connection")))
    if http_date(update.get(b"date") or b"") is None:
        update.set(b"date", format_date(response_at))
    kept = stored.fields.without({name for name, _ in update.lines})
    whole = Response(stored.status, stored.reason, Fields(kept.lines + update.lines))
    tags = tags_of(update) or stored.tags
    return stored_response(whole, terms(whole, options, response_at), request_at, response_at, number, tags)
