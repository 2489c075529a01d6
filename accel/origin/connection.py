"""One connection to a backend, as whoever awaits a response uses it; what happens when bytes come and go is `wire`'s.

Owns who waits: for the head, for the next piece of the body, or for the backend to take what it is sent. Invariant: one
waits for the response at a time, and is woken whenever there may be something new, the end of the exchange above all.
"""

from __future__ import annotations

import asyncio

from accel.errors import ClosedUnanswered
from accel.http.message import Response
from accel.http.response_parser import ResponseParser
from accel.origin.wire import Wire


class OriginConnection(Wire, asyncio.BufferedProtocol):
    """A connection, idle or within one exchange."""

    __slots__ = ()

    async def drain(self, parser: ResponseParser) -> None:
        """Wait until the backend has taken enough of what was written."""
        while self._is_write_paused and self._parser is parser:
            self._arm(self._between_bytes_s, "request body not read")
            self._drain_waiter = self._loop.create_future()
            await self._drain_waiter
            if self._parser is parser:
                self._disarm()

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
            self._arm(self._between_bytes_s, "body stalled")
            await self._wait()
        data = parser.take()
        if not data and not parser.complete:
            raise self._failure()
        if self._is_paused and self._parser is parser:
            self._resume()
        return data

    def detach(self, parser: ResponseParser) -> tuple[asyncio.Transport, bytes]:
        """Hand out the transport after a 101, reading paused, with the bytes that came behind it.

        The exchange goes on, and counts as in flight, until `abandon`.
        """
        if self._parser is not parser:
            raise self._failure()
        self._cancel_timer()
        rest, parser.rest = parser.rest, b""
        return self._transport, rest

    async def _wait(self) -> None:
        """Wait for `_wake`, which clears the waiter: when we run, another exchange may be waiting here."""
        self._waiter = self._loop.create_future()
        await self._waiter

    def _failure(self) -> Exception:
        return self.error or ClosedUnanswered("connection closed")
