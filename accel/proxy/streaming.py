"""Bodies under way: a client's going up, and an origin's coming down to several readers at once.

Owns the bytes between two sockets and who waits for whom; knows no HTTP framing. Invariant: what one slow side has
not taken is at most a window of bytes, unless the body is being stored: then the store's writer bounds it, and
readers only look at bytes that are held anyway.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import Callable

from accel.store.store import Buffer, Record


class RequestBody:
    """A client's body: the connection feeds it, the origin's connection reads it. Serves `origin.fetch.BodySource`."""

    __slots__ = (
        "_chunks",
        "_error",
        "_flow",
        "_held_bytes",
        "_waiter",
        "ended",
        "has_begun",
        "length",
        "on_first_read",
        "was_read",
        "window_bytes",
    )

    def __init__(self, length: int, window_bytes: int, flow: Callable[[bool], None]) -> None:
        """`flow(False)` asks the connection to stop reading, `flow(True)` to go on."""
        self.length = length
        self.window_bytes = window_bytes
        self.has_begun = self.ended = self.was_read = False
        self.on_first_read: Callable[[], None] | None = None
        self._flow = flow
        self._chunks: deque[bytes] = deque()
        self._held_bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        self._error: Exception | None = None

    @property
    def is_full(self) -> bool:
        """Whether more than a window is held."""
        return self._held_bytes > self.window_bytes

    async def read(self) -> bytes:
        """Return the next piece, empty at the end; raises what `fail` was given."""
        self.was_read = True
        if self.on_first_read is not None:
            first, self.on_first_read = self.on_first_read, None
            first()
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self.ended:
                return b""
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        data = self._chunks.popleft()
        self._held_bytes -= len(data)
        if self._held_bytes <= self.window_bytes // 2:
            self._flow(True)
        return data

    def feed(self, data: bytes) -> None:
        """Add what the client sent."""
        self.has_begun = True
        self._chunks.append(data)
        self._held_bytes += len(data)
        if self.is_full:
            self._flow(False)
        self._wake()

    def end(self) -> None:
        """The client's body is complete."""
        self.ended = True
        self._wake()

    def fail(self, error: Exception) -> None:
        """The client's body will not be completed."""
        self._error = error
        self._wake()

    def discard(self) -> None:
        """Nobody will read the rest."""
        self._chunks.clear()
        self._held_bytes = 0

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class SharedBody:
    """A body as it arrives, for any number of readers, from its beginning while that is kept.

    What the store has already taken is read from there, so that a body of any length takes a worker no memory of its
    own; behind that come the pieces that are not there yet.
    """

    __slots__ = (
        "_chunks",
        "_ended",
        "_error",
        "_readers",
        "_record",
        "_retain",
        "_room",
        "_starts",
        "_window_bytes",
        "length",
    )

    def __init__(self, window_bytes: int) -> None:
        self._window_bytes = window_bytes
        self._retain = True
        self._record: Record | None = None
        self._chunks: list[Buffer] = []
        self._starts: list[int] = []
        """Where in the body each chunk begins."""
        self.length = 0
        """Bytes that have arrived."""
        self._readers: set[BodyReader] = set()
        self._ended = False
        self._error: Exception | None = None
        self._room: asyncio.Future[None] | None = None

    @property
    def reader_count(self) -> int:
        """How many still read."""
        return len(self._readers)

    @property
    def is_whole_so_far(self) -> bool:
        """Whether a reader can still begin at the first byte."""
        return self._record is not None or self._tail_start() == 0

    def reader(self) -> BodyReader:
        """Return a reader from the first byte, which must not be gone."""
        assert self.is_whole_so_far
        reader = BodyReader(self)
        self._readers.add(reader)
        return reader

    def append(self, data: bytes) -> None:
        """Add a piece that arrived."""
        self._chunks.append(data)
        self._starts.append(self.length)
        self.length += len(data)
        self._wake_readers()

    def keep(self, record: Record) -> None:
        """The body up to the record's length lies in the store, so what we hold of that can go."""
        self._record = record
        self._drop(record.length)
        if record.length > self.length:
            self.length = record.length
            self._wake_readers()

    def end(self) -> None:
        """The body is complete."""
        self._ended = True
        self._wake_readers()

    def fail(self, error: Exception) -> None:
        """The body will never be complete; readers get `error` after what did arrive. The first ending counts."""
        if self._ended or self._error is not None:
            return
        self._error = error
        self._wake_readers()

    def stop_retaining(self) -> None:
        """The body will not be stored: from now on keep only what some reader has not read."""
        self._retain = False
        self._drop_read()

    def hand_over(self, body: SharedBody) -> None:
        """Let the readers go on in another body of the same bytes, each where it is; nobody begins here any more."""
        readers, self._readers = self._readers, set()
        self._record = None
        body.take_over(readers)

    def take_over(self, readers: set[BodyReader]) -> None:
        """Serve readers of another body; they may be ahead of what has arrived here."""
        self._readers |= readers
        for reader in readers:
            reader.move(self)

    async def room(self) -> None:
        """Wait until no more than a window is held for the slowest reader, unless everything is kept anyway."""
        self._drop_read()  # who was handed over may be ahead of all that is held, and so read nothing that drops it
        while not self._retain and self._readers and self.length - self._tail_start() > self._window_bytes:
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    def _wake_readers(self) -> None:
        for reader in self._readers:
            reader.wake()

    def _tail_start(self) -> int:
        return self._starts[0] if self._starts else self.length

    def _least(self) -> int:
        """Return how far the slowest reader is."""
        return min((reader.offset for reader in self._readers), default=self.length)

    def _drop_read(self) -> None:
        """Forget what every reader has read."""
        if self._retain:
            return
        least = self._least()
        if self._record is not None and self._record.length <= least:
            self._record = None
        self._drop(least)
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def _drop(self, offset: int) -> None:
        """Forget the chunks that end before `offset`."""
        count = len(self._chunks) if offset >= self.length else bisect_right(self._starts, offset) - 1
        if count > 0:
            del self._chunks[:count], self._starts[:count]

    # What a reader asks.

    def take(self, offset: int) -> Buffer | None:
        """Return what comes at `offset`, empty at the end of a complete body, None when it is not there yet."""
        if self._record is not None and offset < self._record.length:
            return self._record.slice(offset, min(offset + self._window_bytes, self._record.length))[0]
        if offset < self.length:
            at = bisect_right(self._starts, offset) - 1
            skipped = offset - self._starts[at]
            return memoryview(self._chunks[at])[skipped:] if skipped else self._chunks[at]
        if self._error is not None:
            raise self._error
        return b"" if self._ended else None

    def moved(self) -> None:
        """A reader read on."""
        self._drop_read()

    def left(self, reader: BodyReader) -> None:
        """A reader will read no more."""
        self._readers.discard(reader)
        self._drop_read()


class BodyReader:
    """One reader's place in a shared body."""

    __slots__ = ("_body", "_waiter", "offset")

    def __init__(self, body: SharedBody) -> None:
        self._body = body
        self._waiter: asyncio.Future[None] | None = None
        self.offset = 0
        """Bytes read."""

    async def read(self) -> Buffer:
        """Return the next piece, empty at the clean end; raises what the fetch failed with."""
        while (data := self._body.take(self.offset)) is None:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if data:
            self.offset += len(data)
            self._body.moved()
        return data

    def move(self, body: SharedBody) -> None:
        """Go on in another body of the same bytes."""
        self._body = body
        self.wake()

    def wake(self) -> None:
        """Something changed in the body."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        """Read no more; idempotent."""
        self._body.left(self)
