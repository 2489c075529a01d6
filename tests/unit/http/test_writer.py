"""Messages as they are written: one canonical form, readable in one way only (RFC 9112 §2.2, §5, §7.1)."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel.http.writer import (
    LAST_CHUNK,
    canonical_name,
    chunk,
    field_lines,
    request_head,
    response_head,
    status_line,
)


@pytest.mark.parametrize(
    ("name", "written"),
    [
        (b"host", b"Host"),
        (b"content-length", b"Content-Length"),
        (b"etag", b"ETag"),
        (b"te", b"TE"),
        (b"www-authenticate", b"WWW-Authenticate"),
        (b"sec-websocket-key", b"Sec-WebSocket-Key"),
        (b"x-1a-b", b"X-1a-B"),
        (b"-", b"-"),
        (b"_x", b"_x"),
    ],
)
def test_names_are_written_as_people_expect(name: bytes, written: bytes) -> None:
    assert canonical_name(name) == written


@given(st.from_regex(rb"[!#$%&'*+\-.^_`|~0-9a-z]{1,20}", fullmatch=True))
def test_a_name_changes_in_case_alone(name: bytes) -> None:
    assert canonical_name(name).lower() == name


def test_a_request_head() -> None:
    lines = [(b"host", b"a"), (b"x-a", b"")]
    assert request_head(b"GET", b"/x?y", lines) == b"GET /x?y HTTP/1.1\r\nHost: a\r\nX-A: \r\n\r\n"


def test_a_response_head_has_the_usual_reason_unless_it_has_its_own() -> None:
    assert response_head(404, b"", []) == b"HTTP/1.1 404 Not Found\r\n\r\n"
    assert response_head(404, b"Gone fishing", []) == b"HTTP/1.1 404 Gone fishing\r\n\r\n"
    assert status_line(599) == b"HTTP/1.1 599 \r\n"


def test_repeated_lines_stay_apart_and_in_order() -> None:
    assert field_lines([(b"b", b"1"), (b"a", b"2"), (b"b", b"3")]) == b"B: 1\r\nA: 2\r\nB: 3\r\n"


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=10))
def test_chunks_are_read_back_as_they_were(pieces: list[bytes]) -> None:
    class Reader:
        body = b""
        is_complete = False

        def on_body(self, data: bytes) -> None:
            self.body += data

        def on_message_complete(self) -> None:
            self.is_complete = True

    reader = Reader()
    parser = httptools.HttpResponseParser(reader)
    head = response_head(200, b"", [(b"transfer-encoding", b"chunked")])
    parser.feed_data(head + b"".join(map(chunk, pieces)) + LAST_CHUNK)
    assert (reader.body, reader.is_complete) == (b"".join(pieces), True)
