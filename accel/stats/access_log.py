"""The access log's lines: records of a ring in the two formats that are documented.

Knows no file. Invariant: a record is one line, and no line holds a control byte that a client sent (escaped as
`\\xHH`).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from functools import lru_cache

from accel.stats.records import LogRecord, records_of

compiled_lines: Callable[[bytes, Callable[[int], str]], tuple[bytes, int, int] | None] | None
try:
    from accel.stats._lines import combined_lines as compiled_lines
except ImportError:
    compiled_lines = None

FormatLines = Callable[[bytes], tuple[bytes, int, int]]
"""Makes lines of a ring's bytes; beside them the numbers of the first and the last record, 0 for none."""
_UNSAFE = re.compile(r'[^\x20-\x7e]|["\\]')


def combined_lines(chunk: bytes) -> tuple[bytes, int, int]:
    """Return the lines of Combined Log Format; see `FormatLines`."""
    made = None if compiled_lines is None else compiled_lines(chunk, _clf_time)
    return _lines(chunk, combined_line) if made is None else made


def json_lines(chunk: bytes) -> tuple[bytes, int, int]:
    """Return the lines of our JSON; see `FormatLines`."""
    return _lines(chunk, json_line)


def _lines(chunk: bytes, line_of: Callable[[LogRecord], str]) -> tuple[bytes, int, int]:
    records = list(records_of(chunk))
    if not records:
        return b"", 0, 0
    first = next((record.number for record in records if record.number), 0)
    return "".join(map(line_of, records)).encode(), first, records[-1].number


def _text(value: bytes) -> str:
    return _UNSAFE.sub(lambda match: f"\\x{ord(match[0]):02x}", value.decode("latin-1"))


@lru_cache(maxsize=4)
def _clf_time(second: int) -> str:
    return time.strftime("%d/%b/%Y:%H:%M:%S %z", time.localtime(second))


def combined_line(record: LogRecord) -> str:
    """Return the Combined Log Format that Apache and nginx write."""
    return (
        f"{record.client} - - [{_clf_time(int(record.at))}] "
        f'"{_text(record.method)} {_text(record.target)} HTTP/1.{record.minor}" {record.status} {record.body_bytes} '
        f'"{_text(record.referer) or "-"}" "{_text(record.user_agent) or "-"}"\n'
    )


def json_line(record: LogRecord) -> str:
    """Return our JSON."""
    return json.dumps(json_facts(record), separators=(",", ":")) + "\n"


def json_facts(record: LogRecord) -> dict[str, object]:
    """Return what our JSON says of a record."""
    return {
        "time": round(record.at, 3),
        "client": record.client,
        "method": record.method.decode("latin-1"),
        "host": record.host.decode("latin-1"),
        "target": record.target.decode("latin-1"),
        "protocol": f"HTTP/1.{record.minor}",
        "status": record.status,
        "bytes": record.body_bytes,
        "duration_ms": round(record.duration_s * 1000, 3),
        "cache": record.outcome,
        "backend": record.backend or None,
        "referer": record.referer.decode("latin-1") or None,
        "user_agent": record.user_agent.decode("latin-1") or None,
    }
