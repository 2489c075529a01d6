"""Many clients that ask for one page at once, and when each was answered.

Owns the clock: a client does nothing but note the moment of its last byte, so that five hundred of them in one
process take little of the time that they measure.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

import uvloop
from http_clients import HOST

END = b"\r\n\r\n"


@dataclass(slots=True)
class Answers:
    """What a crowd got, in the order of answers."""

    asked_mono: float = 0.0
    """When the first request was sent."""
    ended_mono: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    bodies: Counter[bytes] = field(default_factory=Counter)
    lost: int = 0

    @property
    def spread_s(self) -> float:
        """From the first answer to the last."""
        return self.ended_mono[-1] - self.ended_mono[0]

    @property
    def last_s(self) -> float:
        """From the first request to the last answer."""
        return self.ended_mono[-1] - self.asked_mono


class One(asyncio.Protocol):
    """One client; its answers are short and have a length."""

    def __init__(self, into: Answers) -> None:
        self.into, self._data = into, b""
        self.done: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.port: int = transport.get_extra_info("sockname")[1]

    def ask(self, target: str) -> None:
        """Send a request."""
        self._data, self.done = b"", asyncio.get_running_loop().create_future()
        self.transport.write(f"GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, end, body = self._data.partition(END)
        if not end or len(body) < int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]):
            return
        self.into.ended_mono.append(time.monotonic())
        self.into.statuses[int(head[9:12])] += 1
        self.into.bodies[body] += 1
        self._end()

    def connection_lost(self, error: Exception | None) -> None:
        if self.done is not None and not self.done.done():
            self.into.lost += 1
            self._end()

    def _end(self) -> None:
        if self.done is not None and not self.done.done():
            self.done.set_result(None)


async def _gathered(port: int, count: int, into: Answers) -> list[One]:
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(lambda: One(into), "127.0.0.1", port) for _ in range(count)]
    return [one for _, one in made]


async def _asked_by_plot(crowd: list[One], target: str, plot: Plot) -> None:
    first = asyncio.ensure_future(_asked(crowd[:1], target))
    await plot.led()
    others = asyncio.ensure_future(_asked(crowd[1:], target))
    await plot.strike()
    await asyncio.gather(first, others)


async def _asked(crowd: list[One], target: str) -> None:
    for one in crowd:
        one.ask(target)
    await asyncio.gather(*(one.done for one in crowd if one.done is not None))


class Plot(Protocol):
    """What happens while a crowd waits, behind the back of the first client, whose fetch the others wait for."""

    def prepare(self, leader_port: int) -> None:
        """All are connected, nobody has asked."""

    async def led(self) -> None:
        """Return when the first client's request, the only one yet, is at the origin."""

    async def strike(self) -> None:
        """Do it; all have asked."""


def ask_at_once(port: int, count: int, target: str, plot: Plot | None = None) -> Answers:
    """Let so many clients, all connected and warm, ask for `target` at once; with a plot the first one before that."""

    async def run() -> Answers:
        warmed, answers = Answers(), Answers()
        crowd = await _gathered(port, count, warmed)
        await _asked(crowd, "/warm")
        for one in crowd:
            one.into = answers
        if plot is not None:
            plot.prepare(crowd[0].port)
        answers.asked_mono = time.monotonic()
        if plot is None:
            await _asked(crowd, target)
        else:
            await _asked_by_plot(crowd, target, plot)
        for one in crowd:
            one.transport.close()
        return answers

    return uvloop.run(run())
