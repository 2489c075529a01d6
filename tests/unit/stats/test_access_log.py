"""The access log: whole lines, nothing that a client could forge, and a file that may be moved away."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel.stats.access_log import AccessLog, _combined_line, _json_line
from accel.stats.records import LogRecord

RECORD = LogRecord(
    at=1_700_000_000.25,
    client="192.0.2.1",
    method=b"GET",
    host=b"example.org",
    target=b"/x?y",
    minor=1,
    status=200,
    body_bytes=123,
    duration_s=0.0125,
    outcome="hit",
    backend="",
    referer=b"http://a/",
    user_agent=b"probe/1",
)

_COMBINED = re.compile(
    r'\S+ - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "[^"]*" \d+ \d+ "[^"]*" "[^"]*"\n', re.ASCII
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a log may be."""
    return tmp_path / "access.log"


def test_a_combined_line_is_what_apache_writes() -> None:
    line = _combined_line(RECORD)
    assert line.startswith("192.0.2.1 - - [1")
    assert line.endswith("]" + ' "GET /x?y HTTP/1.1" 200 123 "http://a/" "probe/1"\n')


def test_what_is_missing_is_a_dash() -> None:
    assert _combined_line(replace(RECORD, referer=b"", user_agent=b"")).endswith('"-" "-"\n')


def test_a_json_line_has_every_fact() -> None:
    assert json.loads(_json_line(RECORD)) == {
        "time": 1_700_000_000.25,
        "client": "192.0.2.1",
        "method": "GET",
        "host": "example.org",
        "target": "/x?y",
        "protocol": "HTTP/1.1",
        "status": 200,
        "bytes": 123,
        "duration_ms": 12.5,
        "cache": "hit",
        "backend": None,
        "referer": "http://a/",
        "user_agent": "probe/1",
    }


@given(st.binary(max_size=60), st.binary(max_size=60), st.binary(max_size=60))
def test_no_bytes_of_a_client_forge_a_line(target: bytes, referer: bytes, user_agent: bytes) -> None:
    record = replace(RECORD, target=target, referer=referer, user_agent=user_agent)
    line = _combined_line(record)
    assert line.isascii()
    assert _COMBINED.fullmatch(line), line
    text = _json_line(record)
    assert text.count("\n") == 1
    assert text.isprintable() or text[:-1].isprintable()
    assert json.loads(text)["user_agent"] == (user_agent.decode("latin-1") or None)


def test_lines_wait_for_a_flush_or_a_full_buffer(path: Path) -> None:
    log = AccessLog(str(path), as_json=False)
    log.write(RECORD)
    assert path.read_text() == ""
    log.flush()
    assert path.read_text().count("\n") == 1
    for _ in range(1000):
        log.write(RECORD)
    assert path.read_text().count("\n") > 500
    assert path.read_text().endswith("\n")
    log.close()
    assert path.read_text().count("\n") == 1001


def test_two_writers_append_to_one_file(path: Path) -> None:
    logs = [AccessLog(str(path), as_json=True) for _ in range(2)]
    for _ in range(3):
        for log in logs:
            log.write(RECORD)
            log.flush()
    for log in logs:
        log.close()
    assert [json.loads(line)["status"] for line in path.read_text().splitlines()] == [200] * 6


def test_a_file_that_was_moved_away_is_opened_again(path: Path) -> None:
    log = AccessLog(str(path), as_json=False)
    log.write(RECORD)
    moved = path.rename(path.with_suffix(".1"))
    log.write(RECORD)
    log.reopen()
    log.write(RECORD)
    log.close()
    assert (moved.read_text().count("\n"), path.read_text().count("\n")) == (2, 1)


def test_what_cannot_be_opened_again_stays_as_it_is(path: Path) -> None:
    log = AccessLog(str(path), as_json=False)
    moved = path.rename(path.with_suffix(".1"))
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        log.reopen()
    log.write(RECORD)
    log.close()
    assert moved.read_text().count("\n") == 1


def test_what_cannot_be_written_is_counted_and_let_go(path: Path) -> None:
    log = AccessLog(str(path), as_json=False)
    reader = os.open(path, os.O_RDONLY)
    os.dup2(reader, log._fd)
    os.close(reader)
    for _ in range(3):
        log.write(RECORD)
    log.flush()
    log.flush()
    assert (log.lost, log._lines) == (3, [])
    log.close()


def test_a_log_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="directory"):
        AccessLog(str(tmp_path), as_json=False)


def test_standard_output_is_never_closed() -> None:
    log = AccessLog("-", as_json=False)
    log.reopen()
    log.close()
    os.fstat(1)


_WRITER = """
import sys
from accel.stats.access_log import AccessLog
from accel.stats.records import LogRecord
name = sys.argv[1]
record = LogRecord(0.0, name, b"GET", b"h", b"/" + name.encode() * 300, 1, 200, 0, 0.0, "hit", "", b"", b"")
log = AccessLog("-", as_json=False)
for _ in range(5000):
    log.write(record)
log.close()
"""


def test_workers_do_not_mix_their_lines_in_a_pipe_that_is_read_slowly() -> None:
    reading, writing = os.pipe()
    writers = [subprocess.Popen([sys.executable, "-c", _WRITER, name], stdout=writing) for name in "ab"]
    os.close(writing)
    read = b"".join(iter(lambda: os.read(reading, 1000), b""))
    os.close(reading)
    assert [writer.wait() for writer in writers] == [0, 0]
    lines = read.splitlines()
    assert len(lines) == 10_000
    assert all(re.fullmatch(rb'(a|b) - - \[[^]]*\] "GET /\1{300} HTTP/1.1" 200 0 "-" "-"', line) for line in lines)
