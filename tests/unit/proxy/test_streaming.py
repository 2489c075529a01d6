"""Bodies under way: windows, endings, and who waits for whom."""

from __future__ import annotations

import asyncio

import pytest

from accel.errors import ClientGone, RequestError, ResponseTruncated
from accel.http.message import CHUNKED
from accel.proxy.streaming import BodyReader, RequestBody, SharedBody
from accel.store.private import PrivateStore

WINDOW = 10


async def turn() -> None:
    """Let everything that is ready run."""
    for _ in range(5):
        await asyncio.sleep(0)


def request_body() -> tuple[RequestBody, list[bool]]:
    """Return a body and what it asked of its connection."""
    asked: list[bool] = []
    return RequestBody(CHUNKED, WINDOW, asked.append), asked


class TestRequestBody:
    async def test_gives_pieces_in_order_and_an_end(self) -> None:
        body, _ = request_body()
        body.feed(b"a")
        body.feed(b"b")
        body.end()
        assert [await body.read() for _ in range(4)] == [b"a", b"b", b"", b""]

    async def test_wakes_a_reader_that_waits(self) -> None:
        body, _ = request_body()
        reading = asyncio.ensure_future(body.read())
        await turn()
        body.feed(b"a")
        assert await reading == b"a"
        reading = asyncio.ensure_future(body.read())
        await turn()
        body.end()
        assert await reading == b""

    async def test_stops_its_connection_beyond_a_window_and_lets_it_go_on_at_half(self) -> None:
        body, asked = request_body()
        body.feed(b"x" * 6)
        assert asked == []
        body.feed(b"x" * 6)
        assert asked == [False]
        await body.read()
        assert asked == [False]
        body.feed(b"x")
        await body.read()
        assert asked[-1] is True

    @pytest.mark.parametrize("error", [RequestError(408, "slow"), ClientGone("lost")])
    async def test_raises_its_failure_after_what_arrived(self, error: Exception) -> None:
        body, _ = request_body()
        body.feed(b"a")
        body.fail(error)
        assert await body.read() == b"a"
        with pytest.raises(type(error)):
            await body.read()

    async def test_wakes_a_reader_with_its_failure(self) -> None:
        body, _ = request_body()
        reading = asyncio.ensure_future(body.read())
        await turn()
        body.fail(RequestError(413, "long"))
        with pytest.raises(RequestError):
            await reading

    async def test_says_once_when_it_is_first_wanted(self) -> None:
        body, _ = request_body()
        wanted: list[bool] = []
        body.on_first_read = lambda: wanted.append(body.has_begun)
        body.feed(b"a")
        body.feed(b"b")
        await body.read()
        await body.read()
        assert wanted == [True]

    async def test_holds_nothing_that_was_discarded(self) -> None:
        body, _ = request_body()
        body.feed(b"abc")
        body.discard()
        body.end()
        assert await body.read() == b""

    async def test_a_cancelled_reader_takes_nothing_with_it(self) -> None:
        body, _ = request_body()
        reading = asyncio.ensure_future(body.read())
        await turn()
        reading.cancel()
        await turn()
        body.feed(b"a")
        assert await body.read() == b"a"


async def read_all(reader: BodyReader) -> bytes:
    """Read to the clean end."""
    data = b""
    while piece := await reader.read():
        data += piece
    reader.close()
    return data


class TestSharedBody:
    async def test_gives_every_reader_the_whole(self) -> None:
        body = SharedBody(WINDOW)
        early = asyncio.ensure_future(read_all(body.reader()))
        body.append(b"ab")
        await turn()
        late = asyncio.ensure_future(read_all(body.reader()))
        body.append(b"cd")
        body.end()
        assert (await early, await late, await read_all(body.reader())) == (b"abcd", b"abcd", b"abcd")

    async def test_readers_get_what_arrived_before_a_failure(self) -> None:
        body = SharedBody(WINDOW)
        reader = body.reader()
        body.append(b"ab")
        body.fail(ResponseTruncated("cut"))
        assert await reader.read() == b"ab"
        with pytest.raises(ResponseTruncated):
            await reader.read()

    async def test_the_first_ending_counts(self) -> None:
        ended, failed = SharedBody(WINDOW), SharedBody(WINDOW)
        ended.end()
        ended.fail(ResponseTruncated("late"))
        failed.fail(ResponseTruncated("first"))
        failed.fail(ResponseTruncated("second"))
        assert await ended.reader().read() == b""
        with pytest.raises(ResponseTruncated, match="first"):
            await failed.reader().read()

    async def test_while_it_is_kept_nobody_is_waited_for(self) -> None:
        body = SharedBody(WINDOW)
        body.reader()
        for _ in range(10):
            body.append(b"x" * WINDOW)
            await asyncio.wait_for(body.room(), 1)
        assert body.is_whole_so_far

    async def test_once_it_is_not_kept_the_slowest_reader_is(self) -> None:
        body = SharedBody(WINDOW)
        quick, slow = body.reader(), body.reader()
        body.append(b"x" * WINDOW)
        body.stop_retaining()
        body.append(b"y")
        waiting = asyncio.ensure_future(body.room())
        await quick.read()
        await quick.read()
        await turn()
        assert not waiting.done()
        await slow.read()
        await asyncio.wait_for(waiting, 1)
        assert not body.is_whole_so_far

    async def test_a_reader_that_leaves_is_waited_for_no_more(self) -> None:
        body = SharedBody(WINDOW)
        reader = body.reader()
        body.append(b"x" * 2 * WINDOW)
        body.stop_retaining()
        waiting = asyncio.ensure_future(body.room())
        await turn()
        reader.close()
        reader.close()
        await asyncio.wait_for(waiting, 1)
        assert body.reader_count == 0

    async def test_what_all_have_read_is_let_go(self) -> None:
        body = SharedBody(WINDOW)
        reader = body.reader()
        for _ in range(100):
            body.append(b"x" * WINDOW)
            await reader.read()
        assert len(body._chunks) == 100
        body.stop_retaining()
        assert not body._chunks
        body.append(b"y")
        assert await reader.read() == b"y"
        assert not body._chunks

    async def test_what_the_store_has_taken_is_read_from_there_and_not_held(self) -> None:
        body, store = SharedBody(WINDOW), PrivateStore(1 << 20)
        early = body.reader()
        for piece in (b"abc", b"def", b"ghi"):
            body.append(piece)
        assert await early.read() == b"abc"
        kept = store.put(b"k", b"", b"abcde")
        assert kept is not None
        body.keep(kept)
        assert body._chunks == [b"def", b"ghi"]
        body.end()
        late = await read_all(body.reader())
        assert (await read_all(early), late) == (b"defghi", b"abcdefghi")

    async def test_a_body_that_another_writes_grows_as_the_store_does(self) -> None:
        body, store = SharedBody(WINDOW), PrivateStore(1 << 20)
        reading = asyncio.ensure_future(read_all(body.reader()))
        for so_far in (b"", b"abc", b"abcdef"):
            record = store.put(b"k", b"", so_far)
            assert record is not None
            body.keep(record)
            await turn()
        body.end()
        assert await reading == b"abcdef"
        body.stop_retaining()
        assert body._record is None

    async def test_readers_go_on_in_another_body_where_they_are(self) -> None:
        first, second = SharedBody(WINDOW), SharedBody(WINDOW)
        ahead, behind, waiting = first.reader(), first.reader(), first.reader()
        first.append(b"abcd")
        assert (await ahead.read(), await waiting.read()) == (b"abcd", b"abcd")
        reading = asyncio.ensure_future(read_all(waiting))
        await turn()
        first.hand_over(second)
        first.fail(ResponseTruncated("cut"))
        second.append(b"ab")
        rest = asyncio.ensure_future(read_all(ahead))
        await turn()
        second.append(b"cdef")
        second.end()
        assert (await rest, await reading, await read_all(behind)) == (b"ef", b"ef", b"abcdef")
        assert (first.reader_count, second.reader_count) == (0, 0)

    async def test_who_is_ahead_of_a_body_that_is_not_kept_holds_it_up_no_more_than_the_others(self) -> None:
        first, second = SharedBody(WINDOW), SharedBody(WINDOW)
        ahead = first.reader()
        first.append(b"x" * 5 * WINDOW)
        await ahead.read()
        first.hand_over(second)
        second.stop_retaining()
        for _ in range(4):
            second.append(b"x" * WINDOW)
            second.append(b"x")
            await asyncio.wait_for(second.room(), 1)
        second.append(b"x" * (WINDOW - 4))
        second.append(b"y")
        second.end()
        assert await read_all(ahead) == b"y"
