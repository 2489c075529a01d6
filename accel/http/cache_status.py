"""Our member of the Cache-Status field: what the cache did with a request, in the field's own words (RFC
9211).

Owns the syntax. The cache key is never given: it would tell clients how the rules see them.
"""

from __future__ import annotations

from enum import Enum

NAME = b"accel"


class Forward(Enum):
    """Why a request went on towards the origin (RFC 9211 §2.2)."""

    BYPASS = b"bypass"
    """The rules say that this request does not concern the cache."""
    METHOD = b"method"
    """The method's semantics require it."""
    URI_MISS = b"uri-miss"
    """Nothing is stored for this target."""
    VARY_MISS = b"vary-miss"
    """Something is stored for this target, but not for these request fields."""
    MISS = b"miss"
    """Nothing stored can be used, and which of the two it is cannot be said."""
    REQUEST = b"request"
    """A fresh response is stored, but the request's own directives refuse it."""
    STALE = b"stale"
    """A response is stored, but it is stale."""
    PARTIAL = b"partial"
    """A part is stored, but not the one that is asked for."""


def hit(ttl_s: int, detail: bytes | None = None) -> bytes:
    """Return the member for an answer from the store; `ttl_s` is negative when stale, `detail` a token."""
    member = b"%b; hit; ttl=%d" % (NAME, ttl_s)
    return member if detail is None else member + b"; detail=" + detail


def forward(
    reason: Forward,
    status: int | None = None,
    stored: bool = False,
    collapsed: bool = False,
    ttl_s: int | None = None,
    detail: bytes | None = None,
) -> bytes:
    """Return the member for a forwarded request: `status` is what the origin answered, None if it did not."""
    parts = [NAME, b"fwd=" + reason.value]
    if status is not None:
        parts.append(b"fwd-status=%d" % status)
    if ttl_s is not None:
        parts.append(b"ttl=%d" % ttl_s)
    if stored:
        parts.append(b"stored")
    if collapsed:
        parts.append(b"collapsed")
    if detail is not None:
        parts.append(b"detail=" + detail)
    return b"; ".join(parts)
