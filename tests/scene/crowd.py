"""Many clients that ask for one page at once, and when each was answered.

Owns the clock: a client does nothing but note the moment of its last byte, so that five hundred of them in one
process take little of the time that they measure.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

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
        self._into, self._data = into, b""
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
        self._into.ended_mono.append(time.monotonic())
        self._into.statuses[int(head[9:12])] += 1
        self._into.bodies[body] += 1
        self._end()

    def connection_lost(self, error: Exception | None) -> None:
        if self.done is not None and not self.done.done():
            self._into.lost += 1
            self._end()

    def _end(self) -> None:
        if self.done is not None and not self.done.done():
            self.done.set_result(None)


async def _gathered(port: int, count: int, into: Answers) -> list[One]:
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(lambda: One(into), "127.0.0.1", port) for _ in range(count)]
    return [one for _, one in made]


async def _asked(crowd: list[One], target: str) -> None:
    for one in crowd:
        one.ask(target)
    await asyncio.gather(*(one.done for one in crowd if one.done is not None))


Meanwhile = Callable[[list[int]], Awaitable[None]]
"""Called with the clients' ports once all have asked."""


def ask_at_once(
    port: int, count: int, target: str, leader_first: bool = False, meanwhile: Meanwhile | None = None
) -> Answers:
    """Let so many clients, all connected and warm, ask for `target` at once; or the first one a moment before."""

    async def run() -> Answers:
        warmed, answers = Answers(), Answers()
        crowd = await _gathered(port, count, warmed)
        await _asked(crowd, "/warm")
        for one in crowd:
            one._into = answers
        answers.asked_mono = time.monotonic()
        if leader_first:
            crowd[0].ask(target)
            await asyncio.sleep(LEAD_S)
        later = asyncio.gather(_asked(crowd[leader_first:], target))
        if meanwhile is not None:
            await meanwhile([one.port for one in crowd])
        await later
        if leader_first and crowd[0].done is not None:
            await crowd[0].done
        for one in crowd:
            one.transport.close()
        return answers

    return uvloop.run(run())


LEAD_S = 0.05
"""Long enough that the first client's request is at the origin."""
