"""Real processes of a scene: started, watched through what they print, and ended by their own pid.

Owns one child process and its log file. Invariant: whatever a test does, `end` leaves no process behind.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

Value = TypeVar("Value")

SOON_S = 10.0
"""How long anything may take that should happen at once on a busy machine of two cores."""
_POLL_S = 0.01


def eventually(what: str, look: Callable[[], Value | None], within_s: float = SOON_S) -> Value:
    """Return the first truthy value of `look`; fails, saying `what`, when there is none in time."""
    deadline = time.monotonic() + within_s
    while not (value := look()):
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        time.sleep(_POLL_S)
    return value


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 on which nobody listens."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


def answers(port: int) -> bool:
    """Whether somebody accepts connections on a port of 127.0.0.1."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def is_alive(pid: int) -> bool:
    """Whether a process runs: neither gone nor a zombie that waits to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def resident_bytes(pid: int) -> int:
    """Return the memory that a process has now (proc(5): VmRSS)."""
    return _status_bytes(pid, "VmRSS")


def own_bytes(pid: int) -> int:
    """Return the memory that is a process's own, without what it shares (proc(5): RssAnon)."""
    return _status_bytes(pid, "RssAnon")


def peak_bytes(pid: int) -> int:
    """Return the most memory that a process has had since `forget_peak` (proc(5): VmHWM)."""
    return _status_bytes(pid, "VmHWM")


def forget_peak(pid: int) -> None:
    """Begin to note the most memory anew (proc(5): clear_refs 5)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _status_bytes(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


class Child:
    """One process with everything that it prints in a file."""

    def __init__(self, command: Sequence[str], log: Path, cwd: Path | None = None) -> None:
        self.log_path = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=cwd,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
                start_new_session=True,  # the terminal's Ctrl-C is for pytest, which ends us
            )

    @property
    def pid(self) -> int:
        """The process id, which nobody else gets before the process is waited for."""
        return self._process.pid

    @property
    def log(self) -> str:
        """Everything printed so far."""
        return self.log_path.read_text(errors="replace")

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to this process alone."""
        self._process.send_signal(number)

    def send_to_group(self, number: signal.Signals) -> None:
        """Send a signal to this process and all its children."""
        os.killpg(self.pid, number)

    def wait_for(self, text: str, within_s: float = SOON_S, beyond: int = 0) -> None:
        """Wait until the log holds `text` beyond its first `beyond` characters."""
        eventually(f"{text!r} in\n{self.log}", lambda: text in self.log[beyond:] or self._gone(), within_s)
        assert text in self.log[beyond:], f"ended with {self._process.returncode}:\n{self.log}"

    def wait(self, within_s: float = SOON_S) -> int:
        """Wait for the end; return the exit code."""
        return self._process.wait(within_s)

    def end(self) -> None:
        """Kill the process and what is left of its group; idempotent."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def _gone(self) -> bool:
        return not self.is_running
