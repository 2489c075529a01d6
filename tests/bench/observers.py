"""Those who look at a running accel, for benches: `accelctl` as an operator runs it, and a browser's status page.

Owns their processes and threads. What they are told is counted and dropped, so that they read as fast as they can.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "scene"))

from accel_process import UnixConnection

ACCELCTL = """
import sys
from accel import ctl, ctl_numbers, ctl_top
ctl_numbers.READING_S = ctl_top.READING_S = float(sys.argv.pop(1))
ctl.main()
"""
USUAL_S, ENDING_S = 1.0, 20.0
_LINES, _COLUMNS = 50, 160
_AT_ONCE_BYTES = 1 << 20
PAGE_ASKS = ("/overrides", "/histograms", "/policies")
"""What the page asks with every fifth event, beside the log."""
_ASKED_EVERY, _PAGE_READS = 5, 4 << 16


class Tool:
    """One accelctl."""

    def __init__(
        self, admin: Path, arguments: tuple[str, ...], errors: Path,
        ending: bytes = b"\n", on_terminal: bool = False, reading_s: float = USUAL_S,
    ) -> None:  # fmt: skip
        """`ending`: what a record ends with; `reading_s`: how often what draws on a terminal reads anew."""
        self.errors, self._ending, self._tail = errors, ending, b""
        self.records = 0
        """How many endings it has printed."""
        ours, theirs = pty.openpty() if on_terminal else os.pipe()
        if on_terminal:
            fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", _LINES, _COLUMNS, 0, 0))
        with errors.open("wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-c", ACCELCTL, str(reading_s), "--admin", f"unix:{admin}", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=theirs,
                stderr=said,
                env=os.environ | {"TERM": "xterm"},
            )
        os.close(theirs)
        threading.Thread(target=self._drain, args=(ours,), daemon=True).start()

    def _drain(self, fd: int) -> None:
        with open(fd, "rb", buffering=0) as output:
            try:
                while data := output.read(_AT_ONCE_BYTES):
                    self._count(data)
            except OSError:
                return  # a terminal whose last process has ended

    def _count(self, data: bytes) -> None:
        joined = self._tail + data  # an ending may come in two parts
        self.records += joined.count(self._ending)
        self._tail = joined[len(joined) - len(self._ending) + 1 :]

    def lost(self) -> int:
        """Return how many records it says that it lost."""
        said = re.findall(r"^([\d,]+) records were overrun", self.errors.read_text(), re.MULTILINE)
        return int(said[-1].replace(",", "")) if said else 0

    def end(self) -> int:
        """Stop it as Ctrl-C does; return its exit code."""
        self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(ENDING_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


class Page:
    """Reads the status page's stream and asks, now and then, what the page asks."""

    def __init__(self, admin: Path) -> None:
        self._admin, self._is_over = admin, False
        self._places: dict[str, int] = {}
        self.events = 0
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def _live(self) -> None:
        try:
            self._read()
        except Exception as failure:
            self._failure = failure

    def _read(self) -> None:
        connection = UnixConnection(self._admin)
        connection.request("GET", "/events")
        stream = connection.getresponse()
        while not self._is_over and (line := stream.readline()):
            if line.startswith(b"data:"):
                if self.events % _ASKED_EVERY == 0:
                    self._ask()
                self.events += 1
        connection.close()

    def _ask(self) -> None:
        for path in PAGE_ASKS:
            asked(self._admin, "GET", path)
        for row, ring in asked(self._admin, "GET", "/log")["rows"].items():
            begin = max(ring["oldest"], ring["head"] - _PAGE_READS, self._places.get(row, 0))
            self._places[row] = asked(self._admin, "POST", "/log", {"row": int(row), "from": begin})["next"]

    def end(self) -> None:
        """Let go, with the next event. Raises what it could not go on after."""
        self._is_over = True
        self._thread.join(ENDING_S)
        if self._failure is not None:
            raise self._failure


def asked(admin: Path, method: str, path: str, body: object = None) -> Any:
    """Return what the admin answers; fails unless it is 200."""
    connection = UnixConnection(admin)
    try:
        fields = {} if body is None else {"Content-Type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), fields)
        response = connection.getresponse()
        payload = response.read()
        assert response.status == 200, payload
        return json.loads(payload)
    finally:
        connection.close()


def heed_interrupts() -> None:
    """Have the tools end by SIGINT, which a shell has its background ignore."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
