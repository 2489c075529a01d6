"""Several processes on one arena, killed by -9 and stopped in the middle of whatever they do.

Nothing read is ever wrong, nobody waits for the dead or the stopped, and nothing is left behind. The long run is
tests/bench/torture.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tormentor import WRITERS
from torture_keeper import Keeper
from torture_ledger import Scale

KILLS = 30


@pytest.fixture
def keeper() -> Iterator[Keeper]:
    keeper = Keeper(Scale(processes=8, keys=600, arena_bytes=8 << 20, segment_bytes=64 << 10))
    yield keeper
    keeper.end_all()


def test_killed_and_stopped_processes_leave_nothing_wrong_and_nothing_behind(keeper: Keeper) -> None:
    keeper.run(operations=25_000, kills=KILLS, pause_s=0.05)

    outcome, found = keeper.finish(), keeper.arena.check()

    assert outcome.leaks == []
    assert all(count for count, _ in keeper.ledger.figures().values())
    assert found.twins <= outcome.kills
    assert found.broken <= outcome.kills * WRITERS, "what the killed had shown of bodies that were never whole"
