"""One response from bytes: httptools (llhttp, strict) for heads and chunks, our own rule for where a
message ends.

Owns the state of one response and the pieces of its body that nobody has taken yet; knows no socket. A
parser lives for one response: llhttp cannot be told that a response answers HEAD, has no end of input, and
would read unsolicited bytes as another response. So heads are cut off at their empty line and read one by
one, sized bodies are counted here, and only a chunked body goes on through llhttp. Invariant: `complete` is
true only of a message that ended as its framing announced; bytes behind it set `is_stray`, and then the
connection may not be used again.

RFC 9112 §§4, 5, 6.3, 7.1, 8; RFC 9110 §15.2 (interim responses).
"""

from __future__ import annotations

import httptools

from accel.config import Limits
from accel.errors import BadResponse, ClosedUnanswered, ResponseTruncated
from accel.http.message import CHUNKED, UNTIL_CLOSE, Fields, Line, Response

INTERIM_RESPONSES = 10
"""1xx responses swallowed before a final one; more of them are a fault, not patience."""

_VERSIONS = (b"HTTP/1.1 ", b"HTTP/1.0 ")
_CONTROLS = bytes(range(9)) + bytes(range(10, 32)) + b"\x7f"
_LENGTH_DIGITS = 18
"""More digits than any body has bytes, zeros in front or not (and int() takes no more than 4,300)."""
_HEAD_END = b"\r\n\r\n"
_BODILESS = frozenset({204, 304})
_DEFAULT_LIMITS = Limits()


class ResponseParser:
    """The response to one request: feed it bytes, read `head`, take the body."""

    __slots__ = (
        "_barren_bytes",
        "_chunks",
        "_interim",
        "_left",
        "_limits",
        "_lines",
        "_method",
        "_partial",
        "_reason",
        "_upgrade",
        "buffered",
        "complete",
        "head",
        "is_stray",
        "pieces",
        "rest",
        "started",
    )

    def __init__(self, method: bytes, upgrade: bytes = b"", limits: Limits = _DEFAULT_LIMITS) -> None:
        self._method = method
        self._upgrade = upgrade
        self._limits = limits
        self._partial = b""
        self._interim = 0
        self._lines: list[Line] = []
        self._reason = b""
        self._left = 0
        self._chunks: httptools.HttpResponseParser | None = None
        self._barren_bytes = 0
        self.head: Response | None = None
        """The final head, once it was read."""
        self.pieces: list[bytes] = []
        """The body as it came, framing removed, until `take` empties it."""
        self.buffered = 0
        """Bytes in `pieces`."""
        self.started = False
        """Whether one byte of an answer was seen."""
        self.complete = False
        self.is_stray = False
        """Whether bytes came that belong to no response that was asked for."""
        self.rest = b""
        """What came behind a 101: no longer HTTP."""

    @property
    def has_head(self) -> bool:
        """Whether the final head was read."""
        return self.head is not None

    @property
    def may_reuse(self) -> bool:
        """Whether another exchange may follow a response that is complete."""
        return self.head is not None and self.head.keep_alive and not self.is_stray

    def feed(self, data: bytes) -> None:
        """Take what the origin sent; BadResponse when it breaks a rule, and then nothing more may be fed."""
        self.started = True
        if self.head is None:
            data = self._feed_head(data)
        if data:
            self._feed_body(data)

    def feed_eof(self) -> None:
        """The origin closed in order; raises unless that ends the response (RFC 9112 §6.3, §8)."""
        if self.complete:
            return
        if not self.started:
            raise ClosedUnanswered("connection closed before any answer")
        if self.head is None:
            raise BadResponse("connection closed within the head")
        if self._left != UNTIL_CLOSE:
            raise ResponseTruncated("connection closed before the end of the body")
        self.complete = True

    def take(self) -> bytes:
        """Return all of the body that is buffered, b"" if nothing is."""
        pieces = self.pieces
        if not pieces:
            return b""
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self.buffered = 0
        return data

    def _feed_head(self, data: bytes) -> bytes:
        """Read heads until the final one; return the bytes behind it, b"" while it is not here."""
        searched = max(0, len(self._partial) - 3)
        if self._partial:
            data = self._partial + data
        while True:
            end = data.find(_HEAD_END, searched)
            if end < 0:
                self._keep_partial(data)
                return b""
            end += len(_HEAD_END)
            head = self._read_head(data[:end])
            data, searched = data[end:], 0
            if head.status >= 200 or head.status == 101:
                self._partial = b""
                self._begin_body(head)
                return data
            self._interim += 1
            if self._interim > INTERIM_RESPONSES:
                raise BadResponse(f"more than {INTERIM_RESPONSES} interim responses")

    def _keep_partial(self, data: bytes) -> None:
        """Keep a head that has not ended, but only while it can still become a lawful one."""
        if len(data) > self._limits.head_bytes:
            raise BadResponse("head over its limit")
        if not data.startswith(_VERSIONS) and not any(version.startswith(data) for version in _VERSIONS):
            raise BadResponse("not an HTTP/1.x response")
        if b"\n\n" in data:
            raise BadResponse("lines end in a bare LF")
        self._partial = data

    def _read_head(self, data: bytes) -> Response:
        """Read one whole head, empty line included, by llhttp and by what llhttp leaves to us."""
        if len(data) > self._limits.head_bytes:
            raise BadResponse("head over its limit")
        if not data.startswith(_VERSIONS):
            raise BadResponse("not an HTTP/1.x response")
        self._lines = []
        self._reason = b""
        llhttp = httptools.HttpResponseParser(self)
        try:
            llhttp.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # a 101 with its fields; whether it was asked for is judged below
        except httptools.HttpParserError as error:
            raise BadResponse(f"malformed head: {error}") from error
        head = Response(
            status=llhttp.get_status_code(),
            reason=self._reason,
            fields=Fields(self._lines),
            minor=1 if data.startswith(_VERSIONS[0]) else 0,
        )
        self._check_head(head, len(data))
        if head.status >= 200 and b"transfer-encoding" in head.fields:
            self._chunks = llhttp
        return head

    def _check_head(self, head: Response, size: int) -> None:
        """Refuse what llhttp lets pass in a head of `size` bytes."""
        if not 100 <= head.status <= 599:
            raise BadResponse(f"status {head.status}")
        if len(self._lines) > self._limits.fields:
            raise BadResponse("more fields than the limit")
        longest = self._limits.field_bytes
        if size > longest and any(len(name) + len(value) > longest for name, value in self._lines):
            raise BadResponse("field over its limit")
        if head.reason.translate(None, _CONTROLS) != head.reason:
            raise BadResponse("control character in the reason")
        if head.status == 101 and not self._may_switch(head.fields):
            raise BadResponse("101 to a protocol that was not asked for")

    def _may_switch(self, fields: Fields) -> bool:
        """Tell whether a 101 names what the request asked for (RFC 9110 §7.8, §15.2.2)."""
        upgrade = fields.get(b"upgrade") or b""
        return bool(self._upgrade) and upgrade.lower() == self._upgrade and b"upgrade" in _options(fields)

    def _begin_body(self, head: Response) -> None:
        """Settle where the body ends (RFC 9112 §6.3) and whether the connection outlives it (§9.3)."""
        self._left = head.body_length = self._body_length(head)
        self.head = head
        head.keep_alive = self._left != UNTIL_CLOSE and head.status != 101 and _is_kept(head)
        if self._left != CHUNKED:
            self._chunks = None
        self.complete = self._left == 0 and head.status != 101

    def _body_length(self, head: Response) -> int:
        coding = head.fields.get(b"transfer-encoding")
        if coding is not None and (coding.lower() != b"chunked" or head.minor == 0):
            raise BadResponse("transfer coding other than chunked, or chunked in HTTP/1.0")
        length = head.fields.get(b"content-length")
        if length is not None and not (length.isdigit() and len(length) <= _LENGTH_DIGITS):
            raise BadResponse("malformed or repeated Content-Length")
        if self._method == b"HEAD" or head.status in _BODILESS or head.status == 101:
            return 0
        if coding is not None:
            return CHUNKED
        return UNTIL_CLOSE if length is None else int(length)

    def _feed_body(self, data: bytes) -> None:
        left = self._left
        if left > 0:
            if len(data) > left:
                self.is_stray = True
                data = data[:left]
            self._keep_piece(data)
            self._left = left - len(data)
            self.complete = self._left == 0
        elif left == CHUNKED:
            self._feed_chunks(data)
        elif left == UNTIL_CLOSE:
            self._keep_piece(data)
        elif self.complete:
            self.is_stray = True
        else:
            self.rest += data

    def _feed_chunks(self, data: bytes) -> None:
        """Run chunks through llhttp, which frames them and drops trailers into `on_header` (RFC 9112 §7.1)."""
        if self._chunks is None:
            self.is_stray = True
            return
        before, pieces = self.buffered, len(self.pieces)
        try:
            self._chunks.feed_data(data)
        except httptools.HttpParserError as error:
            if not self.complete:
                raise BadResponse(f"malformed chunks: {error}") from error
            self.is_stray = True
        if len(self.pieces) > pieces + 1:  # one object a read, however small the chunks
            self.pieces[pieces:] = [b"".join(self.pieces[pieces:])]
        self._barren_bytes = 0 if self.buffered > before else self._barren_bytes + len(data)
        if self._barren_bytes > self._limits.head_bytes:
            raise BadResponse("chunk extensions or trailers over the limit")
        if self.complete:
            self._chunks = None  # it refers to us: a cycle kept would wait for the collector

    def _keep_piece(self, data: bytes) -> None:
        self.pieces.append(data)
        self.buffered += len(data)

    def on_message_begin(self) -> None:
        """llhttp begins a message: behind a complete one it was not asked for."""
        if self.complete:
            self.is_stray = True

    def on_status(self, reason: bytes) -> None:
        """llhttp read the reason."""
        self._reason = reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """llhttp read a field line; behind the head it is a trailer and dropped (RFC 9110 §6.5.1)."""
        if self.head is None:
            self._lines.append((name.lower(), value.strip(b" \t")))

    def on_body(self, data: bytes) -> None:
        """llhttp read a piece of a chunk."""
        if not self.complete:
            self._keep_piece(data)

    def on_message_complete(self) -> None:
        """llhttp read the last chunk; of heads without a body it says so too, where `_begin_body` decides."""
        if self._left == CHUNKED and self.head is not None:
            self.complete = True


def _options(fields: Fields) -> set[bytes]:
    """Return the options that Connection names, lower case."""
    connection = fields.get(b"connection")
    return {option.strip() for option in connection.lower().split(b",")} if connection else set()


def _is_kept(head: Response) -> bool:
    """Tell whether the origin leaves the connection open (RFC 9112 §9.3)."""
    options = _options(head.fields)
    if b"close" in options or (head.status == 204 and _has_framing(head.fields)):
        return False
    return head.minor == 1 or b"keep-alive" in options


def _has_framing(fields: Fields) -> bool:
    """Tell whether a 204 announces a body all the same: whoever wrote it may send one (RFC 9110 §8.6)."""
    return b"transfer-encoding" in fields or fields.get(b"content-length") not in (None, b"0")
