"""Access logs read back: what accel writes, what Apache and nginx write, and what is no record."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from accel.stats.access_log import combined_line, json_line
from accel.stats.log_reading import LogError, read_line
from accel.stats.records import LogRecord

RECORD = LogRecord(
    at=1_700_000_000.25,
    client="2001:db8::7",
    method=b"GET",
    host=b"shop.example.org",
    target=b'/a?b=%C3%A4&c="\\\xe4',
    minor=0,
    status=200,
    body_bytes=1234,
    duration_s=0.125,
    outcome="hit",
    backend="127.0.0.1:8001",
    referer=b'https://a.example/"x"',
    user_agent=b"Mozilla/5.0 (\\ \xff)",
)


def test_json_gives_the_whole_record_back() -> None:
    assert read_line(json_line(RECORD).encode()) == RECORD


def test_combined_gives_back_what_it_holds() -> None:
    found = read_line(combined_line(RECORD).encode())

    assert (found.at, found.client, found.host, found.minor) == (1_700_000_000, "2001:db8::7", b"", 0)
    assert (found.method, found.target, found.status, found.body_bytes) == (b"GET", RECORD.target, 200, 1234)
    assert (found.referer, found.user_agent) == (RECORD.referer, RECORD.user_agent)


LINE = b'192.0.2.1 - ann [10/Oct/2026:13:55:36 +0200] "GET /a HTTP/1.1" 304 - "-" "curl/8"\n'


def test_a_zone_is_taken_off_and_a_dash_is_nothing() -> None:
    found = read_line(LINE)

    assert (found.at, found.body_bytes, found.referer) == (1_791_633_336, 0, b"")


@pytest.mark.parametrize(
    ("line", "host", "target"),
    [
        (b"shop.example:443 " + LINE, b"shop.example:443", b"/a"),
        (LINE.replace(b"/a", b"http://b.example/x?y"), b"b.example", b"/x?y"),
        (LINE.replace(b"/a", b"https://b.example"), b"b.example", b"/"),
        (LINE.replace(b"HTTP/1.1", b"HTTP/2.0").partition(b' "-"')[0], b"", b"/a"),
        (LINE.replace(b"/a", rb"/\x22\"").rstrip() + b' "0.004" extra', b"", b'/""'),
        (LINE.replace(b"GET /a", b"OPTIONS *"), b"", b"*"),
    ],
)
def test_what_other_servers_write_is_read(line: bytes, host: bytes, target: bytes) -> None:
    found = read_line(line)

    assert (found.host, found.target, found.status) == (host, target, 304)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"", "neither format"),
        (b"# a comment", "neither format"),
        (LINE.replace(b"Oct", b"Okt"), "time"),
        (LINE.replace(b":36 ", b":xx "), "time"),
        (LINE.replace(b"GET /a HTTP/1.1", rb"\x16\x03\x01"), "none of HTTP's"),
        (LINE.replace(b"GET /a HTTP/1.1", b"-"), "none of HTTP's"),
        (LINE.replace(b"GET /a HTTP/1.1", b"GET a HTTP/1.1"), "none of HTTP's"),
        (b"{", "JSON cannot be read"),
        (b'{"time": 1}', "no 'method'"),
        (json.dumps({"time": "x", "method": "GET", "target": "/", "status": 200}).encode(), "JSON cannot be read"),
        (b'{"time": NaN, "method": "GET", "target": "/", "status": 200}', "JSON cannot be read"),
        (b'{"time": 1, "method": 7, "target": "/", "status": 200}', "JSON cannot be read"),
        (b'{"time": 1, "method": "-", "target": "-", "status": 400}', "none of HTTP's"),
    ],
)
def test_what_is_no_record_is_said_to_be_none(line: bytes, why: str) -> None:
    with pytest.raises(LogError, match=why):
        read_line(line)


@given(st.one_of(st.binary(max_size=200), st.integers(0, len(LINE)).map(lambda at: LINE[:at] + b"\xff[" + LINE[at:])))
@example(b'{"time":1e999,"method":"GET","target":"/","status":1e999}')
@example(b"[" * 100_000)
@example(b'{"a":' * 100_000)
def test_every_line_is_a_record_or_a_log_error(line: bytes) -> None:
    try:
        assert read_line(line).target
    except LogError as error:
        assert str(error)
