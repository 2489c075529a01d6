"""Rate limits: what a bucket grants over time, to whom, and what several processes together are granted of one."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from multiprocessing.synchronize import Barrier
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel.policy.decision import LimitCheck, Rule
from accel.proxy import limiter
from accel.proxy.limit_table import SETS, TABLE_BYTES, WAYS, LimitTable
from accel.proxy.limiter import Limiter
from accel.stats.counters import index, private_row
from accel.store.numbers import PlainWords

NOW = 1_700_000_000.0


def check(value: bytes = b"192.0.2.1", rate: float = 20, burst: int = 40, name: str = "shop.policy:7") -> LimitCheck:
    return LimitCheck(name, value, rate, burst, None, 429, Rule("shop.policy", 7))


def plain_table() -> LimitTable:
    return LimitTable(PlainWords(memoryview(bytearray(TABLE_BYTES)).cast("Q")), NOW, b"secret")


def no_table() -> LimitTable:
    return LimitTable(None, NOW, b"")


@pytest.fixture
def shared_table() -> Iterator[LimitTable]:
    """Return a table as the arbiter makes it, but for its time."""
    table = LimitTable.made()
    assert table.fd is not None
    yield table._replace(zero_at=NOW)
    os.close(table.fd)


def of(table: LimitTable, workers: int = 1) -> Limiter:
    return Limiter(table, workers, private_row())


@pytest.fixture(params=["plain", "shared", "own"])
def one(request: pytest.FixtureRequest, shared_table: LimitTable) -> Limiter:
    tables = {"plain": plain_table, "shared": lambda: shared_table, "own": no_table}
    return of(tables[request.param]())


def granted(one: Limiter, asked: LimitCheck, now: float, times: int) -> int:
    return sum(one.admits(asked, now) for _ in range(times))


def test_a_burst_is_granted_at_once_and_then_the_rate(one: Limiter) -> None:
    asked = check(rate=20, burst=40)

    at_once = granted(one, asked, NOW, 100)
    later = [granted(one, asked, NOW + second, 100) for second in (1, 2, 3)]

    assert (at_once, later) == (40, [20, 20, 20])


def test_after_a_rest_the_whole_burst_is_there_again_and_no_more(one: Limiter) -> None:
    asked = check(rate=2, burst=5)
    granted(one, asked, NOW, 10)

    assert granted(one, asked, NOW + 3600, 10) == 5


def test_values_and_rules_have_buckets_of_their_own(one: Limiter) -> None:
    assert granted(one, check(b"a", burst=3), NOW, 9) == 3
    assert granted(one, check(b"b", burst=3), NOW, 9) == 3
    assert granted(one, check(b"a", burst=3, name="shop.policy:8"), NOW, 9) == 3


def test_who_is_refused_is_told_when_to_come_again_and_is_granted_then(one: Limiter) -> None:
    asked = check(rate=1 / 10, burst=2)
    granted(one, asked, NOW, 2)

    assert one.retry_after_s(asked, NOW) == 10
    assert one.retry_after_s(asked, NOW + 9.5) == 1
    assert not one.admits(asked, NOW + 9.9)
    assert one.admits(asked, NOW + 10)


def test_a_refused_request_costs_nothing(one: Limiter) -> None:
    asked = check(rate=1, burst=1)
    one.admits(asked, NOW)

    refused = granted(one, asked, NOW + 0.5, 1000)

    assert (refused, one.admits(asked, NOW + 1)) == (0, True)


@given(
    gaps=st.lists(st.floats(0, 3), min_size=1, max_size=60),
    rate=st.floats(0.1, 1000),
    burst=st.integers(1, 20),
)
def test_in_no_span_is_more_granted_than_burst_and_rate_allow(gaps: list[float], rate: float, burst: int) -> None:
    one, asked = of(plain_table()), check(rate=rate, burst=burst)
    now, times = NOW, []
    for gap in gaps:
        now += gap
        times += [now] * granted(one, asked, now, burst + 1)

    for first, begin in enumerate(times):
        for last, end in enumerate(times[first:], first):
            assert last - first + 1 <= burst + (end - begin + 2e-6) * rate


def test_a_clock_set_back_makes_nobody_wait_longer_than_for_one_request(one: Limiter) -> None:
    asked = check(rate=2, burst=4)
    granted(one, asked, NOW + 3600, 4)

    assert not one.admits(asked, NOW + 10)
    assert one.retry_after_s(asked, NOW + 10) == 1
    assert granted(one, asked, NOW + 10.5, 4) == 1
    assert granted(one, asked, NOW + 30, 10) == 4


def test_a_clock_before_the_table_was_made_does_no_harm(one: Limiter) -> None:
    assert granted(one, check(burst=3), NOW - 3600, 9) == 3


@pytest.mark.parametrize("old_s", [0.4, 3, 59])
def test_a_reading_of_the_clock_that_is_old_grants_nothing_more(one: Limiter, old_s: float) -> None:
    asked = check(rate=10, burst=10)
    granted(one, asked, NOW + 100, 10)

    assert granted(one, asked, NOW + 100 - old_s, 10) == 0
    assert granted(one, asked, NOW + 100.1, 10) == 1


def test_a_rule_made_stricter_holds_from_the_next_request_on(one: Limiter) -> None:
    granted(one, check(rate=1, burst=100), NOW, 100)

    assert granted(one, check(rate=1, burst=2), NOW, 9) == 0
    assert granted(one, check(rate=1, burst=2), NOW + 1, 9) == 1


def test_two_clocks_that_contradict_each_other_grant_no_more_than_the_rate_of_the_later(one: Limiter) -> None:
    asked = check(rate=1, burst=5)

    grants = [granted(one, asked, NOW + second - back, 9) for second in range(100) for back in (0, 50)]

    assert sum(grants) <= 5 + 100


def test_workers_that_share_a_table_share_each_bucket_and_without_one_each_has_its_part() -> None:
    table = plain_table()
    sharing = [of(table, workers=4) for _ in range(4)]
    alone = [of(no_table(), workers=4) for _ in range(4)]
    asked = check(rate=8, burst=40)

    assert sum(granted(one, asked, NOW, 40) for one in sharing) == 40
    assert sum(granted(one, asked, NOW, 40) for one in alone) == 40
    assert sum(granted(one, asked, NOW + 1, 40) for one in alone) == 8


def test_refused_requests_and_those_counted_alone_are_counted() -> None:
    counters = private_row()
    alone = Limiter(no_table(), 1, counters)

    granted(alone, check(burst=3), NOW, 5)

    assert (counters[index("limited")], counters[index("limit_spills")]) == (2, 5)


# Which word is whose.


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch) -> dict[bytes, int]:
    """Return the hash of each value, to be chosen by the test: tag, then way and set."""
    chosen: dict[bytes, int] = {}
    monkeypatch.setattr(limiter, "_hashed", lambda asked, _: chosen[asked.value])
    return chosen


def hashed(tag: int, way: int = 0, at: int = 5) -> int:
    return tag << 48 | way * SETS | at


def words(table: LimitTable, at: int = 5) -> list[int]:
    return [table.words.load(at * WAYS + way) for way in range(WAYS)]


def test_keys_of_one_set_do_not_limit_each_other(hashes: dict[bytes, int]) -> None:
    table = plain_table()
    one = of(table)
    values = [b"%d" % number for number in range(WAYS)]
    hashes.update({value: hashed(tag=9 + number, way=3) for number, value in enumerate(values)})

    assert [granted(one, check(value, burst=3), NOW, 5) for value in values] == [3] * WAYS
    assert all(words(table))
    assert one._counters[index("limit_spills")] == 0


def test_a_key_of_a_full_set_is_counted_by_each_worker_alone(hashes: dict[bytes, int]) -> None:
    table = plain_table()
    workers = [of(table, workers=2) for _ in range(2)]
    hashes.update({b"%d" % number: hashed(tag=9 + number) for number in range(WAYS + 1)})
    for number in range(WAYS):
        workers[0].admits(check(b"%d" % number, rate=0.1), NOW)

    late = check(b"%d" % WAYS, rate=2, burst=8)

    assert [granted(worker, late, NOW, 9) for worker in workers] == [4, 4]
    assert workers[1]._counters[index("limit_spills")] == 9
    assert workers[1].retry_after_s(late, NOW) == 1


def test_a_bucket_whose_time_has_passed_is_taken_over_and_the_one_that_passed_first(hashes: dict[bytes, int]) -> None:
    table = plain_table()
    one = of(table)
    hashes.update({b"%d" % number: hashed(tag=9 + number) for number in range(WAYS + 1)})
    for number in range(WAYS):
        one.admits(check(b"%d" % number, rate=1 / (20 - number), burst=20), NOW)

    assert granted(one, check(b"%d" % WAYS, rate=1, burst=5), NOW + 30, 9) == 5
    assert [word >> 48 for word in words(table)] == [*range(9, 9 + WAYS - 1), 9 + WAYS]
    assert one._counters[index("limit_spills")] == 0


def test_a_key_finds_its_bucket_wherever_in_the_set_it_lies(hashes: dict[bytes, int]) -> None:
    one = of(plain_table())
    hashes.update({b"%d" % number: hashed(tag=9 + number, way=number) for number in range(WAYS)})
    for number in range(WAYS):
        granted(one, check(b"%d" % number, burst=2, rate=0.1), NOW, 2)
    hashes.update({b"%d" % number: hashed(tag=9 + number, way=7 - number) for number in range(WAYS)})

    assert not any(one.admits(check(b"%d" % number, burst=2, rate=0.1), NOW) for number in range(WAYS))


def test_two_keys_with_one_tag_in_one_set_share_a_bucket(hashes: dict[bytes, int]) -> None:
    one = of(plain_table())
    hashes.update({b"a": hashed(tag=7), b"b": hashed(tag=7, way=2), b"c": hashed(tag=7, at=6)})

    assert [granted(one, check(value, burst=3), NOW, 3) for value in (b"a", b"b", b"c")] == [3, 0, 3]


def test_a_tag_of_zeros_is_not_that_of_an_unused_word(hashes: dict[bytes, int]) -> None:
    table = plain_table()
    hashes[b"a"] = hashed(tag=0, way=4)

    assert granted(of(table), check(b"a", burst=3), NOW, 9) == 3
    assert [word >> 48 for word in words(table)] == [0, 0, 0, 0, 1, 0, 0, 0]


class Interrupted:
    """A table in which something happens just before the first swap."""

    def __init__(self, table: LimitTable, meanwhile: Callable[[], object]) -> None:
        self.load = table.words.load
        self._swap_if, self._meanwhile = table.words.swap_if, [meanwhile]

    def swap_if(self, at: int, was: int, value: int) -> bool:
        while self._meanwhile:
            self._meanwhile.pop()()
        return self._swap_if(at, was, value)

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the limiter only loads and swaps, not {name}")


def test_what_another_worker_granted_meanwhile_counts(hashes: dict[bytes, int]) -> None:
    table = plain_table()
    other, asked = of(table), check(b"a", burst=3)
    hashes[b"a"] = hashed(tag=7)
    one = of(table._replace(words=Interrupted(table, lambda: granted(other, asked, NOW, 2))))

    assert granted(one, asked, NOW, 5) == 1


def test_workers_whose_clocks_differ_begin_one_bucket_and_not_two(hashes: dict[bytes, int]) -> None:
    """The first word's time has passed for one of them alone: taking the first such, they would begin two."""
    table = plain_table()
    hashes.update({b"old": hashed(tag=3), b"older": hashed(tag=4), b"new": hashed(tag=7)})
    of(table).admits(check(b"old", rate=1), NOW + 1)
    of(table).admits(check(b"older", rate=1), NOW)
    ahead, asked = of(table), check(b"new", rate=0.01, burst=1)
    behind = of(table._replace(words=Interrupted(table, lambda: ahead.admits(asked, NOW + 2.1))))

    assert behind.admits(asked, NOW + 1.9) is False
    assert [word >> 48 for word in words(table)].count(7) == 1


# Several processes.

PROCESSES, KEYS = 4, 20


def _ask_all(table: LimitTable, start: Barrier, results: Any) -> None:
    """In a child: ask for every key more often than any may be granted, each time at a later moment."""
    one = of(table)
    grants = [0] * KEYS
    for turn in range(400):
        if turn % 50 == 0:
            start.wait(30)  # the clocks run apart for half a second, as if the workers were held up
        for key in range(KEYS):
            grants[key] += one.admits(check(b"%d" % key, rate=10, burst=25), NOW + turn * 0.01)
    results.put(grants)
    results.close()
    results.join_thread()
    os._exit(0)


def test_processes_that_race_are_granted_exactly_what_one_would_be(shared_table: LimitTable) -> None:
    """4 s at 10/s after a burst of 25, whoever asks."""
    fork = multiprocessing.get_context("fork")
    table, start, results = shared_table, fork.Barrier(PROCESSES), fork.Queue()
    children = [fork.Process(target=_ask_all, args=(table, start, results)) for _ in range(PROCESSES)]
    for child in children:
        child.start()
    grants = [results.get(timeout=60) for _ in children]
    for child in children:
        child.join(30)

    for key in range(KEYS):
        assert sum(counts[key] for counts in grants) == 25 + 39


def _ask_one(table: LimitTable, start: Barrier, results: Any) -> None:
    """In a child: ask for one key at one moment."""
    one = of(table)
    start.wait(30)
    results.put(sum(one.admits(check(rate=1, burst=5_000), NOW) for _ in range(4_000)))
    results.close()
    results.join_thread()
    os._exit(0)


def test_one_bucket_shared_by_processes_is_exact(shared_table: LimitTable) -> None:
    fork = multiprocessing.get_context("fork")
    table, start, results = shared_table, fork.Barrier(PROCESSES), fork.Queue()
    children = [fork.Process(target=_ask_one, args=(table, start, results)) for _ in range(PROCESSES)]
    for child in children:
        child.start()
    grants = [results.get(timeout=60) for _ in children]
    for child in children:
        child.join(30)

    assert sum(grants) == 5_000
