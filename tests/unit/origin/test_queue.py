"""Waiting for a place: order, bounds, other workers' places, cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from harness import Worker, until
from local_board import LocalBoard
from scripted_origin import Conversation, ScriptedOrigin, response

from accel.config import Address, BackendConfig, Balance
from accel.errors import NoBackend
from accel.origin.balancer import Balancer
from accel.origin.queue import FetchQueue

MakeWorker = Callable[..., Worker]


def queue(
    board: LocalBoard, length: int = 10, wait_s: float = 20.0, backends: int = 1
) -> tuple[FetchQueue, Balancer]:
    """Return a queue before backends that take one fetch each."""
    members = [BackendConfig(Address("127.0.0.1", 8001 + row)) for row in range(backends)]
    balancer = Balancer(Balance.ROUND_ROBIN, members, range(backends), board, max_connections=1)
    return FetchQueue(balancer, length, wait_s), balancer


async def waiting(waiters: FetchQueue, count: int) -> None:
    """Let tasks run until so many fetches wait."""
    await until(lambda: len(waiters) == count)


async def test_places_are_given_in_the_order_of_arrival() -> None:
    waiters, balancer = queue(LocalBoard(1))
    order: list[int] = []

    async def fetch(number: int) -> None:
        backend = await waiters.claim()
        order.append(number)
        balancer.release(backend)
        waiters.serve()

    held = await waiters.claim()
    tasks = [asyncio.create_task(fetch(number)) for number in range(4)]
    await waiting(waiters, 4)
    balancer.release(held)
    waiters.serve()
    await asyncio.gather(*tasks)

    assert order == [0, 1, 2, 3]


async def test_nobody_overtakes_the_queue() -> None:
    board = LocalBoard(1)
    waiters, balancer = queue(board)
    held = await waiters.claim()
    first = asyncio.create_task(waiters.claim())
    await waiting(waiters, 1)
    balancer.release(held)  # as another worker would: this one is not told
    late = asyncio.create_task(waiters.claim())
    await waiting(waiters, 2)
    await first

    assert not late.done()
    balancer.release(await first)
    await late


async def test_a_place_that_another_worker_frees_is_seen_on_the_board() -> None:
    board = LocalBoard(1)
    board.flights[0] = 1
    waiters, _ = queue(board)
    fetch = asyncio.create_task(waiters.claim())
    await waiting(waiters, 1)
    board.flights[0] = 0

    assert (await asyncio.wait_for(fetch, 10)).row == 0
    assert board.flights == [1]


async def test_a_full_queue_refuses() -> None:
    waiters, _ = queue(LocalBoard(1), length=1)
    await waiters.claim()
    waiter = asyncio.create_task(waiters.claim())
    await waiting(waiters, 1)
    with pytest.raises(NoBackend, match="queue"):
        await waiters.claim()
    waiter.cancel()


async def test_a_length_of_none_never_waits() -> None:
    waiters, _ = queue(LocalBoard(1), length=0)
    await waiters.claim()
    with pytest.raises(NoBackend):
        await waiters.claim()


async def test_a_wait_that_is_too_long_ends_in_an_error() -> None:
    board = LocalBoard(1)
    waiters, _ = queue(board, wait_s=0.05)
    await waiters.claim()
    with pytest.raises(NoBackend, match=r"full for 0\.05 s"):
        await waiters.claim()

    assert len(waiters) == 0
    assert board.flights == [1]


async def test_waiters_are_told_when_every_backend_goes_down() -> None:
    board = LocalBoard(2)
    waiters, _ = queue(board, backends=2)
    await waiters.claim()
    await waiters.claim()
    fetch = asyncio.create_task(waiters.claim())
    await waiting(waiters, 1)
    board.available = [False, False]

    with pytest.raises(NoBackend, match="up"):
        await fetch


async def test_a_waiter_that_may_not_use_the_free_backend_does_not_get_it() -> None:
    board = LocalBoard(2)
    waiters, balancer = queue(board, backends=2)
    held = [await waiters.claim(), await waiters.claim()]
    fetch = asyncio.create_task(waiters.claim({0}))
    await waiting(waiters, 1)
    balancer.release(next(backend for backend in held if backend.row == 0))
    waiters.serve()
    assert not fetch.done()
    balancer.release(next(backend for backend in held if backend.row == 1))
    waiters.serve()

    assert (await fetch).row == 1


async def test_a_cancelled_waiter_leaves_the_queue() -> None:
    board = LocalBoard(1)
    waiters, _ = queue(board)
    await waiters.claim()
    fetch = asyncio.create_task(waiters.claim())
    await waiting(waiters, 1)
    fetch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetch

    assert len(waiters) == 0
    assert board.flights == [1]


async def test_a_waiter_cancelled_with_its_place_in_hand_gives_it_to_the_next() -> None:
    board = LocalBoard(1)
    waiters, balancer = queue(board)
    held = await waiters.claim()
    first, second = asyncio.create_task(waiters.claim()), asyncio.create_task(waiters.claim())
    await waiting(waiters, 2)
    balancer.release(held)
    waiters.serve()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first

    assert (await asyncio.wait_for(second, 10)).row == 0
    assert board.flights == [1]


async def test_fetches_over_max_connections_wait_and_never_pass_it(
    origin: ScriptedOrigin, make_worker: MakeWorker
) -> None:
    at_once = most = 0

    async def script(talk: Conversation) -> None:
        nonlocal at_once, most
        while await talk.receive_head():
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0)
            at_once -= 1
            await talk.send(response(b"hello"))

    origin.script = script
    worker = make_worker(origin, max_connections=3)

    assert await asyncio.gather(*[worker.get() for _ in range(50)]) == [b"hello"] * 50
    assert most <= 3
    assert origin.connections <= 3


async def test_as_many_may_reserve_a_place_in_one_turn_as_there_are(
    origin: ScriptedOrigin, make_worker: MakeWorker
) -> None:
    async def script(talk: Conversation) -> None:
        await talk.receive_head()
        await talk.send(b"HTTP/1.1 200 OK\r\n\r\n")
        await talk.closed()

    origin.script = script
    worker = make_worker(origin, max_connections=3)
    first = await worker.fetch()
    assert [worker.origin.reserve() for _ in range(4)] == [True, True, False, False]

    others = [asyncio.create_task(worker.fetch()) for _ in range(3)]
    await until(lambda: len(worker.origin._queue) == 1)
    assert not worker.origin.reserve()
    first.close()
    for other in others:
        (await other).close()

    assert [worker.origin.reserve() for _ in range(4)] == [True, True, True, False]


async def test_without_a_limit_there_is_always_a_place(origin: ScriptedOrigin, make_worker: MakeWorker) -> None:
    worker = make_worker(origin)

    assert all(worker.origin.reserve() for _ in range(1000))


async def test_a_full_backend_answers_503_after_the_wait(
    origin: ScriptedOrigin, make_worker: MakeWorker
) -> None:
    async def script(talk: Conversation) -> None:
        await talk.receive_head()
        await talk.send(b"HTTP/1.1 200 OK\r\n\r\n")
        await talk.closed()

    origin.script = script
    worker = make_worker(origin, max_connections=1, queue_s=0.05)
    got = await worker.fetch()
    with pytest.raises(NoBackend) as raised:
        await worker.fetch()
    got.close()

    assert raised.value.status == 503
    assert worker.count("fetch_no_backend") == 1
