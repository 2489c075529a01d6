"""Whatever order things happen in: what was asked for after an invalidation is never answered from before it.

Invalidations are of all kinds: by URL, tag and ban, of everything, by an unsafe method; soft ones come in between, and
pages lie in a private store or a shared one.

The origin's content has a version that each change raises. A fetch brings what held when it began (the worst that an
origin may do), in pieces, cut short, as a 304, late. A client that asks after a purge, or after a change by an unsafe
method, was answered, may get that version or a later one, whole or not at all, and its own variant.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from memory_origin import Call, OriginReply
from wire_scene import Client, Scene

from accel.errors import OriginTimeout
from accel.store.shared import SharedArena

CONTROLS = (
    "max-age=5",
    "max-age=5",
    "max-age=2, stale-while-revalidate=20",
    "max-age=2, stale-if-error=20",
    "no-cache",
    "private",
    "no-store",
)
SOFT_PURGES: tuple[dict[str, str], ...] = ({}, {"xkey": "other, news"}, {"purge": "all"})
PURGES = (*SOFT_PURGES, {"ban": "url == / && status == 200"}, {"ban": "field.etag ~ ^."})
ARENA_BYTES, SEGMENT_BYTES = 1 << 20, 1 << 16
LANGUAGES = ("de", "en")
STEPS = 120


@dataclass
class Asked:
    """A client that asked, and the oldest version that it may get."""

    client: Client
    language: str
    least: int
    is_checked: bool = False


@dataclass
class Pending:
    """A fetch under way and the version that it will bring."""

    call: Call
    version: int
    reply: OriginReply | None = None


class Play:
    """One random play."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        arena = SharedArena(ARENA_BYTES, 1, SEGMENT_BYTES) if self.chance.random() < 0.4 else None
        self.scene = Scene(memory_bytes=100_000, max_body_bytes=self.chance.choice((None, 200)), arena=arena)
        self.version = self.least = 1
        self.scene.machine.frees = self.chance.random() < 0.5
        self.varies = self.chance.random() < 0.5
        self.asked: list[Asked] = []
        self.pending: list[Pending] = []
        self.served = 0
        self.scene.origin.script[b"/"] = self._fetch_begins

    def _fetch_begins(self, call: Call) -> None:
        if call.request.method == b"GET":
            self.pending.append(Pending(call, self.version))

    async def run(self) -> None:
        """Play, then let everything end and check all answers."""
        often = (self.ask, self.answer, self.go_on)
        moves = (*often * 6, self.wait, self.leave, self.purge, self.purge_softly, self.change)
        for _ in range(STEPS):
            await self.chance.choice(moves)()
            for _ in range(self.chance.randrange(4)):
                await asyncio.sleep(0)
            self.check()
        while any(not pending.call.is_over or pending.reply is not None for pending in self.pending):
            await self.answer()
            await self.go_on()
            await self.scene.settle()
        self.check()
        await self.scene.end()

    async def ask(self) -> None:
        """A client asks."""
        asked = Asked(self.scene.client(), self.chance.choice(LANGUAGES), self.least)
        fields = {"cache_control": "no-cache"} if self.chance.random() < 0.1 else {}
        asked.client.ask(accept_language=asked.language, **fields)
        self.asked.append(asked)

    async def answer(self) -> None:
        """The origin answers a fetch, in some way."""
        open_calls = [pending for pending in self.pending if not pending.call.is_over]
        if not open_calls:
            return
        pending = self.chance.choice(open_calls)
        fields = {
            "cache_control": self.chance.choice(CONTROLS),
            self.chance.choice(("surrogate_key", "cache_tag", "xkey")): "news",
            "etag": f'"{pending.version}{self._language(pending)}"',
        }
        if self.varies:
            fields["vary"] = "accept-language"
        known = pending.call.fields.get(b"if-none-match")
        if known is not None and known.decode() == fields["etag"]:
            pending.call.answer(status=304, **fields)
        elif self.chance.random() < 0.1:
            pending.call.fail(OriginTimeout("slow"))
        else:
            pending.reply = pending.call.begin(length=self.chance.choice((None, 12)), **fields)

    async def go_on(self) -> None:
        """The origin sends a body, or half of one."""
        begun = [pending for pending in self.pending if pending.reply is not None]
        if not begun:
            return
        pending = self.chance.choice(begun)
        reply, pending.reply = pending.reply, None
        assert reply is not None
        body = b"%010d%b" % (pending.version, self._language(pending).encode())
        if self.chance.random() < 0.15:
            reply.send(body[:6]).cut()
        else:
            reply.send(body[:6]).send(body[6:]).end()

    async def purge(self) -> None:
        """The content changes, and somebody purges it, in whatever way, and is answered."""
        self.version += 1
        version = self.version
        answer = await self.scene.get("/", "PURGE", **self.chance.choice(PURGES))
        assert answer.status in (200, 404)
        self.least = max(self.least, version)

    async def purge_softly(self) -> None:
        """Somebody makes it count as stale: any version may still be served."""
        await self.scene.get("/", "PURGE", soft_purge="1", **self.chance.choice(SOFT_PURGES))

    async def change(self) -> None:
        """The content changes by an unsafe method, which succeeds and is answered."""
        self.version += 1
        version = self.version
        client = self.scene.client()
        client.ask("/", "POST")
        await self.scene.settle()
        next(call for call in self.scene.origin.calls if call.request.method == b"POST" and not call.is_over).answer()
        await self.scene.settle()
        assert client.answers[0].status == 200
        self.least = max(self.least, version)

    async def wait(self) -> None:
        """Time passes."""
        await self.scene.after(self.chance.choice((1, 3, 10)), step_s=1)

    async def leave(self) -> None:
        """A client goes."""
        if self.asked:
            self.chance.choice(self.asked).client.transport.lose()

    def check(self) -> None:
        """Whoever was answered whole got nothing older than it may, and its own variant."""
        for asked in self.asked:
            if asked.is_checked:
                continue
            for answer in asked.client.answers:
                if answer.status == 200 and answer.is_whole and len(answer.body) == 12:
                    asked.is_checked = True
                    self.served += 1
                    assert int(answer.body[:10]) >= asked.least
                    assert not self.varies or answer.body[10:].decode() == asked.language

    def _language(self, pending: Pending) -> str:
        return (pending.call.fields.get(b"accept-language") or b"").decode() if self.varies else "xx"


@given(st.integers(0, 2**40))
@settings(max_examples=60, deadline=None)
def test_nothing_from_before_an_invalidation_is_served_after_it(seed: int) -> None:
    async def play() -> None:
        await Play(seed).run()

    asyncio.run(play())
