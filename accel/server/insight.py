"""What one worker says of itself when it is asked: what it would do with a request, what it does, what is under way.

Runs in the worker. Nothing here runs, and nothing is kept, until a question comes.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from types import CoroutineType, FrameType, GeneratorType
from typing import Any

from accel.http.message import Request
from accel.proxy.clients import Clients
from accel.proxy.explain import explained
from accel.proxy.fill import Fill
from accel.proxy.flights import Flights
from accel.proxy.following import Join
from accel.server.channel import Ask, Channel, Dump, Explain, Profile, Told
from accel.server.inquiries import packed
from accel.server.profiler import Profiler

MOST_SHOWN = 200
"""Tasks, exchanges and fetches of each that a dump names one by one; the rest is counted."""
MOST_SENT = 96 * 1024
"""A message may have so many bytes: an unprivileged socket's buffer holds about 200 KiB."""
_ANSWER_CUT = {"error": "the answer is too long for the channel between worker and arbiter"}


class Insight:
    """Answers the arbiter's questions."""

    def __init__(self, channel: Channel, clients: Clients, flights: Flights) -> None:
        self._channel = channel
        self._clients = clients
        self._flights = flights
        self._profiler = Profiler(asyncio.get_running_loop())

    def asked(self, message: Ask) -> None:
        """Answer a question, at once or when it is done."""
        match message.question:
            case Explain(request, client_ip):
                self._tell(message.ticket, explained(self._clients.service, request, client_ip))
            case Dump():
                self._tell(message.ticket, self._dump())
            case Profile(seconds):
                began = self._profiler.begin(seconds, lambda profile: self._tell_profile(message.ticket, profile))
                if not began:
                    self._tell(message.ticket, {"error": "this worker is being profiled for somebody else"})

    def _tell(self, ticket: int, facts: dict[str, Any]) -> None:
        data = packed(facts)
        self._channel.send(Told(ticket, data if len(data) <= MOST_SENT else packed(_ANSWER_CUT)))

    def _tell_profile(self, ticket: int, profile: dict[str, Any]) -> None:
        """Send a profile; of one that is too long, the heaviest stacks, and the sum of the others as `(others)`."""
        stacks: dict[str, float] = profile["stacks"]
        while len(packed(profile)) > MOST_SENT and len(stacks) > 1:
            kept = dict(sorted(stacks.items(), key=lambda item: -item[1])[: len(stacks) // 2])
            kept["(others)"] = stacks.get("(others)", 0.0) + sum(stacks.values()) - sum(kept.values())
            profile["stacks"] = stacks = kept
        self._tell(ticket, profile)

    def _dump(self) -> dict[str, Any]:
        now = self._clients.service.now()
        tasks = sorted(Counter(map(_where, asyncio.all_tasks())).items(), key=lambda item: -item[1])
        exchanges = list(self._exchanges(now))
        fetches = list(map(_fetch, self._flights.under_way()))
        return {
            "tasks": [{"where": where, "count": number} for where, number in tasks[:MOST_SHOWN]],
            "connections": dict(Counter(one.phase.name.lower() for one in self._clients.connections)),
            "exchanges": sorted(exchanges, key=lambda one: -float(one["for_s"]))[:MOST_SHOWN],
            "exchange_count": len(exchanges),
            "fetches": fetches[:MOST_SHOWN],
            "fetch_count": len(fetches),
            "idle_origin_connections": {
                pool or "default": origin.idle() for pool, origin in self._clients.service.origins.items()
            },
        }

    def _exchanges(self, now: float) -> Iterator[dict[str, Any]]:
        for connection in self._clients.connections:
            exchange = connection.current
            if exchange is not None:
                yield _of(exchange.request) | {
                    "id": exchange.id,
                    "client": exchange.client_ip,
                    "for_s": round(max(0.0, now - exchange.started_at), 3),
                    "outcome": exchange.outcome.word,
                    "backend": exchange.backend,
                    "status": exchange.status or None,
                    "body_bytes": exchange.body_bytes,
                }


def _of(request: Request) -> dict[str, Any]:
    method, host, target = (part.decode("latin-1") for part in (request.method, request.host, request.target))
    return {"method": method, "host": host, "target": target}


def _fetch(flight: Fill | Join) -> dict[str, Any]:
    return _of(flight.request) | {
        "by": "this worker" if isinstance(flight, Fill) else "another worker",
        "head": "has come" if flight.has_head else "awaited",
        "body_bytes": flight.body.length,
        "of_bytes": flight.length,
        "readers": flight.body.reader_count,
        "backend": flight.backend,
    }


def _where(task: asyncio.Task[Any]) -> str:
    """Return where a task waits: its coroutine and those that it awaits, the innermost last."""
    places: list[str] = []
    waiting: object = task.get_coro()
    while waiting is not None and len(places) < 50:
        frame, waiting = _step(waiting)
        if frame is not None:
            places.append(f"{frame.f_code.co_qualname}:{frame.f_lineno}")
    return " > ".join(places) or repr(task.get_coro())


def _step(waiting: object) -> tuple[FrameType | None, object]:
    if isinstance(waiting, CoroutineType):
        return waiting.cr_frame, waiting.cr_await
    if isinstance(waiting, GeneratorType):
        return waiting.gi_frame, waiting.gi_yieldfrom
    return None, None
