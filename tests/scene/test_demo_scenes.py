"""`accel --demo` as a newcomer meets it: what it prints can be done, and Ctrl-C leaves nothing behind."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from accel_process import EVENT
from children import Child, answers, eventually, is_alive

pytestmark = pytest.mark.scene
COMMAND = re.compile(r"^  ((?:curl|\S*accelctl) .*?)  +# (.*)$", re.MULTILINE)


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Child]:
    """Return a demo whose name is nobody else's, when it is ready."""
    command = [sys.executable, "-m", "accel", "--demo", "--workers", "1", "--name", f"demo-{os.getpid()}"]
    child = Child(command, tmp_path / "demo.log", cwd=tmp_path)
    try:
        child.wait_for(" ready workers=1")
        yield child
    finally:
        child.end()


def run(command: str) -> str:
    """Run a command line that was printed; return what it prints."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environ = os.environ | {"PATH": path}
    return subprocess.run(
        shlex.split(command), check=True, capture_output=True, text=True, timeout=10, env=environ
    ).stdout


def origin_ports(demo: Child) -> list[int]:
    """Return the ports that the demo says its origins have."""
    said = re.search(r"^demo: origins on 127\.0\.0\.1, ports ([\d, ]+)", demo.log, re.MULTILINE)
    assert said, demo.log
    return [int(port) for port in said[1].split(", ")]


def test_what_it_prints_does_what_it_says(demo: Child) -> None:
    printed = {meaning.partition(":")[0]: run(command) for command, meaning in COMMAND.findall(demo.log)}
    miss, hit, purge, uncached, stat = printed.values()

    assert list(printed)[:2] == ["a miss", "a hit"], demo.log
    assert "Cache-Status: accel; fwd=uri-miss" in miss
    assert "Cache-Status: accel; hit" in hit
    assert '"dropped": 1' in purge
    assert "Cache-Status: accel; fwd=" in uncached
    assert "requests" in stat


def test_uncached_pages_go_round_the_eight_origins(demo: Child) -> None:
    [command] = [command for command, _ in COMMAND.findall(demo.log) if command.endswith("/uncached")]

    said = [re.search(r"\nX-Origin: (\d+)", run(command)) for _ in range(8)]

    assert sorted(int(origin[1]) for origin in said if origin) == sorted(origin_ports(demo))
    assert len(origin_ports(demo)) == 8


def test_ctrl_c_stops_everything_quietly(demo: Child) -> None:
    ports = origin_ports(demo)
    [listening] = re.findall(r" listening address=127\.0\.0\.1:(\d+)", demo.log)
    workers = [int(pid) for pid in Path(f"/proc/{demo.pid}/task/{demo.pid}/children").read_text().split()]
    shown = len(demo.log)

    demo.send_to_group(signal.SIGINT)

    assert demo.wait() == 0
    eventually("no origin is left", lambda: not any(map(answers, ports)))
    assert not answers(int(listening))
    assert len(workers) == 2 and not any(map(is_alive, workers)), "the origins' process and a worker"
    assert all(EVENT.match(line) for line in demo.log[shown:].splitlines()), demo.log


def test_a_killed_demo_leaves_nothing_behind(demo: Child) -> None:
    ports = origin_ports(demo)
    children = [int(pid) for pid in Path(f"/proc/{demo.pid}/task/{demo.pid}/children").read_text().split()]

    demo.send(signal.SIGKILL)
    demo.wait()

    eventually("every child is gone", lambda: not any(map(is_alive, children)))
    assert not any(map(answers, ports))
