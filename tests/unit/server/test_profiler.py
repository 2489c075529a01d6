"""A worker's own profiler: what ran and what stood still, and nothing left behind."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from typing import Any

from accel.server.profiler import Profiler


def spin(cpu_s: float) -> None:
    """Run for so much CPU time."""
    until = time.thread_time() + cpu_s
    while time.thread_time() < until:
        sum(range(1000))


def stand_still(event: threading.Event) -> None:
    """Block the loop until somebody else says so."""
    event.wait()


async def profiled(work: Any) -> dict[str, Any]:
    """Return a profile of a moment in which `work` is called."""
    loop = asyncio.get_running_loop()
    told: asyncio.Future[dict[str, Any]] = loop.create_future()
    assert Profiler(loop).begin(0.3, told.set_result)
    loop.call_soon(work)
    return await told


async def test_what_runs_is_found_with_the_time_it_took() -> None:
    profile = await profiled(lambda: spin(0.25))

    running = {stack: seconds for stack, seconds in profile["stacks"].items() if stack.startswith("running;")}
    spun = sum(seconds for stack, seconds in running.items() if ".spin" in stack)
    assert abs(sum(running.values()) - profile["cpu_s"]) < 0.01
    assert spun > 0.5 * profile["cpu_s"] > 0.1


async def test_what_blocks_the_loop_is_told_from_the_loop_at_rest() -> None:
    go_on = threading.Event()
    waker = threading.Timer(0.5, go_on.set)
    waker.start()

    profile = await profiled(lambda: stand_still(go_on))
    waker.join()

    waiting = {stack: seconds for stack, seconds in profile["stacks"].items() if stack.startswith("waiting;")}
    blocked = sum(seconds for stack, seconds in waiting.items() if "stand_still" in stack)
    assert blocked > 0.3 * profile["wall_s"]


async def test_one_at_a_time_and_afterwards_nothing_is_left() -> None:
    loop = asyncio.get_running_loop()
    told: asyncio.Future[dict[str, Any]] = loop.create_future()
    profiler = Profiler(loop)

    begun = [profiler.begin(0.01, told.set_result), profiler.begin(0.01, told.set_result)]
    await told

    assert begun == [True, False]
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)
    assert "profiler" not in [thread.name for thread in threading.enumerate()]
