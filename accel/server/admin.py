"""The admin server: what accelctl and health checks ask, answered by the arbiter on its own loop over HTTP.

Knows no route's meaning (`admin_routes`). A connection has one exchange and ends. Whoever may open the unix
socket (mode 0600) may do everything. TCP has no password, so it defends itself against what a browser could
be tricked into: Host must be an address of ours (DNS rebinding), and a POST must be application/json, which
no other site's page may send without asking us first (Fetch, CORS-preflight).
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from accel.config import Address
from accel.errors import RequestError
from accel.http.message import Line, Request
from accel.http.request_parser import RequestParser
from accel.http.writer import response_head
from accel.server import listeners, sockets
from accel.server.admin_routes import BY_PATH, LIMITS, Control, Document, Refused, Route
from accel.server.handover import Handed
from accel.server.listeners import Bound

EXCHANGE_S = 30.0
"""A connection that has not finished by then is dropped; a purge waits for workers far shorter than that."""
ALWAYS_OURS = frozenset({b"localhost", b"127.0.0.1", b"[::1]"})


class AdminServer:
    """The admin sockets of one program, which answers there while it is in charge (`server.upgrade`)."""

    def __init__(self, control: Control, bound: list[Bound]) -> None:
        self._control = control
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
            factory = _factory(self._control, _own_hosts(one))
            self._servers.append(await loop.create_server(factory, sock=copy))

    def pause(self) -> None:
        """Leave new connections to another program that has the sockets; exchanges under way end by themselves.

        What asyncio has accepted becomes a connection in the loop's next turn, if its server is not closed by then:
        it would drop it without a word. So a server stops accepting now, and closes after that turn.
        """
        for server in self._servers:
            loop = server.get_loop()
            for sock in server.sockets:
                loop.remove_reader(sock.fileno())
            loop.call_soon(server.close)
        self._servers = []

    def handed(self) -> Iterator[Handed]:
        """Yield what a successor may take."""
        for one in self._bound:
            assert one.asked is not None  # no admin socket comes from systemd
            yield Handed(one.sock.fileno(), (one.asked.host, one.asked.port, one.asked.path))

    def close(self) -> None:
        """Stop answering. Unix sockets leave the disk, unless another program answers there."""
        for server in self._servers:
            server.close()
        listeners.close(one.sock for one in self._bound)

    def forget(self) -> None:
        """Let go of the sockets in a forked child: its parent's loop and paths are left as they are."""
        for sock in (*self._answering, *(one.sock for one in self._bound)):
            sock.close()


def bind(control: Control, addresses: Sequence[Address], inherited: Iterable[Handed] = ()) -> AdminServer:
    """Return the admin on every address, not answering yet; raises StartError, then none stays open."""
    spare = [sockets.adopted(handed) for handed in inherited]
    bound = listeners.take_or_bind(addresses, spare, listeners.bind_admin)
    for one in spare:
        one.sock.close()
    return AdminServer(control, bound)


def _factory(control: Control, hosts: frozenset[bytes] | None) -> Callable[[], AdminConnection]:
    return lambda: AdminConnection(control, hosts)


def _own_hosts(bound: Bound) -> frozenset[bytes] | None:
    """Return the Host names that may be used on TCP; None on a unix socket, which no browser reaches."""
    if bound.asked is None or bound.asked.path:
        return None
    return ALWAYS_OURS | {_bracketed(bound.asked.host), _bracketed(bound.sock.getsockname()[0])}


def _bracketed(host: str) -> bytes:
    return (f"[{host}]" if ":" in host else host).lower().encode()


class AdminConnection(asyncio.Protocol):
    """One exchange with an operator's tool."""

    def __init__(self, control: Control, hosts: frozenset[bytes] | None) -> None:
        self._control = control
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
        self._deadline = asyncio.get_running_loop().call_later(EXCHANGE_S, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go; what was asked for is done all the same."""
        self._transport = None
        self._parser.close()
        if self._deadline is not None:
            self._deadline.cancel()

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
            status, payload = await route.handler(self._control, self._json())
        except Refused as refused:
            status, payload, lines = refused.status, {"error": str(refused)}, refused.lines
        except Exception as error:
            context = {"message": "an admin request failed", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)
            status, payload = 500, {"error": "this failed inside accel; its log says more"}
        self._answer(status, payload, lines)

    def _checked(self, request: Request) -> Route:
        """Return the route, if this request may have it."""
        _check_host(request, self._hosts)
        path = request.target.partition(b"?")[0]
        method = b"GET" if request.method == b"HEAD" else request.method
        methods = BY_PATH.get(path)
        if methods is None:
            raise Refused(404, "there is nothing here; GET / lists what there is")
        if method not in methods:
            allowed = b", ".join(methods)
            raise Refused(405, f"this takes {allowed.decode()}", ((b"allow", allowed),))
        kind = (request.fields.get(b"content-type") or b"").partition(b";")[0].strip().lower()
        if method == b"POST" and kind != b"application/json":
            raise Refused(415, "send JSON, with Content-Type: application/json")
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
        body = document.body
        own_lines = (
            (b"content-type", document.content_type.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
            (b"connection", b"close"),
        )
        is_head = self._request is not None and self._request.method == b"HEAD"
        # A worker forked during this exchange has a copy of the socket: closing ours would not end the connection.
        self._transport.write(response_head(status, b"", (*own_lines, *lines)) + (b"" if is_head else body))
        self._transport.write_eof()
        self._transport.close()


def _json_document(payload: object) -> Document:
    return Document("application/json", json.dumps(payload, indent=1, default=str).encode() + b"\n")


def _check_host(request: Request, hosts: frozenset[bytes] | None) -> None:
    if hosts is None:
        return
    host, colon, port = request.host.rpartition(b":")
    name = host if colon and port.isdigit() else request.host
    if name not in hosts:
        raise Refused(421, "use this machine's address, or give --admin the name that you use")
