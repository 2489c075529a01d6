"""The admin server: what accelctl and health checks ask, answered by the arbiter on its own loop over HTTP.

Knows no route's meaning (`admin_routes`). A connection has one exchange and ends; that of a status page is a stream
(`watchers`). Whoever may open the unix socket (mode 0600) may do everything. TCP has no password, so it defends itself
against what a browser could be tricked into (`browsers`). Invariant: nothing here waits for whoever asked.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from accel.config import Address
from accel.errors import RequestError
from accel.http.message import Line, Request
from accel.http.request_parser import RequestParser
from accel.http.writer import response_head
from accel.server import browsers, listeners, sockets, status_page
from accel.server.admin_answers import Document, Own, Refused
from accel.server.admin_reading import LIMITS
from accel.server.admin_routes import BY_PATH, EXCHANGE_S, Control, Route
from accel.server.handover import Handed
from accel.server.listeners import Bound
from accel.server.snapshot import snapshot
from accel.server.watchers import Watchers

_NOWHERE = "/dev/null"


class Desk:
    """What all connections of one admin share."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self.token = secrets.token_urlsafe(24)
        """Stands in the status page and comes back with what its buttons ask for."""
        self.watchers = Watchers(partial(snapshot, control))
        self.connections: set[AdminConnection] = set()


class AdminServer:
    """The admin sockets of one program, which answers there while it is in charge (`server.upgrade`)."""

    def __init__(self, control: Control, bound: list[Bound]) -> None:
        self._desk = Desk(control)
        self._bound = bound
        self._servers: list[asyncio.Server] = []
        self._answering: list[socket.socket] = []
        """Copies that asyncio listens on, and closes: the sockets themselves stay open for a successor."""
        self.addresses = tuple(listeners.address_of(one.sock) for one in bound)

    async def open(self) -> None:
        """Begin to answer."""
        loop = asyncio.get_running_loop()
        self._answering = []
        for one in self._bound:
            copy = one.sock.dup()
            self._answering.append(copy)
            factory = _factory(self._desk, _own_hosts(one))
            self._servers.append(await loop.create_server(factory, sock=copy))

    def pause(self) -> None:
        """Leave new connections to another program that has the sockets; exchanges under way end by themselves.

        Streams end now: their readers are to see what that program does.

        What asyncio has accepted becomes a connection in the loop's next turn, if its server is not closed by then:
        it would drop it without a word. So a server stops accepting now, and closes after that turn.
        """
        for server in self._servers:
            loop = server.get_loop()
            for sock in server.sockets:
                loop.remove_reader(sock.fileno())
            loop.call_soon(server.close)
        self._servers = []
        self._desk.watchers.close()

    def handed(self) -> Iterator[Handed]:
        """Yield what a successor may take."""
        for one in self._bound:
            assert one.asked is not None  # no admin socket comes from systemd
            yield Handed(one.sock.fileno(), (one.asked.host, one.asked.port, one.asked.path))

    def close(self) -> None:
        """Stop answering. Unix sockets leave the disk, unless another program answers there."""
        for server in self._servers:
            server.close()
        self._desk.watchers.close()
        listeners.close(one.sock for one in self._bound)

    def forget(self) -> None:
        """Let go of the sockets in a forked child: its parent's loop and paths are left as they are."""
        for sock in (*self._answering, *(one.sock for one in self._bound)):
            sock.close()
        for connection in self._desk.connections:
            connection.forget()


def bind(control: Control, addresses: Sequence[Address], inherited: Iterable[Handed] = ()) -> AdminServer:
    """Return the admin on every address, not answering yet; raises StartError, then none stays open."""
    spare = [sockets.adopted(handed) for handed in inherited]
    bound = listeners.take_or_bind(addresses, spare, listeners.bind_admin)
    for one in spare:
        one.sock.close()
    return AdminServer(control, bound)


def _factory(desk: Desk, hosts: frozenset[bytes] | None) -> Callable[[], AdminConnection]:
    return lambda: AdminConnection(desk, hosts)


def _own_hosts(bound: Bound) -> frozenset[bytes] | None:
    """Return the Host names that may be used on TCP; None on a unix socket."""
    if bound.asked is None or bound.asked.path:
        return None
    return browsers.ALWAYS_OURS | {_bracketed(bound.asked.host), _bracketed(bound.sock.getsockname()[0])}


def _bracketed(host: str) -> bytes:
    return (f"[{host}]" if ":" in host else host).lower().encode()


class AdminConnection(asyncio.Protocol):
    """One exchange with an operator's tool or browser."""

    def __init__(self, desk: Desk, hosts: frozenset[bytes] | None) -> None:
        self._desk = desk
        self._hosts = hosts
        self._parser = RequestParser(self, LIMITS)
        self._request: Request | None = None
        self._body = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the exchange's time."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._desk.connections.add(self)
        self._give(EXCHANGE_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go; what was asked for is done all the same."""
        if self._transport is not None:
            self._desk.watchers.leave(self._transport)
        self._desk.connections.discard(self)
        self._transport = None
        self._parser.close()
        self._give(None)

    def forget(self) -> None:
        """In a forked child: have no part of this connection, so that its end is the parent's to say.

        The transport is its parent's; its number leads nowhere from now on, so that whatever closes it does no harm.
        """
        if self._transport is not None:
            nowhere = os.open(_NOWHERE, os.O_RDWR | os.O_CLOEXEC)
            os.dup2(nowhere, self._transport.get_extra_info("socket").fileno(), inheritable=False)
            os.close(nowhere)

    def _give(self, seconds: float | None) -> None:
        """Drop the connection after so long; None: never."""
        if self._deadline is not None:
            self._deadline.cancel()
        if self._transport is not None and seconds is not None:
            self._deadline = asyncio.get_running_loop().call_later(seconds, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        """Parse until one request is whole; the rest is not read."""
        if self._task is not None or self._transport is None or self._transport.is_closing():
            return
        try:
            self._parser.feed(data)
        except RequestError as error:
            if self._task is None:
                self._answer(error.status, {"error": error.why})

    def request_begun(self, request: Request) -> None:
        """Keep the head (`RequestSink`)."""
        if self._request is None:
            self._request = request

    def body_received(self, data: bytes) -> None:
        """Keep the body, which the parser bounds (`RequestSink`)."""
        if self._task is None:
            self._body += data

    def request_ended(self) -> None:
        """Begin to answer; a pipelined second request is ignored (`RequestSink`)."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._respond())

    async def _respond(self) -> None:
        assert self._request is not None
        lines: Iterable[Line] = ()
        try:
            route = self._checked(self._request)
            status, payload = await self._handled(route)
        except Refused as refused:
            status, payload, lines = refused.status, {"error": str(refused)}, refused.lines
        except Exception as error:
            context = {"message": "an admin request failed", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)
            status, payload = 500, {"error": "this failed inside accel; its log says more"}
        if payload is not Own.EVENTS:
            self._answer(status, payload, lines)

    async def _handled(self, route: Route) -> tuple[int, object]:
        """Return the answer; a stream has begun."""
        body = self._json()
        self._give(route.most_s(body))
        status, payload = await route.handler(self._desk.control, body)
        if payload is Own.PAGE:
            return status, Document("text/html; charset=utf-8", *status_page.document(self._desk.token))
        if payload is Own.EVENTS:
            self._desk.watchers.check_room()
            if self._transport is not None:
                self._give(None)
                self._desk.watchers.join(self._transport)
        return status, payload

    def _checked(self, request: Request) -> Route:
        """Return the route, if this request may have it."""
        path = request.target.partition(b"?")[0]
        browsers.check(request, path, self._hosts, self._desk.token)
        if path == b"/" and browsers.wants_page(request):
            path = b"/status"
        method = b"GET" if request.method == b"HEAD" else request.method
        methods = BY_PATH.get(path)
        if methods is None:
            raise Refused(404, "there is nothing here; GET / lists what there is")
        if method not in methods:
            allowed = b", ".join(methods)
            raise Refused(405, f"this takes {allowed.decode()}", ((b"allow", allowed),))
        return methods[method]

    def _json(self) -> dict[str, Any]:
        try:
            value = json.loads(self._body) if self._body else {}
        except ValueError:
            raise Refused(400, "the body is not JSON") from None
        if not isinstance(value, dict):
            raise Refused(400, "the body is not a JSON object")
        return value

    def _answer(self, status: int, payload: object, lines: Iterable[Line] = ()) -> None:
        """Write the answer and close; nobody may be there any more."""
        if self._transport is None:
            return
        document = payload if isinstance(payload, Document) else _json_document(payload)
        own_lines = (
            (b"content-type", document.content_type.encode()),
            (b"content-length", b"%d" % len(document.body)),
            (b"cache-control", b"no-store"),
            (b"connection", b"close"),
        )
        is_head = self._request is not None and self._request.method == b"HEAD"
        head = response_head(status, b"", (*own_lines, *document.lines, *lines))
        # A worker forked during this exchange may still have a copy of the socket: closing ours would not end it.
        self._transport.write(head + (b"" if is_head else document.body))
        self._transport.write_eof()
        self._transport.close()


def _json_document(payload: object) -> Document:
    return Document("application/json", json.dumps(payload, indent=1, default=str).encode() + b"\n")
