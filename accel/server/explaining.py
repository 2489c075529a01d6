"""`accelctl explain` between the processes: the arbiter asks a worker, who has the rules and the store at hand.

Owns the question's way; what is said is `proxy.explain`'s. Runs in the arbiter. A worker that does not answer in time,
or dies over it, is an error for whoever asked and for nobody else.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

from accel.errors import RequestError
from accel.http.message import Request
from accel.server.channel import Channel, Explain, Explained

ANSWER_S = 3.0


class Explanations:
    """Questions under way."""

    def __init__(self, channels: Callable[[], Iterable[Channel]]) -> None:
        """`channels` gives those of the workers that serve."""
        self._channels = channels
        self._tickets = count()
        self._waiting: dict[int, asyncio.Future[Explained]] = {}

    async def ask(self, request: Request, client_ip: str) -> dict[str, Any]:
        """Return the facts of a worker; raises RequestError 503 if none answers."""
        ticket = next(self._tickets)
        answer = self._waiting[ticket] = asyncio.get_running_loop().create_future()
        try:
            question = Explain(ticket, request, client_ip)
            if not any(channel.send(question) for channel in self._channels()):
                raise RequestError(503, "no worker serves")
            async with asyncio.timeout(ANSWER_S):
                said = await answer
        except TimeoutError:
            raise RequestError(503, "the worker that was asked does not answer") from None
        finally:
            del self._waiting[ticket]
        facts = json.loads(said.facts)
        if not isinstance(facts, dict):
            raise RequestError(500, "the worker that was asked gave no explanation")
        return facts

    def answered(self, message: Explained) -> None:
        """A worker's answer arrived."""
        waiting = self._waiting.get(message.ticket)
        if waiting is not None and not waiting.done():
            waiting.set_result(message)
