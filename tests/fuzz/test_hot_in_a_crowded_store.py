"""Replays from a store that is too small for what is asked: records move and go under them all the time."""

from __future__ import annotations

import asyncio
import random

from hot_pair import assert_unpinned, close_arena, heated
from memory_origin import Call
from wire_scene import Scene

from accel.caching.invalidation import Purge, What
from accel.caching.key import primary_key
from accel.config import Limits
from accel.store.shared import SharedArena

LIMITS = Limits(window_bytes=20_000)


class Pages:
    """What the origin says, under every target."""

    def __init__(self) -> None:
        self.version = 1

    def answer(self, call: Call) -> None:
        """Answer with what takes a good part of a segment, or of several."""
        body = call.request.target + b" %d " % self.version
        language = call.fields.get(b"accept-language") or b"none"
        if call.request.target.startswith(b"/lang"):
            call.answer(language + body * 200, cache_control="max-age=10", vary="accept-language")
        else:
            call.answer(body * (4000 if call.request.target.endswith(b"7") else 2000), cache_control="max-age=10")


async def crowded(seed: int) -> tuple[int, int]:
    """Let two workers fill a small arena, and ask one without a hot path behind each replay; count both."""
    chance = random.Random(seed)
    arena = SharedArena(4 << 20, 3, 1 << 16)
    hot = Scene(LIMITS, arena=arena, is_logging=False)
    plain, other = (Scene(LIMITS, arena=arena, row=row, beside=hot, is_logging=False) for row in (1, 2))
    replayer, pages = heated(hot, 256), Pages()
    targets = [b"/%s%d" % (kind, number) for kind in (b"a", b"lang?") for number in range(400)]
    hot.origin.script.update(dict.fromkeys(targets, pages.answer))
    clients = hot.client(), plain.client()
    for _ in range(1000):
        target = targets[min(int(chance.paretovariate(0.7)) - 1, len(targets) - 1)]
        data = b"GET %b HTTP/1.1\r\nHost: a\r\nAccept-Language: %b\r\n\r\n" % (target, chance.choice((b"de", b"fr")))
        before, replays = [len(client.received) for client in clients], replayer.replays
        clients[0].send(data)
        if replayer.replays > replays:
            clients[1].send(data)
            assert clients[1].received[before[1] :] == clients[0].received[before[0] :]
        await hot.settle()
        match chance.randrange(60):
            case 0:
                pages.version += 1
                await other.get(target.decode(), host="a", cache_control="no-cache", accept_language="de")
            case 1:
                await other.machine.invalidate(Purge(What.URL, (primary_key(b"a", target),)), counted=False)
            case 2:
                for scene in (hot, plain, other):
                    scene.now += 0.7
            case case if case < 30:
                pick = chance.choice(targets).decode()
                await other.get(pick, host="a", accept_language="it", connection="close")
            case _:
                pass
    for scene in (hot, plain, other):
        await scene.end()
    assert_unpinned(hot)
    stat = arena.stat()
    moved = int(stat["moved"] + stat["evicted"] + stat["returned"])
    close_arena(hot)
    return replayer.replays, moved


def test_what_is_replayed_from_a_crowded_store_is_what_lies_there() -> None:
    replays, moved = asyncio.run(crowded(5))

    assert replays > 100
    assert moved > 0
