"""Upgrades that fail, and programs that are killed before and after they have taken over: somebody always serves."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from accel_process import StartAccel
from children import eventually, is_alive
from fault_origin import FaultOrigin
from http_clients import Load, ask
from programs import (
    begin_upgrade,
    facts,
    in_charge,
    retire,
    stop,
    title,
    upgrade,
    wait_alone,
    wait_in_charge,
    with_file,
    with_pages,
)

pytestmark = pytest.mark.scene


@pytest.fixture
def origin(fault: FaultOrigin) -> FaultOrigin:
    """Return an origin with the pages of these scenes."""
    return with_pages(fault)


def test_a_new_program_with_a_wrong_configuration_leaves_the_old_one_serving(
    start_accel: StartAccel, origin: FaultOrigin, tmp_path: Path
) -> None:
    path = tmp_path / "accel.toml"
    accel = with_file(start_accel, origin, path)
    accel.expects_dump = True
    path.write_text('memory = "much"')

    with Load(accel.port, ["/page", "/passed"]) as load:
        new = begin_upgrade(accel)
        accel.child.wait_for(f" upgrade-failed pid={new} why='it ended, exit code 2; its own words are above'")
        wait_alone(accel)
        load.wait_more(100)
    path.write_text("")
    upgrade(accel)
    retire(accel, accel.child.pid)

    assert load.failures == []
    assert "'much' will not do" in accel.log
    stop(accel)


def test_a_new_program_that_is_not_ready_in_time_is_ended(
    start_accel: StartAccel, origin: FaultOrigin, tmp_path: Path
) -> None:
    accel = start_accel([origin.backend], "--upgrade-timeout", "1ms")
    accel.expects_dump = True

    with Load(accel.port, ["/page", "/passed"]) as load:
        new = begin_upgrade(accel)
        accel.child.wait_for(f" upgrade-failed pid={new} why='it was not ready in time'")
        wait_alone(accel)
        load.wait_more(100)

    assert load.failures == []
    assert not is_alive(new)
    assert facts(accel)["upgrade"]["failure"] == "it was not ready in time"


def test_a_new_program_killed_before_it_is_ready_leaves_the_old_one_in_charge(
    start_accel: StartAccel, origin: FaultOrigin
) -> None:
    accel = start_accel([origin.backend])
    old = in_charge(accel)

    with Load(accel.port, ["/page", "/passed"]) as load:
        new = begin_upgrade(accel)
        os.kill(new, signal.SIGKILL)
        accel.child.wait_for(f" upgrade-failed pid={new} why='it ended, signal SIGKILL; its own words are above'")
        wait_alone(accel)
        load.wait_more(100)

    assert load.failures == []
    assert in_charge(accel) == old


def test_a_new_program_killed_later_gives_charge_back_and_the_retired_workers_return(
    start_accel: StartAccel, origin: FaultOrigin, tmp_path: Path
) -> None:
    pid_file = tmp_path / "accel.pid"
    accel = start_accel([origin.backend], "--pid", str(pid_file))
    old = in_charge(accel)
    new = upgrade(accel)
    os.kill(old, signal.SIGWINCH)
    accel.child.wait_for(" workers-retired ")

    os.kill(new, signal.SIGKILL)
    wait_in_charge(accel, old)
    eventually("its workers accept", lambda: len(accel.accepting_pids()) == 2)
    wait_alone(accel)

    assert ask(accel, "/page").status == 200
    assert pid_file.read_text() == f"{old}\n"
    assert sorted(path.name for path in tmp_path.glob("accel.pid*")) == ["accel.pid"]
    assert title(old) == "accel: arbiter scene"


def test_an_old_program_that_is_killed_leaves_the_new_one_alone_in_charge(
    start_accel: StartAccel, origin: FaultOrigin, tmp_path: Path
) -> None:
    pid_file = tmp_path / "accel.pid"
    accel = start_accel([origin.backend], "--pid", str(pid_file))
    new = upgrade(accel)

    with Load(accel.port, ["/page", "/passed"]) as load:
        accel.send(signal.SIGKILL)
        wait_alone(accel)
        load.wait_more(100)

    assert load.failures == []
    assert in_charge(accel) == new
    assert sorted(path.name for path in tmp_path.glob("accel.pid*")) == ["accel.pid"]
    stop(accel)


def test_an_old_program_that_is_killed_before_the_new_one_is_ready_loses_nothing(
    start_accel: StartAccel, origin: FaultOrigin
) -> None:
    accel = start_accel([origin.backend])
    new = begin_upgrade(accel)

    accel.send(signal.SIGKILL)
    wait_in_charge(accel, new)
    wait_alone(accel)

    assert ask(accel, "/page").status == 200
    stop(accel)


def test_stopping_the_old_program_before_the_new_one_is_ready_stops_both(
    start_accel: StartAccel, origin: FaultOrigin
) -> None:
    accel = start_accel([origin.backend])
    accel.expects_dump = True
    new = begin_upgrade(accel)

    accel.send(signal.SIGTERM)

    assert accel.child.wait() == 0
    eventually("both have ended", lambda: not is_alive(new))
    assert " upgraded " not in accel.log


def test_a_second_upgrade_is_refused_while_two_programs_live(start_accel: StartAccel, origin: FaultOrigin) -> None:
    accel = start_accel([origin.backend])
    old = in_charge(accel)
    new = upgrade(accel)

    os.kill(old, signal.SIGUSR2)
    accel.child.wait_for(f" upgrade-refused why='process {new} has taken over: stop one of the two first'")
    status, said = accel.admin_answer("POST", "/upgrade", {})
    retire(accel, old)

    assert (status, said["error"]) == (409, f"process {old}, the old one, still lives: retire it first")
    stop(accel)
