"""Which records a sweep drops and counts, over a private store and a shared one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from accel.caching.freshness import LifetimeSource, Terms
from accel.caching.invalidation import What
from accel.caching.stored import Incomplete, PassMark, Stored, VariantList, decode, encode
from accel.caching.tags import ANY
from accel.http.message import Fields
from accel.proxy.sweeping import Job, Sweep
from accel.store.numbers import PendingBan
from accel.store.private import PrivateStore
from accel.store.shared import SharedArena, SharedStore

Swept = Callable[[Sweep], None]


@pytest.fixture(params=["private", "shared"])
def place(request: pytest.FixtureRequest) -> tuple[PrivateStore | SharedStore, Swept]:
    """Return a store and a way to sweep it."""
    if request.param == "private":
        private = PrivateStore(1 << 20)

        def walk(sweep: Sweep) -> None:
            for key in private.all_keys():
                private.sweep(key, sweep.judge, sweep.settle)

        return private, walk
    arena = SharedArena(4 << 20, 2)
    return SharedStore(arena, 0), lambda sweep: arena.sweep(sweep.judge, sweep.settle)


def page(number: int, *tags: bytes, status: int = 200) -> bytes:
    terms = Terms(60.0, LifetimeSource.MAX_AGE)
    return encode(Stored(status, b"", Fields([(b"x-kind", b"page")]), 0.0, 0.0, 0.0, terms, number, tags))


RECORDS = {
    b"a\0/tagged": page(1, b"news", b"de"),
    b"a\0/newer": page(7, b"news"),
    b"a\0/other": page(1, b"shop", status=404),
    b"a\0/many": page(1, b"x", ANY),
    b"a\0/list": encode(VariantList((b"accept",), 1, 1)),
    b"a\0/list\x001\0v": page(1, b"news"),
    b"a\0/mark": encode(PassMark(9.0, 1)),
}


@pytest.mark.parametrize(
    ("job", "count", "gone"),
    [
        (Job(What.TAG, 5, (b"news",)), 3, {b"a\0/tagged", b"a\0/many", b"a\0/list\x001\0v"}),
        (Job(What.TAG, 5, (b"news",), is_soft=True), 3, set()),
        (Job(What.TAG, 5, (b"none",)), 1, {b"a\0/many"}),
        (Job(What.ALL, 5), 4, RECORDS.keys() - {b"a\0/newer"}),
        (Job(What.ALL, 5, is_soft=True), 4, set()),
        (Job(What.BAN, 5, ban=PendingBan(5, 0.0, "status == 404")), 1, {b"a\0/other"}),
        (Job(What.BAN, 5, ban=PendingBan(5, 0.0, "url ~ ^/list")), 1, {b"a\0/list\x001\0v"}),
        (Job(What.BAN, 9, ban=PendingBan(9, 0.0, "field.x-kind == page && host == a")), 5,
         RECORDS.keys() - {b"a\0/list", b"a\0/mark"}),
    ],
)  # fmt: skip
def test_a_sweep_drops_what_a_job_covers_and_counts_responses(
    place: tuple[PrivateStore | SharedStore, Swept], job: Job, count: int, gone: set[bytes]
) -> None:
    store, walk = place
    for key, meta in RECORDS.items():
        assert store.put(key, meta, b"body")

    walk(sweep := Sweep([job]))

    assert {key for key in RECORDS if store.get(key) is None} == gone
    assert (sweep.counts, sweep.dropped) == ([count], 0 if job.is_soft else count)


def test_jobs_that_share_a_sweep_are_counted_each_and_a_response_goes_once(
    place: tuple[PrivateStore | SharedStore, Swept],
) -> None:
    store, walk = place
    for key, meta in RECORDS.items():
        store.put(key, meta)

    walk(sweep := Sweep([Job(What.TAG, 4, (b"news",)), Job(What.TAG, 5, (b"de",), True), Job(What.ALL, 6, (), True)]))

    assert (sweep.counts, sweep.dropped) == ([3, 2, 4], 3)


def test_what_cannot_be_read_goes(place: tuple[PrivateStore | SharedStore, Swept]) -> None:
    store, walk = place
    torn = page(1, b"x")[:12]
    store.put(b"a\0/torn", torn)

    walk(Sweep([Job(What.TAG, 5, (b"news",))]))

    assert store.get(b"a\0/torn") is None


def test_a_slot_that_changes_under_the_judge_is_judged_anew_and_counted_once() -> None:
    arena = SharedArena(4 << 20, 2)
    store = SharedStore(arena, 0)
    store.put(b"a\0/", page(1, b"news"))
    sweep = Sweep([Job(What.TAG, 5, (b"news",))])
    judged = []

    def judge(key: bytes, meta: bytes) -> bool:
        judged.append(meta)
        if len(judged) == 1:
            store.put(b"a\0/", page(2, b"news", b"again"))
        return sweep.judge(key, meta)

    arena.sweep(judge, sweep.settle)

    assert (len(judged), sweep.counts, store.get(b"a\0/")) == (2, [1], None)
    assert arena.check().faults == ()


def test_what_is_still_coming_stays_for_those_who_read_it(place: tuple[PrivateStore | SharedStore, Swept]) -> None:
    store, swept = place
    coming = decode(page(1, b"news"))
    assert isinstance(coming, Stored)
    store.put(b"\1name", encode(Incomplete(b"a\0/tagged", 9, coming)))
    sweep = Sweep([Job(What.TAG, 5, (b"news",)), Job(What.ALL, 6)])

    swept(sweep)

    assert (store.get(b"\1name") is not None, sweep.counts) == (True, [0, 0])
