"""What the arbiter asks single workers for an operator: an explanation, a profile, what is under way.

Owns the questions' way; what is said is `server.insight`'s. Runs in the arbiter. A worker that does not answer in time,
or dies over it, is an error for whoever asked and for nobody else; it is believed only as far as its answer is JSON of
a bounded size.
"""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

from accel.errors import RequestError
from accel.server.channel import Ask, Channel, Question, Told

ANSWER_S = 3.0
MOST_BYTES = 16 * 1024 * 1024
"""Of an answer, unpacked."""


class Inquiries:
    """Questions under way."""

    def __init__(self, channels: Callable[[], Mapping[int, Channel]]) -> None:
        """`channels` gives those of the workers that serve, by row."""
        self._channels = channels
        self._tickets = count()
        self._waiting: dict[int, asyncio.Future[Told]] = {}

    async def ask(self, question: Question, row: int | None = None, takes_s: float = 0.0) -> dict[str, Any]:
        """Return the answer of the worker of `row`, or of any; `takes_s` is how long it needs for it.

        Raises RequestError 404 if there is no such worker, 503 if none answers.
        """
        channels = self._channels()
        if row is not None and row not in channels:
            raise RequestError(404, f"there is no worker {row + 1} that serves: see 'accelctl workers'")
        asked = channels.values() if row is None else (channels[row],)
        ticket = next(self._tickets)
        answer = self._waiting[ticket] = asyncio.get_running_loop().create_future()
        try:
            if not any(channel.send(Ask(ticket, question)) for channel in asked):
                raise RequestError(503, "no worker serves")
            async with asyncio.timeout(takes_s + ANSWER_S):
                said = await answer
        except TimeoutError:
            raise RequestError(503, "the worker that was asked does not answer") from None
        finally:
            del self._waiting[ticket]
        return _facts(said.facts)

    async def ask_all(self, question: Question) -> dict[int, dict[str, Any]]:
        """Return the answer of each worker by its row; of one that gives none, why."""
        rows = list(self._channels())
        answers = await asyncio.gather(*(self.ask(question, row) for row in rows), return_exceptions=True)
        told: dict[int, dict[str, Any]] = {}
        for row, answer in zip(rows, answers, strict=True):
            if isinstance(answer, BaseException) and not isinstance(answer, RequestError):
                raise answer
            told[row] = {"error": answer.why} if isinstance(answer, RequestError) else answer
        return told

    def answered(self, message: Told) -> None:
        """A worker's answer arrived."""
        waiting = self._waiting.get(message.ticket)
        if waiting is not None and not waiting.done():
            waiting.set_result(message)


def packed(facts: Mapping[str, Any]) -> bytes:
    """Return an answer as it is sent."""
    return zlib.compress(json.dumps(facts, default=str).encode())


def _facts(data: bytes) -> dict[str, Any]:
    try:
        facts = json.loads(zlib.decompressobj().decompress(data, MOST_BYTES))
    except (zlib.error, ValueError):
        facts = None
    if not isinstance(facts, dict):
        raise RequestError(500, "the worker that was asked gave no answer that can be read")
    if "error" in facts:
        raise RequestError(409, str(facts["error"]))
    return facts
