"""Fetches over real sockets: what is sent, what comes back, when it is tried again, what a failure leaves behind."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable

import pytest
from harness import Broken, Pieces, Stalled, Worker, read_all, until
from scripted_origin import Conversation, Script, ScriptedOrigin, answering, free_port, response

from accel.config import Address, OriginTimeouts
from accel.errors import (
    BadResponse,
    ClientGone,
    ClosedUnanswered,
    ConnectFailed,
    NoBackend,
    OriginTimeout,
    RequestError,
)
from accel.http.message import CHUNKED
from accel.origin.attempt import RetryBudget
from accel.origin.pool import BackendPool

MakeWorker = Callable[..., Worker]


def nowhere() -> Address:
    """Return an address that refuses connections."""
    return Address("127.0.0.1", free_port())


class TestRequest:
    """What goes out."""

    async def test_a_request_is_written_in_canonical_form(
        self, origin: ScriptedOrigin, make_worker: MakeWorker
    ) -> None:
        lines = ((b"host", b"app.example"), (b"x-forwarded-for", b"192.0.2.1"))
        got = await make_worker(origin).fetch(lines=lines)

        assert got.head.status == 200
        assert got.backend == str(origin.address)
        assert await read_all(got) == b"hello"
        assert origin.heads == [b"GET / HTTP/1.1\r\nHost: app.example\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"]

    async def test_a_pool_may_have_a_host_of_its_own(self, origin: ScriptedOrigin, make_worker: MakeWorker) -> None:
        got = await make_worker(origin, host="app.internal").fetch()

        assert await read_all(got) == b"hello"
        assert origin.heads == [b"GET / HTTP/1.1\r\nHost: app.internal\r\n\r\n"]

    async def test_a_trace_begins_if_that_is_asked_for(self, origin: ScriptedOrigin, make_worker: MakeWorker) -> None:
        got = await make_worker(origin, trace=True).fetch()

        assert await read_all(got) == b"hello"
        assert b"\r\nTraceparent: 00-" in origin.heads[0]

    async def test_a_sized_body_is_sent_with_its_length(
        self, origin: ScriptedOrigin, make_worker: MakeWorker
    ) -> None:
        bodies = []

        async def script(talk: Conversation) -> None:
            while await talk.receive_head():
                bodies.append(await talk.receive(10))
                await talk.send(response(b"done"))

        origin.script = script
        worker = make_worker(origin)

        assert await worker.get(b"POST", Pieces(b"0123", b"456789")) == b"done"
        assert await worker.get(b"PUT", Pieces(b"abcdefghij")) == b"done"
        assert bodies == [b"0123456789", b"abcdefghij"]
        assert b"\r\nContent-Length: 10\r\n" in origin.heads[0]
        assert origin.connections == 1

    async def test_a_body_of_unknown_length_is_sent_in_chunks(
        self, origin: ScriptedOrigin, make_worker: MakeWorker
    ) -> None:
        bodies = []

        async def script(talk: Conversation) -> None:
            while await talk.receive_head():
                bodies.append(await talk.receive_until(b"0\r\n\r\n"))
                await talk.send(response(b"done"))

        origin.script = script
        worker = make_worker(origin)

        assert await worker.get(b"POST", Pieces.chunked(b"0123456789", b"abc")) == b"done"
        assert await worker.get(b"POST", Pieces.chunked()) == b"done"
        assert bodies == [b"a\r\n0123456789\r\n3\r\nabc\r\n0\r\n\r\n", b"0\r\n\r\n"]
        assert b"\r\nTransfer-Encoding: chunked\r\n" in origin.heads[0]

    @pytest.mark.parametrize(
        ("method", "says"), [(b"POST", True), (b"PUT", True), (b"GET", False), (b"DELETE", False)]
    )
    async def test_only_methods_that_expect_a_body_say_that_there_is_none(
        self, origin: ScriptedOrigin, make_worker: MakeWorker, method: bytes, says: bool
    ) -> None:
        """RFC 9110 §8.6."""
        await make_worker(origin).get(method)

        assert (b"Content-Length: 0" in origin.heads[0]) is says

    async def test_without_keep_alive_every_request_says_close(
        self, origin: ScriptedOrigin, make_worker: MakeWorker
    ) -> None:
        worker = make_worker(origin, keep_alive_connections=0)
        await worker.get()
        await worker.get()

        assert origin.connections == 2
        assert b"\r\nConnection: close\r\n" in origin.heads[0]

    async def test_a_unix_socket_is_reached(
        self, unix_origin: ScriptedOrigin, make_worker: MakeWorker
    ) -> None:
        worker = make_worker(unix_origin)

        assert await worker.get() == b"hello"
        assert await worker.get() == b"hello"
        assert unix_origin.connections == 1


class TestRequestBody:
    """Sources that fail, and responses that come before the body's end."""

    async def test_an_early_response_is_returned_and_the_source_cancelled(
        self, origin: ScriptedOrigin, make_worker: MakeWorker
    ) -> None:
        origin.script = answering(response(b"too large"))
        worker = make_worker(origin)
        source = Stalled(b"first")

        got = await worker.fetch(b"POST", source)

        assert got.early
        assert await read_all(got) == b"too large"
        await asyncio.wait_for(source.cancelled.wait(), 10)
        await worker.get()
        assert origin.connections == 2

    async def test_an_early_response_can_be_long(
        self, origin: ScriptedOrigin, make_worker: MakeWorker
    ) -> None:
        origin.script = answering(response(b"x" * 1_000_000))

        got = await make_worker(origin).fetch(b"POST", Stalled(b"first", length=100))

        assert got.early
        assert len(await read_all(got)) == 1_000_000

    @pytest.mark.parametrize("length", [CHUNKED, 1_000_000])
    async def test_a_source_is_not_emptied_for_an_exchange_that_is_over(
        self, origin: ScriptedOrigin, make_worker: MakeWorker, length: int
    ) -> None:
        origin.script = answering(response(b"too large"))
        worker = make_worker(origin)

        class Eager:
            taken = 0

            def __init__(self) -> None:
                self.length = length

            async def read(self) -> bytes:
                self.taken += 1
                if self.taken == 2:
                    await until(lambda: worker.board.flights == [0])
                return b"x" * 100

        source = Eager()
        got = await worker.fetch(b"POST", source)

        assert got.early
        assert source.taken <= 2

    async def test_an_answer_to_the_last_byte_is_not_early(
        self, origin: ScriptedOrigin, make_worker: MakeWorker
    ) -> None:
        async def script(talk: Conversation) -> None:
            while await talk.receive_head():
                await talk.receive(5)
                await talk.send(response(b"done"))

        origin.script = script
        worker = make_worker(origin)
        for _ in range(3):
            got = await worker.fetch(b"POST", Stalled(b"first", length=5))
            assert not got.early
            assert await read_all(got) == b"done"

        assert origin.connections == 1

    @pytest.mark.parametrize(
        "error", [RequestError(413, "too large"), ClientGone("gone"), ValueError("a defect")]
    )
    async def test_what_the_source_raises_is_raised_and_the_connection_closed(
        self, origin: ScriptedOrigin, make_worker: MakeWorker, error: Exception
    ) -> None:
        closed = asyncio.Event()

        async def script(talk: Conversation) -> None:
            await talk.closed()
            closed.set()

        origin.script = script
        worker = make_worker(origin)
        with pytest.raises(type(error)) as raised:
            await worker.fetch(b"POST", Broken(error))

        assert raised.value is error
        await asyncio.wait_for(closed.wait(), 10)
        assert worker.board.failures == [[]]

    async def test_a_source_that_ends_early_never_completes_the_request(
        self, origin: ScriptedOrigin, make_worker: MakeWorker
    ) -> None:
        with pytest.raises(ClientGone):
            await make_worker(origin_reading(origin)).fetch(b"POST", Pieces(b"abc", length=5))

    async def test_a_source_that_gives_too_much_smuggles_nothing(
        self, origin: ScriptedOrigin, make_worker: MakeWorker
    ) -> None:
        with pytest.raises(RequestError):
            await make_worker(origin_reading(origin)).fetch(
                b"POST", Pieces(b"abc", b"GET / HTTP/1.1", length=5)
            )

    async def test_a_source_that_is_cancelled_elsewhere_does_not_hang_the_fetch(
        self, origin: ScriptedOrigin, make_worker: MakeWorker
    ) -> None:
        class Cancelled:
            length = CHUNKED

            async def read(self) -> bytes:
                raise asyncio.CancelledError

        with pytest.raises(ClientGone):
            await make_worker(origin_reading(origin)).fetch(b"POST", Cancelled())

    async def test_a_backend_that_reads_no_body_times_out_and_the_source_is_not_drained(
        self, origin: ScriptedOrigin, make_worker: MakeWorker
    ) -> None:
        never = asyncio.Event()

        async def script(talk: Conversation) -> None:
            await never.wait()

        origin.script = script
        pieces = 1024
        source = Pieces(*[b"x" * 65536] * pieces)
        worker = make_worker(origin, timeouts=OriginTimeouts(between_bytes_s=0.1))
        with pytest.raises(OriginTimeout):
            await worker.fetch(b"POST", source)

        assert source.taken < pieces
        assert worker.board.failures == [["request body not read in time"]]


def origin_reading(origin: ScriptedOrigin) -> ScriptedOrigin:
    """Let `origin` read whatever comes and say nothing."""

    async def script(talk: Conversation) -> None:
        await talk.closed()

    origin.script = script
    return origin


class TestRetries:
    """RFC 9110 §9.2.2: never send twice what may have been acted on."""

    async def test_a_refused_connection_goes_to_another_backend(
        self, origin: ScriptedOrigin, make_worker: MakeWorker
    ) -> None:
        worker = make_worker(nowhere(), origin)
        assert await worker.get(b"POST", Pieces(b"body")) == b"hello"

        assert len(worker.board.failures[0]) == 1
        assert worker.board.successes == [0, 1]
        assert worker.count("fetch_connect_failures") == 1
        assert worker.count("fetch_retries") == 1
        assert worker.count("fetches") == 1

    async def test_when_every_connection_is_refused_the_failure_is_told(
        self, make_worker: MakeWorker
    ) -> None:
        worker = make_worker(nowhere(), nowhere(), nowhere())
        with pytest.raises(ConnectFailed) as raised:
            await worker.fetch()

        assert raised.value.status == 503
        assert [len(failures) for failures in worker.board.failures] == [1, 1, 1]

    async def test_a_missing_unix_socket_is_a_failed_connection(self, make_worker: MakeWorker) -> None:
        with pytest.raises(ConnectFailed):
            await make_worker(Address(path="/nonexistent/origin.sock")).fetch()

    @pytest.mark.parametrize("method", [b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS"])
    async def test_a_keep_alive_race_is_tried_again_for_idempotent_methods(
        self, origin: ScriptedOrigin, make_worker: MakeWorker, method: bytes
    ) -> None:
        origin.script = hanging_up_after(1)
        worker = make_worker(origin)
        await worker.get()
        got = await worker.fetch(method)
        got.close()

        assert origin.connections == 2
        assert worker.count("fetch_retries") == 1
        assert worker.count("fetch_bad_responses") == 0
        assert worker.board.failures == [[]]

    @pytest.mark.parametrize(
        ("method", "body"), [(b"POST", None), (b"PATCH", None), (b"POST", b"x"), (b"PUT", b"x")]
    )
    async def test_a_keep_alive_race_is_not_tried_again_where_it_may_have_been_acted_on(
        self, origin: ScriptedOrigin, make_worker: MakeWorker, method: bytes, body: bytes | None
    ) -> None:
        origin.script = hanging_up_after(1)
        worker = make_worker(origin)
        await worker.get()
        with pytest.raises(ClosedUnanswered) as raised:
            await worker.fetch(method, None if body is None else Pieces(body))

        assert raised.value.status == 502
        assert origin.connections == 1
        assert worker.count("fetch_retries") == 0
        assert worker.count("fetch_bad_responses") == 1

    async def test_a_new_connection_that_closes_unanswered_is_a_failure(
        self, origin: ScriptedOrigin, make_worker: MakeWorker
    ) -> None:
        origin.script = hanging_up_after(0)
        worker = make_worker(origin)
        with pytest.raises(ClosedUnanswered):
            await worker.fetch()

        assert len(worker.board.failures[0]) == 1
        assert origin.connections == 1

    @pytest.mark.parametrize("start", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n"])
    async def test_one_byte_of_answer_forbids_another_try(
        self, origin: ScriptedOrigin, make_worker: MakeWorker, start: bytes
    ) -> None:
        async def script(talk: Conversation) -> None:
            await talk.receive_head()
            await talk.send(response(b"hello"))
            await talk.receive_head()
            await talk.send(start)

        origin.script = script
        worker = make_worker(origin)
        await worker.get()
        with pytest.raises(BadResponse):
            await worker.fetch()

        assert origin.connections == 1
        assert worker.count("fetch_bad_responses") == 1

    async def test_retries_stop_at_their_budget(self, make_worker: MakeWorker) -> None:
        worker = make_worker(nowhere(), nowhere(), retry_share=0.0001)
        for _ in range(15):
            with pytest.raises(ConnectFailed):
                await worker.fetch()

        assert worker.count("fetch_retries") == 10
        assert worker.count("fetch_retries_denied") == 5

    def test_a_budget_is_earned_back_by_fetches(self) -> None:
        budget = RetryBudget(share=0.25, burst=1.0)
        assert budget.spend()
        spent = []
        for _ in range(12):
            budget.earn()
            spent.append(budget.spend())

        assert spent.count(True) == 3
        assert spent[3]

    async def test_a_share_of_none_forbids_retries(
        self, origin: ScriptedOrigin, make_worker: MakeWorker
    ) -> None:
        with pytest.raises(ConnectFailed):
            await make_worker(nowhere(), origin, retry_share=0.0).fetch()

    async def test_an_unsafe_request_takes_no_connection_that_was_long_idle(
        self, origin: ScriptedOrigin, make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("accel.origin.fetch.FRESH_IDLE_S", -1.0)
        worker = make_worker(origin)
        await worker.get()
        await worker.get(b"POST")
        await worker.get()

        assert worker.count("fetch_connects") == 2
        assert worker.count("fetch_reuses") == 1


def hanging_up_after(answers: int) -> Script:
    """Return a script that gives so many answers on a connection and closes when the next request is here."""

    async def script(talk: Conversation) -> None:
        for _ in range(answers):
            await talk.receive_head()
            await talk.send(response(b"hello"))
        await talk.receive_head()

    return script


class TestFailures:
    """What a backend may do wrong, and who is told."""

    async def test_a_bad_response_is_told_and_counted(
        self, origin: ScriptedOrigin, make_worker: MakeWorker
    ) -> None:
        origin.script = answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n")
        worker = make_worker(origin)
        with pytest.raises(BadResponse):
            await worker.fetch()

        assert worker.count("fetch_bad_responses") == 1
        assert len(worker.board.failures[0]) == 1
        assert worker.board.successes == [0]

    async def test_silence_times_out(self, origin: ScriptedOrigin, make_worker: MakeWorker) -> None:
        worker = make_worker(origin_reading(origin), timeouts=OriginTimeouts(first_byte_s=0.05))
        with pytest.raises(OriginTimeout) as raised:
            await worker.fetch()

        assert raised.value.status == 504
        assert worker.count("fetch_timeouts") == 1
        assert worker.board.failures == [["no answer in time"]]

    async def test_a_head_that_trickles_times_out(
        self, origin: ScriptedOrigin, make_worker: MakeWorker
    ) -> None:
        async def script(talk: Conversation) -> None:
            await talk.receive_head()
            await talk.send(b"HTTP/1.1 200 OK\r\n")
            await talk.closed()

        origin.script = script
        with pytest.raises(OriginTimeout):
            await make_worker(origin, timeouts=OriginTimeouts(first_byte_s=0.05)).fetch()

    async def test_the_second_fetch_of_a_connection_times_out_too(
        self, origin: ScriptedOrigin, make_worker: MakeWorker
    ) -> None:
        async def script(talk: Conversation) -> None:
            await talk.receive_head()
            await talk.send(response(b"hello"))
            await talk.closed()

        origin.script = script
        worker = make_worker(origin, timeouts=OriginTimeouts(first_byte_s=0.05), keep_alive_s=30.0)
        await worker.get()
        with pytest.raises(OriginTimeout):
            await worker.fetch()

        assert worker.count("fetch_reuses") == 1

    async def test_the_whole_fetch_has_a_deadline_of_its_own(
        self, origin: ScriptedOrigin, make_worker: MakeWorker
    ) -> None:
        async def script(talk: Conversation) -> None:
            await talk.receive_head()
            await talk.send(b"HTTP/1.1 200 OK\r\n\r\n")
            await talk.closed()

        origin.script = script
        timeouts = OriginTimeouts(first_byte_s=20, between_bytes_s=20, whole_s=0.05)
        got = await make_worker(origin, timeouts=timeouts).fetch()
        with pytest.raises(OriginTimeout):
            await read_all(got)

    @pytest.mark.parametrize("number", [errno.EMFILE, errno.EADDRNOTAVAIL])
    async def test_our_own_want_of_descriptors_or_ports_is_not_the_backends_fault(
        self,
        origin: ScriptedOrigin,
        make_worker: MakeWorker,
        monkeypatch: pytest.MonkeyPatch,
        number: int,
    ) -> None:
        async def fail(pool: BackendPool) -> None:
            raise OSError(number, "none left")

        monkeypatch.setattr(BackendPool, "_connect", fail)
        worker = make_worker(origin)
        with pytest.raises(ConnectFailed, match="none left"):
            await worker.fetch()

        assert worker.board.failures == [[]]
        assert worker.count("fetch_connect_failures") == 1

    async def test_an_error_status_is_a_good_response(
        self, origin: ScriptedOrigin, make_worker: MakeWorker
    ) -> None:
        origin.script = answering(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
        worker = make_worker(origin)
        got = await worker.fetch()

        assert got.head.status == 503
        assert worker.board.successes == [1]

    async def test_no_backend_up_is_told_at_once(
        self, origin: ScriptedOrigin, make_worker: MakeWorker
    ) -> None:
        worker = make_worker(origin)
        worker.board.available = [False]
        with pytest.raises(NoBackend) as raised:
            await worker.fetch()

        assert raised.value.status == 503
        assert worker.count("fetch_no_backend") == 1


class TestCancel:
    """A fetch that is cancelled leaves no connection, no place, no task."""

    @pytest.mark.parametrize("source", [None, b"first"])
    async def test_while_it_waits_for_the_head(
        self, origin: ScriptedOrigin, make_worker: MakeWorker, source: bytes | None
    ) -> None:
        arrived, closed = asyncio.Event(), asyncio.Event()

        async def script(talk: Conversation) -> None:
            await talk.receive_head()
            arrived.set()
            await talk.closed()
            closed.set()

        origin.script = script
        worker = make_worker(origin)
        body = None if source is None else Stalled(source)
        fetch = asyncio.create_task(worker.fetch(b"POST", body))
        await arrived.wait()
        assert worker.board.flights == [1]

        fetch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetch

        assert worker.board.flights == [0]
        assert worker.board.failures == [[]]
        await asyncio.wait_for(closed.wait(), 10)
        if body is not None:
            await asyncio.wait_for(body.cancelled.wait(), 10)

    async def test_while_it_connects(
        self, origin: ScriptedOrigin, make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        looking = asyncio.Event()

        async def look_up(host: str) -> list[str]:
            looking.set()
            await asyncio.get_running_loop().create_future()
            return [host]

        monkeypatch.setattr("accel.origin.resolver._look_up", look_up)
        worker = make_worker(Address("app.example", 80))
        fetch = asyncio.create_task(worker.fetch())
        await looking.wait()
        assert worker.board.flights == [1]

        fetch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetch
        assert worker.board.flights == [0]
        assert worker.board.failures == [[]]

    async def test_after_the_head_closing_releases_everything(
        self, origin: ScriptedOrigin, make_worker: MakeWorker
    ) -> None:
        closed = asyncio.Event()

        async def script(talk: Conversation) -> None:
            await talk.receive_head()
            await talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
            await talk.closed()
            closed.set()

        origin.script = script
        worker = make_worker(origin)
        got = await worker.fetch()
        assert await got.read() == b"abc"
        reader = asyncio.create_task(got.read())
        await asyncio.sleep(0)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        got.close()
        got.close()

        assert worker.board.flights == [0]
        await asyncio.wait_for(closed.wait(), 10)

    async def test_many_at_random_leave_every_count_right(
        self, origin: ScriptedOrigin, other_origin: ScriptedOrigin, make_worker: MakeWorker
    ) -> None:
        origin.script = other_origin.script = answering(response(b"x" * 5000))
        worker = make_worker(origin, other_origin, max_connections=5)
        fetches = [asyncio.create_task(worker.get(b"GET")) for _ in range(200)]
        for turn, fetch in enumerate(fetches):
            if turn % 3 == 0:
                fetch.cancel()
            if turn % 10 == 0:
                await asyncio.sleep(0)

        results = await asyncio.gather(*fetches, return_exceptions=True)

        good = [result for result in results if result == b"x" * 5000]
        cancelled = [result for result in results if isinstance(result, asyncio.CancelledError)]
        assert len(good) + len(cancelled) == 200
        assert len(good) > 100
        assert worker.board.flights == [0, 0]
        assert await worker.get() == b"x" * 5000


class TestUpgrade:
    """RFC 9110 §7.8."""

    SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

    async def test_after_a_101_the_transport_is_handed_out(
        self, origin: ScriptedOrigin, make_worker: MakeWorker
    ) -> None:
        async def script(talk: Conversation) -> None:
            await talk.receive_head()
            await talk.send(self.SWITCH + b"early")
            await talk.send(b"bird")
            await talk.send(b":" + await talk.receive(4))

        origin.script = script
        worker = make_worker(origin)
        got = await worker.fetch(upgrade=b"websocket")
        transport, rest = got.detach()
        tunnel = Collector()
        transport.set_protocol(tunnel)
        tunnel.received.extend(rest)
        transport.resume_reading()
        transport.write(b"ping")
        await asyncio.wait_for(tunnel.ended, 10)

        assert got.head.status == 101
        assert bytes(tunnel.received) == b"earlybird:ping"
        assert b"\r\nConnection: upgrade\r\nUpgrade: websocket\r\n" in origin.heads[0]
        assert worker.board.flights == [1]
        got.close()
        assert worker.board.flights == [0]

    async def test_an_upgrade_may_be_declined(self, origin: ScriptedOrigin, make_worker: MakeWorker) -> None:
        worker = make_worker(origin)
        got = await worker.fetch(upgrade=b"websocket")

        assert got.head.status == 200
        assert await read_all(got) == b"hello"

    async def test_a_101_that_was_not_asked_for_is_bad(
        self, origin: ScriptedOrigin, make_worker: MakeWorker
    ) -> None:
        origin.script = answering(self.SWITCH)
        with pytest.raises(BadResponse):
            await make_worker(origin).fetch()


class Collector(asyncio.Protocol):
    """Collects what a tunnel receives."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.ended = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.received.extend(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set_result(None)
