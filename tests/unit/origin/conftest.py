"""Scripted origins, and both event loops for every test that runs on one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop
from harness import Worker
from scripted_origin import ScriptedOrigin

from accel.config import Address


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run each asynchronous test on uvloop, which workers use, and on the standard loop."""
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.SelectorEventLoop}


@pytest.fixture
async def origin() -> AsyncIterator[ScriptedOrigin]:
    """An origin on TCP."""
    scripted = ScriptedOrigin()
    await scripted.start()
    yield scripted
    await scripted.stop()


@pytest.fixture
async def other_origin() -> AsyncIterator[ScriptedOrigin]:
    """A second origin on TCP."""
    scripted = ScriptedOrigin()
    await scripted.start()
    yield scripted
    await scripted.stop()


@pytest.fixture
async def unix_origin(tmp_path: Path) -> AsyncIterator[ScriptedOrigin]:
    """An origin on a unix socket."""
    scripted = ScriptedOrigin()
    await scripted.start(str(tmp_path / "origin.sock"))
    yield scripted
    await scripted.stop()


@pytest.fixture
async def make_worker() -> AsyncIterator[Callable[..., Worker]]:
    """Return a maker of workers, all closed at the end."""
    workers: list[Worker] = []

    def make(*origins: ScriptedOrigin | Address, **options: Any) -> Worker:
        addresses = [origin if isinstance(origin, Address) else origin.address for origin in origins]
        workers.append(Worker(addresses, **options))
        return workers[-1]

    yield make
    for worker in workers:
        worker.origin.close()
        assert not any(worker.board.flights)
