"""The space-saving sketch: what Metwally and others prove of it, on streams of every kind."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from accel.stats.sketch import SpaceSaving

CAPACITY = 8
STREAMS = st.lists(st.tuples(st.sampled_from("abcdefghijklmnopqrst"), st.integers(0, 9)), max_size=300)


def fed(stream: list[tuple[str, int]]) -> tuple[SpaceSaving, Counter[str]]:
    """Return a sketch that was given a stream, and the truth."""
    sketch, truth = SpaceSaving(CAPACITY), Counter[str]()
    for name, weight in stream:
        sketch.add(name, weight)
        truth[name] += weight
    return sketch, truth


@given(STREAMS)
def test_a_weight_is_never_too_small_and_at_most_by_its_excess_too_large(stream: list[tuple[str, int]]) -> None:
    sketch, truth = fed(stream)

    for entry in sketch.top(CAPACITY):
        assert entry.weight - entry.excess <= truth[entry.name] <= entry.weight


@given(STREAMS)
def test_whatever_is_more_than_its_part_of_the_whole_is_found(stream: list[tuple[str, int]]) -> None:
    sketch, truth = fed(stream)

    found = {entry.name for entry in sketch.top(CAPACITY)}
    assert {name for name, weight in truth.items() if weight > sketch.total / CAPACITY} <= found


@given(STREAMS)
def test_nothing_is_lost_and_nothing_counted_twice(stream: list[tuple[str, int]]) -> None:
    sketch, truth = fed(stream)

    assert sketch.total == truth.total()
    assert len(sketch) == min(CAPACITY, len({name for name, _ in stream}))


def test_few_names_are_counted_exactly_in_their_order() -> None:
    sketch, _ = fed([("b", 2), ("a", 2), ("c", 5), ("b", 1), ("d", 0)])

    top = [(entry.name, entry.weight, entry.excess) for entry in sketch.top(3)]
    assert top == [("c", 5, 0), ("b", 3, 0), ("a", 2, 0)]


def test_the_name_that_is_given_up_is_said() -> None:
    sketch = SpaceSaving(2)

    assert [sketch.add(name) for name in ("a", "a", "b", "c", "a", "d")] == [None, None, None, "b", None, "c"]


def test_the_memory_of_a_day_is_that_of_a_minute() -> None:
    sketch, chance = SpaceSaving(100), random.Random(5)
    for _ in range(200_000):
        sketch.add(f"/{int(chance.paretovariate(0.5))}")

    assert len(sketch) == 100
    assert len(sketch._heap) == 100
    assert sketch.top(1)[0].name == "/1"
