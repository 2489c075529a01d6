"""The pool's health in the arbiter: what reports and probes make of it, and what is published."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from accel.config import Address, BackendConfig, OriginOptions, ProbeOptions
from accel.errors import StartError
from accel.server import pool_health as module
from accel.server.pool_health import PoolHealth
from accel.server.pools import Pool as PoolConfig
from accel.server.scoreboard import BACKEND_ROWS, BackendState, Scoreboard, WorkerBoard

OPTIONS = ProbeOptions(path="/healthz", fall=3, rise=2, interval_s=2.0, slow_start_s=10.0)


def backends(*ports: int) -> tuple[BackendConfig, ...]:
    """Return backends on these ports."""
    return tuple(BackendConfig(Address("10.0.0.1", port)) for port in ports)


def one_pool(members: tuple[BackendConfig, ...], options: ProbeOptions) -> tuple[PoolConfig, ...]:
    """Return the command line's pool alone."""
    return (PoolConfig("", OriginOptions(backends=members), options),)


class Pool:
    """A pool with probes that a test answers."""

    def __init__(self) -> None:
        self.board = Scoreboard()
        self.board.use_rows(1)
        self.worker = WorkerBoard(self.board, 0, lambda row, why: self.health.failed(row, why))
        self.health = PoolHealth(self.board)
        self.probed: list[Address] = []
        self.why: str | None = None

    async def probe(self, address: Address, path: str | None, host: str, timeout_s: float) -> str | None:
        """Stand in for `origin.health.probe`."""
        self.probed.append(address)
        await asyncio.sleep(0)
        return self.why

    async def tick(self, now: float) -> None:
        """Let the arbiter look, and the probes that are due end."""
        self.health.tick(now)
        for _ in range(5):
            await asyncio.sleep(0)

    def states(self) -> list[BackendState]:
        """Return what is published, in the order of the configuration."""
        return [self.board.backend_state(row) for row in self.health.rows[""]]


@pytest.fixture
async def pool(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pool]:
    """Return a pool of two."""
    pool = Pool()
    monkeypatch.setattr(module, "probe", pool.probe)
    pool.health.configure(one_pool(backends(1, 2), OPTIONS))
    yield pool
    pool.health.close()


async def test_every_backend_is_up_at_first(pool: Pool) -> None:
    assert pool.health.rows[""] == (0, 1)
    assert pool.states() == [BackendState.UP, BackendState.UP]
    assert pool.board.ramp(0) == 1000


async def test_failures_in_a_row_take_a_backend_out_in_that_moment(pool: Pool) -> None:
    for _ in range(2):
        pool.worker.note_failure(1, "refused")
    assert pool.states() == [BackendState.UP, BackendState.UP]
    pool.worker.note_failure(1, "refused")
    assert pool.states() == [BackendState.UP, BackendState.DOWN]
    assert pool.health.members[1].health.last_why == "refused"


async def test_a_success_of_any_worker_breaks_the_row(pool: Pool) -> None:
    for _ in range(5):
        pool.worker.note_failure(1, "refused")
        pool.worker.note_failure(1, "refused")
        pool.worker.note_success(1)
    assert pool.states()[1] is BackendState.UP


async def test_probes_take_out_and_bring_back_with_a_ramp(pool: Pool) -> None:
    pool.why = "503"
    for number in range(3):
        await pool.tick(10.0 + 2 * number)
    assert pool.states() == [BackendState.DOWN, BackendState.DOWN]
    pool.why = None
    for number in range(2):
        await pool.tick(20.0 + 2 * number)
    assert pool.states() == [BackendState.UP, BackendState.UP]
    assert pool.board.ramp(0) < 1000
    pool.health.publish(1e12)
    assert pool.board.ramp(0) == 1000


async def test_probes_keep_their_interval_and_do_not_pile_up(pool: Pool) -> None:
    await pool.tick(10.0)
    await pool.tick(11.0)
    assert len(pool.probed) == 2
    pool.health.tick(12.0)
    pool.health.tick(20.0)
    await pool.tick(20.5)
    assert len(pool.probed) == 4


async def test_without_a_path_only_what_is_down_is_probed(pool: Pool) -> None:
    pool.health.configure(one_pool(backends(1, 2), ProbeOptions(path=None, fall=1)))
    await pool.tick(10.0)
    assert pool.probed == []
    pool.worker.note_failure(0, "refused")
    await pool.tick(20.0)
    assert pool.probed == [Address("10.0.0.1", 1)]


async def test_a_drained_backend_is_out_until_it_is_given_back(pool: Pool) -> None:
    assert pool.health.set_drain("10.0.0.1:2", True)
    assert pool.states() == [BackendState.UP, BackendState.DRAINING]
    await pool.tick(10.0)
    assert pool.states()[1] is BackendState.DRAINING
    assert pool.health.set_drain("10.0.0.1:2", False)
    assert pool.states()[1] is BackendState.UP
    assert not pool.health.set_drain("nobody", True)


async def test_a_new_list_keeps_rows_health_and_draining_of_those_that_stay(pool: Pool) -> None:
    pool.health.set_drain("10.0.0.1:1", True)
    for _ in range(3):
        pool.worker.note_failure(1, "refused")
    pool.health.configure(one_pool(backends(3, 2, 1), OPTIONS))
    assert pool.health.rows[""] == (2, 1, 0)
    assert pool.states() == [BackendState.UP, BackendState.DOWN, BackendState.DRAINING]


async def test_other_probe_options_begin_anew_but_draining_stays(pool: Pool) -> None:
    pool.health.set_drain("10.0.0.1:1", True)
    for _ in range(3):
        pool.worker.note_failure(1, "refused")
    pool.health.configure(one_pool(backends(1, 2), ProbeOptions(path="/other")))
    assert pool.health.rows[""] == (0, 1)
    assert pool.states() == [BackendState.DRAINING, BackendState.UP]


async def test_a_backend_that_left_is_published_as_unused_and_its_row_is_used_again(pool: Pool) -> None:
    pool.worker.note_failure(1, "refused")
    pool.health.configure(one_pool(backends(1), OPTIONS))
    pool.health.forget_removed()
    assert pool.board.backend_state(1) is BackendState.UNUSED
    pool.health.configure(one_pool(backends(1, 9), OPTIONS))
    assert pool.health.rows[""] == (0, 1)
    assert pool.board.backend_failures(1) == 0


async def test_a_backend_that_left_is_asked_until_every_worker_knows(pool: Pool) -> None:
    pool.health.configure(one_pool(backends(8, 9), OPTIONS))
    assert [pool.board.is_available(row) for row in range(4)] == [True] * 4
    pool.health.configure(one_pool(backends(1), OPTIONS))
    assert pool.health.rows[""] == (4,), "a row that a worker may still use is nobody else's"
    pool.health.forget_removed()
    assert [pool.board.is_available(row) for row in range(5)] == [False] * 4 + [True]


async def test_a_row_with_a_fetch_still_under_way_is_not_used_again(pool: Pool) -> None:
    pool.worker.add_in_flight(1, 1)
    pool.health.configure(one_pool(backends(1), OPTIONS))
    pool.health.forget_removed()
    pool.health.configure(one_pool(backends(1, 9), OPTIONS))
    assert pool.health.rows[""] == (0, 2)


async def test_a_report_of_a_backend_that_left_is_ignored(pool: Pool) -> None:
    pool.health.configure(one_pool(backends(1), OPTIONS))
    for _ in range(5):
        pool.worker.note_failure(1, "refused")
    assert pool.states() == [BackendState.UP]


async def test_a_probe_of_a_backend_that_left_changes_nothing(pool: Pool) -> None:
    pool.why = "503"
    for _ in range(3):
        pool.health.tick(10.0)
        pool.health.configure(one_pool(backends(1), OPTIONS))
        pool.health.configure(one_pool(backends(1, 2), OPTIONS))
        await pool.tick(10.0)
    assert pool.board.backend_state(pool.health.rows[""][1]) is BackendState.UP


async def test_more_backends_than_rows_are_refused_and_nothing_changes(pool: Pool) -> None:
    before = pool.health.rows
    with pytest.raises(StartError, match="backends"):
        pool.health.configure(one_pool(backends(*range(1, BACKEND_ROWS + 2)), OPTIONS))
    assert pool.health.rows == before


async def test_the_next_program_takes_the_word_of_the_one_before_for_who_is_out(pool: Pool) -> None:
    pool.health.set_drain("10.0.0.1:1", True)
    for _ in range(3):
        pool.worker.note_failure(1, "refused")
    following = Pool()
    following.health.configure(one_pool(backends(1, 2, 3), OPTIONS))

    following.health.inherit(pool.health.handed())
    out = following.states()
    following.health.drain_exactly({"10.0.0.1:3"})

    assert out == [BackendState.DRAINING, BackendState.DOWN, BackendState.UP]
    assert following.states() == [BackendState.UP, BackendState.DOWN, BackendState.DRAINING]
    assert following.health.members[1].health.last_why == "refused"


async def test_a_backend_of_two_pools_has_one_row_and_is_probed_as_the_first_that_asks_for_a_path(pool: Pool) -> None:
    shared = BackendConfig(Address("10.0.0.1", 1))
    plain = PoolConfig("", OriginOptions(backends=(shared, *backends(2))), ProbeOptions())
    probing = PoolConfig("a:app", OriginOptions(backends=backends(3), backups=(shared,), host="app.internal"), OPTIONS)

    pool.health.configure((plain, probing))

    assert pool.health.rows == {"": (0, 1), "a:app": (2, 0)}
    member = pool.health.members[0]
    assert (member.row, member.options, member.host) == (0, OPTIONS, "app.internal")
    await pool.tick(10.0)
    assert set(pool.probed) == {Address("10.0.0.1", 1), Address("10.0.0.1", 3)}
