"""Requests that could be read in two ways: answered once, counted, and nothing behind them is read (RFC 9112 §11)."""

from __future__ import annotations

import pytest
from wire_scene import Scene

SMUGGLED = b"GET /admin HTTP/1.1\r\nHost: example.org\r\n\r\n"

_HEAD = b"POST /x HTTP/1.1\r\nHost: example.org\r\n"
_GET = b"GET /x HTTP/1.1\r\nHost: example.org\r\n"

REFUSED: dict[str, tuple[bytes, int, str]] = {
    # Framing (RFC 9112 §6).
    "length and chunked": (
        _HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        "bad_requests",
    ),
    "chunked and length": (
        _HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        400,
        "bad_requests",
    ),
    "two lengths": (_HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400, "bad_requests"),
    "one length twice": (_HEAD + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400, "bad_requests"),
    "a list of lengths": (_HEAD + b"Content-Length: 5, 5\r\n\r\nhello", 400, "bad_requests"),
    "a signed length": (_HEAD + b"Content-Length: +5\r\n\r\nhello", 400, "bad_requests"),
    "a negative length": (_HEAD + b"Content-Length: -5\r\n\r\nhello", 400, "bad_requests"),
    "a hexadecimal length": (_HEAD + b"Content-Length: 0x5\r\n\r\nhello", 400, "bad_requests"),
    "an empty length": (_HEAD + b"Content-Length:\r\n\r\nhello", 400, "bad_requests"),
    "a split length": (_HEAD + b"Content-Length: 5 5\r\n\r\nhello", 400, "bad_requests"),
    "a length beyond 64 bits": (_HEAD + b"Content-Length: 18446744073709551621\r\n\r\nhello", 400, "bad_requests"),
    "a length of 5,000 digits": (_HEAD + b"Content-Length: " + b"0" * 5000 + b"5\r\n\r\nhello", 400, "bad_requests"),
    "another coding": (_HEAD + b"Transfer-Encoding: gzip\r\n\r\n", 501, "method_refused"),
    "a coding before chunked": (_HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501, "method_refused"),
    "a coding behind chunked": (_HEAD + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400, "bad_requests"),
    "chunked twice": (_HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400, "bad_requests"),
    "two coding fields": (
        _HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        "bad_requests",
    ),
    "identity and chunked": (_HEAD + b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", 400, "bad_requests"),
    "chunked misspelt": (_HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501, "method_refused"),
    "chunked in quotes": (_HEAD + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n', 501, "method_refused"),
    "chunked with a parameter": (_HEAD + b"Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", 501, "method_refused"),
    "chunked behind a vertical tab": (_HEAD + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400, "bad_requests"),
    "an empty coding": (_HEAD + b"Transfer-Encoding:\r\n\r\n0\r\n\r\n", 400, "bad_requests"),
    "a space before the colon": (_HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400, "bad_requests"),
    "chunked in HTTP/1.0": (
        b"POST /x HTTP/1.0\r\nHost: example.org\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        "bad_requests",
    ),
    # Lines (RFC 9112 §2.2, §5).
    "a folded line": (_GET + b"X-A: 1\r\n folded\r\n\r\n", 400, "bad_requests"),
    "a folded coding": (_HEAD + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400, "bad_requests"),
    "a bare LF behind a field": (_GET + b"X-A: 1\nX-B: 2\r\n\r\n", 400, "bad_requests"),
    "bare LFs": (b"GET /x HTTP/1.1\nHost: example.org\n\n", 400, "bad_requests"),
    "a bare CR in a value": (_GET + b"X-A: 1\rX-B: 2\r\n\r\n", 400, "bad_requests"),
    "a NUL in a value": (_GET + b"X-A: 1\x002\r\n\r\n", 400, "bad_requests"),
    "a control byte in a value": (_GET + b"X-A: 1\x012\r\n\r\n", 400, "bad_requests"),
    "a DEL in a value": (_GET + b"X-A: 1\x7f2\r\n\r\n", 400, "bad_requests"),
    "a space in a name": (_GET + b"X A: 1\r\n\r\n", 400, "bad_requests"),
    "a byte above ASCII in a name": (_GET + b"X\xe9: 1\r\n\r\n", 400, "bad_requests"),
    "a line without a colon": (_GET + b"X-A\r\n\r\n", 400, "bad_requests"),
    "an empty name": (_GET + b": 1\r\n\r\n", 400, "bad_requests"),
    "a space before the first field": (b"GET /x HTTP/1.1\r\n Host: example.org\r\n\r\n", 400, "bad_requests"),
    # Host (RFC 9112 §3.2).
    "no Host": (b"GET /x HTTP/1.1\r\n\r\n", 400, "bad_requests"),
    "two Hosts": (_GET + b"Host: other.org\r\n\r\n", 400, "bad_requests"),
    "one Host twice": (_GET + b"Host: example.org\r\n\r\n", 400, "bad_requests"),
    "two Hosts in HTTP/1.0": (b"GET /x HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400, "bad_requests"),
    "an empty Host": (b"GET /x HTTP/1.1\r\nHost:\r\n\r\n", 400, "bad_requests"),
    "a path in Host": (b"GET /x HTTP/1.1\r\nHost: example.org/x\r\n\r\n", 400, "bad_requests"),
    "user information in Host": (b"GET /x HTTP/1.1\r\nHost: a@example.org\r\n\r\n", 400, "bad_requests"),
    "a list in Host": (b"GET /x HTTP/1.1\r\nHost: a, b\r\n\r\n", 400, "bad_requests"),
    "a space in Host": (b"GET /x HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "bad_requests"),
    "a port beyond the last": (b"GET /x HTTP/1.1\r\nHost: a:65536\r\n\r\n", 400, "bad_requests"),
    "a port that is no number": (b"GET /x HTTP/1.1\r\nHost: a:x\r\n\r\n", 400, "bad_requests"),
    "a percent sign in Host": (b"GET /x HTTP/1.1\r\nHost: a%00b\r\n\r\n", 400, "bad_requests"),
    "an absolute target with another bad authority": (
        b"GET http://a@b/ HTTP/1.1\r\nHost: example.org\r\n\r\n",
        400,
        "bad_requests",
    ),
    "an absolute target without authority": (b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_requests"),
    "an absolute target of another scheme": (b"GET ftp://a/x HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_requests"),
    "a target without a slash": (b"GET x HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_requests"),
    "a star for GET": (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_requests"),
    # The target (RFC 9112 §3).
    "a NUL escape": (b"GET /x%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_requests"),
    "an LF escape": (b"GET /x%0aX HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_requests"),
    "a CR escape": (b"GET /x?%0D%0A HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_requests"),
    "a fragment": (b"GET /x#y HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_requests"),
    "a byte above ASCII in the target": (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_requests"),
    "a space in the target": (b"GET /x y HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_requests"),
    # Methods and versions (RFC 9110 §9.1, RFC 9112 §2.3).
    "an unknown method": (b"BREW /x HTTP/1.1\r\nHost: a\r\n\r\n", 501, "method_refused"),
    "a method in lower case": (b"get /x HTTP/1.1\r\nHost: a\r\n\r\n", 501, "method_refused"),
    "TRACE": (b"TRACE /x HTTP/1.1\r\nHost: a\r\n\r\n", 405, "method_refused"),
    "CONNECT": (b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 405, "method_refused"),
    "HTTP/2.0": (b"GET /x HTTP/2.0\r\nHost: a\r\n\r\n", 505, "version_refused"),
    "HTTP/1.2": (b"GET /x HTTP/1.2\r\nHost: a\r\n\r\n", 505, "version_refused"),
    "HTTP/0.9": (b"GET /x\r\n\r\n", 505, "version_refused"),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "version_refused"),
    "a TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 501, "method_refused"),
}


@pytest.mark.parametrize(("sent", "status", "counter"), REFUSED.values(), ids=REFUSED)
async def test_a_request_that_may_not_be_acted_on(scene: Scene, sent: bytes, status: int, counter: str) -> None:
    client = scene.client()
    client.send(sent + SMUGGLED)
    await scene.settle()
    (answer,) = client.answers
    assert answer.status == status
    assert answer["connection"] == "close"
    assert answer["cache-control"] == "no-store"
    assert scene.origin.calls == []
    assert scene.counts("errors", "requests", counter) == (1, 1, 1)
    client.send(SMUGGLED)
    await scene.settle()
    assert len(client.answers) == 1
    assert not client.is_open


BAD_CHUNKS: dict[str, bytes] = {
    "no size": b"\r\nhello",
    "a size that is no number": b"5g\r\nhello\r\n0\r\n\r\n",
    "a prefixed size": b"0x5\r\nhello\r\n0\r\n\r\n",
    "a negative size": b"-5\r\nhello\r\n0\r\n\r\n",
    "a size beyond 64 bits": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "a bare LF behind the size": b"5\nhello\r\n0\r\n\r\n",
    "a bare LF behind the data": b"5\r\nhello\n0\r\n\r\n",
    "data longer than its size": b"5\r\nhello world\r\n0\r\n\r\n",
    "a control byte in an extension": b"5;a=\x01\r\nhello\r\n0\r\n\r\n",
    "a bare LF in an extension": b"5;a\nhello\r\n0\r\n\r\n",
    "a folded trailer": b"0\r\nX-T: 1\r\n 2\r\n\r\n",
    "a length in a trailer": b"0\r\nContent-Length: 5\r\n\r\nhello",
}


@pytest.mark.parametrize("sent", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
async def test_a_chunked_body_that_breaks_off_the_rules(scene: Scene, sent: bytes) -> None:
    client = scene.client()
    client.send(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    await scene.settle()
    client.send(sent + SMUGGLED)
    await scene.settle()
    (answer,) = client.answers
    assert (answer.status, answer["connection"]) == (400, "close")
    assert [call.request.target for call in scene.origin.calls] == [b"/x"]
    assert not scene.origin.calls[0].has_whole_body
    assert scene.counts("bad_requests", "errors", "requests") == (1, 1, 1)


async def test_a_body_of_nothing_but_chunk_framing_is_refused(scene: Scene) -> None:
    client = scene.client()
    client.send(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n5;")
    for _ in range(40):
        client.send(b"a" * 1024)
    await scene.settle()
    assert [answer.status for answer in client.answers] == [400]


async def test_chunks_arrive_without_extensions_and_trailers(scene: Scene) -> None:
    client = scene.client()
    client.methods.append(b"POST")
    client.send(
        _HEAD + b'Transfer-Encoding: Chunked\r\nTrailer: X-T\r\n\r\n5;name="va;lue"\r\nhello\r\n'
        b"6\r\n world\r\n000\r\nX-T: 1\r\nHost: evil\r\n\r\n"
    )
    call = await scene.call()
    assert (call.body, call.has_whole_body) == (b"hello world", True)
    assert not {b"x-t", b"trailer", b"transfer-encoding", b"content-length"} & {name for name, _ in call.fields.lines}
    call.answer()
    await scene.settle()
    assert client.is_open


@pytest.mark.parametrize("upgrade", [b"websocket", b"h2c", b"TLS/1.0"])
@pytest.mark.parametrize(
    ("framing", "body"),
    [
        (b"Content-Length: %d\r\n" % len(SMUGGLED), SMUGGLED),
        (b"Transfer-Encoding: chunked\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)),
    ],
)
async def test_the_body_of_an_upgrade_is_a_body(scene: Scene, upgrade: bytes, framing: bytes, body: bytes) -> None:
    """llhttp stops at such a head and would read the body as the next request."""
    client = scene.client()
    client.methods = [b"POST", b"GET"]
    client.send(_HEAD + b"Connection: Upgrade\r\nUpgrade: " + upgrade + b"\r\n" + framing + b"\r\n" + body)
    call = await scene.call()
    assert scene.origin.seen == [(b"POST", b"/x")]
    assert call.body == SMUGGLED
    assert call.request.upgrade == b""
    call.answer(cache_control="no-store")
    client.ask("/next")
    (await scene.call()).answer()
    await scene.settle()
    assert scene.origin.seen[1:] == [(b"GET", b"/next")]
    assert [answer.status for answer in client.answers] == [200, 200]


async def test_h2c_is_never_offered_to_an_origin(scene: Scene) -> None:
    client = scene.client()
    client.ask(connection="Upgrade, HTTP2-Settings", upgrade="h2c", http2_settings="AAMAAABkAAQAAP__")
    call = await scene.call()
    assert call.request.upgrade == b""
    assert not {b"upgrade", b"connection", b"http2-settings"} & {name for name, _ in call.fields.lines}
    call.answer()


async def test_an_absolute_target_replaces_host_in_the_key_and_for_the_origin(scene: Scene) -> None:
    client = scene.client()
    client.ask("http://Other.ORG:80/x?y", host="example.org")
    call = await scene.call()
    assert (call.request.target, call.fields.all(b"host")) == (b"/x?y", [b"other.org"])
    call.answer(b"theirs", cache_control="max-age=60")
    await scene.settle()
    assert (await scene.get("/x?y", host="other.org")).cache_status[0] == "hit"
    scene.client().ask("/x?y")
    assert (await scene.call()).fields.all(b"host") == [b"example.org"]


@pytest.mark.parametrize(("target", "seen"), [("*", b"*"), ("http://example.org", b"*"), ("/", b"/")])
async def test_options_may_ask_for_the_server_as_a_whole(scene: Scene, target: str, seen: bytes) -> None:
    scene.client().ask(target, "OPTIONS")
    assert (await scene.call()).request.target == seen


@pytest.mark.parametrize("target", ["/a/../b", "/a//b", "/%7euser", "/a;b=c", "/?", "/?a=%20&b=+"])
async def test_a_target_goes_on_as_it_is_and_is_the_key(scene: Scene, target: str) -> None:
    scene.origin.page(target, target.encode())
    assert (await scene.get(target)).body == target.encode()
    assert (await scene.get(target)).cache_status[0] == "hit"
    assert scene.origin.seen == [(b"GET", target.encode())]


async def test_every_split_of_a_request_is_the_same_request(scene: Scene) -> None:
    scene.origin.page("/x", b"ok", cache_control="no-store")
    whole = (
        _HEAD
        + b"Connection: Upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\nT: 1\r\n\r\n"
    )
    for at in range(1, len(whole)):
        client = scene.client()
        client.methods.append(b"POST")
        client.send(whole[:at])
        await scene.settle()
        client.send(whole[at:])
        await scene.settle()
        assert [answer.status for answer in client.answers] == [200], at
        assert scene.origin.calls[-1].body == b"hello"
    assert len(scene.origin.calls) == len(whole) - 1


async def test_errors_say_nothing_of_the_request_or_of_us(scene: Scene) -> None:
    client = scene.client()
    client.send(b"GET /secret-path%00 HTTP/1.1\r\nHost: secret-host\r\nX-Secret: field\r\n\r\n")
    await scene.settle()
    received = client.received.lower()
    assert b"secret" not in received
    assert b"server: accel\r\n" in received
    assert client.answers[0]["content-type"] == "text/plain; charset=utf-8"


async def test_what_follows_a_defect_in_a_body_is_not_read(scene: Scene) -> None:
    client = scene.client()
    client.ask("/", "POST", transfer_encoding="chunked")
    client.send(b"5\r\nhello\r\nzz\r\n")
    await scene.settle()
    client.send(b"0\r\n\r\n" + client.request("/next"))
    await scene.settle()
    assert [answer.status for answer in client.answers] == [400]
    assert not client.is_open
    assert scene.counts("bad_requests", "requests") == (1, 1)


async def test_a_second_defect_is_not_counted(scene: Scene) -> None:
    client = scene.client()
    client.ask("/", "POST", transfer_encoding="chunked")
    for piece in (b"5\r\nhello\r\nzz\r\n", b"more", b"more"):
        client.send(piece)
    await scene.settle()
    assert scene.count("bad_requests") == 1
