"""One connection to a backend: an asyncio protocol that carries one exchange after another.

Owns the socket, its deadlines and its back-pressure; knows no pool, only the `Keeper` that it reports to,
exactly once an exchange. An exchange is named by its `ResponseParser`, which keeps the body pieces nobody
has taken: whoever reads a response that is complete no longer needs the connection, which may by then carry
another exchange. That is why every call that acts for an exchange passes its parser, and does nothing for
one that is over.

Invariant: a connection is reused only if the request went out whole, the response came in whole and said
that the connection stays, and no stray byte followed (RFC 9112 §9.3, §9.6).

Bytes are read into one scratch buffer of a window's size that all connections of a worker share: so no read
takes more than a window, where a plain protocol on uvloop gets up to 256 KB at once.

Deadlines cost no object a fetch: the timer that is armed is kept while it is due before the deadline, and
re-armed when it fires early. Only whoever waits has a deadline; a client that reads slowly is never the
backend's fault.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

from accel.config import OriginTimeouts
from accel.errors import BadResponse, ClosedUnanswered, OriginError, OriginTimeout, ResponseTruncated
from accel.http.message import Response
from accel.http.response_parser import ResponseParser
from accel.stats.counters import CounterRow, index

_BYTES_IN = index("origin_bytes_in")
_BYTES_OUT = index("origin_bytes_out")
_FAILURES: dict[type[BaseException], int] = {
    OriginTimeout: index("fetch_timeouts"),
    BadResponse: index("fetch_bad_responses"),
    ResponseTruncated: index("fetch_truncated"),
}
_TICK_S = 0.001
"""uvloop rounds timers to milliseconds: one that fires this much early is in time."""


class Keeper(Protocol):
    """Whom a connection reports to: its backend's pool."""

    def exchange_ended(self, conn: OriginConnection, may_reuse: bool) -> None:
        """An exchange is over, well or not; without `may_reuse` the connection is closed already."""
        ...

    def connection_ended(self, conn: OriginConnection) -> None:
        """The connection is closed."""
        ...


class Reader(Protocol):
    """Who reads a response as it comes: a `ResponseParser`, or whoever passes it on at once."""

    head: Response | None
    """The final head, if anybody is to wait for it, or for the body, by `receive_head` and `read`."""
    started: bool
    complete: bool
    buffered: int

    @property
    def has_head(self) -> bool:
        """Whether the final head has come."""
        ...

    @property
    def may_reuse(self) -> bool:
        """Whether another exchange may follow a response that is complete."""
        ...

    def feed(self, data: bytes) -> None:
        """Take what came; BadResponse."""
        ...

    def feed_eof(self) -> None:
        """The backend closed in order; raises an OriginError unless that ends the response."""
        ...


class OriginConnection(asyncio.BufferedProtocol):
    """A connection, idle or within one exchange."""

    __slots__ = (
        "_counters",
        "_deadline",
        "_deadline_why",
        "_drain_waiter",
        "_exchanges",
        "_is_paused",
        "_is_sent",
        "_is_write_paused",
        "_keeper",
        "_loop",
        "_on_end",
        "_parser",
        "_scratch",
        "_timeouts",
        "_timer",
        "_timer_due",
        "_transport",
        "_waiter",
        "_whole_deadline",
        "_window_bytes",
        "error",
        "idle_since",
    )

    def __init__(
        self, keeper: Keeper, timeouts: OriginTimeouts, counters: CounterRow, scratch: memoryview
    ) -> None:
        self._keeper = keeper
        self._timeouts = timeouts
        self._counters = counters
        self._scratch = scratch
        self._window_bytes = len(scratch)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._parser: Reader | None = None
        self._on_end: Callable[[], None] | None = None
        self._is_sent = True
        self._is_paused = False
        self._is_write_paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._drain_waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._deadline: float | None = None
        self._deadline_why = ""
        self._whole_deadline: float | None = None
        self.error: Exception | None = None
        """Why the last exchange failed; a connection that has one is closed."""
        self._exchanges = 0
        self.idle_since = 0.0

    @property
    def is_usable(self) -> bool:
        """Whether an exchange may begin."""
        return self._parser is None and not self._transport.is_closing()

    @property
    def is_reused(self) -> bool:
        """Whether the exchange that is on, or was last, is not the first."""
        return self._exchanges > 1

    def carries(self, parser: Reader) -> bool:
        """Tell whether this exchange is still on."""
        return self._parser is parser

    def begin(
        self, parser: Reader, head: bytes, is_whole: bool, on_end: Callable[[], None] | None = None
    ) -> None:
        """Begin an exchange by sending the request's head; `is_whole`: there is no body to follow.

        `on_end` is for a reader that nobody waits for: called once when the exchange is over, well or not (`error`).
        """
        self._parser, self._on_end = parser, on_end
        self._is_sent = False
        self._exchanges += 1
        whole_s = self._timeouts.whole_s
        self._whole_deadline = None if whole_s is None else self._loop.time() + whole_s
        self._deadline = None
        self.write(parser, head)
        if is_whole:
            self.end_request(parser)

    def write(self, parser: Reader, data: bytes) -> None:
        """Send a piece of the request."""
        if self._parser is parser:
            self._counters[_BYTES_OUT] += len(data)
            self._transport.write(data)

    def end_request(self, parser: Reader) -> None:
        """The request was written whole: from now on the backend owes an answer."""
        if self._parser is parser:
            self._is_sent = True
            self._arm(self._timeouts.first_byte_s, "no answer")

    async def drain(self, parser: ResponseParser) -> None:
        """Wait until the backend has taken enough of what was written."""
        while self._is_write_paused and self._parser is parser:
            self._arm(self._timeouts.between_bytes_s, "request body not read")
            self._drain_waiter = self._loop.create_future()
            await self._drain_waiter
            if self._parser is parser:
                self._deadline = None

    def await_more(self, parser: Reader) -> None:
        """The head is here, and the backend owes the next piece of the body."""
        if self._parser is parser:
            self._arm(self._timeouts.between_bytes_s, "body stalled")

    def hand_over(self, reader: Reader, parser: ResponseParser, data: bytes) -> None:
        """Go on with `parser` in the place of a reader that leaves its response to it; `data` is all that came.

        If the exchange is over, `parser` has failed as it did.
        """
        if self._parser is reader:
            self._parser, self._on_end = parser, None
            if data:
                self._take(parser, data)

    async def receive_head(self, parser: ResponseParser) -> Response:
        """Return the final head; raises what the exchange failed of."""
        if parser.head is None and self._parser is parser:
            await self._wait()
        if parser.head is None or (self.error is not None and not parser.complete):
            raise self._failure()
        return parser.head

    async def read(self, parser: ResponseParser) -> bytes:
        """Return the next piece of the body, b"" at its end; raises what the exchange failed of."""
        while not parser.pieces and self._parser is parser:  # chunk framing alone wakes us too
            self._arm(self._timeouts.between_bytes_s, "body stalled")
            await self._wait()
        data = parser.take()
        if not data and not parser.complete:
            raise self._failure()
        if self._is_paused and self._parser is parser:
            self._is_paused = False
            self._transport.resume_reading()
        return data

    def fail(self, parser: Reader, error: Exception) -> None:
        """End the exchange with `error`, which its reader is going to raise, and close."""
        if self._parser is not parser:
            return
        counter = _FAILURES.get(type(error))
        if counter is not None:
            self._counters[counter] += 1
        self.error = error
        self._end(may_reuse=False)

    def abandon(self, parser: Reader) -> None:
        """End the exchange because nobody wants its response any more, and close."""
        if self._parser is parser:
            self.fail(parser, ClosedUnanswered("given up"))

    def detach(self, parser: ResponseParser) -> tuple[asyncio.Transport, bytes]:
        """Hand out the transport after a 101, reading paused, with the bytes that came behind it.

        The exchange goes on, and counts as in flight, until `abandon`.
        """
        if self._parser is not parser:
            raise self._failure()
        self._cancel_timer()
        rest, parser.rest = parser.rest, b""
        return self._transport, rest

    def rest(self, idle_s: float) -> None:
        """Keep idle for `idle_s` at most."""
        self.idle_since = self._loop.time()
        self._whole_deadline = None
        self._arm(idle_s, "")

    def close(self) -> None:
        """Close an idle connection."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: connected."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=self._window_bytes)

    def get_buffer(self, sizehint: int) -> memoryview:
        """asyncio: where to read to. Loops fill it and tell in one go, so all connections can share it."""
        return self._scratch

    def buffer_updated(self, nbytes: int) -> None:
        """asyncio: bytes came."""
        self._counters[_BYTES_IN] += nbytes
        if self._parser is None:
            self._transport.abort()  # nobody asked: whatever this is, it answers nothing
        else:
            self._take(self._parser, bytes(self._scratch[:nbytes]))

    def _take(self, parser: Reader, data: bytes) -> None:
        try:
            parser.feed(data)
        except BadResponse as error:
            self.fail(parser, error if parser.head is None else ResponseTruncated(error.why))
            return
        if parser.complete:
            self._complete(parser)
        elif parser.head is not None:
            if parser.buffered > self._window_bytes or parser.head.status == 101:
                self._pause()
            self._wake()

    def eof_received(self) -> None:
        """asyncio: the backend sent its last byte; the transport closes itself."""
        parser = self._parser
        if parser is None:
            return
        try:
            parser.feed_eof()
        except OriginError as error:
            self.fail(parser, error)
            return
        self._complete(parser)

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: closed. Without a clean end before, no response ends here (RFC 9112 §8)."""
        if self._parser is not None:
            self.fail(self._parser, _cut_short(self._parser))
        self._cancel_timer()
        self._keeper.connection_ended(self)

    def pause_writing(self) -> None:
        """asyncio: enough is waiting to be sent."""
        self._is_write_paused = True

    def resume_writing(self) -> None:
        """asyncio: the backend has read on."""
        self._is_write_paused = False
        self._wake_drain()

    def _complete(self, parser: Reader) -> None:
        self._end(may_reuse=parser.may_reuse and self._is_sent and not self._transport.is_closing())

    def _end(self, *, may_reuse: bool) -> None:
        self._parser = None
        self._deadline = None
        if not may_reuse:
            self._transport.abort()
        elif self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()
        self._wake()
        self._wake_drain()
        self._keeper.exchange_ended(self, may_reuse)
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end()

    def _pause(self) -> None:
        if not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    async def _wait(self) -> None:
        """Wait for `_wake`, which clears the waiter: when we run, another exchange may be waiting here."""
        self._waiter = self._loop.create_future()
        await self._waiter

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        self._deadline = None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _wake_drain(self) -> None:
        waiter, self._drain_waiter = self._drain_waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _failure(self) -> Exception:
        return self.error or ClosedUnanswered("connection closed")

    def _arm(self, timeout_s: float, why: str) -> None:
        """Set the deadline; touch the timer only if it is due too late or not at all."""
        deadline = self._loop.time() + timeout_s
        if self._whole_deadline is not None and self._whole_deadline < deadline:
            deadline = self._whole_deadline
        self._deadline = deadline
        self._deadline_why = why
        if self._timer is None or self._timer_due > deadline:
            self._set_timer(deadline)

    def _set_timer(self, due: float) -> None:
        self._cancel_timer()
        self._timer_due = due
        self._timer = self._loop.call_at(due, self._on_timer)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        if self._deadline - self._loop.time() > _TICK_S:
            self._set_timer(self._deadline)
        elif self._parser is None:
            self.close()
        elif self._waiter is not None or self._parser.head is None:  # whose head is owed may be about to wait
            self.fail(self._parser, OriginTimeout(f"{self._deadline_why} in time"))


def _cut_short(parser: Reader) -> OriginError:
    """Return what a connection that was lost without a clean end means for the response."""
    if not parser.started:
        return ClosedUnanswered("connection lost before any answer")
    if not parser.has_head:
        return BadResponse("connection lost within the head")
    return ResponseTruncated("connection lost before the end of the body")
