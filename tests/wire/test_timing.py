"""Server-Timing, for whom Accel-Explain is: what is said of a hit, a miss and an answer of our own, and to whom."""

from __future__ import annotations

import re

import pytest
from wire_scene import MakeScene, Scene

MILLISECONDS = r"\d+\.\d{3}"


@pytest.fixture
async def scene(make_scene: MakeScene) -> Scene:
    """Return a scene whose origin has a page."""
    made = make_scene()
    made.origin.page("/")
    return made


async def test_it_says_how_it_was_answered_and_what_the_origin_took(scene: Scene) -> None:
    miss = await scene.get("/", accel_timing="1")
    hit = await scene.get("/", accel_timing="1")

    origin, total = rf'origin(;desc="[^"]+")?;dur={MILLISECONDS}', f"total;dur={MILLISECONDS}"
    assert re.fullmatch(f'cache;desc="miss", {origin}, {total}', miss["server-timing"])
    assert re.fullmatch(f'cache;desc="hit", {total}', hit["server-timing"])
    assert b"accel-timing" not in scene.origin.calls[-1].request.fields


async def test_it_stands_beside_an_explanation(scene: Scene) -> None:
    answer = await scene.get("/", accel_timing="1", accel_explain="1")

    assert "server-timing" in answer and "accel-explain" in answer


@pytest.mark.parametrize(("peer", "asked"), [("192.0.2.1", "1"), ("127.0.0.1", "0")])
async def test_nobody_else_is_told(scene: Scene, peer: str, asked: str) -> None:
    answer = await scene.get("/", client=scene.client(peer), accel_timing=asked)

    assert "server-timing" not in answer
