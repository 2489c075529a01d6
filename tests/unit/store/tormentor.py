"""What one process of the torture does with the store.

Owns every check on a single operation. Each key has one process that writes it, which so knows exactly what it may
read back, but for a few keys that all write. A record says of every byte of its body which put it is from: nothing
else has to be remembered to find a wrong one. Knows nothing of who kills and stops (`torture_keeper`).
"""

from __future__ import annotations

import asyncio
import random
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torture_ledger import STAMP_BYTES, TAGS, Ledger, Scale, Verb

from accel.store.flights import Claim, FlightArena, SharedFlights
from accel.store.shared import SharedArena, SharedStore
from accel.store.store import Record, Writer

SHARED_KEYS = 24
"""Keys below this are written by every process, and are what flights are for."""
SHOWN = b"shown by "
"""With the number of a process: the key under which it shows what has come of its long bodies, one after the other."""
STAMP = struct.Struct("<QQQ")
assert STAMP.size == STAMP_BYTES
PATTERN = random.Random(3).randbytes(9 << 20)
LENGTHS = ((80, 100, 4_000), (15, 4_000, 60_000), (4, 60_000, 1_000_000), (1, 1_000_000, 8 << 20))
"""Weight, least and most bytes of a body."""
SIDES = (0, 1)
"""The processes are those of two programs on one arena, as during an upgrade."""
WRITERS, LEADS, FOLLOWERS, HELD = 3, 2, 8, 6
"""Of each at most so many at once in a process."""
BEAT_OPERATIONS = 50
FOLLOW_S = 60.0
"""Nobody follows for longer: a leader is stopped for much less."""


def content(key: int, version: int, length: int) -> bytes:
    """Return a body that says of every byte which put it is from."""
    start = (key * 7919 + version) % 500_000
    return STAMP.pack(key, version, length) + PATTERN[start : start + length]


def version_of(record: Record, key: int) -> int:
    """Return which put a record is from, having compared every byte."""
    whole = b"".join(bytes(chunk) for chunk in record.chunks())
    said, version, length = STAMP.unpack_from(whole)
    assert (said, len(whole)) == (key, record.length), "another key's record"
    right = content(key, version, length)
    if record.key.startswith(SHOWN):
        right = right[: len(whole)]
    else:
        assert record.key == b"%d" % key, "another key's record"
    assert whole == right, "wrong bytes"
    assert int(record.meta.split(b" ")[0]) == version, "another record's meta"
    return int(version)


def key_in(record: Record) -> int:
    """Return the key that a record's body says it is of."""
    return int(STAMP.unpack_from(bytes(record.slice(0, STAMP.size)[0]))[0])


class Draft:
    """A long body under way."""

    def __init__(self, key: int, version: int, meta: bytes, body: bytes, writer: Writer) -> None:
        self.key, self.version, self.meta, self.body, self.writer = key, version, meta, body, writer
        self.at = 0


class Tormentor:
    """One process's operations."""

    def __init__(
        self, arena: SharedArena, flights: SharedFlights, row: int, seed: int, scale: Scale, ledger: Ledger
    ) -> None:
        longest, self.flights, self.numbers = scale.longest_bytes, flights, arena.numbers
        self.store = SharedStore(arena, row // len(SIDES), writer_bytes=scale.writer_bytes)
        self.cells = [(self.numbers.cell(b"t%d" % tag),) for tag in range(TAGS)]
        self.row, self.scale, self.ledger, self.random = row, scale, ledger, random.Random(seed)
        self.bands = [(weight, least, min(most, longest)) for weight, least, most in LENGTHS if least < longest]
        self.written: dict[int, int] = {}
        """The version of each own key, 0 if removed; absent: whatever a former process of this row left."""
        self.read: dict[int, int] = {}
        self.held: list[tuple[Record, int, int]] = []
        self.drafts: list[Draft] = []
        self.leads: list[tuple[int, Claim]] = []
        self.tasks, self.following = asyncio.TaskGroup(), 0
        weighed: dict[Callable[[int], object], int] = {
            self.get: 45, self.put: 12, self.begin: 2, self.go_on: 12, self.freshen: 6, self.remove: 6, self.hold: 6,
            self.claim: 3, self.land: 3, self.cover: 1, self.look_on: 6,
        }  # fmt: skip
        self.steps = [step for step, weight in weighed.items() for _ in range(weight)]

    def step(self) -> None:
        """Do something; most keys are asked for seldom, some often."""
        self.random.choice(self.steps)(int(self.scale.keys * self.random.random() ** 3))

    @contextmanager
    def counted(self, verb: Verb) -> Iterator[None]:
        """Count what is done inside, and its CPU time."""
        began = time.thread_time_ns()
        yield
        self.ledger.note(self.row, verb, time.thread_time_ns() - began)

    def own(self, key: int) -> int:
        """Return a key near `key` that this process may write."""
        return key if key < SHARED_KEYS else key // self.scale.processes * self.scale.processes + self.row

    def body(self, key: int, version: int) -> bytes:
        [(_, least, most)] = self.random.choices(self.bands, [weight for weight, _, _ in self.bands])
        return content(key, version, int(least * (most / least) ** self.random.random()))

    def get(self, key: int) -> Record | None:
        covered_at_ns = self.ledger.covered_at_ns(key % TAGS)
        with self.counted(Verb.GET):
            record = self.store.get(b"%d" % key)
        if record is None:
            return None
        version = version_of(record, key)
        assert version >= covered_at_ns or self.is_covered(record, key), "older than an invalidation of its tag"
        if key >= SHARED_KEYS:
            assert version >= self.read.get(key, 0), "went back to older content"
            assert version == self.written.get(key, version), "not what was put last"
            self.read[key] = version
        return record

    def is_covered(self, record: Record, key: int) -> bool:
        """Whether a record's tag was invalidated, hard or soft, since the number that was noted for it."""
        cells, number = self.cells[key % TAGS], int(record.meta.split(b" ")[1])
        return max(self.numbers.hard(cells), self.numbers.soft(cells)) > number

    def cover(self, key: int) -> None:
        """Invalidate a tag."""
        began_ns = time.monotonic_ns()
        with self.counted(Verb.COVER):
            self.numbers.invalidate(self.cells[key % TAGS], soft=key % 2 == 0)
        self.ledger.cover(self.row, key % TAGS, began_ns)

    def version(self) -> tuple[int, bytes]:
        """Return a version and its meta; the number is noted first, as by a fetch before it is sent."""
        number = self.numbers.sequence()
        version = time.monotonic_ns()
        return version, b"%d %d" % (version, number)

    def put(self, key: int) -> None:
        key, (version, meta) = self.own(key), self.version()
        if self.is_drafted(key):
            return
        body = self.body(key, version)
        with self.counted(Verb.PUT):
            record = self.store.put(b"%d" % key, meta, body)
        self.wrote(key, version, record)

    def is_drafted(self, key: int) -> bool:
        return any(draft.key == key for draft in self.drafts)

    def wrote(self, key: int, version: int, record: Record | None) -> None:
        """After a write: what it returned says what was put; None means that there was no room."""
        if record is not None:
            assert version_of(record, key) == version
            self.written[key] = version

    def begin(self, key: int) -> None:
        key, (version, meta) = self.own(key), self.version()
        if len(self.drafts) == WRITERS or self.is_drafted(key):
            return
        body = self.body(key, version)
        writer = self.store.create(b"%d" % key, self.random.choice([None, len(body)]))
        assert writer is not None, "too long to begin"
        self.drafts.append(Draft(key, version, meta, body, writer))

    def go_on(self, _: int) -> None:
        """Append to a body under way, or end it; now and then it is given up."""
        if not self.drafts:
            return
        draft = self.random.choice(self.drafts)
        part = draft.body[draft.at : draft.at + self.random.randrange(1, 512 << 10)]
        if part and self.random.random() < 0.98:
            draft.at += len(part)
            with self.counted(Verb.APPEND):
                is_going_on = draft.writer.append(part)
            if is_going_on:
                self.show(draft)
                return
            draft.writer.abort()
        elif part:
            draft.writer.abort()
        else:
            with self.counted(Verb.COMMIT):
                record = draft.writer.commit(draft.meta)
            self.wrote(draft.key, draft.version, record)
        self.drafts.remove(draft)
        self.store.remove(SHOWN + b"%d" % self.row)
        assert self.store.buffered_bytes <= self.scale.writer_bytes

    def show(self, draft: Draft) -> None:
        """Let others read what there is of a long body; step by step some claim's followers look again."""
        with self.counted(Verb.SHOW):
            shown = draft.writer.show(SHOWN + b"%d" % self.row, draft.meta)
        if shown is not None and shown.length:
            assert version_of(shown, draft.key) == draft.version
        for _, claim in self.leads[:1]:
            claim.step()

    def look_on(self, _: int) -> None:
        """Read what some process, living or dead, shows."""
        with self.counted(Verb.GET):
            record = self.store.get(SHOWN + b"%d" % self.random.randrange(self.scale.processes))
        if record is not None and record.length:
            self.held.append((record, key_in(record), version_of(record, key_in(record))))

    def freshen(self, key: int) -> None:
        key = self.own(key)
        record = self.get(key)
        if record is None:
            return
        version = version_of(record, key)
        with self.counted(Verb.FRESHEN):
            fresh = self.store.freshen(record, record.meta[:60] + b" fresh")
        assert fresh is None or version_of(fresh, key) == version

    def remove(self, key: int) -> None:
        key = self.own(key)
        with self.counted(Verb.REMOVE):
            self.store.remove(b"%d" % key)
        if key >= SHARED_KEYS:
            assert self.store.get(b"%d" % key) is None, "there after its removal"
            self.written[key] = 0

    def hold(self, key: int) -> None:
        """Keep a record for a while, some for long; whatever happens meanwhile, it says the same at the end."""
        record = self.get(key)
        if record is not None:
            self.held.append((record, key, version_of(record, key)))
        if len(self.held) > HELD:
            held, key, version = self.held.pop(self.random.choice([0, 1, 1, 1, 1, 1, 1, 1]))
            assert version_of(held, key) == version

    def claim(self, key: int) -> None:
        """Lead the fetch of a key, or follow who does."""
        if len(self.leads) == LEADS or self.following == FOLLOWERS:
            return
        key %= SHARED_KEYS
        with self.counted(Verb.CLAIM):
            claim = self.flights.claim(b"%d" % key)
        if claim is not None and claim.leads:
            self.leads.append((key, claim))
        elif claim is not None:
            self.following += 1
            self.tasks.create_task(self.follow(key, claim))

    async def follow(self, key: int, claim: Claim) -> None:
        async with asyncio.timeout(FOLLOW_S):
            while await claim.changed(claim.follow()):
                pass
        self.following -= 1
        self.get(key)

    def land(self, _: int) -> None:
        """End a fetch that this process leads; one in four fails."""
        if self.leads:
            key, claim = self.leads.pop(0)
            if self.random.random() < 0.75:
                self.put(key)
            claim.release()

    async def live(self) -> None:
        """Go on until the end is told; whoever follows waits for its leader's end."""
        async with self.tasks:
            while not self.ledger.is_over:
                for _ in range(BEAT_OPERATIONS):
                    self.step()
                await asyncio.sleep(0)
            while self.leads:
                self.land(0)


async def torment(
    arena: SharedArena, flights: FlightArena, row: int, seed: int, scale: Scale, ledger: Ledger
) -> None:
    """The whole life of a process; raises AssertionError when something was wrong."""
    await Tormentor(arena, SharedFlights(flights, row), row, seed, scale, ledger).live()
