"""Requests from bytes: httptools (llhttp, strict) with every check that it leaves to a proxy.

Owns one client connection's parsing state; knows no socket. Invariant: a request that could be read in two ways never
reaches the sink; after a `RequestError` nothing more may be fed (RFC 9112 §§2, 3, 6, 11).

Two traps shape this module. llhttp treats a request with `Upgrade` as the end of HTTP and skips its body, so the rest
is fed to a new parser that was primed with nothing but the body's framing: the body is then framed by llhttp again
and can never become a second request. And trailers arrive like fields of the head, so after the head they are dropped.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Protocol

import httptools

from accel.config import Limits
from accel.errors import RequestError
from accel.http.message import CHUNKED, Fields, Request

PURGING = frozenset({b"PURGE", b"BAN", b"SOFTPURGE"})
"""Methods of ours: they go to no origin."""
_UNKNOWN_TO_LLHTTP = (b"BAN ", b"SOFTPURGE ")
"""A message that begins with one of these is read as a PURGE, which llhttp knows, and gets its own method back."""
_OF_EVERYTHING = frozenset({b"OPTIONS", *PURGING})
"""Methods that may have the target `*` (RFC 9112 §3.2.4)."""
_REFUSED_METHODS = frozenset({b"CONNECT", b"TRACE"})
METHODS = frozenset(
    b"GET HEAD POST PUT PATCH DELETE OPTIONS PURGE PROPFIND PROPPATCH MKCOL MKACTIVITY MKCALENDAR COPY MOVE LOCK "
    b"UNLOCK CHECKOUT MERGE REPORT SEARCH SUBSCRIBE UNSUBSCRIBE NOTIFY ACL BIND REBIND UNBIND LINK UNLINK QUERY".split()
) | PURGING
TUNNELLED = frozenset({b"websocket"})
"""Protocols that may leave HTTP by Upgrade; every other Upgrade is ignored (RFC 9110 §7.8 allows it)."""

_HOST = re.compile(rb"(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{0,5}))?")
_LONGEST_HOST = 262
"""A name of 255 bytes, a trailing dot, a port: what is longer names nothing (RFC 1035 §2.3.4)."""
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?#]*)(.*)", re.DOTALL)
_BAD_TARGET = re.compile(rb"[^\x21-\x7e]|#|%0[0aAdD]")
_OWN_CODINGS = frozenset({b"chunked", b"identity", b""})
_LENGTH_DIGITS = 18
"""More digits than any body has bytes, zeros in front or not (and int() takes no more than 4,300)."""
_CHUNK_OVERHEAD = 8
"""Bytes of chunk framing allowed for each byte of body, beyond the head's limit in all (one-byte chunks need 5)."""


class RequestSink(Protocol):
    """Who gets what was parsed, in this order, request by request."""

    def request_begun(self, request: Request) -> None:
        """A head is complete and lawful; its body follows."""
        ...

    def body_received(self, data: bytes) -> None:
        """A piece of the body, framing removed."""
        ...

    def request_ended(self) -> None:
        """The body is complete."""
        ...


class RequestParser:
    """One connection's requests, one after another."""

    __slots__ = (
        "_authorities",
        "_body_bytes",
        "_field_lines",
        "_framing_bytes",
        "_head_bytes",
        "_in_body",
        "_in_head",
        "_is_last",
        "_limits",
        "_method",
        "_parser",
        "_primed",
        "_request",
        "_sink",
        "_target",
        "after_upgrade",
    )

    def __init__(self, sink: RequestSink, limits: Limits) -> None:
        self._sink = sink
        self._limits = limits
        self._parser = httptools.HttpRequestParser(self)
        self._request: Request | None = None
        self._in_head = self._in_body = self._primed = False
        self._is_last = False  # what follows a request that ends the connection is ignored, not parsed
        self._method = b""
        self._target = b""
        self._field_lines: list[tuple[bytes, bytes]] = []
        self._authorities: list[bytes] = []
        self._head_bytes = self._body_bytes = self._framing_bytes = 0
        self.after_upgrade: bytes | None = None
        """What came behind a request that may become a tunnel; not HTTP until that is decided."""

    @property
    def in_head(self) -> bool:
        """Whether a head has begun and is not complete."""
        return self._in_head

    def close(self) -> None:
        """Let go of llhttp, which refers back to this object; nothing may be fed any more."""
        del self._parser

    def feed(self, data: bytes) -> None:
        """Parse `data`, calling the sink; raises RequestError, after which this parser is done."""
        while data:
            data = self._feed(data)

    def _feed(self, data: bytes) -> bytes:
        """Parse up to where llhttp stops because of an Upgrade; return what is behind that."""
        if self.after_upgrade is not None:
            self.after_upgrade += data
            return b""
        if self._is_last:
            return b""
        if data[:1] in (b"B", b"S") and not (self._in_head or self._in_body or self._primed):
            data = self._with_known_method(data)
        began_in_head, began_in_body, body_bytes = self._in_head, self._in_body, self._body_bytes
        request, head = self._request, self._field_lines
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._leave_or_resume()
            return data[upgrade.args[0] :]
        except httptools.HttpParserCallbackError as error:
            raise self._cause(error) from error
        except httptools.HttpParserInvalidMethodError as error:
            raise RequestError(501, "unknown method") from error
        except httptools.HttpParserError as error:
            if not self._is_last:
                raise self._refusal(error) from error
        if self._in_head and began_in_head and self._field_lines is head:
            self._count_head(len(data))
        elif self._in_body and began_in_body and self._request is request:
            self._count_framing(len(data) - (self._body_bytes - body_bytes))
        return b""

    def _with_known_method(self, data: bytes) -> bytes:
        """Return the beginning of a message with a method that llhttp knows.

        Only where a message begins with what came: one behind another in the same bytes is refused as unknown.
        """
        for beginning in _UNKNOWN_TO_LLHTTP:
            if data.startswith(beginning):
                self._method = beginning[:-1]
                return b"PURGE " + data[len(beginning) :]
        return data

    # What llhttp calls.

    def on_message_begin(self) -> None:
        if self._primed:
            return
        self._in_head = True
        self._target = b""
        self._field_lines = []
        self._authorities = []
        self._head_bytes = self._framing_bytes = 0

    def on_url(self, part: bytes) -> None:
        if self._primed:
            return
        self._target += part
        if len(self._target) > self._limits.target_bytes:
            raise RequestError(414, "target too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            self._count_framing(len(name) + len(value))
            return
        size = len(name) + len(value) + 4
        self._head_bytes += size
        lines = self._field_lines
        if (
            size > self._limits.field_bytes
            or len(lines) >= self._limits.fields
            or self._head_bytes > self._limits.head_bytes
        ):
            raise RequestError(431, "head, field or field count over the limit")
        lowered = name.lower()
        if lowered == b"host":
            self._authorities.append(value.strip(b" \t"))
        else:
            lines.append((lowered, value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        if self._primed:
            return
        self._in_head = False
        self._body_bytes = self._framing_bytes = 0
        request = self._request = self._checked_request()
        self._in_body = request.body_length != 0
        self._sink.request_begun(request)

    def on_body(self, data: bytes) -> None:
        self._body_bytes += len(data)
        limit = self._limits.body_bytes
        if limit is not None and self._body_bytes > limit:
            raise RequestError(413, "body over the limit")
        self._sink.body_received(data)

    def on_message_complete(self) -> None:
        request = self._request
        assert request is not None
        if request.body_length and not self._primed and self._parser.should_upgrade():
            return
        self._primed = self._in_body = False
        self._is_last = not request.keep_alive
        if request.upgrade:
            self.after_upgrade = b""
        self._sink.request_ended()

    # The head's checks.

    def _checked_request(self) -> Request:
        parser = self._parser
        method, self._method = self._method or parser.get_method(), b""
        _check_method(method)
        version = parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise RequestError(505, "only HTTP/1.0 and HTTP/1.1 are served")
        minor = 1 if version == "1.1" else 0
        fields = Fields(self._field_lines)
        authority, target = self._destination(method, minor)
        request = Request(method, target, authority, normal_host(authority), minor, fields)
        request.body_length = self._body_length(fields, minor)
        request.keep_alive = parser.should_keep_alive()
        if parser.should_upgrade():
            self._note_upgrade(request)
        return request

    def _destination(self, method: bytes, minor: int) -> tuple[bytes, bytes]:
        """Return authority and origin-form target (RFC 9112 §3.2)."""
        target = self._target
        if _BAD_TARGET.search(target):
            raise RequestError(400, "the target holds a byte or an escape that is not allowed")
        if len(self._authorities) > 1 or (minor == 1 and not self._authorities):
            raise RequestError(400, "exactly one Host field is needed")
        authority = self._authorities[0] if self._authorities else b""
        if self._authorities:
            normal_host(authority, required=True)
        if target.startswith(b"/"):
            return authority, target
        if target == b"*" and method in _OF_EVERYTHING:
            return authority, target
        absolute = _ABSOLUTE.fullmatch(target)
        if absolute is None:
            raise RequestError(400, "the target has a form that this method does not take")
        authority, path = absolute.groups()
        normal_host(authority, required=True)
        if not path.startswith(b"/"):
            path = b"*" if not path and method == b"OPTIONS" else b"/" + path
        return authority, path

    def _body_length(self, fields: Fields, minor: int) -> int:
        """Return the body's length or CHUNKED (RFC 9112 §6.3)."""
        coding = fields.get(b"transfer-encoding")
        length = fields.get(b"content-length")
        if coding is None:
            return self._sized(length) if length is not None else 0
        codings = [part.strip(b" \t").lower() for part in coding.split(b",")]
        if not _OWN_CODINGS.issuperset(codings):
            raise RequestError(501, "unknown transfer coding")
        if codings != [b"chunked"] or minor == 0 or length is not None:
            raise RequestError(400, "ambiguous framing")
        return CHUNKED

    def _sized(self, value: bytes) -> int:
        if not value.isdigit() or len(value) > _LENGTH_DIGITS:
            raise RequestError(400, "Content-Length is not one number")
        length = int(value)
        if self._limits.body_bytes is not None and length > self._limits.body_bytes:
            raise RequestError(413, "body over the limit")
        return length

    def _note_upgrade(self, request: Request) -> None:
        wanted = (request.fields.get(b"upgrade") or b"").lower()
        if wanted in TUNNELLED and request.method == b"GET" and not request.body_length and request.minor == 1:
            request.upgrade = wanted
        # llhttp says no keep-alive once it saw Upgrade; ours is what Connection says.
        options = (request.fields.get(b"connection") or b"").lower().replace(b" ", b"").split(b",")
        request.keep_alive = request.minor == 1 and b"close" not in options

    # What follows a request with Upgrade, and errors.

    def _leave_or_resume(self) -> None:
        if self.after_upgrade is not None:
            return
        request = self._request
        assert request is not None
        self._parser = httptools.HttpRequestParser(self)
        if self._in_body:
            self._primed = True
            framing = (
                b"Transfer-Encoding: chunked"
                if request.body_length == CHUNKED
                else b"Content-Length: %d" % request.body_length
            )
            self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % framing)

    def _cause(self, error: httptools.HttpParserCallbackError) -> Exception:
        """Return what our own callback raised inside llhttp."""
        cause = error.__context__
        return cause if isinstance(cause, Exception) else error

    def _refusal(self, error: httptools.HttpParserError) -> RequestError:
        if self._parser.get_http_version() not in ("1.1", "1.0", "0.0", "0.9"):
            return RequestError(505, "only HTTP/1.0 and HTTP/1.1 are served")
        return RequestError(400, str(error))

    def _count_head(self, size: int) -> None:
        # Bytes of an unfinished line are in no callback yet, so whole reads are counted on top of finished lines.
        self._framing_bytes += size
        if self._framing_bytes > self._limits.head_bytes:
            raise RequestError(431, "head over the limit")

    def _count_framing(self, size: int) -> None:
        self._framing_bytes += size
        if self._framing_bytes > self._limits.head_bytes + _CHUNK_OVERHEAD * self._body_bytes:
            raise RequestError(400, "more chunk framing than body")


def _check_method(method: bytes) -> None:
    if method in METHODS:
        return
    if method in _REFUSED_METHODS:
        raise RequestError(405, "method not allowed")
    raise RequestError(501, "unknown method")


@lru_cache(maxsize=4096)
def normal_host(authority: bytes, required: bool = False) -> bytes:
    """Return the key form of an authority: lower case, default port and one trailing dot removed (RFC 9110 §4.2.3).

    Raises RequestError 400 if it is no `host[:port]`.
    """
    if not authority and not required:
        return b""
    match = _HOST.fullmatch(authority)
    if match is None or len(authority) > _LONGEST_HOST or int(match[1] or 80) > 65535:
        raise RequestError(400, "Host is not host[:port]")
    host = authority.lower()
    if match[1] is not None:
        host = host[: -len(match[1]) - 1]
    host = host.removesuffix(b".")
    port = int(match[1] or 80)
    return host if port == 80 else b"%b:%d" % (host, port)
