"""Messages as bytes, written afresh in one canonical form: never a byte of a received head is passed on raw.

Invariant: what is written here can be read in one way only; values come from the strict parser, so no line can hold
CR, LF or NUL (RFC 9112 §2.2, §5).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from http import HTTPStatus

from accel.http.message import Line

ODD_NAMES = {
    b"cdn-cache-control": b"CDN-Cache-Control",
    b"content-md5": b"Content-MD5",
    b"dnt": b"DNT",
    b"etag": b"ETag",
    b"sec-websocket-accept": b"Sec-WebSocket-Accept",
    b"sec-websocket-extensions": b"Sec-WebSocket-Extensions",
    b"sec-websocket-key": b"Sec-WebSocket-Key",
    b"sec-websocket-protocol": b"Sec-WebSocket-Protocol",
    b"sec-websocket-version": b"Sec-WebSocket-Version",
    b"te": b"TE",
    b"www-authenticate": b"WWW-Authenticate",
    b"x-xss-protection": b"X-XSS-Protection",
}
REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
LAST_CHUNK = b"0\r\n\r\n"


@lru_cache(maxsize=256)
def canonical_name(name: bytes) -> bytes:
    """Return a lower-case field name in the case that people expect to read: `etag` -> `ETag`."""
    return ODD_NAMES.get(name) or b"-".join(part.capitalize() for part in name.split(b"-"))


def field_lines(lines: Iterable[Line]) -> bytes:
    """Return field lines, each ended by CRLF."""
    return b"".join([b"%b: %b\r\n" % (canonical_name(name), value) for name, value in lines])


def status_line(status: int, reason: bytes = b"") -> bytes:
    """Return an HTTP/1.1 status line with its CRLF."""
    return b"HTTP/1.1 %d %b\r\n" % (status, reason or REASONS.get(status, b""))


def request_head(method: bytes, target: bytes, lines: Iterable[Line]) -> bytes:
    """Return a whole request head, empty line included."""
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (method, target, field_lines(lines))


def response_head(status: int, reason: bytes, lines: Iterable[Line]) -> bytes:
    """Return a whole response head, empty line included."""
    return b"%b%b\r\n" % (status_line(status, reason), field_lines(lines))


def chunk(data: bytes | memoryview) -> bytes:
    """Return `data` (not empty) as one chunk (RFC 9112 §7.1)."""
    return b"".join((b"%x\r\n" % len(data), data, b"\r\n"))
