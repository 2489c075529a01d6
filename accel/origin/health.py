"""Whether a backend is up: a state machine over probes and passive results, and the probe itself.

`BackendHealth` is pure (`now` is a parameter, monotonic seconds); the arbiter holds one for each backend
and publishes what it says. `probe` is plain asyncio: the arbiter runs no uvloop. Invariant: a state changes
only after `rise` good or `fall` bad results in a row, so one lost packet ejects nobody and one lucky answer
brings nobody back.
"""

from __future__ import annotations

import asyncio
from enum import Enum

from accel.config import Address, ProbeOptions
from accel.errors import OriginError
from accel.http.response_parser import ResponseParser
from accel.http.writer import request_head
from accel.origin.balancer import FULL_RAMP

_READ_BYTES = 16 * 1024


class Health(Enum):
    """What the pool may expect of a backend."""

    UP = "up"
    """It gets its share of fetches."""
    DOWN = "down"
    """It gets none until `rise` probes in a row pass."""


class BackendHealth:
    """One backend's state and how it came about."""

    __slots__ = ("_failed", "_options", "_passed", "_ramp_from", "last_why", "state")

    def __init__(self, options: ProbeOptions) -> None:
        self._options = options
        self._passed = 0
        self._failed = 0
        self._ramp_from: float | None = None
        self.state = Health.UP
        self.last_why = ""
        """Why the last probe or fetch failed; kept after the backend has returned."""

    def begin_down(self, why: str) -> None:
        """Be down from the beginning: whoever judged before said so."""
        self.state, self.last_why = Health.DOWN, why

    def probe_passed(self, now: float) -> bool:
        """Note a good probe; return whether the backend came up by it."""
        self._failed = 0
        if self.state is Health.UP:
            return False
        self._passed += 1
        if self._passed < self._options.rise:
            return False
        self.state = Health.UP
        self._ramp_from = now
        return True

    def probe_failed(self, now: float, why: str) -> bool:
        """Note a bad probe; return whether the backend went down by it."""
        return self._note_failure(why)

    def passive_failed(self, now: float, why: str) -> bool:
        """Note a fetch that the backend failed; return whether the backend went down by it."""
        return self._note_failure(why)

    def passive_succeeded(self) -> None:
        """Note a fetch that went well: it breaks a row of failures, but only probes bring anybody back."""
        if self.state is Health.UP:
            self._failed = 0

    def ramp(self, now: float) -> int:
        """Return the permille of its weight to give: after a return it grows over `slow_start_s`."""
        if self._ramp_from is None:
            return FULL_RAMP
        passed_s = now - self._ramp_from
        if passed_s >= self._options.slow_start_s:
            self._ramp_from = None
            return FULL_RAMP
        return max(1, int(FULL_RAMP * passed_s / self._options.slow_start_s))

    def _note_failure(self, why: str) -> bool:
        self.last_why = why
        self._passed = 0
        if self.state is Health.DOWN:
            return False
        self._failed += 1
        if self._failed < self._options.fall:
            return False
        self.state = Health.DOWN
        self._failed = 0
        self._ramp_from = None
        return True


async def probe(address: Address, path: str | None, host: str, timeout_s: float) -> str | None:
    """Return None if the backend is well, else why not.

    Well is: a connection, and with a `path` also a response of status 200 to 399 to `GET path`, all within
    `timeout_s`. `host` goes out as Host.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await _probe(address, path, host)
    except TimeoutError:
        return f"no answer within {timeout_s:g} s"
    except OSError as error:
        return error.strerror or str(error)
    except OriginError as error:
        return error.why


async def _probe(address: Address, path: str | None, host: str) -> str | None:
    reader, writer = await _open(address)
    try:
        if path is None:
            return None
        lines = ((b"host", host.encode()), (b"user-agent", b"accel-probe"), (b"connection", b"close"))
        writer.write(request_head(b"GET", path.encode(), lines))
        return await _judge(reader)
    finally:
        writer.transport.abort()


async def _open(address: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if address.path:
        return await asyncio.open_unix_connection(address.path)
    return await asyncio.open_connection(address.host, address.port)


async def _judge(reader: asyncio.StreamReader) -> str | None:
    """Read one head and judge its status; the body is nobody's concern."""
    parser = ResponseParser(b"GET")
    while parser.head is None:
        data = await reader.read(_READ_BYTES)
        if data:
            parser.feed(data)
        else:
            parser.feed_eof()
    status = parser.head.status
    return None if 200 <= status <= 399 else f"status {status}"
