"""One scene a test, checked at its end."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from wire_scene import MakeScene, Scene

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "unit" / "origin"))  # the board of one worker
if find_spec("accel.store._shared"):
    from two_workers import flights, machine, make_machine  # noqa: F401

    collect_ignore = []
else:
    collect_ignore = ["test_joining.py", "test_resuming.py"]
collect_ignore_glob = [] if find_spec("accel.proxy._hot") else ["test_hot_*.py", "test_relay*.py"]


@pytest.fixture
async def make_scene() -> AsyncIterator[MakeScene]:
    """Return a maker of scenes, each checked when the test is over."""
    scenes: list[Scene] = []

    def make(**options: Any) -> Scene:
        scenes.append(Scene(**options))
        return scenes[-1]

    yield make
    for scene in scenes:
        await scene.end()


@pytest.fixture
async def scene(make_scene: MakeScene) -> Scene:
    """Return a scene with all defaults."""
    return make_scene()
