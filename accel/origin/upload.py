"""The request body on its way to a backend: pulled from its source, framed, pushed with back-pressure.

A task of its own, because a backend may answer early: then it is stopped in the middle (RFC 9112 §9.3,
§9.5). Knows no retry. Invariant: never more bytes go out than were announced, and whatever goes wrong here
ends the exchange.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from accel.errors import ClientGone, RequestError
from accel.http.message import CHUNKED
from accel.http.response_parser import ResponseParser
from accel.http.writer import LAST_CHUNK, chunk
from accel.origin.connection import OriginConnection


class BodySource(Protocol):
    """Where a request body comes from."""

    length: int
    """Bytes of the body: 0 none, or `CHUNKED`."""

    async def read(self) -> bytes:
        """Return the next piece, b"" at the end; may raise, and be cancelled while it waits."""
        ...


class Upload:
    """One request body being sent within one exchange."""

    __slots__ = ("_body", "_conn", "_is_stopped", "_parser", "_task", "has_read", "is_whole")

    def __init__(self, body: BodySource, conn: OriginConnection, parser: ResponseParser) -> None:
        self._body = body
        self._conn = conn
        self._parser = parser
        self._is_stopped = False
        self.has_read = False
        """Whether the source was asked for anything: then it cannot be asked again."""
        self.is_whole = False
        """Whether everything was sent."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def stop(self) -> None:
        """Send no more; harmless when all is sent."""
        self._is_stopped = True
        self._task.cancel()

    async def _run(self) -> None:
        try:
            if self._body.length == CHUNKED:
                await self._send_chunks()
            else:
                await self._send_sized()
        except asyncio.CancelledError:
            if not self._is_stopped:
                self._conn.fail(self._parser, ClientGone("request body cancelled"))
            raise
        except Exception as error:  # whatever the source raises, the fetch is to raise
            self._conn.fail(self._parser, error)

    async def _send_sized(self) -> None:
        left = self._body.length
        while left:
            piece = await self._read()
            if not piece:
                raise ClientGone("request body ended before its announced end")
            if len(piece) > left:
                raise RequestError(400, "request body longer than announced")
            left -= len(piece)
            if not await self._send(piece):
                return
        self._end()

    async def _send_chunks(self) -> None:
        while piece := await self._read():
            if not await self._send(chunk(piece)):
                return
        self._conn.write(self._parser, LAST_CHUNK)
        self._end()

    async def _read(self) -> bytes:
        self.has_read = True
        return await self._body.read()

    async def _send(self, data: bytes) -> bool:
        """Send and wait until the backend keeps up; False once the exchange is over and the rest not wanted."""
        self._conn.write(self._parser, data)
        await self._conn.drain(self._parser)
        return self._conn.carries(self._parser)

    def _end(self) -> None:
        if self._conn.carries(self._parser):
            self.is_whole = True
            self._conn.end_request(self._parser)
