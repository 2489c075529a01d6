"""What the histograms say of answers: how long they took, how large they were, and which are not measured."""

from __future__ import annotations

import pytest
from wire_scene import Scene

from accel.stats.histograms import Histogram, read


def measured(scene: Scene, measure: str, kind: str) -> Histogram:
    """Return one histogram of the scene's worker."""
    return read([scene.histograms])[measure][kind]


def counts(scene: Scene) -> dict[str, int]:
    """Return how many answers of each kind were measured."""
    return {kind: one.count for kind, one in read([scene.histograms])["total_us"].items()}


async def test_each_answer_is_measured_once_as_what_it_was(scene: Scene) -> None:
    scene.origin.page("/", b"x" * 100, cache_control="max-age=60")

    await scene.get()
    await scene.get()
    await scene.get()
    await scene.get("/", "POST")

    assert counts(scene) == {"hit": 2, "miss": 1, "pass": 1}
    assert measured(scene, "body_bytes", "hit").sum == 200
    assert measured(scene, "body_bytes", "miss").sum == 100


async def test_times_are_from_the_head_of_the_request(scene: Scene) -> None:
    client = scene.client()
    client.ask("/slow")
    await scene.after(2)
    call = await scene.call()
    reply = call.begin(length=8)
    reply.send(b"half")
    await scene.after(1)
    reply.send(b"done").end()
    await scene.settle()

    assert measured(scene, "first_byte_us", "miss").sum == 2_000_000
    assert measured(scene, "total_us", "miss").sum == 3_000_000
    assert measured(scene, "body_bytes", "miss").sum == 8


@pytest.mark.parametrize("method", ["BREW", "OPTIONS"])
async def test_what_accel_answers_itself_is_not_measured(scene: Scene, method: str) -> None:
    client = scene.client()
    client.send(f"{method} * HTTP/1.1\r\n\r\n".encode())
    await scene.settle()

    assert counts(scene) == {"hit": 0, "miss": 0, "pass": 0}


async def test_a_client_that_left_before_the_answer_is_not_measured(scene: Scene) -> None:
    client = scene.client()
    client.ask("/slow")
    call = await scene.call()
    client.transport.lose()
    await scene.settle()
    assert call is not None

    assert counts(scene) == {"hit": 0, "miss": 0, "pass": 0}
