"""The histograms: where a value is counted, how exactly it is known, and what is made of many."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from accel.stats.histograms import (
    BUCKETS,
    KINDS,
    MEASURES,
    SCALE_BITS,
    Histogram,
    bucket_of,
    lowest,
    packed,
    private_row,
    read,
    record,
    unpacked,
)

VALUES = st.integers(0, (1 << SCALE_BITS) - 1)
HIT, MISS, PASS = range(3)


@given(VALUES)
def test_a_value_lies_in_its_bucket(value: int) -> None:
    bucket = bucket_of(value)

    assert 0 <= bucket < BUCKETS
    assert lowest(bucket) <= value < lowest(bucket + 1)


def test_the_buckets_cover_the_scale_without_gaps() -> None:
    lows = [lowest(bucket) for bucket in range(BUCKETS + 1)]

    assert lows == sorted(set(lows))
    assert (lows[0], lows[-1]) == (0, 1 << SCALE_BITS)
    assert [bucket_of(low) for low in lows[:-1]] == list(range(BUCKETS))


@given(VALUES)
def test_the_middle_of_a_bucket_is_within_a_sixteenth_of_the_value(value: int) -> None:
    histogram = histogram_of([value])

    assert abs(histogram.quantile(0.5) - value) <= value / 16


def histogram_of(values: list[int]) -> Histogram:
    """Return the body histogram of hits with these sizes."""
    row = private_row()
    for value in values:
        record(row, HIT, 0.0, 0.0, value)
    return read([row])["body_bytes"]["hit"]


def test_quantiles_are_those_of_the_values() -> None:
    histogram = histogram_of(list(range(1, 1001)))

    for share in (0.5, 0.9, 0.99):
        assert abs(histogram.quantile(share) - share * 1000) <= share * 1000 / 12
    assert histogram_of([]).quantile(0.5) == 0


def test_each_kind_and_measure_has_its_own_words() -> None:
    row = private_row()
    record(row, MISS, 0.001, 0.25, 4096)
    record(row, PASS, 2.0, 3.0, 1)

    made = read([row])

    assert {kind: made["total_us"][kind].sum for kind in KINDS} == {"hit": 0, "miss": 250_000, "pass": 3_000_000}
    assert {measure: made[measure]["miss"].count for measure in MEASURES} == dict.fromkeys(MEASURES, 1)
    assert made["first_byte_us"]["miss"].sum == 1000
    assert made["body_bytes"]["miss"].sum == 4096


def test_what_is_off_the_scale_counts_at_its_ends() -> None:
    row = private_row()
    record(row, HIT, -5.0, 1e9, 1 << 60)

    made = read([row])

    assert made["first_byte_us"]["hit"].counts[0] == 1
    assert made["total_us"]["hit"].counts[-1] == 1
    assert made["body_bytes"]["hit"].counts[-1] == 1


def test_rows_are_added_up() -> None:
    rows = [private_row() for _ in range(3)]
    for row in rows:
        record(row, HIT, 0.0, 0.0, 100)

    made = read(rows)["body_bytes"]["hit"]

    assert (made.count, made.sum) == (3, 300)


def test_no_row_makes_empty_histograms() -> None:
    assert read([])["total_us"]["miss"] == Histogram((0,) * BUCKETS, 0)


def test_two_readings_differ_by_what_came_between() -> None:
    row = private_row()
    record(row, HIT, 0.0, 0.0, 100)
    before = read([row])["body_bytes"]["hit"]
    record(row, HIT, 0.0, 0.0, 50)

    after = read([row])["body_bytes"]["hit"].since(before)

    assert (after.count, after.sum, after.counts[bucket_of(50)]) == (1, 50, 1)


@given(st.lists(VALUES, max_size=30))
def test_counts_below_a_bound_are_exact_where_a_bucket_begins(values: list[int]) -> None:
    bounds = [1 << power for power in range(4, SCALE_BITS + 1, 3)]

    assert histogram_of(values).below(bounds) == [sum(value < bound for value in values) for bound in bounds]


@given(st.lists(VALUES, max_size=30))
def test_they_come_back_from_json(values: list[int]) -> None:
    row = private_row()
    for value in values:
        record(row, PASS, value / 1e6, value / 1e6, value)

    made = read([row])

    assert unpacked(json.loads(json.dumps(packed(made)))) == made
