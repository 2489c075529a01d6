"""The access log's lines: one a record, and nothing in them that a client could forge."""

from __future__ import annotations

import json
import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from accel.stats.access_log import combined_line, json_line
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


def test_a_combined_line_is_what_apache_writes() -> None:
    line = combined_line(RECORD)
    assert line.startswith("192.0.2.1 - - [1")
    assert line.endswith("]" + ' "GET /x?y HTTP/1.1" 200 123 "http://a/" "probe/1"\n')


def test_what_is_missing_is_a_dash() -> None:
    assert combined_line(replace(RECORD, referer=b"", user_agent=b"")).endswith('"-" "-"\n')


def test_a_json_line_has_every_fact() -> None:
    assert json.loads(json_line(RECORD)) == {
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
    line = combined_line(record)
    assert line.isascii()
    assert _COMBINED.fullmatch(line), line
    text = json_line(record)
    assert text.count("\n") == 1
    assert text.isprintable() or text[:-1].isprintable()
    assert json.loads(text)["user_agent"] == (user_agent.decode("latin-1") or None)
