"""An `Origin` over scripted backends, with everything it tells to others at hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from local_board import LocalBoard

from accel.config import Address, BackendConfig, Limits, OriginOptions, OriginTimeouts
from accel.http.message import CHUNKED, Fields, Line
from accel.net.pollers import make_poller
from accel.origin.attempt import OriginRequest
from accel.origin.fetch import Origin, OriginResponse
from accel.origin.upload import BodySource
from accel.stats.counters import private_row, totals

PATIENT = OriginTimeouts(connect_s=5.0, first_byte_s=20.0, between_bytes_s=20.0)


class Worker:
    """One worker's origin side."""

    def __init__(
        self,
        addresses: Sequence[Address],
        timeouts: OriginTimeouts = PATIENT,
        window_bytes: int = 65536,
        limits: Limits | None = None,
        **options: Any,
    ) -> None:
        self.board = LocalBoard(len(addresses))
        self.counters = private_row()
        backends = tuple(BackendConfig(address) for address in addresses)
        rows = range(len(addresses))
        configured = OriginOptions(backends=backends, timeouts=timeouts, **options)
        self.origin = Origin(configured, rows, self.board, self.counters, window_bytes, limits, make_poller())

    def count(self, name: str) -> int:
        """Return a counter."""
        return totals([self.counters])[name]

    async def fetch(
        self,
        method: bytes = b"GET",
        body: BodySource | None = None,
        upgrade: bytes = b"",
        lines: Sequence[Line] = ((b"host", b"app.example"),),
    ) -> OriginResponse:
        """Fetch `/`."""
        async with asyncio.timeout(30):
            return await self.origin.fetch(OriginRequest(method, b"/", Fields(lines), body, upgrade))

    async def get(self, method: bytes = b"GET", body: BodySource | None = None) -> bytes:
        """Fetch `/`, read it to its end and close."""
        response = await self.fetch(method, body)
        try:
            return await read_all(response)
        finally:
            response.close()


class Pieces:
    """A body source that gives what it was given."""

    def __init__(self, *pieces: bytes, length: int | None = None) -> None:
        self.length = sum(map(len, pieces)) if length is None else length
        self.taken = 0
        self._pieces = list(pieces)

    @classmethod
    def chunked(cls, *pieces: bytes) -> Pieces:
        """Return one of unknown length."""
        return cls(*pieces, length=CHUNKED)

    async def read(self) -> bytes:
        self.taken += 1
        return self._pieces.pop(0) if self._pieces else b""


class Stalled:
    """A body source that gives one piece and then waits until it is cancelled."""

    def __init__(self, first: bytes, length: int = CHUNKED) -> None:
        self.length = length
        self.cancelled = asyncio.Event()
        self._first = first

    async def read(self) -> bytes:
        piece, self._first = self._first, b""
        if piece:
            return piece
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        raise AssertionError("never resumed")


class Broken:
    """A body source that gives one piece and then raises."""

    def __init__(self, error: Exception, length: int = CHUNKED) -> None:
        self.length = length
        self._error = error
        self._first = b"first"

    async def read(self) -> bytes:
        piece, self._first = self._first, b""
        if not piece:
            raise self._error
        return piece


async def turn() -> None:
    """Let everything that is ready run once."""
    await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    """Run the loop until a condition holds."""
    async with asyncio.timeout(10):
        while not condition():
            await turn()


async def read_all(response: OriginResponse) -> bytes:
    """Read a body to its end."""
    pieces = []
    async with asyncio.timeout(30):
        while piece := await response.read():
            pieces.append(piece)
    return b"".join(pieces)
