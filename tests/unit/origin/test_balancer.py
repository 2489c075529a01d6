"""Who is picked: shares, loads, ramps, limits."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from local_board import LocalBoard

from accel.config import Address, BackendConfig, Balance
from accel.origin.balancer import Balancer, smooth_schedule

EVERY_BALANCE = pytest.mark.parametrize("balance", list(Balance), ids=lambda balance: balance.value)


def balancer(
    board: LocalBoard,
    weights: list[int],
    balance: Balance = Balance.ROUND_ROBIN,
    max_connections: int = 0,
) -> Balancer:
    """Return one over backends of these weights, rows 0 and up."""
    members = [BackendConfig(Address("127.0.0.1", 8001 + row), weight) for row, weight in enumerate(weights)]
    return Balancer(balance, members, range(len(weights)), board, max_connections, Random(1))


def picked(picker: Balancer, turns: int, *, keep: bool = False) -> Counter[int]:
    """Pick `turns` times, giving the place back unless `keep`; return how often each row was picked."""
    rows: Counter[int] = Counter()
    for _ in range(turns):
        backend = picker.pick()
        assert backend is not None
        rows[backend.row] += 1
        if not keep:
            picker.release(backend)
    return rows


def test_eighty_turns_over_eight_backends_are_ten_each() -> None:
    assert picked(balancer(LocalBoard(8), [1] * 8), 80) == dict.fromkeys(range(8), 10)


def test_workers_that_share_a_board_are_even_together() -> None:
    board = LocalBoard(8)
    workers = [balancer(board, [1] * 8) for _ in range(3)]

    rows = sum((picked(workers[turn % 3], 1) for turn in range(80)), Counter())

    assert rows == dict.fromkeys(range(8), 10)


def test_weights_are_exact_over_a_round() -> None:
    assert picked(balancer(LocalBoard(3), [5, 1, 2]), 80) == {0: 50, 1: 10, 2: 20}


def test_a_backend_that_is_down_leaves_the_others_even() -> None:
    board = LocalBoard(4)
    board.available[2] = False

    assert picked(balancer(board, [1] * 4), 30) == {0: 10, 1: 10, 3: 10}


def test_a_schedule_spreads_the_heavy_member() -> None:
    assert smooth_schedule((5, 1, 1)) == (0, 0, 1, 0, 2, 0, 0)


def test_a_schedule_is_in_lowest_terms() -> None:
    assert smooth_schedule((100, 200)) == (1, 0, 1)


def test_a_ramping_backend_takes_its_permille_and_the_rest_is_spread() -> None:
    board = LocalBoard(4)
    board.ramps[0] = 250

    rows = picked(balancer(board, [1] * 4), 4 * 120)

    assert rows[0] == 30
    assert {rows[1], rows[2], rows[3]} == {150}


def test_a_ramping_backend_that_is_alone_takes_everything() -> None:
    board = LocalBoard(1)
    board.ramps[0] = 1

    assert picked(balancer(board, [1]), 20) == {0: 20}


def test_least_conn_picks_the_least_loaded_for_its_weight() -> None:
    board = LocalBoard(3)
    board.flights = [4, 3, 9]
    picker = balancer(board, [1, 1, 4], Balance.LEAST_CONN)

    assert [backend.row for backend in (picker.pick(), picker.pick()) if backend] == [2, 2]
    assert board.flights == [4, 3, 11]


def test_least_conn_rotates_equals() -> None:
    assert picked(balancer(LocalBoard(4), [1] * 4, Balance.LEAST_CONN), 40) == dict.fromkeys(range(4), 10)


def test_least_conn_holds_a_ramping_backend_back() -> None:
    board = LocalBoard(2)
    board.ramps[0] = 100

    rows = picked(balancer(board, [1, 1], Balance.LEAST_CONN), 110, keep=True)

    assert rows[0] == pytest.approx(10, abs=1)


def test_two_choices_never_picks_the_fullest_of_three() -> None:
    board = LocalBoard(3)
    board.flights[1] = 100

    assert picked(balancer(board, [1] * 3, Balance.TWO_CHOICES), 200)[1] == 0


def test_two_choices_reaches_every_backend() -> None:
    rows = picked(balancer(LocalBoard(5), [1] * 5, Balance.TWO_CHOICES), 500)

    assert min(rows[row] for row in range(5)) > 50


@EVERY_BALANCE
def test_excluded_and_unavailable_backends_are_not_picked(balance: Balance) -> None:
    board = LocalBoard(4)
    board.available[0] = False
    picker = balancer(board, [1] * 4, balance)

    rows = {backend.row for _ in range(50) if (backend := picker.pick({1, 2}))}

    assert rows == {3}


@EVERY_BALANCE
def test_nobody_is_picked_when_nobody_is_up(balance: Balance) -> None:
    board = LocalBoard(2)
    board.available = [False, False]
    picker = balancer(board, [1, 1], balance)

    assert picker.pick() is None
    assert not picker.has_available()
    assert board.flights == [0, 0]


@EVERY_BALANCE
def test_max_connections_is_filled_and_never_passed(balance: Balance) -> None:
    board = LocalBoard(3)
    picker = balancer(board, [3, 1, 1], balance, max_connections=2)

    picks = [picker.pick() for _ in range(10)]

    assert sum(backend is not None for backend in picks) == 6
    assert board.flights == [2, 2, 2]
    assert picker.has_available()


def test_two_workers_that_race_for_the_last_place_never_both_keep_it() -> None:
    class Contended(LocalBoard):
        def add_in_flight(self, row: int, delta: int) -> None:
            super().add_in_flight(row, delta)
            if delta > 0 and self.flights[row] == 2:
                self.flights[row] += 1  # another worker adds itself between our two looks

    board = Contended(1)
    picker = balancer(board, [1], max_connections=2)

    assert picker.pick() is not None
    assert picker.pick() is None
    assert board.flights == [2]


@EVERY_BALANCE
def test_a_released_place_is_picked_again(balance: Balance) -> None:
    board = LocalBoard(2)
    picker = balancer(board, [1, 1], balance, max_connections=1)
    first = picker.pick()
    assert first is not None
    assert picker.pick() is not None

    picker.release(first)

    assert picker.pick() == first


def test_rows_may_differ_from_positions() -> None:
    board = LocalBoard(10)
    members = [BackendConfig(Address("127.0.0.1", 1)), BackendConfig(Address(path="/run/app.sock"))]
    picker = Balancer(Balance.ROUND_ROBIN, members, [7, 3], board)

    assert [backend.label for backend in picker.backends] == ["127.0.0.1:1", "unix:/run/app.sock"]
    assert picked(picker, 10) == {7: 5, 3: 5}


def test_rows_and_members_must_match() -> None:
    with pytest.raises(ValueError, match="zip"):
        Balancer(Balance.ROUND_ROBIN, [BackendConfig(Address("h", 1))], [], LocalBoard(1))


def test_a_backup_is_picked_only_while_nobody_else_may_be() -> None:
    board = LocalBoard(3)
    first = [BackendConfig(Address("127.0.0.1", port)) for port in (1, 2)]
    backups = [BackendConfig(Address("127.0.0.1", 3))]
    picker = Balancer(Balance.ROUND_ROBIN, first, range(3), board, 1, Random(1), backups)

    assert set(picked(picker, 2, keep=True)) == {0, 1}
    assert picker.pick() is None, "servers that are full are no reason to ask a backup"
    board.available[0] = board.available[1] = False
    assert picked(picker, 1, keep=True) == {2: 1}
    board.available[0] = True
    assert picker.pick({0}) is None, "the backup is full"
    picker.release(picker.backends[2])
    assert picker.pick({0}) == picker.backends[2], "nor may the only server that is up be asked again"
