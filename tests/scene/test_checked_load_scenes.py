"""Every byte of a load is compared while workers die and configurations change.

The long runs are tests/bench/under_load.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from accel_process import StartAccel
from checked_load import CheckedLoad, warm_all
from checked_origin import CheckedOrigin
from programs import stop
from under_fire import kill_workers, left_in_store, miscounted, reload_often, upgrade_often, wrongly_lost

pytestmark = pytest.mark.scene
ITEMS = 150


@pytest.fixture
def checked(tmp_path: Path) -> Iterator[CheckedOrigin]:
    """Return an origin whose bodies can be checked."""
    origin = CheckedOrigin(tmp_path)
    yield origin
    origin.end()


@pytest.fixture
def lasting(tmp_path: Path) -> Iterator[CheckedOrigin]:
    """Return one whose items stay fresh throughout a test."""
    origin = CheckedOrigin(tmp_path, fresh_s=[3600])
    yield origin
    origin.end()


def test_a_killed_worker_costs_its_own_exchanges_and_nothing_else(
    start_accel: StartAccel, checked: CheckedOrigin
) -> None:
    accel = start_accel([checked.backend], "--memory", "32m", workers=3)

    with CheckedLoad(accel.port) as load:
        killing = kill_workers(accel, load, kills=5, period_s=0)
        load.wait_more(200)

    assert load.seen.wrong == []
    assert wrongly_lost(load, killing) == []
    assert accel.counter("joined_cut") == 0
    assert left_in_store(accel) == []
    assert miscounted(accel) == 0


def test_reloads_cost_no_exchange_and_no_fetch(start_accel: StartAccel, lasting: CheckedOrigin) -> None:
    accel = start_accel([lasting.backend], "--memory", "64m", workers=3)
    warm_all(accel.port, ITEMS)
    fetched = lasting.asked

    with CheckedLoad(accel.port, items=ITEMS) as load:
        reload_often(accel, load, times=10, answers_between=50)

    assert (load.seen.wrong, load.seen.lost) == ([], [])
    assert lasting.asked == fetched
    assert left_in_store(accel) == []
    assert miscounted(accel) == 0


def test_upgrades_cost_no_exchange_and_no_fetch(start_accel: StartAccel, lasting: CheckedOrigin) -> None:
    accel = start_accel([lasting.backend], "--memory", "64m")
    warm_all(accel.port, ITEMS)
    fetched = lasting.asked

    with CheckedLoad(accel.port, items=ITEMS) as load:
        upgrade_often(accel, load, times=3, answers_between=100)

    assert (load.seen.wrong, load.seen.lost) == ([], [])
    assert lasting.asked == fetched
    assert left_in_store(accel) == []
    stop(accel)
