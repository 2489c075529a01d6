"""Names: looked up once for many, again after a while, and never for a numeric address."""

from __future__ import annotations

import asyncio
import socket

import pytest
from cachetools import TTLCache
from harness import Worker
from scripted_origin import ScriptedOrigin, free_port

from accel.config import Address, OriginTimeouts
from accel.errors import ConnectFailed
from accel.origin.resolver import Resolver


class Names:
    """Stands in for the system's resolver."""

    def __init__(self, *answers: list[str] | OSError) -> None:
        self.asked: list[str] = []
        self._answers = list(answers)

    async def look_up(self, host: str) -> list[str]:
        self.asked.append(host)
        await asyncio.sleep(0)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, OSError):
            raise answer
        return answer


def serve(monkeypatch: pytest.MonkeyPatch, *answers: list[str] | OSError) -> Names:
    """Answer look-ups with these, the last one for ever."""
    names = Names(*answers)
    monkeypatch.setattr("accel.origin.resolver._look_up", names.look_up)
    return names


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_numeric_address_is_not_looked_up(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    names = serve(monkeypatch, ["192.0.2.1"])

    assert await Resolver().resolve(host) == [host]
    assert names.asked == []


async def test_many_at_once_ask_once(monkeypatch: pytest.MonkeyPatch) -> None:
    names = serve(monkeypatch, ["192.0.2.1"])
    resolver = Resolver()

    assert await asyncio.gather(*[resolver.resolve("app") for _ in range(5)]) == [["192.0.2.1"]] * 5
    assert names.asked == ["app"]


async def test_a_name_is_looked_up_again_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, ["192.0.2.1"], ["192.0.2.2"])
    resolver, now = Resolver(), 0.0
    resolver._lookups = TTLCache(10, 10.0, timer=lambda: now)

    assert await resolver.resolve("app") == ["192.0.2.1"]
    now = 9.0
    assert await resolver.resolve("app") == ["192.0.2.1"]
    now = 11.0
    assert await resolver.resolve("app") == ["192.0.2.2"]


async def test_a_failure_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, socket.gaierror(-3, "try again"), ["192.0.2.1"])
    resolver = Resolver()
    with pytest.raises(OSError, match="try again"):
        await resolver.resolve("app")

    assert await resolver.resolve("app") == ["192.0.2.1"]


async def test_a_cancelled_asker_does_not_take_the_answer_from_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    serve(monkeypatch, ["192.0.2.1"])
    resolver = Resolver()
    first = asyncio.create_task(resolver.resolve("app"))
    second = asyncio.create_task(resolver.resolve("app"))
    await asyncio.sleep(0)
    first.cancel()

    assert await second == ["192.0.2.1"]


async def test_the_system_resolves_localhost(origin: ScriptedOrigin) -> None:
    worker = Worker([Address("localhost", origin.address.port)])

    assert await worker.get() == b"hello"
    worker.origin.close()


async def test_a_name_with_several_addresses_is_tried_to_the_last(
    monkeypatch: pytest.MonkeyPatch, origin: ScriptedOrigin
) -> None:
    serve(monkeypatch, ["127.0.0.2", "127.0.0.1"])
    worker = Worker([Address("app.example", origin.address.port)])

    assert await worker.get() == b"hello"
    assert worker.count("fetch_connect_failures") == 0
    worker.origin.close()


async def test_a_name_that_cannot_be_resolved_is_a_failed_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, socket.gaierror(-2, "Name or service not known"))
    worker = Worker([Address("app.example", free_port())])
    with pytest.raises(ConnectFailed, match="not known"):
        await worker.fetch()

    assert worker.board.flights == [0]


async def test_a_look_up_counts_against_the_connect_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(host: str) -> list[str]:
        await asyncio.get_running_loop().create_future()
        return [host]

    monkeypatch.setattr("accel.origin.resolver._look_up", never)
    worker = Worker([Address("app.example", 80)], timeouts=OriginTimeouts(connect_s=0.05))
    with pytest.raises(ConnectFailed, match=r"within 0\.05 s"):
        await worker.fetch()

    assert worker.board.failures == [["not connected within 0.05 s"]]
