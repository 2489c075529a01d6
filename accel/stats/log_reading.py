"""Access logs read back: a line as the record that it was made from, whoever wrote it.

Owns the reading of Combined and Common Log Format (Apache, nginx, accel; with a virtual host in front, too) and of
accel's JSON. Knows no file. Invariant: a line is a record or a LogError, never another exception.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from functools import lru_cache
from math import isfinite

from accel.stats.records import LogRecord


class LogError(ValueError):
    """A line that is no record of a request; the message says why."""


_TEXT = rb'"([^"\\]*(?:\\.[^"\\]*)*)"'
_COMBINED = re.compile(
    rb"(?:(\S+) )?(\S+) \S+ \S+ \[([^\]]{26})\] "  # [virtual host] client identity user [time]
    + _TEXT
    + rb" (\d{3}) (\d+|-)(?: "
    + _TEXT
    + rb" "
    + _TEXT
    + rb")?"
)
_ESCAPE = re.compile(rb'\\(x[0-9A-Fa-f]{2}|["\\])')
_MINUTE_BYTES = len("23/Nov/2026:17:35")
_MINORS = {b"HTTP/1.1": 1, b"HTTP/1.0": 0, b"HTTP/2.0": 1, b"HTTP/2": 1, b"HTTP/3.0": 1, b"HTTP/3": 1}
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)([^#]*)", re.IGNORECASE)
_METHOD = re.compile(rb"[A-Z][A-Z-]*")
_TARGET = re.compile(rb"/[^\s#]*|\*")
_NO_REQUEST = "its request is none of HTTP's"


def read_line(line: bytes) -> LogRecord:
    """Return the record of a line. Raises LogError."""
    return _json_record(line) if line.startswith(b"{") else _combined_record(line)


def _combined_record(line: bytes) -> LogRecord:
    found = _COMBINED.match(line)
    if found is None:
        raise LogError("it is in neither format")
    host, client, time, asked, status, size, referer, user_agent = found.groups()
    method, target, minor, authority = _asked(_unescaped(asked))
    return LogRecord(
        _time(time),
        client.decode("latin-1"),
        method,
        authority or host or b"",
        target,
        minor,
        int(status),
        0 if size == b"-" else int(size),
        0.0,
        "",
        "",
        _said(referer),
        _said(user_agent),
    )


def _asked(line: bytes) -> tuple[bytes, bytes, int, bytes]:
    """Return a request line's method, target, minor version, and authority if the target was in absolute form."""
    parts = line.split(b" ")
    if len(parts) != 3 or parts[2] not in _MINORS:
        raise LogError(_NO_REQUEST)
    method, target, authority = _checked(parts[0], _METHOD), parts[1], b""
    absolute = None if target.startswith(b"/") else _ABSOLUTE.match(target)
    if absolute is not None:
        authority, target = absolute[1], absolute[2] if absolute[2].startswith(b"/") else b"/" + absolute[2]
    return method, _checked(target, _TARGET), _MINORS[parts[2]], authority


def _checked(value: bytes, form: re.Pattern[bytes]) -> bytes:
    if form.fullmatch(value) is None:
        raise LogError(_NO_REQUEST)
    return value


def _said(value: bytes | None) -> bytes:
    return b"" if value is None or value == b"-" else _unescaped(value)


def _unescaped(value: bytes) -> bytes:
    return value if b"\\" not in value else _ESCAPE.sub(_meant, value)


def _meant(escape: re.Match[bytes]) -> bytes:
    return bytes.fromhex(escape[1][1:].decode()) if len(escape[1]) == 3 else escape[1]


def _time(text: bytes) -> float:
    """Return `23/Nov/2026:17:35:10 +0100` as wall seconds."""
    second = text[_MINUTE_BYTES + 1 : _MINUTE_BYTES + 3]
    if not second.isdigit():
        raise LogError("its time cannot be read")
    return _minute(text[:_MINUTE_BYTES], text[_MINUTE_BYTES + 3 :]) + int(second)


@lru_cache(maxsize=64)
def _minute(minute: bytes, zone: bytes) -> float:
    try:
        return datetime.strptime((minute + zone).decode("latin-1"), "%d/%b/%Y:%H:%M %z").timestamp()
    except (ValueError, OverflowError):
        raise LogError("its time cannot be read") from None


def _json_record(line: bytes) -> LogRecord:
    try:
        fields = json.loads(line)
        return LogRecord(
            at=_finite(fields["time"]),
            client=str(fields.get("client") or ""),
            method=_checked(_bytes(fields["method"]), _METHOD),
            host=_bytes(fields.get("host")),
            target=_checked(_bytes(fields["target"]), _TARGET),
            minor=_MINORS.get(_bytes(fields.get("protocol")), 1),
            status=int(fields["status"]),
            body_bytes=int(fields.get("bytes") or 0),
            duration_s=float(fields.get("duration_ms") or 0) / 1000,
            outcome=str(fields.get("cache") or ""),
            backend=str(fields.get("backend") or ""),
            referer=_bytes(fields.get("referer")),
            user_agent=_bytes(fields.get("user_agent")),
        )
    except LogError:
        raise
    except KeyError as error:
        raise LogError(f"it has no {error.args[0]!r}") from None
    except (AttributeError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise LogError(f"its JSON cannot be read ({error})") from None


def _finite(value: float | str) -> float:
    number = float(value)
    if not isfinite(number):
        raise ValueError(f"{value!r} is no time")
    return number


def _bytes(value: str | None) -> bytes:
    """Return a text as the bytes that came; whoever writes no latin-1 meant UTF-8."""
    if not value:
        return b""
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogateescape")
