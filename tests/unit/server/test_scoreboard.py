"""The scoreboard: who writes which word, what forks see, and what a dead worker leaves."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from accel.server.scoreboard import (
    BACKEND_ROWS,
    OVERRIDE_SLOTS,
    WORKER_ROWS,
    BackendState,
    Scoreboard,
    WorkerBoard,
    WorkerState,
)
from accel.stats.counters import COUNTERS, OUTCOMES, ROW_WORDS, SITE_SLOTS, SITE_WORDS, index


@pytest.fixture
def board() -> Scoreboard:
    """Return a board with three worker rows in use."""
    board = Scoreboard()
    board.use_rows(3)
    return board


def worker(board: Scoreboard, row: int = 0) -> WorkerBoard:
    """Return a worker's view that reports no failures."""
    return WorkerBoard(board, row, lambda backend, why: None)


def in_child(action: Callable[[], None]) -> None:
    """Run something in a forked process and wait for it."""
    pid = os.fork()
    if not pid:
        try:
            action()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0


def test_everything_is_zero_at_first(board: Scoreboard) -> None:
    assert board.rows_used() == 3
    assert board.in_flight(0) == 0
    assert set(board.counter_sums().values()) == {0}
    assert board.worker_state(0) is WorkerState.NONE
    assert board.backend_state(0) is BackendState.UNUSED
    assert not board.is_available(0)


def test_turns_are_a_sequence_over_all_processes(board: Scoreboard) -> None:
    first = board.next_turn()
    in_child(lambda: [board.next_turn() for _ in range(10)] and None)
    assert board.next_turn() == first + 11


def test_counters_of_all_rows_are_added_up(board: Scoreboard) -> None:
    for row in range(3):
        board.counters(row)[index("hits")] += row + 1
    board.counters(2)[ROW_WORDS - 1] += 5
    sums = board.counter_sums()
    assert (sums["hits"], sums["requests"], sums[COUNTERS[-1].name], sum(sums.values())) == (6, 6, 5, 17)


def test_requests_are_the_sum_of_how_they_were_answered_in_every_site(board: Scoreboard) -> None:
    for place, name in enumerate(OUTCOMES):
        board.counters(place % 3)[index(name)] += 1
        board.counters(place % 3)[(SITE_SLOTS - 1) * SITE_WORDS + index(name)] += 10 + place

    assert board.counter_sums()["requests"] == 5 + 60
    assert board.site_sums(0) == {"requests": 5} | dict.fromkeys(OUTCOMES, 1)
    assert board.site_sums(SITE_SLOTS - 1) == {"requests": 60} | dict(zip(OUTCOMES, range(10, 15), strict=True))
    assert board.site_sums(1)["requests"] == 0


def test_rows_do_not_touch_each_other(board: Scoreboard) -> None:
    board.use_rows(WORKER_ROWS)
    last = worker(board, WORKER_ROWS - 1)
    last.counters[ROW_WORDS - 1] = 7
    last.override_uses[0] = 2
    last.override_uses[OVERRIDE_SLOTS - 1] = 4
    last.add_in_flight(BACKEND_ROWS - 1, 1)
    last.beat()
    board.set_backend(0, BackendState.UP, 1000)
    board.set_backend(BACKEND_ROWS - 1, BackendState.DOWN, 3)
    assert board.counter_sums()[COUNTERS[-1].name] == 7
    assert board.override_sums() == [2, *[0] * (OVERRIDE_SLOTS - 2), 4]
    assert board.in_flight(BACKEND_ROWS - 1) == 1
    assert (board.backend_state(0), board.ramp(0)) == (BackendState.UP, 1000)
    assert (board.backend_state(BACKEND_ROWS - 1), board.ramp(BACKEND_ROWS - 1)) == (BackendState.DOWN, 3)
    assert board.worker_state(0) is WorkerState.NONE


def test_cells_of_one_backend_are_added_up_over_workers(board: Scoreboard) -> None:
    workers = [worker(board, row) for row in range(3)]
    for member in workers:
        member.add_in_flight(4, 1)
        member.add_in_flight(4, 1)
        member.add_in_flight(4, -1)
        member.note_success(4)
        member.note_failure(4, "no")
    assert (board.in_flight(4), board.backend_requests(4)) == (3, 6)
    assert (board.backend_successes(4), board.backend_failures(4)) == (3, 3)
    assert board.in_flight(3) == board.in_flight(5) == 0


def test_a_failure_is_told_to_the_arbiter(board: Scoreboard) -> None:
    told: list[tuple[int, str]] = []
    WorkerBoard(board, 0, lambda row, why: told.append((row, why))).note_failure(4, "refused")
    assert told == [(4, "refused")]


def test_a_dead_workers_gauges_are_cleared_and_its_counters_stay(board: Scoreboard) -> None:
    def live_and_die() -> None:
        dying = worker(board, 1)
        dying.set_state(WorkerState.ACCEPTING)
        dying.set_connections(9)
        dying.set_load(9)
        dying.add_in_flight(4, 2)
        dying.counters[index("hits")] = 3
        dying.override_uses[5] = 2

    in_child(live_and_die)
    assert (board.connections(1), board.in_flight(4), board.worker_state(1)) == (9, 2, WorkerState.ACCEPTING)
    board.clear_gauges(1)
    assert (board.connections(1), board.in_flight(4), board.worker_state(1)) == (0, 0, WorkerState.NONE)
    assert (board.counter_sums()["hits"], board.backend_requests(4), board.override_sums()[5]) == (3, 2, 2)


def test_an_assigned_row_starts_with_a_fresh_heartbeat(board: Scoreboard) -> None:
    board.assign(2)
    assert board.worker_state(2) is WorkerState.STARTING
    before = board.heartbeat_ns(2)
    assert before > 0
    worker(board, 2).beat()
    assert board.heartbeat_ns(2) >= before


def test_fair_load_is_the_mean_of_those_who_accept(board: Scoreboard) -> None:
    workers = [worker(board, row) for row in range(3)]
    assert workers[0].fair_load() == 0.0
    for member, load in zip(workers, (2, 4, 90), strict=True):
        member.beat()
        member.set_load(load)
    workers[0].set_state(WorkerState.ACCEPTING)
    workers[1].set_state(WorkerState.ACCEPTING)
    workers[2].set_state(WorkerState.LEAVING)
    assert workers[0].fair_load() == 3.0


def test_a_worker_whose_heart_stands_still_has_no_share(board: Scoreboard) -> None:
    workers = [worker(board, row) for row in range(2)]
    for member, load in zip(workers, (2, 90), strict=True):
        member.set_state(WorkerState.ACCEPTING)
        member.set_load(load)
    workers[0].beat()
    assert workers[0].fair_load() == 2.0


def test_a_backend_that_left_is_forgotten(board: Scoreboard) -> None:
    worker(board, 1).note_failure(4, "x")
    worker(board, 1).note_failure(5, "x")
    board.clear_backend(4)
    assert (board.backend_failures(4), board.backend_failures(5)) == (0, 1)


def test_rows_in_use_never_shrink(board: Scoreboard) -> None:
    board.use_rows(1)
    assert board.rows_used() == 3
