"""A tunnel: after the origin's 101 the two connections carry another protocol, byte for byte, until either ends.

Owns both transports from then on; knows nothing of what they carry (RFC 9110 §7.8). Invariant: each side is read only
as fast as the other one takes it, and an end of file is passed on after everything that came before it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from accel.http.cache_status import Forward, forward
from accel.http.writer import field_lines, status_line
from accel.origin.fetch import OriginResponse
from accel.proxy import deliver
from accel.stats.counters import CounterRow, index

if TYPE_CHECKING:
    from accel.proxy.exchange import Exchange

_TUNNELS = index("tunnels")
_BYTES_IN, _BYTES_OUT = index("client_bytes_in"), index("client_bytes_out")


class _End(asyncio.Protocol):
    """One side: what it receives goes to the other side."""

    def __init__(self, transport: asyncio.Transport, counters: CounterRow, counter: int) -> None:
        self.transport = transport
        self.other: _End
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.has_eof = False
        self._counters, self._counter = counters, counter

    def data_received(self, data: bytes) -> None:
        self._counters[self._counter] += len(data)
        self.other.transport.write(data)

    def eof_received(self) -> bool:
        """Pass it on; with the second one, of either side, both close once they have sent what they hold."""
        self.has_eof = True
        if self.other.transport.is_closing() or not self.other.transport.can_write_eof():
            return False
        self.other.transport.write_eof()
        return not self.other.has_eof and not self.other.has_ended()

    def has_ended(self) -> bool:
        """Whether this side is gone."""
        return self.lost.done()

    def pause_writing(self) -> None:
        if not self.other.has_ended():
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if not self.other.has_ended():
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.other.transport.close()
        if not self.lost.done():
            self.lost.set_result(None)


async def run(exchange: Exchange, response: OriginResponse) -> None:
    """Send the 101 on and carry bytes until both sides have ended."""
    connection, counters = exchange.connection, exchange.service.counters
    counters[_TUNNELS] += 1
    head = response.head
    connection.write(
        b"%b%bCache-Status: %b\r\nConnection: Upgrade\r\nUpgrade: %b\r\n\r\n"
        % (
            status_line(101),
            field_lines(deliver.passed_lines(head)),
            forward(Forward.BYPASS, status=101),
            exchange.request.upgrade,
        )
    )
    exchange.sent_head(101)
    origin_transport, from_origin = response.detach()
    client_transport, from_client = connection.become_tunnel()
    client = _End(client_transport, counters, _BYTES_IN)
    origin = _End(origin_transport, counters, _BYTES_OUT)
    client.other, origin.other = origin, client
    try:
        for end, early in ((client, from_client), (origin, from_origin)):
            end.transport.set_protocol(end)
            if early:
                end.data_received(early)
        for end in (client, origin):
            end.transport.resume_reading()
        await asyncio.wait((client.lost, origin.lost))
    finally:
        client_transport.abort()
        origin_transport.abort()
        client.other = client
        origin.other = origin
        response.close()
        exchange.end_tunnel()
