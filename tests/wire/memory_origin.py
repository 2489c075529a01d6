"""An origin in memory, with the interface of `accel.origin.fetch.Origin`: each fetch is a call that a test answers.

A call answers itself with what `script` holds for its target, or waits for the test to say what the origin does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from accel.errors import OriginError, ResponseTruncated
from accel.http.message import CHUNKED, Fields, Response
from accel.origin.attempt import OriginRequest

_BODILESS = frozenset({204, 304})


class OriginReply:
    """Serves as an `OriginResponse`: the body is what the test sends, piece by piece."""

    def __init__(self, head: Response) -> None:
        self.head = head
        self.backend = "origin:1"
        self.early = False
        self.retries = 0
        self.is_closed = False
        self.taken_bytes = 0
        self._pieces: list[bytes] = []
        self._end: bytes | OriginError | None = None
        self._changed = asyncio.Event()
        self.tunnel: tuple[asyncio.Transport, bytes] | None = None

    def send(self, *pieces: bytes) -> OriginReply:
        """The origin sends pieces of the body."""
        self._pieces += pieces
        self._changed.set()
        return self

    def end(self) -> OriginReply:
        """The origin ends the body cleanly."""
        self._end = b""
        self._changed.set()
        return self

    def cut(self) -> OriginReply:
        """The origin closes in the middle of the body."""
        self._end = ResponseTruncated("cut by the test")
        self._changed.set()
        return self

    @property
    def unread_bytes(self) -> int:
        """What was sent and nobody has read."""
        return sum(map(len, self._pieces))

    async def read(self) -> bytes:
        """As `OriginResponse.read`."""
        assert not self.is_closed, "a read after close"
        while not self._pieces:
            if isinstance(self._end, OriginError):
                raise self._end
            if self._end is not None:
                return self._end
            self._changed.clear()
            await self._changed.wait()
        piece = self._pieces.pop(0)
        self.taken_bytes += len(piece)
        return piece

    def close(self) -> None:
        """As `OriginResponse.close`."""
        self.is_closed = True

    def detach(self) -> tuple[asyncio.Transport, bytes]:
        """As `OriginResponse.detach`."""
        assert self.tunnel is not None
        return self.tunnel


@dataclass(frozen=True)
class Page:
    """What the origin has to say under a target, at once."""

    body: bytes = b"hello"
    status: int = 200
    fields: tuple[tuple[str, str], ...] = (("cache-control", "max-age=60"),)


class Call:
    """One fetch, as the origin sees it."""

    def __init__(self, request: OriginRequest, is_reading: bool) -> None:
        self.request = request
        self._is_reading = is_reading
        self.body = b""
        """What was read of the request's body."""
        self.has_whole_body = False
        self.was_cancelled = False
        self.reply: OriginReply | None = None
        self.page: Page | None = None
        """What is answered as soon as the request is here whole."""
        self._answer: asyncio.Future[OriginReply] = asyncio.get_running_loop().create_future()

    @property
    def fields(self) -> Fields:
        """The request's fields."""
        return self.request.fields

    @property
    def is_over(self) -> bool:
        """Whether nobody waits for an answer."""
        return self.was_cancelled or self._answer.done()

    def begin(self, status: int = 200, length: int | None = None, **fields: str) -> OriginReply:
        """Answer with a head; `length` None means chunked, and names have `_` for `-`."""
        lines = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in fields.items()]
        body_length = CHUNKED if length is None and status not in _BODILESS else length or 0
        if length is not None:
            lines.append((b"content-length", b"%d" % length))
        self.reply = OriginReply(Response(status, b"", Fields(lines), body_length=body_length))
        self._answer.set_result(self.reply)
        return self.reply

    def answer(self, body: bytes = b"", status: int = 200, **fields: str) -> OriginReply:
        """Answer with a whole response."""
        reply = self.begin(status, None if status in _BODILESS else len(body), **fields)
        if body and self.request.method != b"HEAD":
            reply.send(body)
        return reply.end()

    def fail(self, error: Exception) -> None:
        """Fail."""
        self._answer.set_exception(error)

    async def run(self) -> OriginReply:
        """Carry the call: the request's body is read while the answer is awaited, as over a real connection."""
        upload = asyncio.create_task(self._upload() if self._is_reading else asyncio.Event().wait())
        try:
            await asyncio.wait((upload, self._answer), return_when=asyncio.FIRST_COMPLETED)
            if not self._answer.done():
                upload.result()
            reply = await self._answer
        except asyncio.CancelledError:
            self.was_cancelled = True
            if self.reply is not None:
                self.reply.close()
            raise
        finally:
            upload.cancel()
        reply.early = not self.has_whole_body
        return reply

    async def _upload(self) -> None:
        body = self.request.body
        if body is not None and body.length:
            while piece := await body.read():
                self.body += piece
        self.has_whole_body = True
        if self.page is not None and not self.is_over:
            named = {name.replace("-", "_"): value for name, value in self.page.fields}
            self.answer(self.page.body, self.page.status, **named)


class MemoryOrigin:
    """All backends of a scene. Serves as an `Origin`."""

    host = b""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.script: dict[bytes, Page | Exception | Callable[[Call], None]] = {}
        self.places: int | None = None
        """How many may still reserve one; None: any number."""
        self.is_reading_bodies = True
        """False: later calls take nothing of their request's body, as over a full connection."""

    def page(self, target: str, body: bytes = b"hello", status: int = 200, **fields: str) -> None:
        """Answer `target` at once from now on; without fields it is fresh for a minute."""
        lines = tuple((name.replace("_", "-"), value) for name, value in fields.items())
        self.script[target.encode()] = Page(body, status, lines or Page.fields)

    async def fetch(self, request: OriginRequest) -> OriginReply:
        """As `Origin.fetch`."""
        call = Call(request, self.is_reading_bodies)
        self.calls.append(call)
        scripted = self.script.get(request.target)
        if isinstance(scripted, Page):
            call.page = scripted
        elif isinstance(scripted, Exception):
            call.fail(scripted)
        elif scripted is not None:
            scripted(call)
        return await call.run()

    def reserve(self) -> bool:
        """As `Origin.reserve`."""
        if self.places is None:
            return True
        self.places -= 1
        return self.places >= 0

    @property
    def seen(self) -> list[tuple[bytes, bytes]]:
        """Method and target of each fetch."""
        return [(call.request.method, call.request.target) for call in self.calls]

    @property
    def unclosed(self) -> list[Call]:
        """Calls whose response was never closed."""
        return [call for call in self.calls if call.reply is not None and not call.reply.is_closed]
