"""What makes keys many: counted by different values, of misses alone, in memory that does not grow."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from accel.stats.distinct import Distinct
from accel.stats.fragments import MOST_PARAMETERS, NAME_BYTES, Fragments
from accel.stats.records import TEXTS, LogRecord


def miss(target: str, **other: Any) -> LogRecord:
    """Return the record of a miss."""
    fields: dict[str, Any] = {
        "at": 0.0, "client": "192.0.2.1", "method": b"GET", "host": b"a.example", "target": target.encode(), "minor": 1,
        "status": 200, "body_bytes": 5, "duration_s": 1.0, "outcome": "miss", "backend": "", "referer": b"",
        "user_agent": b"", "reason": "uri-miss",
    }  # fmt: skip
    return LogRecord(**(fields | other))


def counted(*records: LogRecord) -> list[tuple[str, int, float]]:
    """Return name, values and misses of each part."""
    fragments = Fragments(100)
    for record in records:
        fragments.add(record)
    return [(part.name, part.values, part.misses) for part in fragments.top(100)]


def test_parameters_are_counted_by_their_different_values() -> None:
    records = [miss(f"/?id={number % 4}&page=1&utm_source={number}") for number in range(12)]

    assert counted(*records) == [("parameter utm_source", 12, 12), ("parameter id", 4, 12), ("parameter page", 1, 12)]


def test_fields_are_counted_where_other_variants_are_stored() -> None:
    records = [
        miss("/", reason="vary-miss", varies=b"%d accept=0011 cookie=%04x" % (number, number)) for number in range(5)
    ]

    assert counted(*records) == [("field cookie", 5, 5), ("field accept", 1, 5)]


def test_what_rules_join_is_named_so() -> None:
    assert counted(miss("/", reason="vary-miss", varies=b"1 :key=0011")) == [("what rules join", 1, 1)]


@pytest.mark.parametrize("other", [
    {"outcome": "hit", "reason": ""},
    {"outcome": "pass", "reason": "bypass"},
    {"reason": "stale"},
    {"reason": "request"},
])  # fmt: skip
def test_what_made_no_key_does_not_count(other: dict[str, str]) -> None:
    assert counted(miss("/?a=1", **other)) == []


def test_a_parameter_that_rules_take_out_is_no_part_of_the_key() -> None:
    assert counted(miss("/?utm_source=x&a=1", asked=b"/?a=1")) == [("parameter a", 1, 1)]


def test_a_text_that_was_cut_loses_its_last_part() -> None:
    cut = miss("/", reason="vary-miss", varies=b"1 accept=0011 cook", cut=1 << TEXTS.index("varies"))

    assert counted(cut) == [("field accept", 1, 1)]


@pytest.mark.parametrize("target", ["/", "/?", "/?&&=x&", "/?=", "/?" + "&" * 2000])
def test_what_has_no_name_does_not_count(target: str) -> None:
    assert counted(miss(target)) == []


def test_a_client_that_makes_names_up_cannot_make_the_memory_grow() -> None:
    fragments = Fragments(100)

    def attack(start: int) -> None:
        for number in range(start, start + 2000):
            query = "&".join(f"{number}x{place}{'n' * 100}={number}" for place in range(MOST_PARAMETERS + 8))
            fragments.add(miss("/?seen=1&" + query))

    attack(0)
    tracemalloc.start()
    attack(2000)
    grown_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(fragments) == 100
    assert all(len(part.name) <= NAME_BYTES + len("parameter ") for part in fragments.top(100))
    assert grown_bytes < 100 * 4096, "no more than all of its names anew"


def test_what_is_in_most_misses_is_kept_though_a_client_makes_names_up() -> None:
    fragments = Fragments(50)
    for number in range(3000):
        fragments.add(miss(f"/?seen={number}&{number}=1"))

    first = fragments.top(1)[0]
    assert first.name == "parameter seen"
    assert 0.85 * 3000 < first.values < 1.15 * 3000
    assert first.misses - first.excess <= 3000 <= first.misses


@pytest.mark.parametrize("count", [0, 1, 10, 100, 1000, 2500, 10_000, 100_000])
def test_an_estimate_is_right_to_a_tenth(count: int) -> None:
    distinct = Distinct()
    for number in (*range(count), *range(count // 2)):
        distinct.add(b"%d" % number)

    assert abs(distinct.estimate() - count) <= count / 10
