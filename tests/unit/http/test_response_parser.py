"""The response parser against HTTP.md's rules: heads, framing, ends, stray bytes, limits."""

from __future__ import annotations

import gc
import weakref
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accel.config import Limits
from accel.errors import BadResponse, ClosedUnanswered, OriginError, ResponseTruncated
from accel.http.message import CHUNKED, UNTIL_CLOSE
from accel.http.response_parser import INTERIM_RESPONSES, ResponseParser
from accel.http.writer import LAST_CHUNK, chunk

SIZED = b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: "x"\r\n\r\nabcde'
CHUNKS = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;q=1\r\nde\r\n0\r\nLater: x\r\n\r\n"
)
UNSIZED = b"HTTP/1.1 200 OK\r\nServer: s\r\n\r\nabcde"


def fed(
    data: bytes, method: bytes = b"GET", upgrade: bytes = b"", limits: Limits | None = None
) -> ResponseParser:
    """Return a parser that was fed `data` at once."""
    parser = ResponseParser(method, upgrade, limits or Limits())
    parser.feed(data)
    return parser


def head(*lines: bytes) -> bytes:
    """Return a head of these lines."""
    return b"\r\n".join(lines) + b"\r\n\r\n"


def status_of(parser: ResponseParser) -> int:
    """Return the status of the final head."""
    assert parser.head is not None
    return parser.head.status


def test_a_head_is_read_with_lower_case_names_and_stripped_values() -> None:
    parser = fed(head(b"HTTP/1.1 203 Not quite", b'ETag: \t "x" \t', b"X-Empty:", b"Content-Length: 0 "))

    assert parser.head is not None
    assert parser.head.status == 203
    assert parser.head.reason == b"Not quite"
    assert parser.head.minor == 1
    assert parser.head.fields.lines == [(b"etag", b'"x"'), (b"x-empty", b""), (b"content-length", b"0")]


@pytest.mark.parametrize("line", [b"HTTP/1.1 200", b"HTTP/1.1 200 "])
def test_an_empty_reason_is_lawful(line: bytes) -> None:
    parser = fed(head(line, b"Content-Length: 0"))

    assert parser.head is not None
    assert parser.head.reason == b""


@pytest.mark.parametrize(
    ("message", "length"),
    [(SIZED, 5), (CHUNKS, CHUNKED), (UNSIZED, UNTIL_CLOSE)],
    ids=["sized", "chunked", "eof"],
)
class TestEveryFraming:
    """RFC 9112 §6.3: the three ways for a body to end."""

    def test_is_read_at_once(self, message: bytes, length: int) -> None:
        parser = fed(message)

        assert parser.head is not None
        assert parser.head.body_length == length
        assert parser.take() == b"abcde"

    def test_is_read_split_at_any_byte(self, message: bytes, length: int) -> None:
        for cut in range(1, len(message)):
            parser = fed(message[:cut])
            parser.feed(message[cut:])
            parser.feed_eof()
            assert parser.take() == b"abcde"
            assert parser.complete
            assert not parser.is_stray

    def test_is_read_byte_by_byte(self, message: bytes, length: int) -> None:
        parser = ResponseParser(b"GET")
        for position in range(len(message)):
            assert not parser.complete
            parser.feed(message[position : position + 1])
        parser.feed_eof()

        assert parser.take() == b"abcde"
        assert parser.complete

    def test_leaves_nothing_to_the_collector(self, message: bytes, length: int) -> None:
        class Watched(ResponseParser):
            __slots__ = ("__weakref__",)

        parser = Watched(b"GET")
        parser.feed(message)
        watch = weakref.ref(parser)
        gc.disable()
        try:
            del parser
            assert watch() is None
        finally:
            gc.enable()


@settings(deadline=None)
@given(
    pieces=st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    cuts=st.lists(st.integers(0, 400), max_size=6),
)
def test_chunks_give_back_what_was_chunked_however_they_are_split(
    pieces: list[bytes], cuts: list[int]
) -> None:
    message = (
        head(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked") + b"".join(map(chunk, pieces)) + LAST_CHUNK
    )
    edges = sorted({0, len(message), *(cut for cut in cuts if cut < len(message))})
    parser = ResponseParser(b"GET")

    for start, stop in pairwise(edges):
        parser.feed(message[start:stop])

    assert parser.complete
    assert parser.take() == b"".join(pieces)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_an_answer_or_an_origin_error(data: bytes) -> None:
    parser = ResponseParser(b"GET")
    try:
        parser.feed(b"HTTP/1.1 200 OK\r\n" + data)
        parser.feed_eof()
    except OriginError:
        return
    assert parser.complete


@pytest.mark.parametrize(
    "message",
    [
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.2 200 OK\r\n\r\n",
        b"HTTP/0.9 200 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"<html>",
        b"HTTP/1.1 099 X\r\n\r\n",
        b"HTTP/1.1 600 X\r\n\r\n",
        b"HTTP/1.1 2000 X\r\n\r\n",
        b"HTTP/1.1 20 X\r\n\r\n",
        b"HTTP/1.1 200 O\x00K\r\n\r\n",
        b"HTTP/1.1 200 O\x1bK\r\n\r\n",
        b"HTTP/1.1 200 OK\nA: b\n\n",
        b"HTTP/1.1 200 OK\r\nA: b\n\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\x00\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n",
    ],
)
def test_a_malformed_head_is_refused(message: bytes) -> None:
    """RFC 9112 §§2.2, 4, 5."""
    with pytest.raises(BadResponse):
        fed(message)


@pytest.mark.parametrize(
    "lines",
    [
        (b"Content-Length: 5", b"Content-Length: 6"),
        (b"Content-Length: 5", b"Content-Length: 5"),
        (b"Content-Length: 5, 5",),
        (b"Content-Length: +5",),
        (b"Content-Length: -5",),
        (b"Content-Length: 0x5",),
        (b"Content-Length: ",),
        (b"Content-Length: 99999999999999999999999",),
        (b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: chunked", b"Content-Length: 5"),
        (b"Transfer-Encoding: gzip",),
        (b"Transfer-Encoding: gzip, chunked",),
        (b"Transfer-Encoding: chunked, chunked",),
        (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: identity",),
        (b"Transfer-Encoding: ",),
        (b"Transfer-Encoding: \x0bchunked",),
        (b"Transfer-Encoding: chunked;q=1",),
    ],
)
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_framing_that_could_be_read_in_two_ways_is_refused(lines: tuple[bytes, ...], method: bytes) -> None:
    """RFC 9112 §6.1, §6.3."""
    with pytest.raises(BadResponse):
        fed(head(b"HTTP/1.1 200 OK", *lines), method)


def test_chunked_in_http_1_0_is_refused() -> None:
    """RFC 9112 §6.1."""
    with pytest.raises(BadResponse):
        fed(head(b"HTTP/1.0 200 OK", b"Transfer-Encoding: chunked"))


@pytest.mark.parametrize(
    "chunks", [b"x\r\n", b"5\nabcde", b"3\r\nabcd\r\n", b"-1\r\n", b"fffffffffffffffff\r\n", b"\r\n"]
)
def test_malformed_chunks_are_refused(chunks: bytes) -> None:
    parser = fed(head(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked"))
    with pytest.raises(BadResponse):
        parser.feed(chunks)


@pytest.mark.parametrize(
    ("method", "first"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK"),
        (b"GET", b"HTTP/1.1 204 No Content"),
        (b"GET", b"HTTP/1.1 304 Not Modified"),
    ],
)
@pytest.mark.parametrize("line", [b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Server: s"])
def test_a_response_without_a_body_ends_with_its_head(method: bytes, first: bytes, line: bytes) -> None:
    """RFC 9112 §6.3 rule 1."""
    parser = fed(head(first, line), method)

    assert parser.complete
    assert parser.head is not None
    assert parser.head.body_length == 0
    assert parser.take() == b""


@pytest.mark.parametrize("stray", [b"a", b"\r\n", b"5\r\n", SIZED])
def test_bytes_behind_a_head_without_a_body_are_stray(stray: bytes) -> None:
    parser = fed(head(b"HTTP/1.1 200 OK", b"Content-Length: 5") + stray, b"HEAD")

    assert parser.complete
    assert parser.is_stray
    assert parser.take() == b""


@pytest.mark.parametrize("message", [SIZED, CHUNKS], ids=["sized", "chunked"])
@pytest.mark.parametrize("stray", [b"H", b"x", SIZED, CHUNKS])
@pytest.mark.parametrize("together", [True, False])
def test_bytes_behind_a_complete_body_are_stray_and_no_part_of_it(
    message: bytes, stray: bytes, together: bool
) -> None:
    parser = fed(message + stray if together else message)
    if not together:
        parser.feed(stray)

    assert parser.complete
    assert parser.is_stray
    assert parser.take() == b"abcde"
    assert status_of(parser) == 200


def test_interim_responses_are_swallowed() -> None:
    """RFC 9110 §15.2: up to ten."""
    interim = head(b"HTTP/1.1 100 Continue") + head(b"HTTP/1.1 103 Early Hints", b"Link: </a>")
    parser = fed(interim * (INTERIM_RESPONSES // 2) + SIZED)

    assert status_of(parser) == 200
    assert parser.take() == b"abcde"


def test_interim_fields_do_not_reach_the_final_head() -> None:
    parser = fed(head(b"HTTP/1.1 103 Early Hints", b"Link: </a>", b"Content-Length: 9"))
    assert parser.head is None
    parser.feed(SIZED)

    assert parser.head is not None
    assert parser.head.fields.lines == [(b"content-length", b"5"), (b"etag", b'"x"')]


def test_an_eleventh_interim_response_is_refused() -> None:
    parser = fed(head(b"HTTP/1.1 102 Processing") * INTERIM_RESPONSES)
    with pytest.raises(BadResponse):
        parser.feed(head(b"HTTP/1.1 102 Processing"))


@pytest.mark.parametrize("upgrade", [b"", b"h2c"])
def test_a_101_that_was_not_asked_for_is_refused(upgrade: bytes) -> None:
    """RFC 9110 §15.2.2."""
    switch = head(b"HTTP/1.1 101 Switching Protocols", b"Connection: upgrade", b"Upgrade: websocket")
    with pytest.raises(BadResponse):
        fed(switch, upgrade=upgrade)


@pytest.mark.parametrize("lines", [(), (b"Upgrade: websocket",), (b"Connection: upgrade",)])
def test_a_101_must_name_the_protocol_and_the_connection_option(lines: tuple[bytes, ...]) -> None:
    with pytest.raises(BadResponse):
        fed(head(b"HTTP/1.1 101 Switching Protocols", *lines), upgrade=b"websocket")


def test_what_comes_behind_a_101_is_kept_raw() -> None:
    switch = head(
        b"HTTP/1.1 101 Switching Protocols", b"Connection: keep-alive, Upgrade", b"Upgrade: WebSocket"
    )
    parser = fed(switch + b"\x81\x05", upgrade=b"websocket")
    parser.feed(b"hello")

    assert status_of(parser) == 101
    assert parser.rest == b"\x81\x05hello"
    assert not parser.complete
    assert not parser.is_stray


def test_an_upgrade_may_be_declined_with_an_ordinary_response() -> None:
    parser = fed(SIZED, upgrade=b"websocket")

    assert parser.complete


@pytest.mark.parametrize(
    ("first", "connection", "kept"),
    [
        (b"HTTP/1.1 200 OK", None, True),
        (b"HTTP/1.1 200 OK", b"keep-alive", True),
        (b"HTTP/1.1 200 OK", b"Close", False),
        (b"HTTP/1.1 200 OK", b"keep-alive, close", False),
        (b"HTTP/1.0 200 OK", None, False),
        (b"HTTP/1.0 200 OK", b"Keep-Alive", True),
    ],
)
def test_whether_the_connection_is_kept(first: bytes, connection: bytes | None, kept: bool) -> None:
    """RFC 9112 §9.3."""
    lines = [] if connection is None else [b"Connection: " + connection]
    parser = fed(head(first, b"Content-Length: 0", *lines))

    assert parser.head is not None
    assert parser.head.keep_alive is kept


def test_a_connection_whose_response_ends_with_it_is_not_kept() -> None:
    parser = fed(head(b"HTTP/1.1 200 OK", b"Connection: keep-alive"))

    assert parser.head is not None
    assert not parser.head.keep_alive


@pytest.mark.parametrize(("length", "kept"), [(b"0", True), (b"3", False)])
def test_a_204_that_announces_a_body_is_the_last_on_its_connection(length: bytes, kept: bool) -> None:
    """RFC 9110 §8.6: it must not, so whoever wrote it may send one."""
    parser = fed(head(b"HTTP/1.1 204 No Content", b"Content-Length: " + length))

    assert parser.head is not None
    assert parser.head.keep_alive is kept


def test_end_of_input_before_any_byte_is_no_answer() -> None:
    with pytest.raises(ClosedUnanswered):
        ResponseParser(b"GET").feed_eof()


@pytest.mark.parametrize(
    "message", [b"H", b"HTTP/1.1 200 OK\r\nServer: s\r\n", head(b"HTTP/1.1 100 Continue")]
)
def test_end_of_input_within_the_head_is_a_bad_response(message: bytes) -> None:
    parser = fed(message)
    with pytest.raises(BadResponse):
        parser.feed_eof()


@pytest.mark.parametrize("message", [SIZED[:-1], CHUNKS[:-1], CHUNKS[: CHUNKS.index(b"0\r\n")]])
def test_end_of_input_within_the_body_is_a_truncated_response(message: bytes) -> None:
    """RFC 9112 §8."""
    parser = fed(message)
    with pytest.raises(ResponseTruncated):
        parser.feed_eof()
    assert not parser.complete


@pytest.mark.parametrize(
    ("limits", "lines"),
    [
        (Limits(head_bytes=100), [b"A: " + b"x" * 100]),
        (Limits(fields=3), [b"A: b"] * 4),
        (Limits(field_bytes=10), [b"Name: " + b"x" * 7]),
    ],
)
def test_a_head_over_a_limit_is_refused(limits: Limits, lines: list[bytes]) -> None:
    with pytest.raises(BadResponse):
        fed(head(b"HTTP/1.1 200 OK", *lines), limits=limits)


def test_a_head_that_never_ends_is_refused_at_its_limit() -> None:
    parser = ResponseParser(b"GET", limits=Limits(head_bytes=100))
    parser.feed(b"HTTP/1.1 200 OK\r\nA: ")
    with pytest.raises(BadResponse):
        for _ in range(100):
            parser.feed(b"x")


@pytest.mark.parametrize("start", [b"5;ext=", b"0\r\nTrailer: "])
def test_chunk_extensions_and_trailers_that_never_end_are_refused(start: bytes) -> None:
    limits = Limits(head_bytes=1000)
    parser = fed(head(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked") + start, limits=limits)
    with pytest.raises(BadResponse):
        for _ in range(20):
            parser.feed(b"x" * 100)


def test_small_chunks_of_one_read_are_kept_as_one_piece() -> None:
    parser = fed(head(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked"))
    parser.feed(chunk(b"a") * 1000)
    parser.feed(chunk(b"b") * 1000 + LAST_CHUNK)

    assert parser.pieces == [b"a" * 1000, b"b" * 1000]
    assert parser.buffered == 2000


def test_trailers_are_dropped() -> None:
    """RFC 9110 §6.5.1."""
    parser = fed(CHUNKS)

    assert parser.head is not None
    assert b"later" not in parser.head.fields


def test_take_joins_what_is_buffered_and_empties_it() -> None:
    parser = fed(UNSIZED)
    parser.feed(b"fgh")

    assert parser.buffered == 8
    assert parser.take() == b"abcdefgh"
    assert parser.buffered == 0
    assert parser.take() == b""


def test_a_length_of_thousands_of_digits_is_refused() -> None:
    """int() would raise ValueError for more than 4,300 of them."""
    with pytest.raises(BadResponse):
        fed(head(b"HTTP/1.1 200 OK", b"Content-Length: " + b"0" * 5000 + b"5"))
