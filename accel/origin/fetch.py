"""One fetch: a request to some backend and its response, with the retries that HTTP allows.

Owns the policy of trying again; the parts do the work: the balancer picks, the queue waits, the pool
connects, the connection carries. Invariant: a request that may have been acted on is never sent twice (RFC
9110 §9.2.2). It is sent again only if no connection was made, or if a reused connection closed before one
byte of answer and the method is idempotent and no byte of a body was taken from its source. Such retries
never exceed `retry_share` of all fetches, so a pool in trouble is not pushed further in.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from accel.config import Limits, OriginOptions
from accel.errors import ClosedUnanswered, ConnectFailed, NoBackend, OriginError
from accel.http.message import CHUNKED, Fields, Line, Response
from accel.http.response_parser import ResponseParser
from accel.http.writer import request_head
from accel.origin import tracing
from accel.origin.balancer import Backend, BackendBoard, Balancer
from accel.origin.connection import OriginConnection
from accel.origin.pool import BackendPool
from accel.origin.queue import FetchQueue
from accel.origin.resolver import Resolver
from accel.origin.upload import BodySource, Upload
from accel.stats.counters import CounterRow, index

__all__ = ["IDEMPOTENT", "BodySource", "Origin", "OriginRequest", "OriginResponse", "RetryBudget"]

RETRY_BURST = 10.0
"""Retries that may come at once, whatever their share: one keep-alive race each is normal after a restart."""
FRESH_IDLE_S = 1.0
"""A request that may not be sent twice takes no connection idle for longer: the backend may be closing it."""

IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})
"""Methods of requests that may be sent again after they may have arrived (RFC 9110 §9.2.2)."""
_BODY_EXPECTED = frozenset({b"POST", b"PUT", b"PATCH"})
_OWN_FAULTS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})
"""No descriptor, no memory, no local port left."""
_NONE_EXCLUDED: frozenset[int] = frozenset()

_FETCHES = index("fetches")
_CONNECTS = index("fetch_connects")
_REUSES = index("fetch_reuses")
_RETRIES = index("fetch_retries")
_RETRIES_DENIED = index("fetch_retries_denied")
_CONNECT_FAILURES = index("fetch_connect_failures")
_NO_BACKEND = index("fetch_no_backend")
_BAD_RESPONSES = index("fetch_bad_responses")


@dataclass(slots=True)
class Begun:
    """A fetch that was begun by somebody else, as far as that got: a place on a backend, or an exchange there."""

    backend: Backend
    release: Callable[[Backend], None]
    """Gives the place back; an exchange does that when it ends."""
    conn: OriginConnection | None = None
    """None: the backend has still to be connected to."""
    parser: ResponseParser | None = None
    """Of the exchange that `conn` carries, or failed; None: it carries none yet."""

    def close(self) -> None:
        """Nobody wants it any more."""
        if self.parser is not None and self.conn is not None:
            self.conn.abandon(self.parser)
        elif self.conn is None:
            self.release(self.backend)


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


class OriginResponse:
    """A response: its head, and its body as it is read."""

    __slots__ = ("_conn", "_parser", "backend", "early", "head", "retries")

    def __init__(
        self,
        head: Response,
        backend: str,
        early: bool,
        conn: OriginConnection,
        parser: ResponseParser,
        retries: int = 0,
    ) -> None:
        self.head = head
        self.backend = backend
        """Which backend answered, for the log."""
        self.early = early
        """Whether it answered before it had the whole request; the rest was not sent."""
        self.retries = retries
        """How often it was tried before, here or elsewhere."""
        self._conn = conn
        self._parser = parser

    async def read(self) -> bytes:
        """Return the next piece of the body, b"" at its clean end.

        Reading pulls: while more than a window is unread, nothing more is read from the backend. Raises
        ResponseTruncated or OriginTimeout.
        """
        if self._parser.complete:
            return self._parser.take()
        return await self._conn.read(self._parser)

    def close(self) -> None:
        """Give up what is unread: an unfinished (or detached) connection closes. May be called at any time."""
        self._conn.abandon(self._parser)

    def detach(self) -> tuple[asyncio.Transport, bytes]:
        """Return, after a 101, the transport (reading paused) and the bytes received behind the head.

        The caller sets its own protocol; the fetch counts as in flight until `close`.
        """
        return self._conn.detach(self._parser)


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


class Origin:
    """All backends, as one worker reaches them."""

    def __init__(
        self,
        options: OriginOptions,
        rows: Sequence[int],
        board: BackendBoard,
        counters: CounterRow,
        window_bytes: int,
        limits: Limits | None = None,
    ) -> None:
        self._limits = limits or Limits()
        self._board = board
        self._counters = counters
        self._traces = options.trace
        self._closes = options.keep_alive_connections == 0
        self._budget = RetryBudget(options.retry_share)
        self._reserved = 0
        self.host = options.host.encode()
        """The Host that its backends get; empty: the request's own."""
        self._balancer = Balancer(
            options.balance, options.backends, rows, board, options.max_connections, backups=options.backups
        )
        self._queue = FetchQueue(self._balancer, options.queue_length, options.queue_s)
        resolver = Resolver()
        scratch = memoryview(bytearray(window_bytes))
        self._pools = {
            backend.row: BackendPool(backend, options, resolver, counters, scratch, self._release)
            for backend in self._balancer.backends
        }

    def reserve(self) -> bool:
        """Whether a fetch would get a place at once; then the caller begins it in this same turn of the loop.

        Of many who ask in one turn, before any fetch has begun, only as many hear yes as there are places.
        """
        places = self._balancer.free_places()
        if places is None:
            return True
        if self._queue or self._reserved >= places:
            return False
        self._reserved += 1
        asyncio.get_running_loop().call_soon(self._unreserve)
        return True

    def _unreserve(self) -> None:
        self._reserved -= 1

    def lend(self) -> Begun | None:
        """Return a place for a fetch that may be sent twice, with an idle connection if there is one.

        None: there is no place at once. Whoever gets one begins an exchange on that connection, or lets a fetch of the
        same request have the place, or closes it.
        """
        backend = self._queue.claim_now()
        if backend is None:
            return None
        conn = self._pools[backend.row].check_out()
        if conn is not None:
            self._counters[_REUSES] += 1
        return Begun(backend, self._release, conn)

    async def fetch(self, request: OriginRequest) -> OriginResponse:
        """Return a backend's response to `request` as soon as its head is here.

        Raises what the request body's source raises, else an OriginError. Cancelling releases everything.
        """
        self._budget.earn()
        if self._traces:
            tracing.begin(request.fields)
        attempt = _Attempt(request, self._closes, self.host)
        begun, request.begun = request.begun, None
        while True:
            if begun is None:
                backend = self._queue.claim_now(attempt.excluded) or await self._claim(attempt.excluded)
                begun = Begun(backend, self._release, self._check_out(backend, attempt))
            try:
                conn = begun.conn or await self._connect(begun.backend)
            except ConnectFailed:
                attempt.excluded |= {begun.backend.row}
                begun = None
                if not self._may_retry(self._balancer.has_available(attempt.excluded)):
                    raise
                attempt.retries += 1
                continue
            try:
                return await self._exchange(begun, conn, attempt)
            except ClosedUnanswered:
                attempt.may_reuse, begun = False, None
                if not self._may_retry(conn.is_reused and attempt.is_repeatable):
                    self._counters[_BAD_RESPONSES] += 1
                    raise
                attempt.retries += 1

    def close(self) -> None:
        """Close idle connections; busy ones close when their exchange ends."""
        for pool in self._pools.values():
            pool.close()

    def idle(self) -> dict[str, int]:
        """Return how many connections to each backend wait for their next fetch."""
        return {str(pool.backend.address): pool.idle for pool in self._pools.values()}

    async def _claim(self, excluded: frozenset[int]) -> Backend:
        try:
            return await self._queue.claim(excluded)
        except NoBackend:
            self._counters[_NO_BACKEND] += 1
            raise

    def _check_out(self, backend: Backend, attempt: _Attempt) -> OriginConnection | None:
        """Return an idle connection to a claimed backend that this request may use."""
        if not attempt.may_reuse:
            return None
        conn = self._pools[backend.row].check_out(None if attempt.is_repeatable else FRESH_IDLE_S)
        if conn is not None:
            self._counters[_REUSES] += 1
        return conn

    async def _connect(self, backend: Backend) -> OriginConnection:
        """Return a new connection to a claimed backend; gives the claim back if there is none."""
        try:
            conn = await self._pools[backend.row].connect()
        except ConnectFailed as error:
            self._counters[_CONNECT_FAILURES] += 1
            if not _is_own_fault(error):
                self._board.note_failure(backend.row, error.why)
            self._release(backend)
            raise
        except BaseException:
            self._release(backend)
            raise
        self._counters[_CONNECTS] += 1
        return conn

    async def _exchange(self, begun: Begun, conn: OriginConnection, attempt: _Attempt) -> OriginResponse:
        """Send the request, return the response with its head; the connection gives the claim back."""
        request, backend = attempt.request, begun.backend
        parser = begun.parser
        if parser is None:
            parser = ResponseParser(request.method, request.upgrade, self._limits)
            self._counters[_FETCHES] += 1
            conn.begin(parser, attempt.head, is_whole=attempt.body is None)
            attempt.begin_upload(conn, parser)
        try:
            head = await conn.receive_head(parser)
        except BaseException as error:
            conn.abandon(parser)
            attempt.stop_upload()
            if isinstance(error, OriginError) and not _is_keep_alive_race(error, conn):
                self._board.note_failure(backend.row, error.why)
            raise
        is_early = attempt.stop_upload()
        self._board.note_success(backend.row)
        return OriginResponse(head, backend.label, is_early, conn, parser, attempt.retries)

    def _may_retry(self, is_allowed: bool) -> bool:
        """Tell whether a lawful retry is also within the budget."""
        if not is_allowed:
            return False
        has_token = self._budget.spend()
        self._counters[_RETRIES if has_token else _RETRIES_DENIED] += 1
        return has_token

    def _release(self, backend: Backend) -> None:
        self._balancer.release(backend)
        self._queue.serve()


class _Attempt:
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


def _is_own_fault(error: ConnectFailed) -> bool:
    """Tell whether this machine could not even try: that says nothing about the backend."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in _OWN_FAULTS


def _is_keep_alive_race(error: OriginError, conn: OriginConnection) -> bool:
    """Tell whether the backend only closed an idle connection just when we took it: no fault of its own."""
    return conn.is_reused and isinstance(error, ClosedUnanswered)


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
