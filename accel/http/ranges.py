"""Byte ranges of a stored whole: which parts a request asks for, and how they are sent (RFC 9110 §14).

Owns the arithmetic and the lines around parts; the bytes themselves are the store's. Invariant: what is
answered in parts is never more bytes of content than the whole, nor more parts than the limit: otherwise the
whole is sent, which is always lawful.
RFC 9110 §8.8.2.2, §13.1.5, §14.1, §14.2, §14.4, §14.6, §15.3.7, §17.15.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum

from accel.http.fields import http_date, parse_list, strong_match

ByteRange = tuple[int, int]
"""First byte, and the one after the last."""

_UNIT = re.compile(rb"bytes=", re.IGNORECASE)
_SPEC = re.compile(rb"(?P<first>\d{1,18})-(?P<last>\d{1,18})?|-(?P<suffix>\d{1,18})")


class Refusal(Enum):
    """Why a Range field leads to no parts."""

    IGNORE = "ignore"
    """It is malformed, of another unit or asks for too much: answer 200 with the whole."""
    UNSATISFIABLE = "unsatisfiable"
    """No byte that it asks for exists: answer 416."""


def byte_ranges(value: bytes, length: int, limit: int) -> list[ByteRange] | Refusal:
    """Return the parts of `length` bytes that a Range asks for, at most `limit` of them (RFC 9110 §14.2).

    Overlapping and adjacent parts are one; otherwise they keep the order in which they were asked for.
    """
    unit = _UNIT.match(value)
    specs = [] if unit is None else parse_list(value[unit.end() :])
    if not 0 < len(specs) <= limit:
        return Refusal.IGNORE
    ranges: list[ByteRange] = []
    for spec in specs:
        asked = _asked(spec, length)
        if asked is None:
            return Refusal.IGNORE
        if asked[0] < asked[1]:
            ranges.append(asked)
    if not ranges:
        return Refusal.UNSATISFIABLE
    if sum(stop - start for start, stop in ranges) > length:
        return Refusal.IGNORE
    return _coalesced(ranges)


def _asked(spec: bytes, length: int) -> ByteRange | None:
    """Return one part, empty if it is unsatisfiable; None if the spec is invalid (RFC 9110 §14.1.2)."""
    match = _SPEC.fullmatch(spec)
    if match is None:
        return None
    if match["suffix"] is not None:
        suffix = int(match["suffix"])
        # The last bytes of nothing are satisfiable, yet no Content-Range can express them: the whole can.
        return None if suffix and not length else (max(0, length - suffix), length)
    first, last = int(match["first"]), match["last"]
    if last is None:
        return first, max(first, length)
    return (first, max(first, min(int(last) + 1, length))) if first <= int(last) else None


def _coalesced(ranges: Sequence[ByteRange]) -> list[ByteRange]:
    """Return `ranges`, those that touch made one, in order of first mention (RFC 9110 §15.3.7.2)."""
    merged: list[tuple[int, int, int]] = []
    by_start = sorted((start, stop, mention) for mention, (start, stop) in enumerate(ranges))
    for start, stop, mention in by_start:
        if merged and start <= merged[-1][1]:
            last_start, last_stop, last_mention = merged[-1]
            merged[-1] = (last_start, max(last_stop, stop), min(last_mention, mention))
        else:
            merged.append((start, stop, mention))
    return [(start, stop) for start, stop, _ in sorted(merged, key=lambda part: part[2])]


def if_range_holds(value: bytes, etag: bytes | None, last_modified: bytes | None, date_at: float) -> bool:
    """Whether If-Range names the response that is stored, so that parts may be sent (RFC 9110 §13.1.5).

    `date_at` is when the response was made: a Last-Modified of the same second is not strong (§8.8.2.2).
    """
    if value.endswith(b'"'):
        return etag is not None and strong_match(value, etag)
    asked_at = http_date(value)
    modified_at = http_date(last_modified or b"")
    return asked_at is not None and asked_at == modified_at and modified_at + 1 <= date_at


def content_range(part: ByteRange, length: int) -> bytes:
    """Return the Content-Range of a part (RFC 9110 §14.4)."""
    return b"bytes %d-%d/%d" % (part[0], part[1] - 1, length)


def unsatisfied_range(length: int) -> bytes:
    """Return the Content-Range of a 416 (RFC 9110 §15.5.17)."""
    return b"bytes */%d" % length


class Multipart:
    """The frame of a multipart/byteranges body: each of `heads` with its part after it, then `closing`."""

    __slots__ = ("closing", "content_length", "content_type", "heads")

    def __init__(self, ranges: Sequence[ByteRange], length: int, content_type: bytes | None, boundary: bytes) -> None:
        """`content_type` is the whole's; `boundary` may not occur in it: random, up to 70 characters."""
        type_line = b"" if content_type is None else b"Content-Type: " + content_type + b"\r\n"
        self.heads = [
            b"\r\n--%b\r\n%bContent-Range: %b\r\n\r\n" % (boundary, type_line, content_range(part, length))
            for part in ranges
        ]
        self.closing = b"\r\n--" + boundary + b"--\r\n"
        self.content_type = b"multipart/byteranges; boundary=" + boundary
        parts_length = sum(stop - start for start, stop in ranges)
        self.content_length = parts_length + sum(map(len, self.heads)) + len(self.closing)
