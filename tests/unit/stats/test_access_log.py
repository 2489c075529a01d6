"""The access log's lines: one a record, and nothing in them that a client could forge."""

from __future__ import annotations

import json
import re
from dataclasses import replace

from hypothesis import example, given
from hypothesis import strategies as st

from accel.stats import access_log
from accel.stats.access_log import combined_line, json_line
from accel.stats.records import LogRecord
from accel.stats.ring import LogRings, RingWriter

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


def _chunk(records: int, **other: object) -> bytearray:
    rings = LogRings(1)
    memory = rings.memory(0)
    assert memory is not None
    writer = RingWriter(memory)
    for at in range(records):
        fields = {
            "at": 1_700_000_000.25 + at / 3, "first_byte_s": 0.1, "total_s": 0.1, "origin_s": 0.0, "age_s": 0.0,
            "ttl_s": 0.0, "key_hash": 0, "body_bytes": 5, "exchange_id": 0, "connection_id": 0, "status": 200,
            "minor": 1, "outcome": 0, "reason": 0, "retries": 0, "client": "192.0.2.1", "method": b"GET",
            "host": b"h", "target": b"/x", "referer": b"", "user_agent": b"", "backend": "", "rule": "", "tags": b"",
        }  # fmt: skip
        writer.write(*(fields | other).values())  # type: ignore[arg-type]
    return bytearray(rings.readers()[0].read(0)[0])


@given(
    st.binary(max_size=300), st.binary(max_size=300), st.binary(max_size=40), st.integers(0, 2**64 - 1),
    st.integers(0, 65535), st.integers(0, 255), st.text(max_size=20),
)  # fmt: skip
def test_the_compiled_lines_are_those_of_python(
    target: bytes, agent: bytes, method: bytes, body_bytes: int, status: int, minor: int, client: str
) -> None:
    chunk = bytes(_chunk(3, target=target, user_agent=agent, referer=agent[:3], method=method, body_bytes=body_bytes,
                         status=status, minor=minor, client=client))  # fmt: skip

    assert access_log.combined_lines(chunk) == access_log._lines(chunk, combined_line)


@given(st.integers(0, 1000), st.binary(min_size=1, max_size=8), st.integers(0, 1000))
@example(8, b"\0", 0)
def test_the_compiled_lines_are_those_of_python_of_damaged_bytes_too(place: int, damage: bytes, end: int) -> None:
    chunk = _chunk(4, user_agent=b"probe/1")
    place %= len(chunk)
    chunk[place : place + len(damage)] = damage
    damaged = bytes(chunk[: len(chunk) - end % 200])

    assert access_log.combined_lines(damaged) == access_log._lines(damaged, combined_line)


def test_lines_are_made_by_the_compiled_part_where_it_was_built() -> None:
    assert access_log.compiled_lines is not None
    made = access_log.compiled_lines(bytes(_chunk(5)), access_log._clf_time)
    assert made is not None and (made[0].count(b"\n"), *made[1:]) == (5, 1, 5)
