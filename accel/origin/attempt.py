# cython: annotation_typing=False, show_performance_hints=False
"""A fetch from one try to the next: what is asked, what was begun of it, what it may still do.

Owns the head that a backend gets and what makes a request repeatable; connects to nothing. Invariant: whether a request
may be sent again is never found true again once it was false (RFC 9110 §9.2.2). Compiled, if it can be, as `wire` is.
"""

from __future__ import annotations

from dataclasses import dataclass

from accel.http.message import CHUNKED, Fields, Line
from accel.http.response_parser import ResponseParser
from accel.http.writer import request_head
from accel.origin.balancer import Backend
from accel.origin.connection import OriginConnection
from accel.origin.queue import FetchQueue
from accel.origin.upload import BodySource, Upload

RETRY_BURST = 10.0
"""Retries that may come at once, whatever their share: one keep-alive race each is normal after a restart."""
IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})
"""Methods of requests that may be sent again after they may have arrived (RFC 9110 §9.2.2)."""
_BODY_EXPECTED = frozenset({b"POST", b"PUT", b"PATCH"})
_NONE_EXCLUDED: frozenset[int] = frozenset()


class Begun:
    """A fetch that was begun by somebody else, as far as that got: a place on a backend, or an exchange there."""

    __slots__ = ("_queue", "backend", "began_at", "conn", "number", "parser")

    def __init__(self, queue: FetchQueue, backend: Backend, conn: OriginConnection | None) -> None:
        """A place on `backend`, which `queue` takes back unless an exchange does that when it ends."""
        self._queue = queue
        self.backend = backend
        self.conn = conn
        """None: the backend has still to be connected to."""
        self.parser: ResponseParser | None = None
        """Of the exchange that `conn` carries, or failed; None: it carries none yet."""
        self.began_at: float | None = None
        """Wall seconds when that began, for whoever reckons ages (RFC 9111 §4.2.3)."""
        self.number: int | None = None
        """The invalidation number read before that, for whoever stores what comes."""

    def close(self) -> None:
        """Nobody wants it any more."""
        if self.parser is not None and self.conn is not None:
            self.conn.abandon(self.parser)
        elif self.conn is None:
            self._queue.release(self.backend)


@dataclass(slots=True)
class OriginRequest:
    """A request as the origin is to see it."""

    method: bytes
    target: bytes
    fields: Fields
    """Complete (Host, Via, X-Forwarded-* in) but for framing and hop-by-hop fields, which are written here."""
    body: BodySource | None = None
    upgrade: bytes = b""
    """The protocol to offer, lower case: `b"websocket"`."""
    begun: Begun | None = None
    """What was begun of it already; the fetch takes it."""


class RetryBudget:
    """Tokens: each fetch earns a share of one, each retry costs one."""

    __slots__ = ("_burst", "_share", "_tokens")

    def __init__(self, share: float, burst: float = RETRY_BURST) -> None:
        self._share = share
        self._burst = burst if share > 0 else 0.0
        self._tokens = self._burst

    def earn(self) -> None:
        """A fetch began."""
        self._tokens = min(self._burst, self._tokens + self._share)

    def spend(self) -> bool:
        """Take a token for a retry; False if there is none."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Attempt:
    """What a fetch remembers from one try to the next."""

    __slots__ = ("_upload", "body", "excluded", "head", "may_reuse", "request", "retries")

    def __init__(self, request: OriginRequest, closes: bool, host: bytes) -> None:
        self.request = request
        body = request.body
        self.body = body if body is not None and body.length != 0 else None
        self.head = request_head(request.method, request.target, _lines(request, closes, host))
        self.excluded = _NONE_EXCLUDED
        """Rows that could not be connected to."""
        self.may_reuse = True
        """False once a pooled connection turned out to be closed."""
        self.retries = 0
        self._upload: Upload | None = None

    @property
    def is_repeatable(self) -> bool:
        """Whether the request may be sent again after it may have arrived (RFC 9110 §9.2.2)."""
        has_read = self._upload is not None and self._upload.has_read
        return self.request.method in IDEMPOTENT and not has_read

    def begin_upload(self, conn: OriginConnection, parser: ResponseParser) -> None:
        """Begin to send the body, if there is one."""
        if self.body is not None:
            self._upload = Upload(self.body, conn, parser)

    def stop_upload(self) -> bool:
        """Send no more of the body; return whether that left it unfinished."""
        if self._upload is None or self._upload.is_whole:
            return False
        self._upload.stop()
        return True


def _lines(request: OriginRequest, closes: bool, host: bytes) -> list[Line]:
    """Return the request's field lines with framing and connection options (RFC 9112 §6, §9.3).

    `host` is what the pool wants to be called; empty: as the request says.
    """
    lines = list(request.fields.lines)
    if host:
        lines = [(b"host", host), *(line for line in lines if line[0] != b"host")]
    length = 0 if request.body is None else request.body.length
    if length == CHUNKED:
        lines.append((b"transfer-encoding", b"chunked"))
    elif length or request.method in _BODY_EXPECTED:
        lines.append((b"content-length", b"%d" % length))
    if request.upgrade:
        lines += [(b"connection", b"upgrade"), (b"upgrade", request.upgrade)]
    elif closes:
        lines.append((b"connection", b"close"))
    return lines
