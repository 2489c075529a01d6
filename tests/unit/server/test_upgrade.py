"""An upgrade's two sides as state machines: this process plays both arbiters, or one of them with a dying child."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from accel.errors import StartError
from accel.server.handover import VARIABLE, Command, Handed, HandedArena, HandedBackend, Handover, take
from accel.server.upgrade import Belongings, Phase, Upgrade

LIMIT_S = 5.0
SOON_S = 20.0


class FakeProgram:
    """An arbiter that notes what it is told."""

    def __init__(self, *drained: str) -> None:
        self.drained = drained
        self.told: list[tuple[object, ...]] = []

    def belongings(self) -> Belongings:
        """See `upgrade.Program`."""
        well_but_drained = tuple(HandedBackend(label, True, None) for label in self.drained)
        return Belongings((), (), None, (*well_but_drained, HandedBackend("127.0.0.1:9", False, "refused")))

    def give_charge(self, pid: int) -> None:
        """See `upgrade.Program`."""
        self.told.append(("give", pid))

    def take_charge(self, drained: frozenset[str] | None) -> None:
        """See `upgrade.Program`."""
        self.told.append(("take", drained))

    def other_gone(self, pid: int) -> None:
        """See `upgrade.Program`."""
        self.told.append(("gone", pid))


Start = Callable[[str], Upgrade]


@pytest.fixture
def program() -> FakeProgram:
    """Return the program whose side is looked at."""
    return FakeProgram("127.0.0.1:1")


@pytest.fixture
def old(program: FakeProgram) -> Iterator[Start]:
    """Return what begins an upgrade to a program that runs some Python instead of accel."""
    begun: list[Upgrade] = []

    def begin(code: str) -> Upgrade:
        command = Command((sys.executable, "-c", PREFACE + code), str(Path.cwd()), dict(os.environ))
        upgrade = Upgrade(program, command, None)
        assert upgrade.begin(now=0.0, timeout_s=LIMIT_S) is None
        begun.append(upgrade)
        return upgrade

    yield begin
    for upgrade in begun:
        if upgrade._child is not None:
            upgrade._child.kill()
            upgrade._child.wait()
        end(upgrade)


def end(upgrade: Upgrade) -> None:
    """Close every descriptor."""
    upgrade.close()
    os.close(upgrade._lifeline[1])


PREFACE = f"""
import json, os, socket, sys, time
given = json.loads(os.environ[{VARIABLE!r}])
talk = socket.socket(fileno=given["talk_fd"])
"""
READY = "talk.send(b'ready'); "


def look_until(upgrade: Upgrade, phase: Phase, now: float = 0.0) -> None:
    """Let the arbiter look until an upgrade is in a phase."""
    deadline = time.monotonic() + SOON_S
    while upgrade.phase is not phase:
        assert time.monotonic() < deadline, upgrade.phase
        upgrade.look(now)


def test_a_ready_successor_gets_charge_and_the_drained_backends(
    old: Start, program: FakeProgram, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code = "said = talk.recv(100)\nwhile not os.path.exists({!r}): time.sleep(0.01)\nsys.exit(7 if said == {!r} else 8)"
    upgrade = old(READY + code.format(str(tmp_path / "seen"), b'["127.0.0.1:1"]'))
    pid = upgrade.other_pid

    look_until(upgrade, Phase.REPLACED)
    given = list(program.told)
    (tmp_path / "seen").touch()
    look_until(upgrade, Phase.ALONE)

    assert given == [("give", pid)]
    assert program.told == [("give", pid), ("take", None), ("gone", pid)]
    assert f" successor-gone pid={pid} why='exit code 7'" in capsys.readouterr().err


def test_a_successor_that_ends_before_it_is_ready_leaves_charge_where_it_is(old: Start, program: FakeProgram) -> None:
    upgrade = old("sys.exit(3)")

    look_until(upgrade, Phase.ALONE)

    assert program.told == [("gone", upgrade.other_pid)]
    assert upgrade.is_in_charge
    assert upgrade.failure == "it ended, exit code 3; its own words are above"


def test_while_a_worker_of_a_dead_successor_lives_nothing_of_it_is_taken_back(old: Start, program: FakeProgram) -> None:
    upgrade = old("os.fork() and os._exit(1); import select; select.select([given['others_lifeline']], [], [])")

    look_until(upgrade, Phase.LEFT)
    for _ in range(10):
        upgrade.look(0.0)
    before = list(program.told)
    refusal = upgrade.begin(0.0, LIMIT_S)
    read, write = upgrade._lifeline
    os.close(write)  # what the worker waits for
    look_until(upgrade, Phase.ALONE)
    upgrade._lifeline = read, os.dup(read)

    assert before == []
    assert refusal == f"workers of process {upgrade.other_pid} still finish what they have"
    assert program.told == [("gone", upgrade.other_pid)]


def test_a_successor_that_is_not_ready_in_time_is_ended(old: Start) -> None:
    upgrade = old("time.sleep(60)")

    upgrade.look(LIMIT_S - 0.1)
    was = upgrade.phase
    look_until(upgrade, Phase.ALONE, LIMIT_S)

    assert was is Phase.STARTING
    assert upgrade.failure == "it was not ready in time"


def test_a_successor_that_ignores_that_it_is_late_is_killed(old: Start) -> None:
    upgrade = old("import signal; signal.signal(15, signal.SIG_IGN); os.write(talk.fileno(), b'deaf'); time.sleep(60)")
    talk = upgrade._talk
    assert talk is not None
    talk.setblocking(True)
    assert talk.recv(4) == b"deaf"
    talk.setblocking(False)

    upgrade.look(LIMIT_S)
    look_until(upgrade, Phase.ALONE, LIMIT_S + 10)

    assert upgrade.failure == "it was not ready in time"


def test_an_interpreter_that_is_gone_is_said_and_changes_nothing(program: FakeProgram) -> None:
    upgrade = Upgrade(program, Command(("/no/such/python",), "/", {}), None)

    refusal = upgrade.begin(0.0, LIMIT_S)
    end(upgrade)

    assert refusal == "/no/such/python cannot be started: No such file or directory"
    assert upgrade.phase is Phase.ALONE
    assert upgrade.failure == refusal


def test_without_a_descriptor_left_the_program_serves_on(program: FakeProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> tuple[int, int]:
        raise OSError(24, "Too many open files")

    upgrade = Upgrade(program, Command((sys.executable,), "/", {}), None)
    with monkeypatch.context() as poor:
        poor.setattr(os, "pipe", refuse)
        refusal = upgrade.begin(0.0, LIMIT_S)
    end(upgrade)

    assert refusal == f"{sys.executable} cannot be started: Too many open files"
    assert upgrade.phase is Phase.ALONE


def test_what_cannot_be_started_twice_is_refused(program: FakeProgram) -> None:
    upgrade = Upgrade(program, None, None)

    assert upgrade.begin(0.0, LIMIT_S) == "this one cannot be started twice"
    end(upgrade)


class Predecessor:
    """An old program, played by the test."""

    def __init__(self) -> None:
        self.talk, theirs = socket.socketpair()
        read, self._lifeline = os.pipe()
        os.set_blocking(read, False)
        self.given = Handover(41, theirs.detach(), os.pipe(), read, (), (), None, ())

    def die(self) -> None:
        """Close what the death of its arbiter and of every worker closes."""
        self.talk.close()
        os.close(self._lifeline)


@pytest.fixture
def predecessor() -> Predecessor:
    """Return an old program that has started another."""
    return Predecessor()


@pytest.fixture
def new(predecessor: Predecessor, program: FakeProgram) -> Iterator[Upgrade]:
    """Return the side of the program that it started."""
    upgrade = Upgrade(program, None, predecessor.given)
    yield upgrade
    end(upgrade)


def test_a_new_program_is_in_charge_when_the_old_one_ends_the_talk(
    predecessor: Predecessor, new: Upgrade, program: FakeProgram
) -> None:
    new.look(0.0)
    before_ready = list(program.told)
    new.ready()
    new.look(0.0)
    before_answer = list(program.told)
    said = predecessor.talk.recv(100)
    predecessor.talk.send(b'["127.0.0.1:2"]')
    predecessor.die()
    while not new.is_in_charge:
        new.look(0.0)

    assert before_ready == before_answer == []
    assert said == b"ready"
    assert ("take", frozenset({"127.0.0.1:2"})) in program.told


def test_an_old_program_that_dies_early_leaves_charge_to_the_new_one_when_that_is_ready(
    predecessor: Predecessor, new: Upgrade, program: FakeProgram
) -> None:
    predecessor.die()
    new.look(0.0)
    before_ready = list(program.told)
    new.ready()
    new.look(0.0)

    assert before_ready == [("gone", 41)]
    assert program.told == [("gone", 41), ("take", None)]
    assert new.phase is Phase.ALONE


def test_an_old_program_that_dies_over_a_word_leaves_charge_to_the_new_one(
    predecessor: Predecessor, new: Upgrade, program: FakeProgram
) -> None:
    new.ready()
    predecessor.talk.send(b'["127.0.')
    predecessor.die()
    while not new.is_in_charge:
        new.look(0.0)

    assert ("take", None) in program.told


def test_only_a_parent_that_lives_is_told_to_retire(predecessor: Predecessor, new: Upgrade) -> None:
    assert not new.retire_other()
    predecessor.die()


def test_a_handover_is_read_once_and_as_it_was_written() -> None:
    sockets = (Handed(5, ("", 80, "")), Handed(6, ("127.0.0.1", 0, ""), 1), Handed(7, None))
    admin, backends = (Handed(10, ("", 0, "/a.sock")),), (HandedBackend("h:1", True, None),)
    given = Handover(41, 3, (4, 8), 9, sockets, admin, HandedArena(11, 1), backends, 12)
    environ = {VARIABLE: given.text(), "HOME": "/"}

    assert take(environ) == given
    assert take(environ) is None
    assert environ == {"HOME": "/"}
    assert sorted(given.descriptors()) == list(range(3, 13))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"form": 0}', '{"form": 1, "arena": null}'])
def test_what_another_form_of_program_hands_over_is_refused(text: str) -> None:
    with pytest.raises(StartError, match="stop the running program and start this one"):
        take({VARIABLE: text})


def test_the_next_program_starts_where_a_link_leads_by_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "release-1").mkdir()
    link = tmp_path / "current"
    link.symlink_to("release-1")
    monkeypatch.chdir(link)
    monkeypatch.setenv("PWD", str(link))
    monkeypatch.setenv("LISTEN_FDS", "1")

    command = Command.of_this_process()

    assert command.directory == str(link)
    assert "LISTEN_FDS" not in command.environment
    assert command.arguments[0] == sys.orig_argv[0]


def test_a_shells_word_that_is_out_of_date_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PWD", "/")

    assert Command.of_this_process().directory == str(tmp_path)
