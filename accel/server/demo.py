"""`accel --demo`: eight small origins on loopback, in one child process, and words on what to try with them.

The parent opens the ports and passes them on, so that they answer from accel's first request. The child
(`demo_origins`) ends when its standard input does: when the parent closes it, or dies in whatever way.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from accel.config import Address, ServerOptions
from accel.errors import StartError

PORTS = range(8001, 8009)
LISTEN_PORT = 8080
CHILD = "accel.server.demo_origins"


@contextlib.contextmanager
def origins() -> Iterator[tuple[int, ...]]:
    """Run the origins for as long as the context lasts; yields their ports."""
    sockets = [_bound(port) for port in PORTS]
    ports = tuple(sock.getsockname()[1] for sock in sockets)
    try:
        for sock in sockets:
            sock.listen()
        numbers = [sock.fileno() for sock in sockets]
        child = subprocess.Popen(
            [sys.executable, "-m", CHILD, *map(str, numbers)],
            stdin=subprocess.PIPE,
            pass_fds=numbers,
            start_new_session=True,  # Ctrl-C is for the arbiter; the origins stay until it has finished
        )
    except OSError as error:
        raise StartError(f"the demo's origins could not be started: {error.strerror}") from None
    finally:
        for sock in sockets:
            sock.close()
    try:
        yield ports
    finally:
        assert child.stdin is not None
        child.stdin.close()
        child.wait()


def free_address() -> str:
    """Return 127.0.0.1:8080, or a free port where that one is taken."""
    with _bound(LISTEN_PORT) as sock:
        return f"127.0.0.1:{sock.getsockname()[1]}"


def what_to_try(listen: Address, ports: tuple[int, ...], name: str) -> str:
    """Return the lines that tell a newcomer what to do."""
    option = "" if name == ServerOptions().name else f" --name {name}"
    base = f"http://{listen.host or 'localhost'}:{listen.port}"
    taken = "" if ports == tuple(PORTS) else " (8001-8008 were not all free)"
    tries = (
        (f"curl -i {base}/cached", "a miss: see Cache-Status and X-Origin"),
        (f"curl -i {base}/cached", "a hit: the same X-Origin, an Age; no origin was asked"),
        (f"curl -X PURGE {base}/cached", "drop it in every worker; the next is a miss"),
        (f"curl -i {base}/uncached", "never stored: X-Origin goes round the eight"),
        (f"{_accelctl()}{option} stat", "what was counted; see also its --help"),
    )
    width = max(len(command) for command, _ in tries)
    return "\n".join([
        f"demo: origins on 127.0.0.1, ports {', '.join(map(str, ports))}{taken}",
        f"Open {base}/ in a browser, or try in another terminal:",
        *(f"  {command:<{width}}  # {meaning}" for command, meaning in tries),
        "Ctrl-C stops everything.",
    ])  # fmt: skip


def _accelctl() -> str:
    """Return how to call the other command: by name if the shell finds it, else where it lies beside this one."""
    beside = Path(sys.executable).with_name("accelctl")
    if shutil.which("accelctl") is not None or not beside.exists():
        return "accelctl"
    return str(beside.relative_to(Path.cwd()) if beside.is_relative_to(Path.cwd()) else beside)


def _bound(port: int) -> socket.socket:
    """Return a loopback socket bound to `port`, or to a free one where that is taken."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(("127.0.0.1", port))
    except OSError:
        sock.bind(("127.0.0.1", 0))
    return sock
