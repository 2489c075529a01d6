"""A real `accel` for a scene: started on a free port, asked through its admin socket, stopped cleanly.

Invariant: `stop` fails the test if accel printed anything but its own events (a traceback, a warning, a stack dump that
the test did not announce), if its loop's handler counted a failure, or if it ended with another code than 0.
"""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from children import SOON_S, Child, eventually

EVENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} [a-z-]+( |$)")
OUTCOMES = ("hits", "misses", "passes", "synthetic", "errors")
"""Each request is counted in one of them."""
LISTENING = re.compile(r" listening address=127\.0\.0\.1:(\d+)")


class Accel:
    """One arbiter with its workers."""

    def __init__(
        self,
        directory: Path,
        backends: Sequence[str],
        *flags: str,
        workers: int = 2,
        program: Sequence[str] = ("-m", "accel"),
        listens: bool = True,
    ) -> None:
        """Start before `backends`; `directory` is for its log, its admin socket and the files that flags name.

        `program` is what Python runs; `listens` is false where the flags say where it listens.
        """
        self.admin_path = directory / "admin.sock"
        self.expects_dump = False
        """Whether something that is no event will be printed: a worker's stacks, a failed successor's last words."""
        backend_flags = [part for backend in backends for part in ("--backend", backend)]
        command = [
            *(sys.executable, *program, "--name", "scene", "--workers", str(workers)),
            *(("--listen", "127.0.0.1:0") if listens else ()),
            *("--admin", f"unix:{self.admin_path}"),
            *backend_flags,
            *flags,
        ]
        self.child = Child(command, directory / "accel.log", cwd=directory)

    def wait_ready(self) -> None:
        """Wait until every worker accepts."""
        self.child.wait_for(" ready workers=")

    @property
    def port(self) -> int:
        """The port of 127.0.0.1 that clients use."""
        listening = LISTENING.search(self.log)
        assert listening, self.log
        return int(listening.group(1))

    @property
    def url(self) -> str:
        """The root, without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What it printed so far."""
        return self.child.log

    # What an operator sees.

    def admin(self, method: str, path: str, body: object = None) -> Any:
        """Return what the admin answers; fails unless it is 200."""
        status, payload = self.admin_answer(method, path, body)
        assert status == 200, payload
        return payload

    def admin_answer(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Return status and payload of an admin request."""
        connection = UnixConnection(self.admin_path)
        try:
            fields = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(method, path, None if body is None else json.dumps(body), fields)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def metrics(self) -> str:
        """Return what a scraper gets."""
        connection = UnixConnection(self.admin_path)
        try:
            connection.request("GET", "/metrics")
            response = connection.getresponse()
            assert response.status == 200
            return response.read().decode()
        finally:
            connection.close()

    def counter(self, name: str) -> int:
        """Return one counter's sum over the workers."""
        value = self.admin("GET", "/stat")[name]
        assert isinstance(value, int)
        return value

    def workers(self) -> list[dict[str, Any]]:
        """Return the workers, by number."""
        rows = self.admin("GET", "/workers")
        assert isinstance(rows, list)
        return rows

    def worker_pids(self) -> list[int]:
        """Return the workers' process ids, by number."""
        return [row["pid"] for row in self.workers()]

    def accepting_pids(self) -> list[int]:
        """Return the process ids of the workers that take connections."""
        return [row["pid"] for row in self.workers() if row["state"] == "accepting"]

    def backends(self) -> dict[str, dict[str, Any]]:
        """Return the backends by address."""
        return {row["address"]: row for row in self.admin("GET", "/backends")}

    def wait_backend(self, address: str, state: str, within_s: float = SOON_S) -> None:
        """Wait until a backend is in a state."""
        eventually(
            f"{address} is {state}", lambda: self.backends()[address]["state"] == state, within_s=within_s
        )

    def connections(self) -> list[int]:
        """Return how many clients each worker holds."""
        return [row["connections"] for row in self.workers()]

    # What ends it.

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the arbiter."""
        self.child.send(number)

    def stop(self) -> None:
        """Stop gracefully and check that nothing went wrong in all its life."""
        assert self.child.is_running, f"accel is gone:\n{self.log}"
        self._check_counters()
        assert self.admin("GET", "/store/check")["faults"] == [], self.log
        self.send(signal.SIGTERM)
        assert self.child.wait(SOON_S) == 0, self.log
        self.check_log()

    def _check_counters(self) -> None:
        """Fail if the loop's handler saw a failure, or the sums are not what `stats.counters` promises."""
        counted = self.admin("GET", "/stat")
        assert counted["callback_failures"] == 0, self.log
        assert sum(counted[name] for name in OUTCOMES) == counted["requests"], counted

    def check_log(self) -> None:
        """Fail if it printed anything but events."""
        if not self.expects_dump:
            strange = [line for line in self.log.splitlines() if not EVENT.match(line)]
            assert not strange, self.log

    def end(self) -> None:
        """Kill whatever is left; idempotent."""
        self.child.end()


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=SOON_S)
        self._path = path

    def connect(self) -> None:
        """Connect to the path."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(SOON_S)
        self.sock.connect(str(self._path))


StartAccel = Callable[..., Accel]
"""The fixture `start_accel`: backends, flags; returns when it is ready."""
