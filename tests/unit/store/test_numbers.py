"""Invalidation numbers: what covers what, and what a reader sees at each step of a writer; both kinds of table."""

from __future__ import annotations

import mmap
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from functools import partial

import pytest

from accel.store import numbers
from accel.store.numbers import BAN_TEXT_BYTES, MOST_BANS, Numbers, TooManyBans, table_bytes

SECRET = bytes(range(16))


def table(is_shared: bool, memory: mmap.mmap | None = None) -> Numbers:
    return Numbers(memory or mmap.mmap(-1, table_bytes(4096)), SECRET, is_shared=is_shared)


@pytest.fixture(params=[False, True], ids=["plain", "shared"])
def one(request: pytest.FixtureRequest) -> Numbers:
    return table(request.param)


def test_an_invalidation_takes_the_next_number_and_moves_the_world(one: Numbers) -> None:
    before = one.sequence(), one.world()

    number = one.invalidate([one.cell(b"a")], soft=False)

    assert (number, one.sequence(), one.world()) == (before[0] + 1, before[0] + 1, before[1] + 1)


def test_hard_and_soft_words_are_apart_and_other_names_are_not_touched(one: Numbers) -> None:
    a, b, c = map(one.cell, (b"a", b"b", b"c"))

    hard, soft = one.invalidate([a], soft=False), one.invalidate([b], soft=True)

    assert (one.hard((a,)), one.soft((a,))) == (hard, 0)
    assert (one.hard((b,)), one.soft((b,))) == (0, soft)
    assert (one.hard((c,)), one.soft((c,))) == (0, 0)
    assert (one.hard((c, b, a)), one.soft((c, b, a))) == (hard, soft)


def test_all_covers_every_name_even_none(one: Numbers) -> None:
    hard, soft = one.invalidate_all(soft=False), one.invalidate_all(soft=True)

    assert one.hard(()) == one.hard((one.cell(b"any"),)) == hard
    assert one.soft(()) == one.soft((one.cell(b"any"),)) == soft


def test_a_late_writer_lowers_no_word(one: Numbers) -> None:
    cell = one.cell(b"a")
    newest = one.invalidate([cell], soft=False)

    one._words.raise_to(cell, newest - 1)

    assert one.hard((cell,)) == newest


def test_a_name_has_the_same_cell_in_every_process_that_knows_the_secret(one: Numbers) -> None:
    other = Numbers(mmap.mmap(-1, table_bytes(4096)), bytes(16), is_shared=False)

    assert one.cell(b"a") == table(False).cell(b"a")
    assert [one.cell(b"%d" % name) for name in range(8)] != [other.cell(b"%d" % name) for name in range(8)]


def test_a_ban_is_pending_until_it_ends_and_then_covers_what_was_begun_before(one: Numbers) -> None:
    edition, world = one.edition(), one.world()

    number = one.ban("url ~ ä")

    [pending] = one.bans()
    assert (pending.number, pending.text, one.swept()) == (number, "url ~ ä", 0)
    assert one.edition() != edition and one.world() != world
    edition = one.edition()
    one.end_ban(number)
    assert (one.bans(), one.swept()) == ((), number)
    assert one.edition() != edition


def test_there_is_a_bound_on_pending_bans_and_on_their_text(one: Numbers) -> None:
    ended = [one.ban(f"status == {slot}") for slot in range(MOST_BANS)][7]

    with pytest.raises(TooManyBans):
        one.ban("status == 1")
    with pytest.raises(ValueError, match=str(BAN_TEXT_BYTES)):
        one.ban("x" * (BAN_TEXT_BYTES + 1))

    one.end_ban(ended)
    assert one.ban("x" * BAN_TEXT_BYTES) == one.bans()[-1].number


def test_a_slot_claimed_by_a_dead_process_is_taken_over(one: Numbers) -> None:
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(pid, 0)
    for slot in range(numbers._BANS_AT, numbers._CELLS_AT, numbers._BAN_WORDS):
        one._words.store(slot, numbers._CLAIMED | pid)
    one._words.store(numbers._BANS_AT, numbers._CLAIMED | os.getppid())
    assert one.bans() == ()

    for _ in range(MOST_BANS - 1):
        one.ban("status == 1")

    with pytest.raises(TooManyBans):
        one.ban("status == 1")


def test_a_ban_changed_while_it_is_read_is_read_again(one: Numbers) -> None:
    first = one.ban("first")
    loads, load = iter(range(1000)), one.load

    def meddled(at: int) -> int:
        if next(loads) == 2:
            one.end_ban(first)
            one.ban("second")
        return load(at)

    one.load = meddled

    assert [ban.text for ban in one.bans()] == ["second"]


def test_two_programs_on_one_table_lose_no_number() -> None:
    memory = mmap.mmap(-1, table_bytes(4096))
    left, right = table(True, memory), table(True, memory)
    cells = (left.cell(b"a"), left.cell(b"b"))

    def run(one: Numbers) -> None:
        for _ in range(2000):
            one.invalidate(cells, soft=False)

    _together([partial(run, left), partial(run, right)])

    assert left.sequence() == right.world() == left.hard(cells[:1]) == 4000


def test_a_writer_killed_anywhere_leaves_a_table_that_works() -> None:
    one, chance = table(True), random.Random(3)
    cells = (one.cell(b"a"), one.cell(b"b"))
    for _ in range(25):
        before, pid = one.sequence(), os.fork()
        if pid == 0:
            while True:
                one.invalidate(cells, soft=False)
                one.end_ban(one.ban("status == 404"))
        while one.sequence() == before:
            time.sleep(0)
        time.sleep(chance.random() / 200)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

        number = one.invalidate(cells[:1], soft=False)
        assert one.hard(cells[:1]) == number == one.sequence()
        assert one.swept() < number and one.hard(cells[1:]) < number
        for ban in one.bans():
            assert ban.text == "status == 404"
            one.end_ban(ban.number)
        filled = [one.ban("status == 500") for _ in range(MOST_BANS)]
        assert [ban.number for ban in one.bans()] == filled
        for ended in filled:
            one.end_ban(ended)


def test_a_private_table_is_shared_by_forks() -> None:
    alone = Numbers.alone()
    cell = alone.cell(b"a")

    pid = os.fork()
    if pid == 0:
        alone.invalidate([cell], soft=True)
        os._exit(0)
    os.waitpid(pid, 0)

    assert alone.soft((cell,)) == 1


def test_a_table_grows_with_the_memory_that_it_is_for() -> None:
    assert [numbers.cell_count(size << 20) for size in (1, 64, 512, 700)] == [4096, 16384, 131072, 131072]
    assert table_bytes(4096) % 512 == 0


def _together(calls: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
