"""What the scenes share: real processes that end with their test, and a bound on every test's time."""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import origins
import pytest
from accel_process import Accel, StartAccel
from fault_origin import FaultOrigin, StartFaultOrigin, reply

SCENE_S = 60
"""No scene takes longer: then it is hanging."""
OPEN_FILES = 8192


@pytest.fixture(scope="session", autouse=True)
def open_files() -> None:
    """Allow us and our children the sockets that a crowd of clients needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < OPEN_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(OPEN_FILES, hard), hard))


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """Fail a scene that hangs."""

    def give_up(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"the scene took more than {SCENE_S} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(SCENE_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def start_accel(tmp_path: Path) -> Iterator[StartAccel]:
    """Return what starts accel before some backends; it is stopped, and checked, when the test has ended."""
    started: list[Accel] = []

    def start(backends: list[str], *flags: str, **how: Any) -> Accel:
        directory = tmp_path / f"accel-{len(started)}"
        directory.mkdir()
        accel = Accel(directory, backends, *flags, **how)
        started.append(accel)
        accel.wait_ready()
        return accel

    try:
        yield start
        for accel in started:
            if accel.child.is_running:
                accel.stop()
    finally:
        for accel in started:
            accel.end()
            print(f"{accel.child.log_path.parent.name} printed:\n{accel.log}")  # pytest shows it of a failed test


@pytest.fixture
def start_fault_origin() -> Iterator[StartFaultOrigin]:
    """Return what starts scripted origins; each answers /warm."""
    started: list[FaultOrigin] = []

    def start() -> FaultOrigin:
        origin = FaultOrigin()
        origin.on("/warm", reply(b"warm", "Cache-Control: no-store"))
        started.append(origin)
        return origin.start()

    yield start
    for origin in started:
        origin.end()


@pytest.fixture
def fault(start_fault_origin: StartFaultOrigin) -> FaultOrigin:
    """Return a scripted origin."""
    return start_fault_origin()


def _session_origin(start: Callable[[Path], origins.Origin], name: str) -> Callable[..., Iterator[origins.Origin]]:
    @pytest.fixture(scope="session", name=name)
    def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[origins.Origin]:
        running = start(tmp_path_factory.mktemp(name))
        yield running
        running.stop()

    return origin


gunicorn_sync = _session_origin(lambda directory: origins.gunicorn(directory, "sync"), "gunicorn_sync")
gunicorn_gevent = _session_origin(lambda directory: origins.gunicorn(directory, "gevent"), "gunicorn_gevent")
tornado = _session_origin(origins.tornado, "tornado")
nginx = _session_origin(origins.nginx, "nginx")
