"""Preconditions: may the client keep the copy that it has? (RFC 9110 §13)

Owns their evaluation against a 200 to GET or HEAD that a cache may serve. If-Match and If-Unmodified-Since
are the origin's alone to judge (RFC 9111 §4.3.2): a request that carries one goes there. Invariant: where a
precondition cannot be read, the client gets the whole response.
"""

from __future__ import annotations

from enum import Enum

from accel.http.fields import entity_tags, http_date, is_entity_tag, weak_match
from accel.http.message import Fields


class Precondition(Enum):
    """What a client's precondition leads to."""

    PROCEED = "proceed"
    """Answer as if there were none."""
    NOT_MODIFIED = "not-modified"
    """The client's copy is good: 304."""


def etag_of(fields: Fields) -> bytes | None:
    """Return a response's entity tag, None unless it is well-formed (RFC 9110 §8.8.3)."""
    etag = fields.get(b"etag")
    return etag if etag is not None and is_entity_tag(etag) else None


def last_modified_of(fields: Fields) -> bytes | None:
    """Return a response's modification date, None unless it is a date (RFC 9110 §8.8.2)."""
    last_modified = fields.get(b"last-modified")
    return last_modified if last_modified is not None and http_date(last_modified) is not None else None


def evaluate(request: Fields, etag: bytes | None, last_modified: bytes | None, date_at: float) -> Precondition:
    """Evaluate If-None-Match, or without it If-Modified-Since (RFC 9110 §13.2.2, RFC 9111 §4.3.2).

    `date_at` is when the response was made, in wall seconds: it stands in for an absent Last-Modified.
    """
    none_match = request.get(b"if-none-match")
    if none_match is not None:
        is_kept = _matches(none_match, etag)
    else:
        is_kept = _is_unmodified(request.get(b"if-modified-since"), last_modified, date_at)
    return Precondition.NOT_MODIFIED if is_kept else Precondition.PROCEED


def _matches(none_match: bytes, etag: bytes | None) -> bool:
    if none_match == b"*":
        return True
    if etag is None:
        return False
    return any(weak_match(tag, etag) for tag in entity_tags(none_match) or ())


def _is_unmodified(modified_since: bytes | None, last_modified: bytes | None, date_at: float) -> bool:
    since_at = http_date(modified_since or b"")
    if since_at is None:
        return False
    modified_at = None if last_modified is None else http_date(last_modified)
    return (date_at if modified_at is None else modified_at) <= since_at


NOT_MODIFIED_FIELDS = frozenset(
    b"age cache-control cache-status cdn-cache-control content-location date etag expires vary via".split()
)
"""What a 304 carries of its 200's fields (RFC 9110 §15.4.5), and what tells how it was answered."""


def not_modified_fields(fields: Fields) -> Fields:
    """Return the fields of a 304 from its 200's: Last-Modified too if there is no ETag (RFC 9110 §15.4.5)."""
    kept = NOT_MODIFIED_FIELDS if b"etag" in fields else NOT_MODIFIED_FIELDS | {b"last-modified"}
    return Fields([line for line in fields.lines if line[0] in kept])
