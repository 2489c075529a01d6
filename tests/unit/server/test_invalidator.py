"""Invalidation over all workers: the number first, then the receipts, and nobody who waits for ever."""

from __future__ import annotations

import asyncio

import pytest

from accel.errors import RequestError
from accel.proxy.service import Receipt
from accel.server import invalidator as module
from accel.server.channel import Channel, Drop, Dropped, Invalidate, Invalidated, Message
from accel.server.invalidator import Invalidations, RemoteInvalidator
from accel.server.scoreboard import Scoreboard

KEYS = (b"a\0/x", b"a\0/y")


class FakeChannel(Channel):
    """An end that keeps what is sent over it."""

    def __init__(self, is_open: bool = True) -> None:
        self.sent: list[Message] = []
        self._is_open = is_open

    def send(self, message: Message) -> bool:
        """Keep a message."""
        if self._is_open:
            self.sent.append(message)
        return self._is_open


async def turn() -> None:
    """Let everything that is ready run."""
    for _ in range(5):
        await asyncio.sleep(0)


class Arbiter:
    """The arbiter's half over channels that a test answers."""

    def __init__(self, *channels: FakeChannel) -> None:
        self.board = Scoreboard()
        self.channels = list(channels)
        self.invalidations = Invalidations(self.board, lambda: self.channels)

    def answer(self, channel: FakeChannel, count: int) -> None:
        """A worker says what it dropped."""
        told = channel.sent[-1]
        assert isinstance(told, Drop)
        self.invalidations.dropped(channel, Dropped(told.ticket, count))


async def test_the_number_is_taken_before_any_worker_is_told() -> None:
    class Watching(FakeChannel):
        numbers: tuple[int, ...] = ()

        def send(self, message: Message) -> bool:
            self.numbers = tuple(map(arbiter.board.purged_number, KEYS))
            return super().send(message)

    watching = Watching()
    arbiter = Arbiter(watching)
    receipt = await arbiter.invalidations.invalidate(KEYS, counted=False)
    assert watching.numbers == (1, 2)
    assert receipt == Receipt(0, 1, 0)


async def test_a_receipt_adds_up_what_all_workers_dropped() -> None:
    one, other = FakeChannel(), FakeChannel()
    arbiter = Arbiter(one, other)
    counting = asyncio.ensure_future(arbiter.invalidations.invalidate(KEYS))
    await turn()
    arbiter.answer(one, 2)
    await turn()
    assert not counting.done()
    arbiter.answer(other, 3)
    assert await counting == Receipt(5, 2, 2)


async def test_a_worker_that_answers_twice_counts_once() -> None:
    one, other = FakeChannel(), FakeChannel()
    arbiter = Arbiter(one, other)
    counting = asyncio.ensure_future(arbiter.invalidations.invalidate(KEYS))
    await turn()
    arbiter.answer(one, 2)
    arbiter.answer(one, 2)
    arbiter.answer(other, 0)
    assert await counting == Receipt(2, 2, 2)


async def test_a_worker_that_died_is_not_waited_for() -> None:
    one, other = FakeChannel(), FakeChannel()
    arbiter = Arbiter(one, other)
    counting = asyncio.ensure_future(arbiter.invalidations.invalidate(KEYS))
    await turn()
    arbiter.answer(one, 2)
    arbiter.invalidations.lost(other)
    assert (await counting).dropped == 2


async def test_a_worker_that_cannot_be_told_is_left_out() -> None:
    one, stuck = FakeChannel(), FakeChannel(is_open=False)
    arbiter = Arbiter(one, stuck)
    counting = asyncio.ensure_future(arbiter.invalidations.invalidate(KEYS))
    await turn()
    arbiter.answer(one, 1)
    assert await counting == Receipt(1, 2, 1)


async def test_a_worker_that_does_not_answer_is_left_out_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_S", 0.0)
    one, stuck = FakeChannel(), FakeChannel()
    arbiter = Arbiter(one, stuck)
    assert await arbiter.invalidations.invalidate(KEYS) == Receipt(0, 2, 0)
    arbiter.answer(stuck, 9)  # too late: nobody counts any more


async def test_without_workers_there_is_nothing_to_wait_for() -> None:
    assert await Arbiter().invalidations.invalidate(KEYS) == Receipt(0, 0, 0)


async def test_a_worker_that_asks_is_answered_under_its_own_ticket() -> None:
    asking, other = FakeChannel(), FakeChannel()
    arbiter = Arbiter(asking, other)
    arbiter.invalidations.asked(asking, Invalidate(42, KEYS, True))
    await turn()
    arbiter.answer(asking, 1)
    arbiter.answer(other, 1)
    await turn()
    assert asking.sent[-1] == Invalidated(42, 2, 2, 2)


async def test_a_remote_invalidation_waits_for_its_own_answer() -> None:
    channel = FakeChannel()
    remote = RemoteInvalidator(channel)
    first, second = (asyncio.ensure_future(remote.invalidate((key,), True)) for key in KEYS)
    await turn()
    tickets = [message.ticket for message in channel.sent if isinstance(message, Invalidate)]
    remote.answered(Invalidated(tickets[1], 2, 4, 4))
    remote.answered(Invalidated(999, 9, 9, 9))
    remote.answered(Invalidated(tickets[0], 1, 4, 3))
    assert (await first, await second) == (Receipt(1, 4, 3), Receipt(2, 4, 4))
    assert not remote._waiting


async def test_an_arbiter_that_is_gone_is_a_503() -> None:
    with pytest.raises(RequestError) as raised:
        await RemoteInvalidator(FakeChannel(is_open=False)).invalidate(KEYS, True)
    assert raised.value.status == 503


async def test_an_arbiter_that_does_not_answer_is_a_503(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ARBITER_S", 0.0)
    remote = RemoteInvalidator(FakeChannel())
    with pytest.raises(RequestError) as raised:
        await remote.invalidate(KEYS, True)
    assert raised.value.status == 503
    assert not remote._waiting


async def test_a_client_that_leaves_leaves_no_ticket() -> None:
    remote = RemoteInvalidator(FakeChannel())
    asking = asyncio.ensure_future(remote.invalidate(KEYS, True))
    await turn()
    asking.cancel()
    await turn()
    assert not remote._waiting
