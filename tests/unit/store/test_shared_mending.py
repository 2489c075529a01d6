"""Long bodies whose pieces are moved while somebody copies, renews or reads their parent: each looks again and mends.

The tests come between exactly where the references of two copies of a parent come to differ, see that they do (a walk
finds the body broken at that moment), and that they do not any more when whoever was stopped there has gone on.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from accel.store._shared import watch
from accel.store.layout import Step
from accel.store.numbers import table_bytes
from accel.store.shared import SharedArena, SharedStore

ARENA_BYTES, SEGMENT_BYTES = (72 << 10) + table_bytes(4096), 4096
WHOLE, FILLER = random.Random(7).randbytes(4000), random.Random(8).randbytes(900)
"""A long body of eight pieces, and what is put to have old segments walked."""
DEADLINE_S = 20.0
COUNTS = range(4, 100, 4)
Act = Callable[[], None]


def nothing() -> None:
    """Let whoever reached the step go on."""


def take_turn(left: list[Act]) -> None:
    """Do the last of the acts that are left."""
    if left:
        left.pop()()


class Scene:
    """Two workers and one long body that both keep in use."""

    def __init__(self) -> None:
        self.arena = SharedArena(ARENA_BYTES, 2, SEGMENT_BYTES)
        self.first, self.second = (SharedStore(self.arena, row) for row in range(2))
        self.turn = self.broken_between = 0
        self.first.put(b"k", b"", WHOLE)

    def rotate(self, store: SharedStore, count: int) -> None:
        """Put and use other things: segments are walked, and what is used is moved."""
        for _ in range(count):
            self.turn += 1
            name = b"%d" % self.turn
            if store.get(b"k") is None:
                store.put(b"k", b"", WHOLE)
            store.put(name, b"", FILLER)
            for used in (name, name, b"k", b"k"):
                store.get(used)

    def renew(self, store: SharedStore) -> None:
        record = store.get(b"k")
        if record is not None:
            store.freshen(record, b"renewed")

    def look(self) -> None:
        """Note whether the body's references lead nowhere at this moment."""
        self.broken_between += self.arena.check().broken

    def assert_mended(self) -> None:
        """Nobody ever missed the body for want of a piece; it may have gone for want of room, but only whole."""
        assert (self.arena.check().broken, self.arena.stat()["broken"]) == (0, 0)
        record = self.first.get(b"k")
        assert record is None or b"".join(map(bytes, record.chunks())) == WHOLE


@contextmanager
def doing_at(acts: dict[Step, Act]) -> Iterator[None]:
    """Have something done whenever a step is reached, but not in the middle of that again."""
    acting = False

    def watcher(reached: int) -> None:
        nonlocal acting
        act = acts.get(Step(reached))
        if act is not None and not acting:
            acting = True
            act()
            acting = False

    watch(watcher)
    try:
        yield
    finally:
        watch(None)


class Stopped(threading.Thread):
    """Does something, and stops at given steps in turn, each time until it is told to go on."""

    def __init__(self, act: Act, *steps: Step) -> None:
        super().__init__(daemon=True)
        self._act, self._steps = act, list(steps)
        self._may_go, self._is_there = threading.Semaphore(0), threading.Semaphore(0)
        self._is_over = False

    def run(self) -> None:
        self._act()
        self._is_over = True
        self._is_there.release()

    def reached(self, step: int) -> None:
        """Called in this thread, by the store, through the watcher."""
        if self._steps and self._steps[0] == step:
            self._steps.pop(0)
            self._is_there.release()
            assert self._may_go.acquire(timeout=DEADLINE_S)

    def begin(self) -> None:
        self.start()
        self._wait()

    def _wait(self) -> None:
        """Wait until it stops at its next step, or has ended."""
        assert self._is_there.acquire(timeout=DEADLINE_S)

    def go_on(self) -> None:
        if not self._is_over:
            self._may_go.release()
            self._wait()

    def finish(self) -> None:
        while not self._is_over:
            self.go_on()


@contextmanager
def stopping() -> Iterator[None]:
    """Let threads of the kind above stop at their steps."""

    def watcher(reached: int) -> None:
        thread = threading.current_thread()
        if isinstance(thread, Stopped):
            thread.reached(reached)

    watch(watcher)
    try:
        yield
    finally:
        watch(None)


def test_a_parent_that_moves_takes_over_where_its_pieces_went_meanwhile() -> None:
    """One walk has copied the parent when another one moves the pieces: only the old copy's references follow."""
    seen = 0
    for turn in range(60):
        scene = Scene()
        scene.rotate(scene.first, 60)
        left: list[Act] = [partial(scene.rotate, scene.second, 60), *[nothing] * turn]
        with doing_at({Step.COPIED: partial(take_turn, left), Step.SWAPPED: scene.look}):
            scene.rotate(scene.first, 30)
        seen += scene.broken_between
        scene.assert_mended()

    assert seen > 0, "no piece moved between the copying of its parent and the copy's publication"


def test_a_renewed_parent_takes_over_where_its_pieces_went_meanwhile() -> None:
    """A walk has claimed the pieces' segment; the parent is renewed, and stopped; the walk moves the pieces."""
    seen = 0
    for turn in range(60):
        scene = Scene()
        walker = Stopped(partial(scene.rotate, scene.second, 100), *[Step.CLAIMED] * (turn + 1), Step.UNPOINTED)
        renewer = Stopped(partial(scene.renew, scene.first), Step.CHOSEN, Step.SWAPPED)
        with stopping():
            walker.begin()
            for _ in range(turn):
                walker.go_on()
            renewer.begin()
            walker.go_on()
            renewer.go_on()
            scene.look()
            renewer.finish()
            walker.finish()
        seen += scene.broken_between
        scene.assert_mended()

    assert seen > 0, "no piece moved between the copying of its parent and the copy's publication"


@pytest.mark.parametrize("count", COUNTS)
def test_a_reader_follows_a_piece_that_moved_before_it_was_pinned(count: int) -> None:
    scene = Scene()
    scene.rotate(scene.second, count)
    before = scene.arena.stat()["moved"]
    with doing_at({Step.REFERRED: lambda: scene.rotate(scene.second, 8)}):
        record = scene.first.get(b"k")

    assert record is not None and b"".join(map(bytes, record.chunks())) == WHOLE
    assert scene.arena.stat()["moved"] > before and scene.arena.stat()["broken"] == 0


@pytest.mark.parametrize("count", COUNTS)
def test_a_piece_that_moves_is_followed_by_a_parent_that_was_renewed_meanwhile(count: int) -> None:
    scene = Scene()
    with doing_at({Step.COPIED: lambda: scene.renew(scene.second)}):
        scene.rotate(scene.first, count)

    scene.assert_mended()
