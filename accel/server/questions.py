"""Questions that the arbiter puts to all workers at once, and their answers as they come.

Runs in the arbiter. Invariant: a question ends when everybody who could be asked has answered or is dead, at the
latest after its time; an answer that comes later, or twice, counts for nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count

from accel.server.channel import Channel, Dropped, Message


@dataclass(slots=True)
class Answers:
    """What came of one question."""

    workers: int
    """Workers that there were."""
    asked: int = 0
    """Workers that could be told."""
    said: list[Dropped] = field(default_factory=list)
    lost: int = 0
    """Workers that died over it."""

    @property
    def is_complete(self) -> bool:
        """Whether no living worker is without the question, or has not answered."""
        return self.workers == self.asked == len(self.said) + self.lost


class _Asked:
    """One question under way."""

    def __init__(self, told: Iterable[Channel], answers: Answers) -> None:
        self.missing = set(told)
        self.answers = answers
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def heard(self, channel: Channel, answer: Dropped | None) -> None:
        """One worker answered; None: it died, and dropped nothing that anybody could still get."""
        if channel not in self.missing:
            return
        self.missing.discard(channel)
        if answer is None:
            self.answers.lost += 1
        else:
            self.answers.said.append(answer)
        if not self.missing and not self.done.done():
            self.done.set_result(None)


class Questions:
    """Puts questions; the arbiter tells it what it hears."""

    def __init__(self, channels: Callable[[], Iterable[Channel]]) -> None:
        self._channels = channels
        self._tickets = count()
        self._asked: dict[int, _Asked] = {}

    @property
    def workers(self) -> int:
        """How many workers there are."""
        return len(list(self._channels()))

    async def ask(self, message: Callable[[int], Message], timeout_s: float) -> Answers:
        """Send everybody `message(ticket)`; return what was answered. `timeout_s` 0 waits for nobody."""
        ticket, channels = next(self._tickets), list(self._channels())
        said = message(ticket)
        told = [channel for channel in channels if channel.send(said)]
        answers = Answers(len(channels), len(told))
        if not told or not timeout_s:
            return answers
        asked = self._asked[ticket] = _Asked(told, answers)
        try:
            await asyncio.wait((asked.done,), timeout=timeout_s)
        finally:
            del self._asked[ticket]
        return answers

    def heard(self, channel: Channel, answer: Dropped) -> None:
        """A worker answers."""
        asked = self._asked.get(answer.ticket)
        if asked is not None:
            asked.heard(channel, answer)

    def lost(self, channel: Channel) -> None:
        """A worker is gone and will not answer."""
        for asked in self._asked.values():
            asked.heard(channel, None)
