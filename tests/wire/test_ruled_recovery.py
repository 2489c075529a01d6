"""What becomes of a request that no origin answered usably, by rule: another pool, something stale, a page."""

from __future__ import annotations

from typing import cast

import pytest
from memory_origin import MemoryOrigin
from test_ruled_exchanges import ruled
from wire_scene import MakeScene, Scene

from accel.errors import NoBackend, OriginTimeout
from accel.origin.fetch import Origin

POOLS = 'pool a { servers 127.0.0.1:1 }\npool b { servers 127.0.0.1:2 }\n'


def with_pools(make_scene: MakeScene, rules: str) -> tuple[Scene, MemoryOrigin, MemoryOrigin]:
    """Return a scene under these rules with the pools a, which is asked first, and b."""
    scene = ruled(make_scene, POOLS + "request { pool a }\n" + rules)
    a, b = scene.origin, MemoryOrigin()
    scene.service.origins = {"": cast(Origin, a), "0.policy:a": cast(Origin, a), "0.policy:b": cast(Origin, b)}
    return scene, a, b


async def test_another_pool_is_asked(make_scene: MakeScene) -> None:
    scene, a, b = with_pools(make_scene, "error { retry pool b }")
    a.script[b"/"] = OriginTimeout("first byte")
    b.page("/", b"spare")

    assert (await scene.get()).body == b"spare"


async def test_pools_that_name_each_other_are_asked_once_each(make_scene: MakeScene) -> None:
    scene, a, b = with_pools(
        make_scene,
        'error {\n when cause == "timeout" { retry pool b }\n when cause == "unavailable" { retry pool a }\n}',
    )
    a.script[b"/"], b.script[b"/"] = OriginTimeout("first byte"), NoBackend("none is up")

    answer = await scene.get()

    assert answer.status == 503
    assert (len(a.calls), len(b.calls)) == (1, 1)


@pytest.mark.parametrize(("error", "calls"), [(OriginTimeout("first byte"), 0), (NoBackend("none is up"), 1)])
async def test_what_may_have_been_acted_on_is_asked_of_no_other_pool(
    make_scene: MakeScene, error: Exception, calls: int
) -> None:
    """A POST without a body (RFC 9110 §9.2.2)."""
    scene, a, b = with_pools(make_scene, "error { retry pool b }")
    a.script[b"/"] = error
    b.page("/")

    await scene.get("/", "POST")

    assert len(b.calls) == calls


async def test_the_pool_that_failed_is_not_asked_again_by_its_own_name(make_scene: MakeScene) -> None:
    """Without a rule that names a pool the first is asked, under no name."""
    scene = ruled(make_scene, POOLS + "error { retry pool a }")
    scene.service.origins = {"": cast(Origin, scene.origin), "0.policy:a": cast(Origin, scene.origin)}
    scene.origin.script[b"/"] = OriginTimeout("first byte")

    assert (await scene.get()).status == 504
    assert len(scene.origin.calls) == 1
