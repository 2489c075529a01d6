# cython: annotation_typing=False, show_performance_hints=False
"""One connection to a backend as far as nobody has to wait: bytes out, bytes in, what they mean for its exchange.

Owns the socket's transport, its deadlines and its back-pressure; knows no pool, only the `Keeper` that it reports to,
exactly once an exchange. An exchange is named by its reader: a `ResponseParser`, which keeps the body pieces that
nobody has taken, or a `Passer`, which passes on what comes in the same call. Whoever reads a response that is complete
no longer needs the connection, which may by then carry another exchange. That is why every call that acts for an
exchange passes its reader, and does nothing for one that is over.

Invariant: a connection is reused only if the request went out whole, the response came in whole and said that the
connection stays, and no stray byte followed (RFC 9112 §9.3, §9.6).

No read takes more than a window. By sockets of our own (`net`) that is said when they are made; a transport of the loop
reads into one scratch buffer that all connections of a worker share, where a plain protocol would get up to 256 KB.

Only whoever waits has a deadline; a client that reads slowly is never the backend's fault.

Compiled where there is a compiler, since whatever is not stored comes this way, with the types of `wire.pxd`; else run
as it stands. What is `cdef` there is for other compiled modules and hidden from Python. A passed exchange without its
sockets takes 6.1 us of CPU with it and 8.4 without (CPython 3.11, 2026-11).
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import Protocol, cast

from accel.config import OriginTimeouts
from accel.errors import BadResponse, ClosedUnanswered, OriginError, OriginTimeout, ResponseTruncated
from accel.http.message import Response
from accel.http.response_parser import ResponseParser
from accel.origin.timed import Timed
from accel.stats.counters import CounterRow, index

_BYTES_IN = index("origin_bytes_in")
_BYTES_OUT = index("origin_bytes_out")
_FAILURES: dict[type[BaseException], int] = {
    OriginTimeout: index("fetch_timeouts"),
    BadResponse: index("fetch_bad_responses"),
    ResponseTruncated: index("fetch_truncated"),
}


class Reader(Protocol):
    """Who reads a response as it comes."""

    started: bool
    """Whether one byte of it came."""
    complete: bool

    @property
    def has_head(self) -> bool:
        """Whether the final head has come."""
        ...

    def feed_eof(self) -> None:
        """The backend closed in order; raises an OriginError unless that ends the response."""
        ...


class Passer:
    """A reader that nobody waits for: it passes on what comes, and hears when the exchange is over."""

    __slots__ = ("complete", "may_reuse", "started")

    started: bool
    complete: bool
    may_reuse: bool
    """Whether another exchange may follow a response that is complete."""

    @property
    def has_head(self) -> bool:
        """Whether the final head has come."""
        raise NotImplementedError

    def feed(self, data: bytes) -> None:
        """Take what came; no failure of the origin is raised."""
        raise NotImplementedError

    def feed_eof(self) -> None:
        """As a `Reader`."""
        raise NotImplementedError

    def ended(self) -> None:
        """The exchange is over, well or not (`Wire.error`)."""
        raise NotImplementedError


class Keeper:
    """Whom a connection reports to: its backend's pool."""

    __slots__ = ()

    def exchange_ended(self, conn: Wire, may_reuse: bool) -> None:
        """An exchange is over, well or not; without `may_reuse` the connection is closed already."""
        raise NotImplementedError

    def connection_ended(self, conn: Wire) -> None:
        """The connection is closed."""
        raise NotImplementedError


class Wire(Timed):
    """A connection, idle or within one exchange."""

    __slots__ = (
        "_between_bytes_s",
        "_bytes",
        "_counters",
        "_drain_waiter",
        "_exchanges",
        "_first_byte_s",
        "_is_paused",
        "_is_sent",
        "_is_write_paused",
        "_keeper",
        "_parser",
        "_passer",
        "_scratch",
        "_transport",
        "_waiter",
        "_whole_s",
        "error",
        "idle_since",
    )

    def __init__(
        self, keeper: Keeper, timeouts: OriginTimeouts, counters: CounterRow, scratch: bytearray
    ) -> None:
        """`scratch`: a window of bytes, of a length that does not change."""
        super().__init__()
        self._keeper = keeper
        self._first_byte_s, self._between_bytes_s = timeouts.first_byte_s, timeouts.between_bytes_s
        self._whole_s = inf if timeouts.whole_s is None else timeouts.whole_s
        self._counters = counters
        self._scratch = self._bytes = scratch
        self._transport: asyncio.Transport
        self._parser: Reader | None = None
        self._passer: Passer | None = None  # the same, if it is one
        self._is_sent = True
        self._is_paused = False
        self._is_write_paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._drain_waiter: asyncio.Future[None] | None = None
        self.error: Exception | None = None
        """Why the last exchange failed; a connection that has one is closed."""
        self._exchanges = 0
        self.idle_since = 0.0

    @property
    def is_usable(self) -> bool:
        """Whether an exchange may begin."""
        return self.may_begin()

    @property
    def is_reused(self) -> bool:
        """Whether the exchange that is on, or was last, is not the first."""
        return self._exchanges > 1

    def carries(self, parser: Reader) -> bool:
        """Tell whether this exchange is still on."""
        return self._parser is parser

    # An exchange.

    def may_begin(self) -> bool:
        """Whether an exchange may begin."""
        return self._parser is None and not self._transport.is_closing()

    def begin(self, parser: ResponseParser, head: bytes, is_whole: bool) -> None:
        """Begin an exchange by sending the request's head; `is_whole`: there is no body to follow."""
        self._begin(parser, head)
        if is_whole:
            self._owe_answer()

    def carry(self, passer: Passer, head: bytes) -> None:
        """Begin and leave to itself an exchange whose request is a head alone."""
        self._passer = passer
        self._begin(passer, head)
        self._owe_answer()

    def _begin(self, parser: Reader, head: bytes) -> None:
        self._parser = parser
        self._is_sent = False
        self._exchanges += 1
        self._end_within(self._whole_s)
        self._send(head)

    def write(self, parser: Reader, data: bytes) -> None:
        """Send a piece of the request."""
        if self._parser is parser:
            self._send(data)

    def _send(self, data: bytes) -> None:
        self._counters[_BYTES_OUT] += len(data)
        self._transport.write(data)

    def end_request(self, parser: Reader) -> None:
        """The request was written whole: from now on the backend owes an answer."""
        if self._parser is parser:
            self._owe_answer()

    def _owe_answer(self) -> None:
        self._is_sent = True
        self._arm(self._first_byte_s, "no answer")

    def await_more(self, passer: Passer) -> None:
        """The head is here, and the backend owes the next piece of the body."""
        if self._passer is passer:
            self._arm(self._between_bytes_s, "body stalled")

    def hand_over(self, passer: Passer, parser: ResponseParser, data: bytes) -> None:
        """Go on with `parser` in the place of one that leaves its response to it; `data` is all that came.

        If the exchange is over, `parser` has failed as it did.
        """
        if self._passer is passer:
            self._parser, self._passer = parser, None
            if data:
                self._take(parser, data)

    def fail(self, parser: Reader, error: Exception) -> None:
        """End the exchange with `error`, which its reader is going to raise, and close."""
        if self._parser is not parser:
            return
        counter = _FAILURES.get(type(error))
        if counter is not None:
            self._counters[counter] += 1
        self.error = error
        self._end(False)

    def abandon(self, parser: Reader) -> None:
        """End the exchange because nobody wants its response any more, and close."""
        if self._parser is parser:
            self.fail(parser, ClosedUnanswered("given up"))

    # Between two.

    def rest(self, idle_s: float) -> None:
        """Keep idle for `idle_s` at most."""
        self.idle_since = self._now()
        self._end_within(inf)
        self._arm(idle_s, "")

    def close(self) -> None:
        """Close an idle connection."""
        self._transport.abort()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: connected."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=len(self._scratch))

    def get_buffer(self, sizehint: int) -> bytearray:
        """asyncio: where to read to. Loops fill it and tell in one go, so all connections can share it."""
        return self._scratch

    def buffer_updated(self, nbytes: int) -> None:
        """asyncio: bytes came, and are there."""
        self.data_received(bytes(self._bytes[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes came."""
        self._counters[_BYTES_IN] += len(data)
        passer = self._passer
        if passer is not None:
            passer.feed(data)
            if passer.complete:
                self._complete(passer.may_reuse)
        elif self._parser is not None:
            self._take(cast(ResponseParser, self._parser), data)
        else:
            self._transport.abort()  # nobody asked: whatever this is, it answers nothing

    def _take(self, parser: ResponseParser, data: bytes) -> None:
        try:
            parser.feed(data)
        except BadResponse as error:
            self.fail(parser, error if parser.head is None else ResponseTruncated(error.why))
            return
        head: Response | None = parser.head
        if parser.complete:
            self._complete(parser.may_reuse)
        elif head is not None:
            if parser.buffered > len(self._scratch) or head.status == 101:
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
        self._complete(False)

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

    # Ends.

    def _complete(self, may_reuse: bool) -> None:
        self._end(may_reuse and self._is_sent and not self._transport.is_closing())

    def _end(self, may_reuse: bool) -> None:
        passer = self._passer
        self._parser = self._passer = None
        if not may_reuse:
            self._transport.abort()
        elif self._is_paused:
            self._resume()
        self._wake()
        self._wake_drain()
        self._keeper.exchange_ended(self, may_reuse)
        if passer is not None:
            passer.ended()

    def _late(self, why: str) -> None:
        """Close, or fail for whoever waits: whose head is owed may be about to."""
        parser = self._parser
        if parser is None:
            self.close()
        elif self._waiter is not None or self._passer is not None or not parser.has_head:
            self.fail(parser, OriginTimeout(f"{why} in time"))

    def _pause(self) -> None:
        if not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        self._is_paused = False
        self._transport.resume_reading()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        self._disarm()
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _wake_drain(self) -> None:
        waiter, self._drain_waiter = self._drain_waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


def _cut_short(parser: Reader) -> OriginError:
    """Return what a connection that was lost without a clean end means for the response."""
    if not parser.started:
        return ClosedUnanswered("connection lost before any answer")
    if not parser.has_head:
        return BadResponse("connection lost within the head")
    return ResponseTruncated("connection lost before the end of the body")
