"""What is relayed is what the general path would have sent: two workers told the same, one of them with relays."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hot_pair import sites
from piecewise_origin import End, Reply, said
from relay_pair import RelayPair, relayed_exchange

PASSED = sites('request { when path under "/api" { pass "api" } }')


def request(*lines: bytes, target: bytes = b"/api", method: bytes = b"GET", host: bytes = b"example.org") -> bytes:
    """Return one request."""
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (method, target, host, b"".join(line + b"\r\n" for line in lines))


@pytest.fixture
async def pair() -> AsyncIterator[RelayPair]:
    """Return a pair that passes what is under /api, and whose origin answers there."""
    made = await RelayPair(lambda: {"policies": PASSED}).start()
    made.answers({b"/api": Reply((said(b"Date: Tue, 14 Nov 2023 22:13:20 GMT", body=b"hello"),))})
    yield made
    await made.end()


async def warm(pair: RelayPair, data: bytes) -> None:
    """Ask until it is relayed."""
    for _ in range(6):
        if await relayed_exchange(pair, data):
            return
    raise AssertionError(f"it was never relayed: {pair.ways}")


async def test_what_a_rule_passes_is_relayed(pair: RelayPair) -> None:
    await warm(pair, request())

    assert await relayed_exchange(pair, request())


async def test_a_cookie_that_differs_each_time_is_judged_once(pair: RelayPair) -> None:
    cookies = (b"Set-Cookie: id=%d" % number for number in range(20))
    pair.answers({b"/me": tuple(Reply((said(b"Cache-Control: max-age=60", cookie, body=b"x"),)) for cookie in cookies)})
    for _ in range(12):
        await pair.send(request(target=b"/me"))

    assert pair.carried > 5
    assert pair.worker.relays.judged == 1


ODD_REQUESTS = {
    "forwarded": (b"X-Forwarded-For: 1.2.3.4", b"x-forwarded-proto: https", b"X-Forwarded-Any: x", b"Forwarded: a"),
    "underscores": (b"X_Forwarded_For: 1.2.3.4", b"X_Other_Name: x", b"Proxy_Authorization: x", b"Keep_Alive: x"),
    "poison in underscores": (b"http2_settings: x", b"X_Original_Url: /", b"_: x", b"x_: y", b"Accel_Explain: 1"),
    "odd case": (b"aCCEPT-lANGUAGE: de", b"ETAG: x", b"dnt: 1", b"x-xss-protection: 0", b"1a-b1-C: x", b"a--b: -"),
    "token characters": (b"x!#$%&'*+.^_`|~z: 1", b"X'y-Z.a: 2"),
    "long names": (b"X-Forwarded-" + b"f" * 60 + b": x", b"x" * 50 + b"_y: x", b"y" * 60 + b": x"),
    "keep-alive": (b"Connection: keep-alive", b"Keep-Alive: timeout=5", b"connection: Keep-Alive"),
    "repeated": (b"Accept: a", b"X: 1", b"Accept: b", b"X: 2", b"Cookie: a=1", b"Cookie: b=2"),
    "repeated agents": (b"User-Agent: a", b"User-Agent: b", b"Referer: c", b"referer: d"),
    "via": (b"Via: 1.0 other, 1.1 more", b"via: 1.1 accel"),
    "empty": (b"X-Empty:", b"Y-Empty:   ", b"User-Agent:", b"Referer: "),
    "spaces": (b"X: \t a  b\t ", b"Y:c", b"User-Agent:  spaced  "),
    "obs-text": (b"X: \xff\xfe", b"User-Agent: \xe4", b"Referer: \x80"),
    "proxies' own": (b"Proxy-Authenticate: x", b"Proxy-Authorization: x", b"HTTP2-Settings: x", b"Close: 1"),
    "framing": (b"Content-Length: 0",),
    "closing": (b"Connection: close",),
    "named options": (b"Connection: keep-alive, x-mine", b"X-Mine: 1"),
    "no option": (b"Connection:",),
    "upgrade": (b"Connection: upgrade", b"Upgrade: h2c"),
    "conditions": (b'If-None-Match: "1"', b"If-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT"),
    "reload": (b"Cache-Control: no-cache", b"Pragma: no-cache"),
    "range": (b"Range: bytes=0-1",),
    "expectation": (b"Expect: 100-continue",),
    "credentials": (b"Authorization: Basic x",),
    "te": (b"TE: trailers", b"Connection: te"),
    "hops": (b"Max-Forwards: 3",),
    "many": tuple(b"X-%d: %d" % (number, number) for number in range(63)),
    "too many": tuple(b"X-%d: %d" % (number, number) for number in range(70)),
    "long": (b"X: " + b"x" * 8000, b"Y: " + b"y" * 8000),
    "folded": (b"X: a", b" b"),
    "bad": (b"X Y: a",),
}


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("lines", ODD_REQUESTS.values(), ids=list(ODD_REQUESTS))
async def test_the_origin_gets_the_fields_that_the_general_path_sends(
    pair: RelayPair, method: bytes, lines: tuple[bytes, ...]
) -> None:
    pair.answers({b"/api": Reply((b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",))})
    await warm(pair, request(method=method))

    for _ in range(3):
        await pair.send(request(*lines, method=method))
    await pair.send(request(method=method))


ODD_RESPONSES = {
    "empty": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",),
    "none": (b"HTTP/1.1 204 No Content\r\n\r\n",),
    "none with a length": (b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",),
    "none with more": (b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nhi",),
    "not modified": (b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\nContent-Length: 77\r\n\r\n',),
    "not modified, bare": (b"HTTP/1.1 304 Not Modified\r\n\r\n",),
    "not modified with a body": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\nhi",),
    "not found": (said(body=b"nothing", status=b"404 Not Found"),),
    "error": (said(body=b"sorry", status=b"500 Internal Server Error"),),
    "reset content": (said(status=b"205 Reset Content"),),
    "partial": (said(b"Content-Range: bytes 0-1/9", body=b"ab", status=b"206 Partial Content"),),
    "unknown status": (said(body=b"x", status=b"599 What"), said(body=b"x", status=b"299 !")),
    "no such status": (said(body=b"x", status=b"600 What"),),
    "two digits": (said(body=b"x", status=b"20 What"),),
    "reason": (said(body=b"x", status=b"200 All is  well, (really)"),),
    "odd reasons": (said(body=b"x", status=b"200  OK "), said(body=b"x", status=b"200 \tOK")),
    "foreign reason": (said(body=b"x", status=b"200 Gr\xfc\xdfe"),),
    "long reason": (said(body=b"x", status=b"200 " + b"y" * 300),),
    "no reason": (b"HTTP/1.1 200 \r\nContent-Length: 1\r\n\r\nx",),
    "no reason, no space": (b"HTTP/1.1 200\r\nContent-Length: 1\r\n\r\nx",),
    "date": (said(b"Date: Tue, 14 Nov 2023 22:13:20 GMT", body=b"x"),),
    "bad date": (said(b"Date: yesterday", body=b"x"), said(b"Date:", body=b"x")),
    "two dates": (said(b"Date: Tue, 14 Nov 2023 22:13:20 GMT", b"Date: Tue, 14 Nov 2023 22:13:21 GMT", body=b"x"),),
    "zeros": (b"HTTP/1.1 200 OK\r\nContent-Length: 0002\r\n\r\nhi",),
    "spaced length": (b"HTTP/1.1 200 OK\r\nContent-Length: \t 2 \r\n\r\nhi",),
    "two lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",),
    "a list of lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nhi",),
    "no length": (b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nhi",),
    "negative length": (b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nhi",),
    "endless length": (b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\nhi",),
    "close": (said(b"Connection: close", body=b"x"), said(b"connection: CLOSE", body=b"x")),
    "keep-alive": (said(b"Connection: keep-alive", b"Keep-Alive: timeout=5", body=b"x"),),
    "both": (said(b"Connection: keep-alive", b"Connection: close", body=b"x"),),
    "options": (said(b"Connection: x-mine", b"X-Mine: 1", body=b"x"), said(b"Connection: close, x", body=b"x")),
    "hop by hop": (said(b"Proxy-Authenticate: x", b"Proxy-Connection: close", b"TE: x", b"Trailer: x", body=b"x"),),
    "upgrade": (said(b"Upgrade: h2c", body=b"x"), said(b"Close: 1", body=b"x")),
    "odd names": (said(b"eTaG: 1", b"www-AUTHENTICATE: x", b"x_y: 1", b"1x-2Y: 3", b"cdn-cache-control: no-store"),),
    "odd values": (said(b"X:", b"Y: \xff", b"Z: \t a b \t", b"Set-Cookie: a=1", b"Set-Cookie: b=2", body=b"x"),),
    "via and status": (said(b"Via: 1.1 other", b"Cache-Status: other; hit", b"Age: 7", b"Warning: 1", body=b"x"),),
    "pieces": (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", b"def", b"ghi"),
    "body apart": (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", b"abc"),
    "head in pieces": (b"HTTP/1.1 200 OK\r\nContent-", b"Length: 3\r\n\r", b"\nabc"),
    "byte by byte": tuple(bytes((byte,)) for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"),
    "too long": (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef",),
    "too long later": (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na", b"bcdef"),
    "another response behind": (said(body=b"x") + said(body=b"y"),),
    "chunked": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",),
    "chunked and sized": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ),
    "window": (said(body=b"w" * 65536),),
    "over a window": (said(body=b"w" * 65537),),
    "long": (said(body=b"w" * 300_000),),
    "hints": (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + said(body=b"x"), b""),
    "hints apart": (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", said(body=b"x")),
    "old": (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx",),
    "newer": (b"HTTP/1.2 200 OK\r\nContent-Length: 1\r\n\r\nx",),
    "lower case": (b"http/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",),
    "bare line feeds": (b"HTTP/1.1 200 OK\nContent-Length: 1\n\nx",),
    "folded": (b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 1\r\n\r\nx",),
    "no colon": (said(b"nonsense", body=b"x"),),
    "space before the colon": (said(b"X : a", body=b"x"),),
    "control character": (said(b"X: a\x01", body=b"x"),),
    "nul": (said(b"X: a\x00", body=b"x"),),
    "many fields": (said(*(b"X-%d: 1" % number for number in range(62)), body=b"x"),),
    "64 fields": (said(*(b"X-%d: 1" % number for number in range(64)), body=b"x"),),
    "99 fields": (said(*(b"X-%d: 1" % number for number in range(99)), body=b"x"),),
    "too many fields": (said(*(b"X-%d: 1" % number for number in range(100)), body=b"x"),),
    "long field": (said(b"X: " + b"x" * 8191, body=b"x"),),
    "too long field": (said(b"X: " + b"x" * 8192, body=b"x"),),
    "long head": (said(*(b"X: " + b"x" * 8000 for _ in range(5)), body=b"x"),),
    "nonsense": (b"\x00\x01\x02\x03" * 10,),
    "switching": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",),
}


@pytest.mark.parametrize(("method", "end"), [(b"GET", End.KEEP), (b"GET", End.CLOSE), (b"HEAD", End.KEEP)])
@pytest.mark.parametrize("pieces", ODD_RESPONSES.values(), ids=list(ODD_RESPONSES))
async def test_the_client_gets_what_the_general_path_makes_of_a_response(
    pair: RelayPair, method: bytes, end: End, pieces: tuple[bytes, ...]
) -> None:
    whole = pair.plain.origin.script[b"/api"]
    pair.answers({b"/api": Reply((b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",))})
    await warm(pair, request(method=method))
    are_whole = all(piece.startswith(b"HTTP/1.1 2") for piece in pieces)
    alternatives = [(piece,) for piece in pieces] if are_whole else [pieces]

    for alternative in alternatives:
        pair.answers({b"/api": Reply(tuple(filter(None, alternative)), end)})
        await pair.send(request(method=method))
        await pair.after(16)  # longer than a body may stall
        if not pair.plain.client.is_open:
            pair.connect()
        pair.answers({b"/api": whole})
        await pair.send(request())
