"""The access log: one record an exchange, in lines, appended by every worker to one file.

Owns the open file and a buffer; knows no request. Invariant: whole lines only (one `write` of whole lines to a file
opened for append, or of no more than PIPE_BUF to standard output, so workers do not mix: pipe(7)), and no line holds
a control byte that a client sent (escaped as `\\xHH`).
"""

from __future__ import annotations

import json
import os
import re
import select
import time
from collections.abc import Iterator
from functools import lru_cache

from accel.stats.records import LogRecord

__all__ = ["AccessLog", "LogRecord"]

_BUFFER_BYTES = 32 * 1024
_UNSAFE = re.compile(r'[^\x20-\x7e]|["\\]')


class AccessLog:
    """Lines to a file or to standard output, flushed when the buffer is full and by the worker's timer."""

    def __init__(self, path: str, as_json: bool) -> None:
        """Raises OSError if the file cannot be opened for append."""
        self.lost = 0
        """Records dropped because a write failed."""
        self._path = path
        self._format = _json_line if as_json else _combined_line
        self._lines: list[str] = []
        self._size = 0
        self._fd = self._open()

    def write(self, record: LogRecord) -> None:
        """Take one record."""
        line = self._format(record)
        self._lines.append(line)
        self._size += len(line)
        if self._size > _BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is buffered; what cannot be written is counted in `lost`, never kept."""
        if not self._lines:
            return
        lines, self._lines, self._size = self._lines, [], 0
        at_once = select.PIPE_BUF if self._path == "-" else _BUFFER_BYTES
        try:
            for data in _joined(lines, at_once):
                while data:
                    data = data[os.write(self._fd, data) :]
        except OSError:
            self.lost += len(lines)

    def reopen(self) -> None:
        """Open the path again, after something moved the old file away; on failure the old file is kept."""
        self.flush()
        if self._path == "-":
            return
        fd = self._open()
        os.close(self._fd)
        self._fd = fd

    def close(self) -> None:
        """Flush and close."""
        self.flush()
        if self._path != "-":
            os.close(self._fd)

    def _open(self) -> int:
        if self._path == "-":
            return 1
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)


def _joined(lines: list[str], at_once: int) -> Iterator[bytes]:
    """Yield whole lines in pieces of at most `at_once` bytes, a longer line alone."""
    held: list[bytes] = []
    size = 0
    for line in lines:
        data = line.encode()
        if held and size + len(data) > at_once:
            yield b"".join(held)
            held, size = [], 0
        held.append(data)
        size += len(data)
    yield b"".join(held)


def _text(value: bytes) -> str:
    return _UNSAFE.sub(lambda match: f"\\x{ord(match[0]):02x}", value.decode("latin-1"))


@lru_cache(maxsize=4)
def _clf_time(second: int) -> str:
    return time.strftime("%d/%b/%Y:%H:%M:%S %z", time.localtime(second))


def _combined_line(record: LogRecord) -> str:
    """Return the Combined Log Format that Apache and nginx write."""
    return (
        f"{record.client} - - [{_clf_time(int(record.at))}] "
        f'"{_text(record.method)} {_text(record.target)} HTTP/1.{record.minor}" {record.status} {record.body_bytes} '
        f'"{_text(record.referer) or "-"}" "{_text(record.user_agent) or "-"}"\n'
    )


def _json_line(record: LogRecord) -> str:
    fields = {
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
    return json.dumps(fields, separators=(",", ":")) + "\n"
