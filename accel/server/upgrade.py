"""Upgrading in place: one program starts the next on the same sockets and the same live store, and then retires.

Two programs live at once, each an arbiter with its workers. This module is one arbiter's side of that, as the old one
(it started a successor) or as the new one (it has a predecessor). It knows processes and three kinds of descriptors;
what is handed over, and what being in charge means, is the arbiter's (`Program`).

```
 old                                            new
 USR2: starts its own command again             takes sockets, store, rate limits' counts; forks its workers
 answers the admin, judges the new one's time   every worker accepts: says "ready" on the talk
 gives charge: admin closed, PID.oldbin;        waits for the talk's end
   ends the talk with the drained backends
 serves clients all the while                   in charge: admin, PID
 QUIT or TERM: ends as always                   the old one's lifeline ends: its rows of the store are free
 WINCH: its workers leave, HUP brings them back
```

The talk is a socket pair between the two arbiters. Both hear its end when the other closes it or dies, so the new one
comes into charge also when the old one is killed in between, and no file or socket is without an owner for longer
than it takes to notice. The old one ends it with shutdown, since a worker just forked may hold a copy.

A lifeline is a pipe whose write end every process of one program holds, and nobody else. Its end says that all of
them are dead, whoever their parent is: what they held in the store may be taken back, which is too early while one
worker still sends a body out of it. The old program makes both pipes and keeps a read end of each; a successor gets
its own pipe and the read end of the old one's.

What a death leaves, wherever it strikes:
 new arbiter before "ready"   the old one is still in charge; it says why and serves on
 new arbiter after it         the old one takes charge again (its workers too, if WINCH had retired them)
 new one's workers            finish and leave (their channel ended); until then no other upgrade begins
 old arbiter                  the new one is in charge when ready; the old one's workers finish and leave
 both                         what a kill of one program leaves
A new program that is not ready in time gets TERM, and KILL a moment later. A stop of the old one before "ready" is a
stop of both: nobody has seen the new one yet.

Everything is looked at in the arbiter's own turn, between two runs of its loop (`look`); nothing here waits. Sources:
Unicorn's SIGNALS ("procedure to replace a running unicorn executable"), nginx's control.html, sd_notify(3).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from accel.server.crew import why_ended
from accel.server.handover import VARIABLE, Command, Handed, HandedArena, HandedBackend, Handover
from accel.server.journal import note

_READY = b"ready"
_BEFORE_KILL_S = 2.0
"""Between TERM and KILL for a new program that is not ready in time."""
_MOST_BYTES = 1 << 16
"""What the talk's kernel buffer surely takes at once: the names of a thousand backends."""


class Phase(Enum):
    """Which other program there is."""

    ALONE = "alone"
    """None."""
    STARTING = "starting"
    """A successor that is not ready: this one is in charge."""
    REPLACED = "replaced"
    """A successor that is in charge: this is the old one."""
    LEFT = "left"
    """Workers of a successor whose arbiter is dead: this one is in charge."""
    REPLACING = "replacing"
    """A predecessor: this is the new one."""


_WHY_NOT = {
    Phase.STARTING: "process {pid} is being started",
    Phase.REPLACED: "process {pid} has taken over: stop one of the two first",
    Phase.LEFT: "workers of process {pid} still finish what they have",
    Phase.REPLACING: "process {pid}, the old one, still lives: retire it first",
}
"""Why an upgrade cannot begin."""


@dataclass(frozen=True, slots=True)
class Belongings:
    """What a program has that its successor may take."""

    sockets: tuple[Handed, ...]
    admin: tuple[Handed, ...]
    arena: HandedArena | None
    backends: tuple[HandedBackend, ...]
    limits_fd: int | None = None


class Program(Protocol):
    """What an upgrade needs of the arbiter."""

    def belongings(self) -> Belongings:
        """Return what a successor may take."""
        ...

    def give_charge(self, pid: int) -> None:
        """The successor `pid` serves: leave admin and pid file to it."""
        ...

    def take_charge(self, drained: frozenset[str] | None) -> None:
        """Nobody else is in charge now: answer the admin; `drained` is what operators last said, None: to us."""
        ...

    def other_gone(self, pid: int) -> None:
        """Every process of the other program is dead."""
        ...


class Upgrade:
    """One program's side of it."""

    def __init__(self, program: Program, command: Command | None, given: Handover | None) -> None:
        """`command` starts a successor, None if there can be none; `given` is from a predecessor."""
        self._program = program
        self._command = command
        self.phase = Phase.ALONE if given is None else Phase.REPLACING
        self.is_in_charge = given is None
        self.other_pid = 0 if given is None else given.pid
        """The other arbiter's process, also for a while after its end."""
        self.failure = ""
        """Why the latest upgrade failed."""
        self._lifeline = _pipe() if given is None else given.lifeline
        """Read and write end; the write end closes with the process."""
        self._others_lifeline = None if given is None else given.others_lifeline
        self._talk = None if given is None else socket.socket(fileno=given.talk_fd)
        self._said_ready = False
        self._heard = b""
        self._child: subprocess.Popen[bytes] | None = None
        self._give_up_mono = 0.0

    # As the old one.

    def begin(self, now: float, timeout_s: float) -> str | None:
        """Start a successor, which must be ready within `timeout_s`; return why not. `now` is monotonic."""
        if why := self._refusal():
            note("upgrade-refused", why=why)
            return why
        self.failure = self._start()
        if self.failure:
            note("upgrade-failed", why=self.failure)
            return self.failure
        self._give_up_mono = now + timeout_s
        note("upgrade-started", pid=self.other_pid)
        return None

    def _refusal(self) -> str | None:
        if self._command is None:
            return "this one cannot be started twice"
        why = _WHY_NOT.get(self.phase)
        return None if why is None else why.format(pid=self.other_pid)

    def _start(self) -> str:
        """Start a successor; return why there is none, empty if there is one."""
        assert self._command is not None
        try:
            with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
                talk, talk_end = socket.socketpair()
                ours.callback(talk.close)
                theirs.callback(talk_end.close)
                read, write = _pipe()
                ours.callback(os.close, read)
                theirs.callback(os.close, write)
                self._child = _started(self._command, self._handover(talk_end.fileno(), (read, write)))
                ours.pop_all()
        except OSError as error:
            return f"{self._command.arguments[0]} cannot be started: {error.strerror}"
        talk.setblocking(False)
        self._talk, self._others_lifeline = talk, read
        self.phase, self.other_pid = Phase.STARTING, self._child.pid
        return ""

    def _handover(self, talk_fd: int, lifeline: tuple[int, int]) -> Handover:
        had = self._program.belongings()
        return Handover(
            pid=os.getpid(),
            talk_fd=talk_fd,
            lifeline=lifeline,
            others_lifeline=self._lifeline[0],
            sockets=had.sockets,
            admin=had.admin,
            arena=had.arena,
            backends=had.backends,
            limits_fd=had.limits_fd,
        )

    def abandon(self) -> None:
        """This program stops: a successor that is not ready stops with it."""
        if self.phase is Phase.STARTING and self._child is not None:
            self.failure = "this program stops"
            self._child.terminate()

    # As the new one.

    def ready(self) -> None:
        """Every worker accepts."""
        if self._talk is not None and not self._said_ready:
            self._said_ready = True
            self._talk.setblocking(False)
            with contextlib.suppress(OSError):  # nobody is there any more: the talk's end says so
                self._talk.send(_READY)

    def retire_other(self) -> bool:
        """Tell the old program to end gracefully; False if its arbiter, our parent, is gone."""
        if self.phase is not Phase.REPLACING or os.getppid() != self.other_pid:
            return False
        os.kill(self.other_pid, signal.SIGQUIT)
        return True

    # As either.

    def look(self, now: float) -> None:
        """Act on what the other program did. Never waits; `now` is monotonic."""
        if self._talk is not None:
            self._listen(self._talk)
        if self._child is not None:
            self._watch(self._child, now)
        if self._others_lifeline is not None and _has_ended(self._others_lifeline):
            self._lose_other(self._others_lifeline)

    def forget(self) -> None:
        """Close what is the arbiter's alone; in a worker, and at the end. The write end stays: it is the lifeline."""
        if self._talk is not None:
            self._talk.close()
        for end in (self._lifeline[0], self._others_lifeline):
            if end is not None:
                os.close(end)

    def close(self) -> None:
        """This program ends; a successor stays."""
        self.forget()
        if self._child is not None and self._child.poll() is None:
            self._child.returncode = 0  # else Popen warns that its child outlives us

    def _listen(self, talk: socket.socket) -> None:
        if self._child is not None:
            if _received(talk) == _READY and not self.failure:
                self._hand_over(talk)
        elif self._said_ready:
            said = _received(talk)
            self._heard += said or b""
            if said == b"":
                self._end_talk(talk)
                self._come_into_charge()

    def _hand_over(self, talk: socket.socket) -> None:
        """The successor is ready: from here on it is in charge, also if this process dies at the next line."""
        backends = self._program.belongings().backends
        drained = json.dumps([one.label for one in backends if one.is_drained]).encode()
        self.phase, self.is_in_charge = Phase.REPLACED, False
        self._program.give_charge(self.other_pid)
        with contextlib.suppress(OSError):  # it died, which `_watch` will see
            talk.send(drained if len(drained) <= _MOST_BYTES else b"")
        self._end_talk(talk)
        note("upgraded", pid=self.other_pid)

    def _come_into_charge(self) -> None:
        self.is_in_charge = True
        self._program.take_charge(_drained(self._heard))
        note("in-charge", pid=os.getpid(), after=self.other_pid)

    def _end_talk(self, talk: socket.socket) -> None:
        with contextlib.suppress(OSError):
            talk.shutdown(socket.SHUT_RDWR)
        talk.close()
        self._talk = None

    def _watch(self, child: subprocess.Popen[bytes], now: float) -> None:
        code = child.poll()
        if code is not None:
            self._lose_successor(why_ended(code))
        elif self.phase is Phase.STARTING and now >= self._give_up_mono:
            if not self.failure:
                self.failure = "it was not ready in time"
                child.terminate()
                self._give_up_mono = now + _BEFORE_KILL_S
            else:
                child.kill()

    def _lose_successor(self, why: str) -> None:
        """The successor's arbiter is dead; some of its workers may live a little longer."""
        was_in_charge = self.phase is Phase.REPLACED
        self.phase, self._child = Phase.LEFT, None
        if self._talk is not None:
            self._end_talk(self._talk)
        if was_in_charge:
            note("successor-gone", pid=self.other_pid, why=why)
            self.is_in_charge = True
            self._program.take_charge(None)
            note("in-charge", pid=os.getpid(), after=self.other_pid)
        else:
            self.failure = self.failure or f"it ended, {why}; its own words are above"
            note("upgrade-failed", pid=self.other_pid, why=self.failure)

    def _lose_other(self, lifeline: int) -> None:
        if self._child is not None:
            return  # its end is told by `_watch` first
        os.close(lifeline)
        self._others_lifeline = None
        if self.phase is Phase.REPLACING:
            note("predecessor-gone", pid=self.other_pid)
        self.phase = Phase.ALONE
        self._program.other_gone(self.other_pid)


def _pipe() -> tuple[int, int]:
    read, write = os.pipe()
    os.set_blocking(read, False)
    return read, write


def _started(command: Command, handover: Handover) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command.arguments,
        cwd=command.directory,
        env={**command.environment, VARIABLE: handover.text()},
        pass_fds=tuple(handover.descriptors()),
    )


def _received(talk: socket.socket) -> bytes | None:
    """Return what came, None if nothing did; empty at the end."""
    try:
        return talk.recv(_MOST_BYTES)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def _drained(heard: bytes) -> frozenset[str] | None:
    """Return which backends the old program said are drained; None if it said nothing, or died in the middle of it."""
    try:
        return frozenset(json.loads(heard))
    except ValueError:
        return None


def _has_ended(lifeline: int) -> bool:
    try:
        return os.read(lifeline, 1) == b""
    except BlockingIOError:
        return False
