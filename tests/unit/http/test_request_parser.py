"""The request parser: what it yields, what it refuses, and that no split of the bytes changes either (RFC 9112)."""

from __future__ import annotations

import gc
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accel.config import Limits
from accel.errors import RequestError
from accel.http.message import CHUNKED, Request
from accel.http.request_parser import METHODS, RequestParser


@dataclass
class Heard:
    """A sink that keeps what it was told."""

    requests: list[Request] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    ended: int = 0

    def request_begun(self, request: Request) -> None:
        """Take a head."""
        assert self.ended == len(self.requests)
        self.requests.append(request)
        self.bodies.append(b"")

    def body_received(self, data: bytes) -> None:
        """Take a piece of a body."""
        assert self.ended == len(self.requests) - 1
        self.bodies[-1] += data

    def request_ended(self) -> None:
        """Take an end."""
        self.ended += 1
        assert self.ended == len(self.requests)


def parse(*pieces: bytes, limits: Limits | None = None) -> tuple[Heard, int | None, bytes | None]:
    """Feed pieces; return what was heard, the status of a refusal, and what came behind an upgrade."""
    heard = Heard()
    parser = RequestParser(heard, limits or Limits())
    try:
        for piece in pieces:
            parser.feed(piece)
    except RequestError as error:
        return heard, error.status, None
    return heard, None, parser.after_upgrade


def one(data: bytes) -> Request:
    """Return the one request that `data` is."""
    heard, status, _ = parse(data)
    assert (status, len(heard.requests), heard.ended) == (None, 1, 1)
    return heard.requests[0]


GET = b"GET /a?b=c HTTP/1.1\r\nHost: Example.org:8080\r\nAccept:  x/y \t\r\nX-A: 1\r\nx-a: 2\r\n\r\n"
SIZED = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
CHUNKS = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nhel\r\n2\r\nlo\r\n0\r\nT: 1\r\n\r\n"
UPGRADE = b"PUT / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\nhello"
UPGRADE_CHUNKS = CHUNKS.replace(b"Host: a\r\n", b"Host: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n")
WEBSOCKET = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n"
OLD = b"GET / HTTP/1.0\r\n\r\n"
MESSAGES = (GET, SIZED, CHUNKS, UPGRADE, UPGRADE_CHUNKS)


def test_a_head_is_read_into_a_request() -> None:
    request = one(GET)
    assert (request.method, request.target, request.minor) == (b"GET", b"/a?b=c", 1)
    assert (request.authority, request.host) == (b"Example.org:8080", b"example.org:8080")
    assert request.fields.lines == [(b"accept", b"x/y"), (b"x-a", b"1"), (b"x-a", b"2")]
    assert (request.body_length, request.keep_alive, request.upgrade) == (0, True, b"")


@pytest.mark.parametrize(
    ("message", "length"), [(SIZED, 5), (CHUNKS, CHUNKED), (UPGRADE, 5), (UPGRADE_CHUNKS, CHUNKED)]
)
def test_a_body_is_framed_by_its_head(message: bytes, length: int) -> None:
    heard, _, rest = parse(message)
    assert (heard.requests[0].body_length, heard.bodies, heard.ended, rest) == (length, [b"hello"], 1, None)
    assert heard.requests[0].keep_alive


@given(st.lists(st.sampled_from(MESSAGES), min_size=1, max_size=6), st.data())
@settings(deadline=None)
def test_no_split_changes_what_is_read(messages: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    pieces = [whole[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert parse(*pieces) == parse(whole)
    assert parse(whole)[0].ended == len(messages)


@pytest.mark.parametrize("message", [*MESSAGES, WEBSOCKET, OLD])
def test_every_byte_alone_is_the_same_request(message: bytes) -> None:
    assert parse(*(message[at : at + 1] for at in range(len(message)))) == parse(message)


@given(st.sampled_from(MESSAGES), st.integers(0, 200), st.integers(0, 255), st.data())
@settings(deadline=None)
def test_no_split_makes_a_damaged_request_acceptable(message: bytes, at: int, byte: int, data: st.DataObject) -> None:
    damaged = bytearray(message + GET)
    damaged[at % len(message)] = byte
    whole = bytes(damaged)
    cut = data.draw(st.integers(1, len(whole) - 1))
    split, at_once = parse(whole[:cut], whole[cut:]), parse(whole)
    assert split[0].requests == at_once[0].requests
    assert split[1] == at_once[1]


def test_a_websocket_ends_http_until_that_is_decided() -> None:
    heard, status, rest = parse(WEBSOCKET + b"fra", b"mes")
    assert (heard.requests[0].upgrade, heard.ended, status, rest) == (b"websocket", 1, None, b"frames")


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n",  # Connection does not name it
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c, websocket\r\n",
        b"GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade, keep-alive\r\nUpgrade: websocket\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n",
    ],
)
def test_other_upgrades_are_ignored(head: bytes) -> None:
    heard, status, rest = parse(head + b"\r\n")
    assert (heard.requests[0].upgrade, status, rest) == (b"", None, None)


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        (b"HTTP/1.1\r\nHost: a", True),
        (b"HTTP/1.1\r\nHost: a\r\nConnection: close", False),
        (b"HTTP/1.1\r\nHost: a\r\nConnection: x, Close", False),
        (b"HTTP/1.1\r\nHost: a\r\nConnection: upgrade, close\r\nUpgrade: h2c", False),
        (b"HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c", True),
        (b"HTTP/1.0", False),
        (b"HTTP/1.0\r\nConnection: keep-alive", True),
    ],
)
def test_whether_the_client_wants_the_connection_kept(lines: bytes, kept: bool) -> None:
    assert one(b"GET / " + lines + b"\r\n\r\n").keep_alive is kept


def test_what_follows_the_last_request_is_not_read() -> None:
    heard, status, _ = parse(GET.replace(b"X-A: 1", b"Connection: close") + b"nonsense\r\n\r\n", b"\0")
    assert (len(heard.requests), status) == (1, None)


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        (b"example.org", b"example.org"),
        (b"EXAMPLE.org.", b"example.org"),
        (b"example.org:80", b"example.org"),
        (b"example.org:", b"example.org"),
        (b"example.org.:0080", b"example.org"),
        (b"example.org:443", b"example.org:443"),
        (b"127.0.0.1:8080", b"127.0.0.1:8080"),
        (b"[::1]", b"[::1]"),
        (b"[2001:DB8::1]:80", b"[2001:db8::1]"),
        (b"a_b.example", b"a_b.example"),
        (b"xn--bcher-kva.example", b"xn--bcher-kva.example"),
    ],
)
def test_host_in_key_form(authority: bytes, host: bytes) -> None:
    assert one(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % authority).host == host


@pytest.mark.parametrize(
    "authority", [b"", b"a b", b"a/", b"[::1", b"::1", b"a:b", b"a:99999", b"a:123456", b"a,b", b"a\xe9"]
)
def test_what_is_no_host(authority: bytes) -> None:
    assert parse(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % authority)[1] == 400


@pytest.mark.parametrize(("length", "status"), [(255, None), (263, 400)])
def test_a_host_is_no_longer_than_names_are(length: int, status: int | None) -> None:
    """Each host that is read is remembered for a while: a client must not choose how much that is."""
    assert parse(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % (b"a" * length))[1] == status


def test_http_1_0_needs_no_host() -> None:
    request = one(OLD)
    assert (request.minor, request.host, request.authority) == (0, b"", b"")


@pytest.mark.parametrize(
    ("line", "target", "host"),
    [
        (b"GET http://B.org/x?y HTTP/1.1", b"/x?y", b"b.org"),
        (b"GET HTTP://b.org:80 HTTP/1.1", b"/", b"b.org"),
        (b"GET http://b.org?x HTTP/1.1", b"/?x", b"b.org"),
        (b"GET https://b.org/ HTTP/1.1", b"/", b"b.org"),
        (b"OPTIONS http://b.org HTTP/1.1", b"*", b"b.org"),
        (b"OPTIONS * HTTP/1.1", b"*", b"a.org"),
        (b"PURGE * HTTP/1.1", b"*", b"a.org"),
    ],
)
def test_a_target_in_another_form(line: bytes, target: bytes, host: bytes) -> None:
    request = one(line + b"\r\nHost: a.org\r\n\r\n")
    assert (request.target, request.host) == (target, host)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_methods_by_list(method: bytes) -> None:
    assert one(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n").method == method


@pytest.mark.parametrize(("method", "status"), [(b"TRACE", 405), (b"CONNECT", 405), (b"FOO", 501), (b"M-SEARCH", 501)])
def test_other_methods_are_refused(method: bytes, status: int) -> None:
    target = b"a:443" if method == b"CONNECT" else b"/"
    assert parse(method + b" " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")[1] == status


def test_limits_are_the_operators() -> None:
    limits = Limits(head_bytes=200, field_bytes=50, target_bytes=20, fields=3, body_bytes=4)
    start = b"POST / HTTP/1.1\r\nHost: a\r\n"
    assert parse(start + b"A: 1\r\nB: 2\r\nC: 3\r\n\r\n", limits=limits)[1] is None
    assert parse(start + b"A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n\r\n", limits=limits)[1] == 431
    assert parse(start + b"A: " + b"x" * 50 + b"\r\n\r\n", limits=limits)[1] == 431
    assert parse(start + b"A: " + b"x" * 40, b"y" * 300, limits=limits)[1] == 431
    assert parse(b"GET /" + b"x" * 20 + b" HTTP/1.1\r\n", limits=limits)[1] == 414
    assert parse(start + b"Content-Length: 4\r\n\r\n1234", limits=limits)[1] is None
    assert parse(start + b"Content-Length: 5\r\n\r\n", limits=limits)[1] == 413


def test_a_read_that_ends_in_another_head_than_it_began_in_is_not_one_head() -> None:
    start, rest = b"GET / HTTP/1.1\r\nHo", b"st: a\r\n\r\n"
    limits = Limits(head_bytes=100)

    heard, status, _ = parse(start, (rest + start) * 20, rest, limits=limits)

    assert (len(heard.requests), status) == (21, None)


def test_one_byte_chunks_are_no_abuse() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    heard, status, _ = parse(head, *[b"1\r\nx\r\n"] * 20_000, b"0\r\n\r\n")
    assert (heard.ended, status, heard.bodies) == (1, None, [b"x" * 20_000])


def test_trailers_without_end_are() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    assert parse(head, *[b"T: %b\r\n" % (b"x" * 100)] * 1000)[1] == 400


@given(st.binary(max_size=200), st.binary(max_size=200))
@settings(deadline=None)
def test_no_bytes_raise_anything_but_a_refusal(first: bytes, second: bytes) -> None:
    parse(first, second)
    parse(b"GET / HTTP/1.1\r\nHost: a\r\n" + first, second)
    parse(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + first, second)


def test_a_closed_parser_leaves_nothing_to_the_collector() -> None:
    gc.collect()
    heard = Heard()
    parser = RequestParser(heard, Limits())
    parser.feed(GET + UPGRADE)
    parser.close()
    del parser, heard
    assert gc.collect() == 0
