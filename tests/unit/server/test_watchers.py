"""The streams of status pages: who gets what, and who is let go."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from accel.server import watchers
from accel.server.admin_answers import Refused
from accel.server.watchers import MOST, UNREAD_BYTES, Watchers


class Stream(asyncio.Transport):
    """A reader of whom the test says how much it has not read."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.unread = 0
        self.was_cut = False
        self.has_ended = False

    def write(self, data: Any) -> None:
        self.sent += bytes(data)

    def get_write_buffer_size(self) -> int:
        return self.unread

    def abort(self) -> None:
        self.was_cut = True

    def write_eof(self) -> None:
        self.has_ended = True

    def close(self) -> None:
        pass

    @property
    def events(self) -> list[Any]:
        return [json.loads(line[6:]) for line in self.sent.split(b"\n") if line.startswith(b"data: ")]


async def until(what: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not what():  # noqa: ASYNC110 - it is the clock that moves
            await asyncio.sleep(0.001)


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchers, "EVERY_S", 0.001)


async def test_each_stream_gets_every_snapshot_from_its_first_on_and_it_is_made_once_for_all() -> None:
    made = 0

    def snapshot() -> int:
        nonlocal made
        made += 1
        return made

    watching, streams = Watchers(snapshot), [Stream(), Stream()]
    for stream in streams:
        watching.join(stream)
    await until(lambda: len(streams[0].events) > 3)
    watching.close()

    assert streams[0].sent.startswith(b"HTTP/1.1 200 ") and b"text/event-stream" in streams[0].sent
    assert streams[0].events[1:] == streams[1].events[1:] == list(range(3, made + 1))


async def test_nothing_is_made_while_nobody_watches() -> None:
    made: list[int] = []
    watching, stream = Watchers(lambda: made.append(1)), Stream()
    watching.join(stream)

    watching.leave(stream)
    seen = len(made)
    await asyncio.sleep(0.01)

    assert (len(watching), len(made)) == (0, seen)


async def test_who_does_not_read_is_cut_off_and_the_others_go_on() -> None:
    watching, slow, quick = Watchers(lambda: 1), Stream(), Stream()
    for stream in (slow, quick):
        watching.join(stream)
    slow.unread = UNREAD_BYTES + 1

    await until(lambda: slow.was_cut and len(quick.events) > 2)
    watching.close()

    assert not quick.was_cut


async def test_there_is_room_for_so_many() -> None:
    watching = Watchers(lambda: 1)
    for _ in range(MOST):
        watching.check_room()
        watching.join(Stream())

    with pytest.raises(Refused) as refused:
        watching.check_room()
    watching.close()

    assert refused.value.status == 503


async def test_at_the_end_every_stream_ends() -> None:
    watching, stream = Watchers(lambda: 1), Stream()
    watching.join(stream)

    watching.close()

    assert (stream.has_ended, len(watching)) == (True, 0)
