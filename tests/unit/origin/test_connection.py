"""One connection over several exchanges: framing on the wire, reuse, cuts, back-pressure, deadlines."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest
from harness import Pieces, Worker, read_all, until
from scripted_origin import Conversation, ScriptedOrigin, answering, response

from accel.config import OriginTimeouts
from accel.errors import BadResponse, ClosedUnanswered, OriginTimeout, ResponseTruncated
from accel.http.message import UNTIL_CLOSE
from accel.http.writer import LAST_CHUNK, chunk
from accel.origin.connection import OriginConnection
from accel.origin.fetch import OriginResponse

MakeWorker = Callable[..., Worker]

CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
SIZED = response(b"hello")
CHUNKS = CHUNKED_HEAD + chunk(b"hel") + chunk(b"lo") + LAST_CHUNK
UNSIZED = b"HTTP/1.1 200 OK\r\n\r\nhello"


def transport_of(got: OriginResponse) -> asyncio.Transport:
    """Return the transport below an unfinished response."""
    return got._conn._transport


class TestFraming:
    """RFC 9112 §6.3 over a socket."""

    @pytest.mark.parametrize("message", [SIZED, CHUNKS], ids=["sized", "chunked"])
    async def test_a_response_in_single_bytes_is_whole_and_the_connection_reused(
        self, origin: ScriptedOrigin, make_worker: MakeWorker, message: bytes
    ) -> None:
        async def script(talk: Conversation) -> None:
            while await talk.receive_head():
                for byte in message:
                    await talk.send(bytes([byte]))
                    await asyncio.sleep(0)

        origin.script = script
        worker = make_worker(origin)

        assert [await worker.get() for _ in range(3)] == [b"hello"] * 3
        assert origin.connections == 1
        assert worker.count("origin_bytes_in") == 3 * len(message)
        assert worker.count("origin_bytes_out") == sum(map(len, origin.heads))

    async def test_a_body_that_ends_with_the_connection_is_whole(
        self, origin: ScriptedOrigin, make_worker: MakeWorker
    ) -> None:
        async def script(talk: Conversation) -> None:
            await talk.receive_head()
            await talk.send(UNSIZED)

        origin.script = script
        worker = make_worker(origin)
        got = await worker.fetch()

        assert got.head.body_length == UNTIL_CLOSE
        assert await read_all(got) == b"hello"
        assert await worker.get() == b"hello"
        assert origin.connections == 2

    @pytest.mark.parametrize(
        ("head", "connections"),
        [
            (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", 2),
            (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n", 1),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n", 2),
        ],
    )
    async def test_the_origin_decides_whether_the_connection_is_kept(
        self, origin: ScriptedOrigin, make_worker: MakeWorker, head: bytes, connections: int
    ) -> None:
        """RFC 9112 §9.3; the script leaves it open in any case."""
        origin.script = answering(head + b"hello")
        worker = make_worker(origin)

        assert [await worker.get(), await worker.get()] == [b"hello", b"hello"]
        assert origin.connections == connections

    @pytest.mark.parametrize(
        ("method", "message"),
        [
            (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"),
            (b"HEAD", CHUNKED_HEAD),
            (b"HEAD", b"HTTP/1.1 200 OK\r\n\r\n"),
            (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5000\r\n\r\n"),
            (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ],
    )
    async def test_a_response_without_body_frees_the_connection_at_once(
        self, origin: ScriptedOrigin, make_worker: MakeWorker, method: bytes, message: bytes
    ) -> None:
        origin.script = answering(message)
        worker = make_worker(origin)

        assert [await worker.get(method), await worker.get(method)] == [b"", b""]
        assert origin.connections == 1

    async def test_interim_responses_are_not_seen(
        self, origin: ScriptedOrigin, make_worker: MakeWorker
    ) -> None:
        async def script(talk: Conversation) -> None:
            await talk.receive_head()
            await talk.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
            await talk.send(b"HTTP/1.1 100 Continue\r\n\r\n" + SIZED)

        origin.script = script
        got = await make_worker(origin).fetch()

        assert got.head.status == 200
        assert await read_all(got) == b"hello"


class TestReuse:
    """A connection is dropped rather than doubted."""

    @pytest.mark.parametrize("message", [SIZED, CHUNKS], ids=["sized", "chunked"])
    async def test_stray_bytes_with_the_response_cost_the_connection_not_the_response(
        self, origin: ScriptedOrigin, make_worker: MakeWorker, message: bytes
    ) -> None:
        origin.script = answering(message + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        worker = make_worker(origin)

        assert [await worker.get() for _ in range(3)] == [b"hello"] * 3
        assert origin.connections == 3

    async def test_stray_bytes_on_an_idle_connection_close_it(
        self, origin: ScriptedOrigin, make_worker: MakeWorker
    ) -> None:
        read_on, closed = asyncio.Event(), asyncio.Event()

        async def script(talk: Conversation) -> None:
            await talk.receive_head()
            await talk.send(SIZED)
            await read_on.wait()
            await talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
            await talk.closed()
            closed.set()

        origin.script = script
        worker = make_worker(origin)
        await worker.get()
        read_on.set()
        await asyncio.wait_for(closed.wait(), 10)

        assert await worker.get() == b"hello"
        assert origin.connections == 2

    async def test_a_body_is_readable_after_its_connection_carries_another_exchange(
        self, origin: ScriptedOrigin, make_worker: MakeWorker
    ) -> None:
        origin.script = answering(response(b"first"), response(b"second"))
        worker = make_worker(origin)
        first = await worker.fetch()
        second = await worker.fetch()
        second.close()

        assert origin.connections == 1
        assert await read_all(second) == b"second"
        assert await read_all(first) == b"first"
        first.close()

    async def test_the_connection_used_last_is_used_next(
        self, origin: ScriptedOrigin, make_worker: MakeWorker
    ) -> None:
        worker = make_worker(origin)
        await asyncio.gather(*[worker.get() for _ in range(5)])
        made = worker.count("fetch_connects")
        ports = {await self._port(worker) for _ in range(5)}

        assert made == 5
        assert len(ports) == 1

    async def test_no_more_idle_connections_are_kept_than_allowed(
        self, origin: ScriptedOrigin, make_worker: MakeWorker
    ) -> None:
        worker = make_worker(origin, keep_alive_connections=2)
        await asyncio.gather(*[worker.get() for _ in range(5)])
        await asyncio.gather(*[worker.get() for _ in range(5)])

        assert worker.count("fetch_reuses") == 2

    async def test_an_idle_connection_is_closed_after_its_time(
        self, origin: ScriptedOrigin, make_worker: MakeWorker
    ) -> None:
        closed = asyncio.Event()

        async def script(talk: Conversation) -> None:
            await talk.receive_head()
            await talk.send(SIZED)
            await talk.closed()
            closed.set()

        origin.script = script
        worker = make_worker(origin, keep_alive_s=0.05)
        await worker.get()
        await asyncio.wait_for(closed.wait(), 10)
        await worker.get()

        assert origin.connections == 2

    async def test_an_idle_connection_that_the_origin_closed_is_not_used(
        self, origin: ScriptedOrigin, make_worker: MakeWorker
    ) -> None:
        async def script(talk: Conversation) -> None:
            await talk.receive_head()
            await talk.send(SIZED)

        origin.script = script
        worker = make_worker(origin)
        pool = worker.origin._pools[0]
        await worker.get()
        await until(lambda: not pool.idle)

        assert await worker.get(b"POST") == b"hello"
        assert worker.count("fetch_retries") == 0

    async def test_closing_the_origin_closes_busy_connections_when_they_end(
        self, origin: ScriptedOrigin, make_worker: MakeWorker
    ) -> None:
        closed = asyncio.Event()
        go_on = asyncio.Event()

        async def script(talk: Conversation) -> None:
            await talk.receive_head()
            await talk.send(SIZED[:-1])
            await go_on.wait()
            await talk.send(SIZED[-1:])
            await talk.closed()
            closed.set()

        origin.script = script
        worker = make_worker(origin)
        got = await worker.fetch()
        worker.origin.close()
        go_on.set()

        assert await read_all(got) == b"hello"
        await asyncio.wait_for(closed.wait(), 10)

    async def test_small_writes_are_not_delayed(
        self, origin: ScriptedOrigin, make_worker: MakeWorker
    ) -> None:
        async def script(talk: Conversation) -> None:
            await talk.receive_head()
            await talk.send(SIZED[:-1])
            await talk.closed()

        origin.script = script
        got = await make_worker(origin).fetch()
        sock = transport_of(got).get_extra_info("socket")

        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        got.close()

    @staticmethod
    async def _port(worker: Worker) -> int:
        got = await worker.fetch()
        port: int = transport_of(got).get_extra_info("sockname")[1]
        got.close()
        return port


class TestCuts:
    """RFC 9112 §8: a message is complete only if it ended as announced."""

    @pytest.mark.parametrize(
        "part", [SIZED[:-1], CHUNKS[:-1], CHUNKS[: -len(LAST_CHUNK)]], ids=["sized", "last-chunk", "chunks"]
    )
    async def test_a_clean_close_within_the_body_truncates(
        self, origin: ScriptedOrigin, make_worker: MakeWorker, part: bytes
    ) -> None:
        go_on = asyncio.Event()

        async def script(talk: Conversation) -> None:
            await talk.receive_head()
            await talk.send(part)
            await go_on.wait()

        origin.script = script
        worker = make_worker(origin)
        got = await worker.fetch()
        assert (await got.read()).startswith(b"hel")
        go_on.set()
        with pytest.raises(ResponseTruncated):
            await read_all(got)
        with pytest.raises(ResponseTruncated):
            await got.read()

        assert worker.count("fetch_truncated") == 1
        assert worker.board.flights == [0]

    async def test_a_reset_is_no_end_even_of_a_body_that_ends_with_the_connection(
        self, origin: ScriptedOrigin, make_worker: MakeWorker
    ) -> None:
        go_on = asyncio.Event()

        async def script(talk: Conversation) -> None:
            await talk.receive_head()
            await talk.send(UNSIZED)
            await go_on.wait()
            talk.reset()

        origin.script = script
        got = await make_worker(origin).fetch()
        assert await got.read() == b"hello"
        go_on.set()
        with pytest.raises(ResponseTruncated):
            await got.read()

    async def test_what_came_before_the_cut_is_read_first(
        self, origin: ScriptedOrigin, make_worker: MakeWorker
    ) -> None:
        go_on = asyncio.Event()

        async def script(talk: Conversation) -> None:
            await talk.receive_head()
            await talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
            await go_on.wait()
            await talk.send(b"half")

        origin.script = script
        worker = make_worker(origin)
        got = await worker.fetch()
        go_on.set()
        await until(lambda: worker.board.flights == [0])

        assert await got.read() == b"half"
        with pytest.raises(ResponseTruncated):
            await got.read()

    async def test_malformed_chunks_truncate(self, origin: ScriptedOrigin, make_worker: MakeWorker) -> None:
        go_on = asyncio.Event()

        async def script(talk: Conversation) -> None:
            await talk.receive_head()
            await talk.send(CHUNKED_HEAD + chunk(b"good"))
            await go_on.wait()
            await talk.send(b"zz\r\nbad")
            await talk.closed()

        origin.script = script
        got = await make_worker(origin).fetch()
        assert await got.read() == b"good"
        go_on.set()
        with pytest.raises(ResponseTruncated):
            await got.read()

    @pytest.mark.parametrize(
        ("start", "error"), [(b"", ClosedUnanswered), (b"HTTP/1.1 200", BadResponse)], ids=["silent", "head"]
    )
    @pytest.mark.parametrize("reset", [False, True])
    async def test_a_close_before_the_head_is_told_apart(
        self,
        origin: ScriptedOrigin,
        make_worker: MakeWorker,
        start: bytes,
        error: type[Exception],
        reset: bool,
    ) -> None:
        async def script(talk: Conversation) -> None:
            await talk.receive_head()
            await talk.send(start)
            if reset:
                talk.reset()

        origin.script = script
        worker = make_worker(origin)
        with pytest.raises((error, ClosedUnanswered) if reset else error):
            await worker.fetch()

        assert worker.count("fetch_bad_responses") == 1


class TestBackPressure:
    """Reading pulls."""

    SIZE = 64 * 1024 * 1024

    async def test_the_origin_is_not_read_ahead_of_the_reader(
        self, origin: ScriptedOrigin, make_worker: MakeWorker
    ) -> None:
        sent = 0

        async def script(talk: Conversation) -> None:
            nonlocal sent
            await talk.receive_head()
            await talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % self.SIZE)
            while sent < self.SIZE:
                await talk.send(b"x" * 65536)
                sent += 65536

        origin.script = script
        worker = make_worker(origin, window_bytes=65536)
        got = await worker.fetch()
        await until(lambda: not transport_of(got).is_reading())
        assert sent < self.SIZE
        held = got._parser.buffered

        total = longest = 0
        while piece := await got.read():
            total += len(piece)
            longest = max(longest, len(piece))
        assert total == self.SIZE
        assert max(held, longest) <= 2 * 65536

    async def test_the_source_is_not_read_ahead_of_the_origin(
        self, origin: ScriptedOrigin, make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        go_on, paused = asyncio.Event(), asyncio.Event()
        pause = OriginConnection.pause_writing

        def pause_and_tell(conn: OriginConnection) -> None:
            pause(conn)
            paused.set()

        async def script(talk: Conversation) -> None:
            await talk.receive_head()
            await go_on.wait()
            await talk.receive(self.SIZE)
            await talk.send(SIZED)

        origin.script = script
        worker = make_worker(origin)
        source = Pieces(*[b"x" * 65536] * (self.SIZE // 65536))
        monkeypatch.setattr(OriginConnection, "pause_writing", pause_and_tell)
        fetch = asyncio.create_task(worker.fetch(b"PUT", source))
        await asyncio.wait_for(paused.wait(), 10)
        assert source.taken < self.SIZE // 65536
        go_on.set()

        assert await read_all(await fetch) == b"hello"
        assert source.taken == self.SIZE // 65536

    async def test_a_stalled_body_times_out(self, origin: ScriptedOrigin, make_worker: MakeWorker) -> None:
        async def script(talk: Conversation) -> None:
            await talk.receive_head()
            await talk.send(SIZED[:-1])
            await talk.closed()

        origin.script = script
        worker = make_worker(origin, timeouts=OriginTimeouts(between_bytes_s=0.05))
        got = await worker.fetch()
        assert await got.read() == b"hell"
        with pytest.raises(OriginTimeout):
            await got.read()

        assert worker.count("fetch_timeouts") == 1
        assert worker.board.flights == [0]

    async def test_a_slow_reader_is_not_the_origins_fault(
        self, origin: ScriptedOrigin, make_worker: MakeWorker
    ) -> None:
        origin.script = answering(response(b"x" * 4_000_000))
        worker = make_worker(origin, timeouts=OriginTimeouts(first_byte_s=0.03, between_bytes_s=0.03))
        got = await worker.fetch()
        passed = asyncio.Event()
        asyncio.get_running_loop().call_later(0.2, passed.set)
        await passed.wait()

        assert len(await read_all(got)) == 4_000_000
