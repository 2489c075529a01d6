"""Who watches the status page: one snapshot a second, made once, sent to all of them as server-sent events.

Runs on the arbiter's loop. Owns the open streams; knows nothing of what a snapshot says. Invariant: the arbiter never
waits for a reader and holds no more for it than `UNREAD_BYTES`: who does not read so much is dropped, and comes back by
itself if it is a browser. Nothing is made while nobody watches.

Sources: HTML §9.2, server-sent events.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

from accel.http.writer import response_head
from accel.server.admin_answers import Refused

MOST = 16
"""Streams at once; a snapshot takes the arbiter about a millisecond, each stream a write."""
EVERY_S = 1.0
UNREAD_BYTES = 256 * 1024
_HEAD = response_head(
    200,
    b"",
    (
        (b"content-type", b"text/event-stream"),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        (b"connection", b"close"),
    ),
)


class Watchers:
    """The open streams."""

    def __init__(self, snapshot: Callable[[], object]) -> None:
        """`snapshot` returns what is sent, for JSON."""
        self._snapshot = snapshot
        self._streams: set[asyncio.Transport] = set()
        self._next: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._streams)

    def check_room(self) -> None:
        """Raise Refused if there are as many as there may be."""
        if len(self._streams) >= MOST:
            raise Refused(503, f"{MOST} status pages are open; close one", ((b"retry-after", b"5"),))

    def join(self, stream: asyncio.Transport) -> None:
        """Begin to send on a connection that has asked for it."""
        self._streams.add(stream)
        stream.write(_HEAD + b"retry: 2000\n\n" + self._event())
        if self._next is None:
            self._next = asyncio.get_running_loop().call_later(EVERY_S, self._send)

    def leave(self, stream: asyncio.Transport) -> None:
        """A connection is closed; it need not have been a stream."""
        self._streams.discard(stream)
        if not self._streams:
            self._rest()

    def close(self) -> None:
        """End every stream: the browsers connect again, to whoever answers here then."""
        for stream in self._streams:
            stream.write_eof()
            stream.close()
        self._streams.clear()
        self._rest()

    def _send(self) -> None:
        self._next = asyncio.get_running_loop().call_later(EVERY_S, self._send)
        event = self._event()
        for stream in list(self._streams):
            if stream.get_write_buffer_size() > UNREAD_BYTES:
                stream.abort()
            else:
                stream.write(event)

    def _event(self) -> bytes:
        return b"data: " + json.dumps(self._snapshot(), separators=(",", ":"), default=str).encode() + b"\n\n"

    def _rest(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None
