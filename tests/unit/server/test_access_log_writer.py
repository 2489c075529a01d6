"""The access log's file: every record is written or counted, whatever the file does, and nobody waits for it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from math import nan
from pathlib import Path

import pytest

from accel.config import LogFormat, LogOptions, ServerOptions
from accel.errors import StartError
from accel.server import access_log
from accel.server.access_log import AccessLogWriter
from accel.server.scoreboard import Scoreboard
from accel.stats.counters import index
from accel.stats.ring import LEAST_RING_BYTES, RingWriter, Writer

SOON_S = 10.0
SERVER = ServerOptions()


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that a thread does."""
    deadline = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class Log:
    """A writer with two workers' rings."""

    def __init__(self) -> None:
        self.board = Scoreboard()
        self.board.use_rows(2)
        self.writer = AccessLogWriter(LEAST_RING_BYTES, self.board)
        self.workers = [self.worker(row) for row in range(2)]

    def worker(self, row: int) -> Writer:
        """Return a worker's end of its ring."""
        memory = self.writer.rings.memory(row)
        assert memory is not None
        return RingWriter(memory)

    def record(self, count: int = 1, row: int = 0, target: bytes = b"/x") -> None:
        """Let a worker write some records."""
        for _ in range(count):
            self.workers[row].write(
                1_700_000_000.0, nan, 0.5, 0.0, nan, nan, 0, 5, 0, 0, 200, 1, 0, 0, 0,
                "192.0.2.1", b"GET", b"h", target, b"", b"", "", "", b"",
            )  # fmt: skip

    def use(self, path: Path | str, form: LogFormat = LogFormat.COMBINED) -> None:
        """Write to a file from now on."""
        self.writer.use(LogOptions(str(path), form), SERVER)

    @property
    def lost(self) -> int:
        """Records that are counted as lost."""
        return sum(self.board.counters(row)[index("log_records_lost")] for row in range(2))


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    """Return a log whose end waits for no file that takes nothing."""
    monkeypatch.setattr(access_log, "_LAST_S", 0.5)
    one = Log()
    yield one
    one.writer.close()
    one.writer.tick(time.monotonic())


def lines(path: Path) -> int:
    """Return how many whole lines a file has."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_the_records_of_all_workers_are_written(log: Log, tmp_path: Path) -> None:
    log.use(tmp_path / "log")

    log.record(3)
    log.record(2, row=1, target=b"/other")

    until(lambda: lines(tmp_path / "log") == 5)
    assert (tmp_path / "log").read_text().count('"GET /other HTTP/1.1" 200 5 "-" "-"\n') == 2


def test_the_end_writes_what_is_in_the_rings(log: Log, tmp_path: Path) -> None:
    log.use(tmp_path / "log", LogFormat.JSON)
    log.record(700)

    log.writer.close()

    assert (lines(tmp_path / "log"), log.lost) == (700, 0)


def test_a_file_that_was_moved_away_is_opened_again_and_no_line_is_lost(log: Log, tmp_path: Path) -> None:
    log.use(tmp_path / "log")
    for turn in range(20):
        log.record(50)
        (tmp_path / "log").rename(tmp_path / f"log.{turn}")
        log.use(tmp_path / "log")
        log.writer.tick(time.monotonic())

    log.writer.close()

    assert sum(map(lines, tmp_path.glob("log*"))) == 1000
    assert log.lost == 0


def test_a_log_begins_with_what_comes_after_it_was_asked_for(log: Log, tmp_path: Path) -> None:
    log.record(5)
    log.use(tmp_path / "log")
    log.record(1)
    until(lambda: lines(tmp_path / "log") == 1)
    log.writer.use(LogOptions(), SERVER)
    log.record(5)
    log.use(tmp_path / "log")
    log.record(2)

    log.writer.close()

    assert (lines(tmp_path / "log"), log.lost) == (3, 0)


def test_what_cannot_be_opened_is_said_and_the_old_file_is_written_on(log: Log, tmp_path: Path) -> None:
    log.use(tmp_path / "log")

    with pytest.raises(StartError, match="--access-log"):
        log.use(tmp_path / "missing" / "log")
    log.record()

    until(lambda: lines(tmp_path / "log") == 1)


def test_a_pipe_that_nobody_reads_is_refused_and_holds_nobody_up(log: Log, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")

    with pytest.raises(StartError, match="--access-log"):
        log.use(tmp_path / "log")


def test_a_full_disk_is_said_and_every_record_that_it_did_not_take_is_counted(
    log: Log, capfd: pytest.CaptureFixture[str]
) -> None:
    log.use("/dev/full")

    log.record(10)
    until(lambda: log.lost == 10)
    log.writer.tick(time.monotonic())

    assert " access-log-failing why='No space left on device' lost=10\n" in capfd.readouterr().err


def test_what_a_blocked_pipe_does_not_take_is_counted_and_lines_stay_whole(log: Log, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")
    reading = os.open(tmp_path / "log", os.O_RDONLY | os.O_NONBLOCK)
    log.use(tmp_path / "log")

    log.record(5000, target=b"/" + b"x" * 500)  # far more than the pipe and the ring hold
    os.set_blocking(reading, True)
    pieces = []
    for _ in range(3):  # the pipe and the ring hold more than that
        pieces.append(os.read(reading, 65536))
    (tmp_path / "last").touch()
    log.use(tmp_path / "last")
    until(lambda: log.writer._target is not None and not log.writer._next)
    os.set_blocking(reading, False)
    while piece := _rest(reading):
        pieces.append(piece)
    log.record(1)
    log.writer.close()
    os.close(reading)

    written = b"".join(pieces).splitlines(keepends=True)
    assert all(line.startswith(b"192.0.2.1") and line.endswith(b'"-" "-"\n') for line in written)
    assert len(written) + lines(tmp_path / "last") + log.lost == 5001
    assert log.lost > 1000


def _rest(reading: int) -> bytes:
    try:
        return os.read(reading, 65536)
    except BlockingIOError:
        return b""


def test_the_end_does_not_wait_for_ever_for_who_reads_a_pipe(log: Log, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")
    reading = os.open(tmp_path / "log", os.O_RDONLY | os.O_NONBLOCK)
    log.use(tmp_path / "log")
    log.record(2000, target=b"/" + b"x" * 500)

    began = time.monotonic()
    log.writer.close()

    assert time.monotonic() - began < SOON_S / 2
    os.close(reading)


def test_half_a_line_is_ended_before_the_next_one(log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, cuts = os.write, iter([10])

    def full_once(fd: int, data: bytes) -> int:
        cut = next(cuts, None)
        if cut is not None:
            real(fd, bytes(data)[:cut])
            monkeypatch.setattr(os, "write", full_twice)
            return cut
        return real(fd, data)

    def full_twice(fd: int, data: bytes) -> int:
        monkeypatch.setattr(os, "write", real)
        raise OSError(28, "No space left on device")

    log.use(tmp_path / "log")
    monkeypatch.setattr(os, "write", full_once)
    log.record(1, target=b"/first")
    until(lambda: log.lost == 1)
    log.record(1, target=b"/second")
    until(lambda: lines(tmp_path / "log") == 2)

    torn, whole = (tmp_path / "log").read_bytes().splitlines()
    assert len(torn) == 10
    assert b"/second" in whole


def test_a_worker_forked_meanwhile_holds_no_log(log: Log, tmp_path: Path) -> None:
    log.use(tmp_path / "log")
    log.record()
    until(lambda: lines(tmp_path / "log") == 1)
    log.use(tmp_path / "log")

    pid = os.fork()
    if pid == 0:
        try:
            log.writer.forget()
            held = [fd.resolve() for fd in Path("/proc/self/fd").iterdir()]
            os._exit(1 if tmp_path / "log" in held else 0)
        finally:
            os._exit(2)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_worker_killed_in_the_middle_of_a_record_stops_nothing(log: Log, tmp_path: Path) -> None:
    log.use(tmp_path / "log")
    pid = os.fork()
    if pid == 0:
        try:
            while True:
                log.record(1, row=1)
        finally:
            os._exit(1)
    until(lambda: lines(tmp_path / "log") > 100)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    log.workers[1] = log.worker(1)
    log.record(3, row=1, target=b"/after")

    log.writer.close()

    assert (tmp_path / "log").read_text().count("/after") == 3
