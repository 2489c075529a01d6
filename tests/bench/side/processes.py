"""Processes held to their cores: how they are started and ended, and what they used.

Owns the measuring of CPU time and memory from /proc. Knows no peer and no work.
Invariant: a figure covers the process that was started and all its descendants, with all their threads, to the
nanosecond (`schedstat` counts what the scheduler saw, not ticks). The time of a thread that ended is lost, so servers
are set up such that none ends while it is measured.
Source: proc_pid_schedstat (kernel, Documentation/scheduler/sched-stats).
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

SERVER_CORES = {0}
LOAD_CORES = {1}
START_S = 20.0


def free_port() -> int:
    """Return a TCP port that nobody uses."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Process:
    """One server with its descendants, on some cores."""

    def __init__(self, command: Sequence[str], cores: set[int], log: Path) -> None:
        """Start it; what it prints goes to `log`."""
        self.command, self.log = command, log
        with log.open("wb") as output:
            self._child = subprocess.Popen(
                ["taskset", "-c", ",".join(map(str, sorted(cores))), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def wait_for(self, port: int) -> None:
        """Return when something accepts on `port`; raises SystemExit with its log if that takes too long."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self._child.poll() is None:
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.02)
        raise SystemExit(f"{self.command[0]} does not answer on port {port}:\n{self.log.read_text()[-2000:]}")

    def end(self) -> None:
        """Stop it, by force if it does not go."""
        everyone = list(self.pids())
        self._child.send_signal(signal.SIGTERM)
        try:
            self._child.wait(5)
        except subprocess.TimeoutExpired:
            for pid in everyone:
                _kill(pid)
            self._child.wait()

    def pids(self) -> Iterator[int]:
        """Yield it and its descendants."""
        waiting = [self._child.pid]
        while waiting:
            pid = waiting.pop()
            yield pid
            for children in _texts(pid, "task/*/children"):
                waiting += map(int, children.split())

    def cpu_ns(self) -> int:
        """Return the user and system time that all of them used so far."""
        return sum(map(cpu_ns, self.pids()))

    def waited_ns(self) -> int:
        """Return how long all their threads were ready to run so far, and another had the core."""
        return sum(int(text.split()[1]) for pid in self.pids() for text in _texts(pid, "task/*/schedstat"))

    def memory_bytes(self) -> int:
        """Return what all of them hold of the machine's memory, shared pages by their shares (PSS)."""
        texts = [text for pid in self.pids() for text in _texts(pid, "smaps_rollup")]
        return sum(int(kib) << 10 for text in texts for kib in re.findall(r"^Pss: +(\d+) kB", text, re.MULTILINE))


def cpu_ns(pid: int) -> int:
    """Return the user and system time that all threads of one process used so far."""
    return sum(int(text.split()[0]) for text in _texts(pid, "task/*/schedstat"))


def _texts(pid: int, pattern: str) -> Iterator[str]:
    for path in Path(f"/proc/{pid}").glob(pattern):
        try:
            yield path.read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile: nginx's cache loader does so after a minute


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
