"""One client's connection: bytes in, exchanges in order, bytes out, and every time limit on the way.

Owns the parser and the order of exchanges (`output` has the transport); knows no caching and no origin. Invariants: one
exchange at a time writes, the ones behind it wait in order and reading is paused meanwhile (so what is held for a
pipelining client is one read at most); none begins while the client leaves more than a window of answers unread; after
an answer that says close nothing more is read as a request: linger until the client has read it, then close (RFC 9112
§9.6).

Limits are not timers: the worker calls `check(now)` on every connection a few times a second.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from accel.errors import RequestError
from accel.http.message import Request
from accel.http.request_parser import RequestParser
from accel.proxy.exchange import Exchange
from accel.proxy.output import Output, ip_of
from accel.proxy.phase import Phase
from accel.stats.counters import index

if TYPE_CHECKING:
    from accel.proxy._relay import Relay
    from accel.proxy.clients import Clients

_BYTES_IN = index("client_bytes_in")
_HEAD_TIMEOUTS, _BODY_TIMEOUTS = index("head_timeouts"), index("body_timeouts")
_IDLE_TIMEOUTS, _WRITE_TIMEOUTS = index("idle_timeouts"), index("write_timeouts")
_LINGER_S = 2.0


_IDLE = Phase.IDLE


class ClientConnection(Output):
    """The event loop's end of one client connection."""

    __slots__ = (
        "_body_began_at",
        "_body_bytes_then",
        "_clients",
        "_has_failed",
        "_hot",
        "_is_starting",
        "_last_read_at",
        "_parser",
        "_paused_reading",
        "_receiving",
        "_relays",
        "_signature",
        "_waiting",
        "current",
    )

    def __init__(self, clients: Clients, address: object = None) -> None:
        """`address`: who came, where whoever accepted it says so; else the transport is asked."""
        super().__init__(clients.counters)
        self._clients = clients
        self.phase = Phase.IDLE
        self.since = clients.now_mono()
        self._parser: RequestParser | None = None  # made when there is anything to read that is no replay
        self.client_ip = ip_of(address)
        self.id = self.exchanges = 0
        self._hot = None if clients.service.hot is None else clients.service.hot.replayer
        self._relays = None if clients.service.relays is None else clients.service.relays.carrier
        self._signature: bytes | None = None  # of the request that begins what is fed next
        self.current: Exchange | Relay | None = None  # the one that may write
        self._waiting: deque[Exchange] | tuple[()] = ()  # most clients never pipeline
        self._receiving: Exchange | None = None  # whose body the parser is in
        self._is_starting = self._paused_reading = False
        self._has_failed = False  # a request was refused: nothing after it is read as one
        self._last_read_at = self.since
        self._body_began_at, self._body_bytes_then = 0.0, 0

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.open(transport, self._clients.limits.window_bytes)
        if not self.client_ip:
            self.client_ip = ip_of(transport.get_extra_info("peername"))
        self._clients.admit(self)

    def data_received(self, data: bytes) -> None:
        if self._hot is None or self.phase is not _IDLE:
            self.receive(data)
            return
        rest = self._hot.answer(self, data)
        if rest is not None:
            self.left_over(rest, self._hot.unknown)

    def eof_received(self) -> bool:
        # The client left. What is written still goes out, but no body may end where it is cut short.
        if self.current is not None and self.current.head_sent:
            self.reset()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._enter(Phase.CLOSED)
        self.is_lost = True
        if self._parser is not None:
            self._parser.close()
        self.resume_writing()
        exchanges: list[Exchange | Relay | None] = [self.current, *self._waiting]
        self.current = self._receiving = None
        self._waiting = ()
        for exchange in exchanges:
            if exchange is not None:
                exchange.client_gone()
        self._clients.discharge(self)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.phase is Phase.BUSY and self.current is None:
            self._go_on()

    # What the parser calls.

    def request_begun(self, request: Request) -> None:
        if self.phase is Phase.LINGER:
            return
        exchange = Exchange(self, self._clients.service, request, self._flow)
        signature, self._signature = self._signature, None
        self.exchanges += 1
        if request.body_length:
            self._receiving = exchange
            self._body_began_at, self._body_bytes_then = self._last_read_at, 0
        if self.phase is not Phase.BUSY:
            exchange.signature = signature
            self._start(exchange)
        else:
            self._wait(exchange)

    def body_received(self, data: bytes) -> None:
        self._body_bytes_then += len(data)
        if self._receiving is not None:
            self._receiving.body_received(data)

    def request_ended(self) -> None:
        if self._receiving is not None:
            self._receiving.body_ended()
            self._receiving = None

    # What a replay or a relay calls.

    def left_over(self, data: bytes, signature: bytes | None) -> None:
        """What came is no replay; `signature`: of the request that it begins with, if the hot path could tell."""
        relays = self._relays
        if signature and relays is not None and self.phase is _IDLE and relays.take(self, data, signature):
            return
        self._signature = signature
        self.receive(data)

    def receive(self, data: bytes) -> None:
        """What came is the general path's."""
        self._clients.counters[_BYTES_IN] += len(data)
        if self._has_failed or self.phase is Phase.LINGER:
            return
        self._last_read_at = self._clients.now_mono()
        if self._parser is None:
            self._parser = RequestParser(self, self._clients.limits)
        parser = self._parser
        try:
            parser.feed(data)
        except RequestError as error:
            self._refuse(error)
            return
        except Exception:
            self.reset()  # a defect of ours: the loop's handler counts and reports it
            raise
        if self.phase is Phase.IDLE and parser.in_head:
            self._enter(Phase.HEAD)
        elif len(parser.after_upgrade or b"") > self._clients.limits.window_bytes:
            self._pause_reading()

    def after_replay(self, is_last: bool) -> None:
        """What was replayed closes the connection, or its client has not taken all of it."""
        if is_last:
            self._close_politely()
        elif self.is_held:
            self._enter(Phase.BUSY)  # until it has: `resume_writing`
            self._pause_reading()

    @property
    def is_stopping(self) -> bool:
        """Whether the connection is to close with its next answer."""
        return self._clients.is_stopping

    def take_up(self, relay: Relay) -> None:
        """What came is a whole request, which is relayed."""
        self.current = relay
        self.exchanges += 1
        self._enter(Phase.BUSY)
        self._last_read_at = self.since

    def replace(self, relay: Relay, exchange: Exchange) -> None:
        """The general path goes on with what was relayed."""
        assert self.current is relay
        self.current = exchange

    # What an exchange calls.

    def may_keep(self, request: Request, body_ended: bool) -> bool:
        """Whether the connection stays open after the answer to `request`; the answer must say what this says."""
        limit = self._clients.limits.requests_per_connection
        return (
            request.keep_alive
            and body_ended
            and not self._clients.is_stopping
            and (limit is None or self.exchanges - len(self._waiting) < limit)
        )

    def finished(self, exchange: Exchange | Relay, keep: bool) -> None:
        """The exchange has written its whole answer."""
        assert exchange is self.current
        if self._corked:
            self.uncork()
        self.current = None
        if self.phase is Phase.CLOSED:
            return
        if not keep:
            self._close_politely()
        elif not self._is_starting:
            self._go_on()

    def cut(self, exchange: Exchange) -> None:
        """End without completing the answer, so that the client cannot take it for a whole one."""
        self.current = None
        if self.phase is not Phase.CLOSED:
            self.reset()

    def become_tunnel(self) -> tuple[asyncio.Transport, bytes]:
        """Hand the transport to a tunnel, with what the client already sent beyond its request."""
        self.uncork()
        self._enter(Phase.TUNNEL)
        self.transport.pause_reading()
        assert self._parser is not None
        return self.transport, self._parser.after_upgrade or b""

    # What the worker calls.

    @property
    def is_idle(self) -> bool:
        """Whether no exchange has begun since the last one ended, and its answer has been read."""
        return self.phase is Phase.IDLE and not self.transport.get_write_buffer_size()

    def check(self, now: float) -> None:
        """Hold the client to its time limits; `now` is monotonic, s."""
        timeouts = self._clients.timeouts
        waited = now - self.since
        match self.phase:
            case Phase.IDLE:
                if self.transport.get_write_buffer_size():
                    self._enter(Phase.IDLE)  # it is still reading the last answer
                elif waited > self._clients.idle_s():
                    self._clients.counters[_IDLE_TIMEOUTS] += 1
                    self.transport.abort()
            case Phase.HEAD:
                if waited > timeouts.head_s:
                    self._clients.counters[_HEAD_TIMEOUTS] += 1
                    self._refuse(RequestError(408, "head not complete in time"))
            case Phase.LINGER:
                if waited > _LINGER_S and not self.transport.get_write_buffer_size():
                    self.transport.abort()
            case Phase.BUSY:
                self._check_body(now)
            case _:
                return
        if self.is_too_slow(now, timeouts):
            self._clients.counters[_WRITE_TIMEOUTS] += 1
            self.reset()

    def refuse(self, status: int) -> None:
        """Answer `status` before any request, and close: the worker holds all it may."""
        self._refuse(RequestError(status, "too many connections"))

    def retire(self) -> None:
        """Close at once: the worker is stopping, or needs the room."""
        if self.is_idle:
            self.transport.abort()
        elif self.phase is not Phase.CLOSED:
            self.reset()

    # Steps.

    def _start(self, exchange: Exchange) -> None:
        self.current = exchange
        self._enter(Phase.BUSY)
        exchange.start()

    def _wait(self, exchange: Exchange) -> None:
        """Have an exchange wait for those before it, and read nothing behind it."""
        self._waiting = self._waiting or deque()
        self._waiting.append(exchange)
        self._pause_reading()

    def _go_on(self) -> None:
        """Begin what waits behind the exchange that ended, or wait for the next one.

        While the client leaves too much unread, they wait and nothing is read: `resume_writing` goes on.
        """
        if self._waiting:
            self._start_waiting()
        if self.phase is not Phase.BUSY:
            return
        if self.current is not None:
            self._read_on(self.current)
        elif not self.is_held:
            self._await_request()
        else:
            self._pause_reading()

    def _start_waiting(self) -> None:
        """Begin one after the other, in a loop: hits end within `_start`."""
        self._is_starting = True
        try:
            while isinstance(waiting := self._waiting, deque) and waiting and self.current is None and not self.is_held:
                self._start(waiting.popleft())
        except Exception:
            self.reset()  # a defect of ours, as in `receive`
            raise
        self._is_starting = False

    def _read_on(self, exchange: Exchange | Relay) -> None:
        """Read on behind the last exchange: its body may be still to come, and the client may leave."""
        if not self._waiting and not (exchange.body is not None and exchange.body.is_full):
            self._resume_reading()

    def _await_request(self) -> None:
        is_in_head = self._parser is not None and self._parser.in_head
        self._enter(Phase.HEAD if is_in_head else Phase.IDLE)
        if self._paused_reading:
            self._resume_reading()

    def _enter(self, phase: Phase) -> None:
        self._clients.idle.pop(self, None)
        self.phase = phase
        self.since = self._clients.now_mono()
        if phase is Phase.IDLE:
            self._clients.idle[self] = self.since

    def _refuse(self, error: RequestError) -> None:
        """Answer a message that may not be acted on, once the exchanges before it have been answered."""
        if self.phase is Phase.LINGER:
            return
        self._has_failed = True
        self._clients.note_refusal(error)
        if self._receiving is not None:
            # Its exchange answers, if it has not yet; whoever reads the body gets the error.
            self._receiving.body_failed(error)
            self._receiving = None
            self._pause_reading()
            return
        refused = Exchange.refused(self, self._clients.service, error)
        if self.phase is Phase.BUSY:  # perhaps without an exchange: until the client has read what it was sent
            self._wait(refused)
        else:
            self._start(refused)

    def _close_politely(self) -> None:
        """Close so that the last answer arrives whatever the client is sending or about to send (RFC 9112 §9.6)."""
        self._waiting = ()
        self._enter(Phase.LINGER)
        self._resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _check_body(self, now: float) -> None:
        """A body that stalls, or comes below the least rate, is a 408."""
        if self._receiving is None or self._paused_reading:
            return
        timeouts = self._clients.timeouts
        elapsed = now - self._body_began_at
        stalled = now - self._last_read_at > timeouts.body_s
        slow = elapsed > timeouts.least_rate_after_s and self._body_bytes_then < timeouts.least_rate * elapsed
        if stalled or slow:
            self._clients.counters[_BODY_TIMEOUTS] += 1
            self._refuse(RequestError(408, "body too slow"))

    def _flow(self, may_read: bool) -> None:
        if not may_read:
            self._pause_reading()
        elif not self._waiting:
            self._resume_reading()

    def _pause_reading(self) -> None:
        if not self._paused_reading and self.phase is not Phase.CLOSED:
            self._paused_reading = True
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._paused_reading and self.phase is not Phase.CLOSED:
            self._paused_reading = False
            # The clock of a body starts anew: while we did not read, the client could not send.
            self._last_read_at = self._body_began_at = self._clients.now_mono()
            self._body_bytes_then = 0
            self.transport.resume_reading()
