# cython: annotation_typing=False, show_performance_hints=False
"""One fetch: a request to some backend and its response, with the retries that HTTP allows.

Owns the policy of trying again; the parts do the work: the balancer picks, the queue waits, the pool
connects, the connection carries. Invariant: a request that may have been acted on is never sent twice (RFC
9110 §9.2.2). It is sent again only if no connection was made, or if a reused connection closed before one
byte of answer and the method is idempotent and no byte of a body was taken from its source. Such retries
never exceed `retry_share` of all fetches, so a pool in trouble is not pushed further in. Compiled, if it can
be, as `wire` is.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Sequence
from typing import TYPE_CHECKING

from accel.config import Limits, OriginOptions
from accel.errors import ClosedUnanswered, ConnectFailed, NoBackend, OriginError
from accel.http.message import Response
from accel.http.response_parser import ResponseParser
from accel.origin import tracing
from accel.origin.attempt import Attempt, Begun, OriginRequest, RetryBudget
from accel.origin.balancer import Backend, BackendBoard, Balancer
from accel.origin.connection import OriginConnection
from accel.origin.pool import BackendPool
from accel.origin.queue import FetchQueue
from accel.origin.resolver import Resolver
from accel.stats.counters import CounterRow, index

if TYPE_CHECKING:
    from accel.net._sockets import Poller

FRESH_IDLE_S = 1.0
"""A request that may not be sent twice takes no connection idle for longer: the backend may be closing it."""

_OWN_FAULTS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})
"""No descriptor, no memory, no local port left."""

_FETCHES = index("fetches")
_CONNECTS = index("fetch_connects")
_REUSES = index("fetch_reuses")
_RETRIES = index("fetch_retries")
_RETRIES_DENIED = index("fetch_retries_denied")
_CONNECT_FAILURES = index("fetch_connect_failures")
_NO_BACKEND = index("fetch_no_backend")
_BAD_RESPONSES = index("fetch_bad_responses")


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


class Origin:
    """All backends, as one worker reaches them."""

    __slots__ = (
        "_balancer",
        "_board",
        "_budget",
        "_closes",
        "_counters",
        "_limits",
        "_pools",
        "_queue",
        "_reserved",
        "_traces",
        "host",
    )

    def __init__(
        self,
        options: OriginOptions,
        rows: Sequence[int],
        board: BackendBoard,
        counters: CounterRow,
        window_bytes: int,
        limits: Limits | None = None,
        poller: Poller | None = None,
    ) -> None:
        """`rows` are the backends' in `board`; `poller` has sockets of our own, if there are any."""
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
        scratch = bytearray(window_bytes)
        self._pools = {
            backend.row: BackendPool(backend, options, resolver, counters, scratch, self._queue, poller)
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

    @property
    def is_plain(self) -> bool:
        """Whether its requests get no field but those that they bring, and its connections stay."""
        return not self._traces and not self._closes

    def note_success(self, backend: Backend) -> None:
        """A backend gave a good head to whoever was lent a connection."""
        self._board.note_success(backend.row)

    def lend(self) -> Begun | None:
        """Return a place for a fetch that may be sent twice, with an idle connection if there is one.

        None: there is no place at once. Whoever gets one begins an exchange on that connection, or lets a fetch of the
        same request have the place, or closes it.
        """
        backend = self._queue.claim_now()
        if backend is None:
            return None
        pool = self._pools[backend.row]
        conn = pool.check_out()
        if conn is not None:
            self._budget.earn()
            self._counters[_REUSES] += 1
        return Begun(self._queue, backend, conn)

    async def fetch(self, request: OriginRequest) -> OriginResponse:
        """Return a backend's response to `request` as soon as its head is here.

        Raises what the request body's source raises, else an OriginError. Cancelling releases everything.
        """
        begun, request.begun = request.begun, None
        if begun is None or begun.conn is None:
            self._budget.earn()
        if self._traces:
            tracing.begin(request.fields)
        attempt = Attempt(request, self._closes, self.host)
        while True:
            if begun is None:
                backend = self._queue.claim_now(attempt.excluded) or await self._claim(attempt.excluded)
                begun = Begun(self._queue, backend, self._check_out(backend, attempt))
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

    def _check_out(self, backend: Backend, attempt: Attempt) -> OriginConnection | None:
        """Return an idle connection to a claimed backend that this request may use."""
        if not attempt.may_reuse:
            return None
        pool = self._pools[backend.row]
        conn = pool.check_out() if attempt.is_repeatable else pool.check_out_fresh(FRESH_IDLE_S)
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
            self._queue.release(backend)
            raise
        except BaseException:
            self._queue.release(backend)
            raise
        self._counters[_CONNECTS] += 1
        return conn

    async def _exchange(self, begun: Begun, conn: OriginConnection, attempt: Attempt) -> OriginResponse:
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


def _is_own_fault(error: ConnectFailed) -> bool:
    """Tell whether this machine could not even try: that says nothing about the backend."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in _OWN_FAULTS


def _is_keep_alive_race(error: OriginError, conn: OriginConnection) -> bool:
    """Tell whether the backend only closed an idle connection just when we took it: no fault of its own."""
    return conn.is_reused and isinstance(error, ClosedUnanswered)
