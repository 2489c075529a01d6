"""Invalidation over all workers: the number first, then the receipts, and nobody who waits for ever."""

from __future__ import annotations

import asyncio

import pytest
from fake_channel import FakeChannel, turn

from accel.caching.invalidation import Purge, What
from accel.errors import RequestError
from accel.proxy.covering import key_names, tag_names
from accel.proxy.service import Receipt
from accel.server import invalidator as module
from accel.server.channel import Drop, Dropped, Invalidate, Invalidated, Message, WalkOwn
from accel.server.invalidator import Invalidations, RemoteInvalidator
from accel.stats.counters import COUNTERS
from accel.store.numbers import MOST_BANS, Numbers

KEYS = (b"a\0/x", b"a\0/y")
URLS = Purge(What.URL, KEYS)


class Arbiter:
    """The arbiter's half over channels that a test answers."""

    def __init__(self, *channels: FakeChannel) -> None:
        self.numbers = Numbers.alone()
        self.channels = list(channels)
        self.invalidations = Invalidations(self.numbers, lambda: self.channels)

    def answer(self, channel: FakeChannel, *counts: int) -> None:
        """A worker says what it dropped."""
        told = channel.sent[-1]
        assert isinstance(told, Drop | WalkOwn)
        self.invalidations.answered(channel, Dropped(told.ticket, counts))

    def hard(self, *names: bytes) -> tuple[int, ...]:
        """The numbers of some names."""
        return tuple(self.numbers.hard((self.numbers.cell(name),)) for name in names)


async def test_the_number_is_taken_before_any_worker_is_told() -> None:
    class Watching(FakeChannel):
        numbers: tuple[int, ...] = ()

        def send(self, message: Message) -> bool:
            self.numbers = arbiter.hard(*key_names(KEYS))
            return super().send(message)

    watching = Watching()
    arbiter = Arbiter(watching)
    receipt = await arbiter.invalidations.invalidate(URLS, counted=False)
    assert watching.numbers == (1, 2)
    assert receipt == Receipt(0, 1, 0)


async def test_a_receipt_adds_up_what_all_workers_dropped() -> None:
    one, other = FakeChannel(), FakeChannel()
    arbiter = Arbiter(one, other)
    counting = asyncio.ensure_future(arbiter.invalidations.invalidate(URLS))
    await turn()
    arbiter.answer(one, 2)
    await turn()
    assert not counting.done()
    arbiter.answer(other, 3)
    assert await counting == Receipt(5, 2, 2)


async def test_a_worker_that_answers_twice_counts_once() -> None:
    one, other = FakeChannel(), FakeChannel()
    arbiter = Arbiter(one, other)
    counting = asyncio.ensure_future(arbiter.invalidations.invalidate(URLS))
    await turn()
    arbiter.answer(one, 2)
    arbiter.answer(one, 2)
    arbiter.answer(other, 0)
    assert await counting == Receipt(2, 2, 2)


async def test_a_worker_that_died_is_not_waited_for() -> None:
    one, other = FakeChannel(), FakeChannel()
    arbiter = Arbiter(one, other)
    counting = asyncio.ensure_future(arbiter.invalidations.invalidate(URLS))
    await turn()
    arbiter.answer(one, 2)
    arbiter.invalidations.lost(other)
    assert (await counting).count == 2


async def test_a_worker_that_cannot_be_told_is_left_out() -> None:
    one, stuck = FakeChannel(), FakeChannel(is_open=False)
    arbiter = Arbiter(one, stuck)
    counting = asyncio.ensure_future(arbiter.invalidations.invalidate(URLS))
    await turn()
    arbiter.answer(one, 1)
    assert await counting == Receipt(1, 2, 1)


async def test_a_worker_that_does_not_answer_is_left_out_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_S", 0.0)
    one, stuck = FakeChannel(), FakeChannel()
    arbiter = Arbiter(one, stuck)
    assert await arbiter.invalidations.invalidate(URLS) == Receipt(0, 2, 0)
    arbiter.answer(stuck, 9)  # too late: nobody counts any more


async def test_without_workers_there_is_nothing_to_wait_for() -> None:
    assert await Arbiter().invalidations.invalidate(URLS) == Receipt(0, 0, 0)


async def test_a_worker_that_asks_is_answered_under_its_own_ticket() -> None:
    asking, other = FakeChannel(), FakeChannel()
    arbiter = Arbiter(asking, other)
    arbiter.invalidations.asked(asking, Invalidate(42, "url", KEYS, False, True))
    await turn()
    arbiter.answer(asking, 1)
    arbiter.answer(other, 1)
    await turn()
    assert asking.sent[-1] == Invalidated(42, 2, 2, 2)


async def test_a_remote_invalidation_waits_for_its_own_answer() -> None:
    channel = FakeChannel()
    remote = RemoteInvalidator(channel)
    first, second = (asyncio.ensure_future(remote.invalidate(Purge(What.URL, (key,)), True)) for key in KEYS)
    await turn()
    tickets = [message.ticket for message in channel.sent if isinstance(message, Invalidate)]
    remote.answered(Invalidated(tickets[1], 2, 4, 4))
    remote.answered(Invalidated(999, 9, 9, 9))
    remote.answered(Invalidated(tickets[0], 1, 4, 3))
    assert (await first, await second) == (Receipt(1, 4, 3), Receipt(2, 4, 4))
    assert not remote._waiting


async def test_an_arbiter_that_is_gone_is_a_503() -> None:
    with pytest.raises(RequestError) as raised:
        await RemoteInvalidator(FakeChannel(is_open=False)).invalidate(URLS, True)
    assert raised.value.status == 503


async def test_an_arbiter_that_does_not_answer_is_a_503(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ARBITER_S", 0.0)
    remote = RemoteInvalidator(FakeChannel())
    with pytest.raises(RequestError) as raised:
        await remote.invalidate(URLS, True)
    assert raised.value.status == 503
    assert not remote._waiting


async def test_a_client_that_leaves_leaves_no_ticket() -> None:
    remote = RemoteInvalidator(FakeChannel())
    asking = asyncio.ensure_future(remote.invalidate(URLS, True))
    await turn()
    asking.cancel()
    await turn()
    assert not remote._waiting


async def test_a_soft_purge_of_urls_writes_soft_words_and_frees_nothing() -> None:
    one = FakeChannel()
    arbiter = Arbiter(one)
    counting = asyncio.ensure_future(arbiter.invalidations.invalidate(Purge(What.URL, KEYS, True)))
    await turn()
    told = one.sent[-1]
    assert isinstance(told, Drop) and told.is_soft
    arbiter.answer(one, 1, 2)
    assert await counting == Receipt(3, 1, 1)
    assert arbiter.hard(*key_names(KEYS)) == (0, 0)
    assert arbiter.numbers.soft((arbiter.numbers.cell(key_names(KEYS)[0]),)) == 1


async def test_tags_are_swept_by_every_worker_and_all_of_them_have_one_number() -> None:
    one, other = FakeChannel(), FakeChannel()
    arbiter = Arbiter(one, other)
    counting = asyncio.ensure_future(arbiter.invalidations.invalidate(Purge(What.TAG, (b"a", b"b"))))
    await turn()
    arbiter.answer(one, 5)
    arbiter.answer(other, 6)
    assert await counting == Receipt(11, 2, 2)
    assert arbiter.hard(*tag_names((b"a", b"b"))) == (1, 1, 1)


async def test_a_receipt_that_cannot_wait_says_that_counting_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COUNTING_S", 0.0)
    arbiter = Arbiter(FakeChannel())

    receipt = await arbiter.invalidations.invalidate(Purge(What.ALL))

    assert receipt == Receipt(0, 1, 0, is_counting=True)
    assert arbiter.hard(b"anything") == (1,)
    await arbiter.invalidations.close()


async def test_a_ban_that_cannot_be_read_takes_no_number() -> None:
    arbiter, asking = Arbiter(), FakeChannel()

    arbiter.invalidations.asked(asking, Invalidate(7, "ban", (b"ulr == /",), False, True))
    await turn()

    [said] = asking.sent
    assert isinstance(said, Invalidated)
    assert (said.status, arbiter.numbers.sequence()) == (400, 0)
    assert said.why.startswith("column 1: 'ulr' is not known")


async def test_too_many_pending_bans_are_a_503() -> None:
    arbiter = Arbiter()
    for _ in range(MOST_BANS):
        arbiter.numbers.ban("status == 404")

    with pytest.raises(RequestError) as raised:
        await arbiter.invalidations.invalidate(Purge(What.BAN, (b"status == 404",)))

    assert (raised.value.status, "too many bans are pending" in raised.value.why) == (503, True)


@pytest.mark.parametrize(("status", "kind"), [(400, ValueError), (503, RequestError)])
async def test_a_refusal_of_the_arbiter_reaches_who_asked(status: int, kind: type[Exception]) -> None:
    remote = RemoteInvalidator(FakeChannel())
    asking = asyncio.ensure_future(remote.invalidate(Purge(What.BAN, (b"x",)), True))
    await turn()

    remote.answered(Invalidated(0, status=status, why="because"))

    with pytest.raises(kind, match="because"):
        await asking


async def test_each_kind_is_counted() -> None:
    arbiter = Arbiter()
    for purge in (URLS, Purge(What.TAG, (b"a",), True), Purge(What.ALL), Purge(What.BAN, (b"status == 1",))):
        await arbiter.invalidations.invalidate(purge)

    counted = arbiter.invalidations.counters()

    assert counted == {"purges": 2, "purges_tag": 1, "purges_all": 1, "purges_soft": 1, "bans": 1, "swept": 0}
    assert set(counted) <= {declared.name for declared in COUNTERS}
