"""The channel between the arbiter and one worker: whole messages, no waiting, and an end that is noticed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from accel.config import Address, BackendConfig, Config, OriginOptions
from accel.server.channel import BackendFailed, Channel, Configure, Configured, Drop, Dropped, Invalidate, Message


class Listener:
    """One end that keeps what it hears."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.heard: list[Message] = []
        self.ends = 0
        self._changed = asyncio.Event()
        channel.listen(asyncio.get_running_loop(), self._on_message, self._on_end)

    def _on_message(self, message: Message) -> None:
        self.heard.append(message)
        self._changed.set()

    def _on_end(self) -> None:
        self.ends += 1
        self._changed.set()

    async def changed(self) -> None:
        """Wait until something was heard."""
        async with asyncio.timeout(10):
            await self._changed.wait()
        self._changed.clear()


def forget_in_a_child(*channels: Channel) -> None:
    """Forget inherited ends in a forked process, and wait for it."""
    pid = os.fork()
    if not pid:
        for channel in channels:
            channel.forget()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


@pytest.fixture
async def ends() -> AsyncIterator[tuple[Listener, Listener]]:
    """Return two connected ends that listen."""
    left, right = map(Listener, Channel.pair())
    yield left, right
    left.channel.close()
    right.channel.close()


async def test_messages_arrive_as_they_were_sent_in_order(ends: tuple[Listener, Listener]) -> None:
    left, right = ends
    sent: list[Message] = [Drop(1, (b"a\0/", b"b\0/")), Invalidate(2, "tag", (b"",), False, True), Dropped(1, (5,))]
    assert all(left.channel.send(message) for message in sent)
    await right.changed()
    assert right.heard == sent
    assert right.channel.send(Dropped(3, (0,)))
    await left.changed()
    assert left.heard == [Dropped(3, (0,))]


async def test_a_large_configuration_fits(ends: tuple[Listener, Listener]) -> None:
    left, right = ends
    backends = tuple(BackendConfig(Address(f"backend-{number}.example.org", 80)) for number in range(512))
    message = Configure(7, Config(origin=OriginOptions(backends=backends)), {"": tuple(range(512))}, b"")
    assert left.channel.send(message)
    await right.changed()
    assert right.heard == [message]


async def test_the_end_of_the_other_process_is_noticed_once(ends: tuple[Listener, Listener]) -> None:
    left, right = ends
    left.channel.send(Dropped(1, (1,)))
    left.channel.close()
    while not right.ends:
        await right.changed()
    assert (right.heard, right.ends) == ([Dropped(1, (1,))], 1)
    assert not right.channel.send(Dropped(1, (1,)))


async def test_a_process_that_reads_nothing_is_not_waited_for() -> None:
    left, right = Channel.pair()
    sent = 0
    while left.send(Drop(sent, (b"x" * 10_000,))):
        sent += 1
        assert sent < 10_000
    listener = Listener(right)
    while len(listener.heard) < sent:
        await listener.changed()
    assert [message.ticket for message in listener.heard if isinstance(message, Drop)] == list(range(sent))
    assert left.send(Drop(sent, ()))
    left.close()
    right.close()


async def test_a_child_that_inherited_an_end_may_forget_it(ends: tuple[Listener, Listener]) -> None:
    left, right = ends
    forget_in_a_child(left.channel, right.channel)
    assert left.channel.send(Dropped(1, (1,)))
    await right.changed()
    assert right.heard == [Dropped(1, (1,))]


async def test_closing_twice_is_harmless() -> None:
    left, right = Channel.pair()
    Listener(left)
    left.close()
    left.close()
    right.close()


class _Attack:
    """Unpickles by a call, as bytes of a worker that somebody took over would."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self._path),)


async def test_a_worker_cannot_make_the_arbiter_call_anything(
    ends: tuple[Listener, Listener], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arbiter, worker = ends
    worker.channel.send(cast(Message, _Attack(tmp_path / "called")))
    worker.channel.send(Configure(1, Config(), {}, b""))
    worker.channel.send(cast(Message, [Dropped(1, (1,))]))
    worker.channel.send(Dropped(2, (3,)))
    await arbiter.changed()
    assert arbiter.heard == [Dropped(2, (3,))]
    assert not (tmp_path / "called").exists()
    assert capsys.readouterr().err.count("message-refused") == 2


async def test_the_arbiter_takes_every_message_that_workers_send(ends: tuple[Listener, Listener]) -> None:
    arbiter, worker = ends
    asked = Invalidate(1, "url", (b"a\0/",), True, False)
    sent: list[Message] = [BackendFailed(3, "refused"), asked, Dropped(1, (2,)), Configured(4)]
    assert all(worker.channel.send(message) for message in sent)
    await arbiter.changed()
    assert arbiter.heard == sent
