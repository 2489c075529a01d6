"""The access log's file, written from the workers' rings by a thread of the arbiter.

Owns the open files, and how far each ring was read for them. Invariants: no worker and not the arbiter's loop ever
waits for a disk, or for who reads a pipe; only whole lines are written, into a pipe at most PIPE_BUF bytes of them at
once, so that two programs (during an upgrade) do not mix theirs; every record is written or counted in
`log_records_lost`, and a loss is said.

The rings are the buffer: while the file takes nothing the thread reads nothing, and the numbers of a ring that was
overrun meanwhile tell how much was lost. The thread says nothing and opens and closes nothing: the arbiter does,
between two runs of its loop (`use`, `tick`). So a fork finds no lock held, and the child knows every descriptor. Files
are opened with the rights of `--user`, in whose directory they may be.

A killed worker's records are written: its ring outlives it. When the arbiter is killed, those of the last twentieth of
a second are not.
"""

from __future__ import annotations

import os
import select
import signal
import stat
import threading
from collections import deque
from dataclasses import dataclass

from accel.config import LogFormat, LogOptions, ServerOptions
from accel.errors import StartError
from accel.server.journal import note
from accel.server.privileges import acting_as, prepare_log
from accel.server.scoreboard import Scoreboard
from accel.stats.access_log import FormatLines, combined_lines, json_lines
from accel.stats.counters import index
from accel.stats.ring import LogRings

PAUSE_S = 0.05
"""Until the rings are looked at again when nothing was new."""
_POLL_MS = 500
_LAST_S = 5.0
"""How long the end waits for a file that takes nothing."""
_SAY_S = 10.0
"""At most so often a loss is said."""
_AT_ONCE_BYTES = 1 << 20
_LOST = index("log_records_lost")
_FORMATS: dict[LogFormat, FormatLines] = {LogFormat.COMBINED: combined_lines, LogFormat.JSON: json_lines}


@dataclass(eq=False, slots=True)
class Target:
    """An open log."""

    fd: int
    format_lines: FormatLines
    at_once: int
    """Most bytes of one write."""
    is_torn: bool = False
    """Whether what was written last is half a line."""


@dataclass(slots=True)
class Place:
    """How far a ring was read."""

    offset: int = 0
    number: int = 1
    """Of the next record."""


Places = dict[int, Place]


class AccessLogWriter:
    """The log and its thread."""

    def __init__(self, ring_bytes: int, board: Scoreboard) -> None:
        self.rings, self._board = LogRings(ring_bytes), board
        self._is_on = False
        self._target: Target | None = None
        self._places: Places = {}
        self._next: deque[tuple[Target | None, Places | None]] = deque()
        """What is written to from now on, and from where: appended by the arbiter, taken by the thread."""
        self._left: deque[Target] = deque()
        """No longer written to: to be closed by the arbiter."""
        self._thread: threading.Thread | None = None
        self._wake, self._is_ending = threading.Event(), False
        self._failure, self._lost = "", 0
        self._said, self._said_lost, self._said_mono = "", 0, 0.0

    # The arbiter's side.

    def use(self, log: LogOptions, server: ServerOptions) -> None:
        """Write as `log` says from now on; the same file is opened again, after rotation. Raises StartError."""
        target = None if log.path is None else _opened(log.path, log.format, server)
        if self._is_on or target is not None:
            begins = target is not None and not self._is_on
            self._next.append((target, self._now() if begins else None))
            self._is_on = target is not None
            self._start()

    def use_again(self, log: LogOptions, server: ServerOptions) -> None:
        """As `use`; what cannot be opened is said, and written to as before."""
        try:
            self.use(log, server)
        except StartError as error:
            note("log-open-failed", why=error)

    def _now(self) -> Places:
        """Return where the rings stand: a log does not begin with what was before it."""
        return {row: Place(reader.head(), reader.records() + 1) for row, reader in self.rings.readers().items()}

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
            self._thread.start()
        self._wake.set()

    def tick(self, now: float) -> None:
        """Close what is done with, and say what became of the writing. `now` is monotonic."""
        while self._left:
            _close(self._left.popleft())
        failure, lost = self._failure, self._lost
        if failure and failure != self._said:
            note("access-log-failing", why=failure, lost=lost)
        elif self._said and not failure:
            note("access-log-written-again", lost=lost)
        elif lost > self._said_lost and now - self._said_mono > _SAY_S:
            note("access-log-overrun", lost=lost)
        else:
            return
        self._said, self._said_lost, self._said_mono = failure, lost, now

    def close(self) -> None:
        """Write all that is in the rings, and end; a file that takes nothing is waited for only so long."""
        if self._thread is None:
            return
        self._is_ending = True
        self._wake.set()
        self._thread.join(_LAST_S)
        if self._lost > self._said_lost or self._thread.is_alive():
            note("access-log-ended", lost=self._lost, is_whole=str(not self._thread.is_alive()).lower())

    def forget(self) -> None:
        """In a forked worker, where there is no thread: let go of the files."""
        targets = {self._target, *(target for target, _ in self._next), *self._left} - {None}
        for target in targets:
            assert target is not None
            _close(target)

    # The thread's side.

    def _run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while True:
            self._wake.clear()
            is_last = self._is_ending
            self._take_next()
            if self._target is not None and self._round(self._target):
                continue
            if is_last:
                return
            self._wake.wait(PAUSE_S)

    def _take_next(self) -> None:
        while self._next:
            if self._target is not None:
                self._left.append(self._target)
            self._target, places = self._next[0]
            self._next.popleft()  # in this order: whenever a fork comes, `forget` finds every one
            if places is not None:
                self._places = places

    def _round(self, target: Target) -> bool:
        """Write a page of each ring at most; whether there was anything."""
        has_moved = False
        for row, reader in self.rings.readers().items():
            place = self._places.setdefault(row, Place())
            chunk, place.offset = reader.read(place.offset)
            if chunk:
                has_moved = True
                self._count(row, self._put(target, place, chunk))
        return has_moved

    def _put(self, target: Target, place: Place, chunk: bytes) -> int:
        """Write the records of a chunk; return how many are lost: of those before it, and of its own."""
        lines, first, last = target.format_lines(chunk)
        if not first:
            return 0
        overrun = max(0, first - place.number)  # below 0: some were written between the two looks of `_now`
        unreadable = last + 1 - first - lines.count(b"\n")
        place.number = last + 1
        return overrun + unreadable + self._write(target, lines)

    def _count(self, row: int, lost: int) -> None:
        if lost:
            self._lost += lost
            self._board.counters(row)[_LOST] += lost  # no worker writes that word

    def _write(self, target: Target, lines: bytes) -> int:
        """Write lines; return how many could not be."""
        data = b"\n" + lines if target.is_torn else lines
        at = 0
        try:
            while at < len(data) and self._may_write(target):
                at += _written(target, data, at)
            if at == len(data):
                self._failure = ""
        except OSError as error:
            self._failure = error.strerror or str(error)
        if at:
            target.is_torn = data[at - 1] != 10
        return data.count(b"\n", max(at, len(data) - len(lines)))

    def _may_write(self, target: Target) -> bool:
        """Wait until the file takes something; False: another is to be written to, or the end has come."""
        poll = select.poll()
        poll.register(target.fd, select.POLLOUT)
        while not poll.poll(_POLL_MS):
            self._failure = "nobody reads it"
            if self._next or self._is_ending:
                return False
        return True


def _written(target: Target, data: bytes, at: int) -> int:
    """Write whole lines from `at` on, as many as go at once; return how many bytes were taken."""
    end = at + target.at_once
    if end < len(data):
        end = data.rfind(b"\n", at, end) + 1 or data.index(b"\n", at) + 1
    try:
        return os.write(target.fd, memoryview(data)[at:end])
    except BlockingIOError:
        return 0


def _opened(path: str, form: LogFormat, server: ServerOptions) -> Target:
    prepare_log(path, server)
    if path == "-":
        fd = 1
    else:
        try:
            with acting_as(server):
                # A pipe that nobody reads is an error, not a wait.
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC
                fd = os.open(path, flags, 0o644)
        except OSError as error:
            raise StartError(f"--access-log: cannot write {path}: {error.strerror}") from error
    at_once = _AT_ONCE_BYTES if stat.S_ISREG(os.fstat(fd).st_mode) else select.PIPE_BUF
    return Target(fd, _FORMATS[form], at_once)


def _close(target: Target) -> None:
    fd, target.fd = target.fd, -1
    if fd > 1:
        os.close(fd)
