"""What an operator may write for times, sizes, counts and names, and what the refusals say."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel import values
from accel.config import Balance


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (values.duration, "3", 3.0),
        (values.duration, "0.5", 0.5),
        (values.duration, "500ms", 0.5),
        (values.duration, "10s", 10.0),
        (values.duration, "2m", 120.0),
        (values.duration, "1h", 3600.0),
        (values.duration, "0", 0.0),
        (values.size, "4096", 4096),
        (values.size, "64k", 65536),
        (values.size, "64K", 65536),
        (values.size, "64KiB", 65536),
        (values.size, "256m", 256 << 20),
        (values.size, "2G", 2 << 30),
        (values.share, "0.2", 0.2),
        (values.share, "20%", 0.2),
        (values.truth, "Yes", True),
        (values.truth, "0", False),
        (values.worker_count, "4", 4),
        (values.worker_count, "auto", len(os.sched_getaffinity(0))),
        (values.instance_name, "shop-1", "shop-1"),
        (values.user_name, "root", "root"),
        (values.user_name, "1000", "1000"),
        (values.group_name, "root", "root"),
        (values.probe_path, "/healthz?x=1", "/healthz?x=1"),
        (values.file_path, "-", "-"),
    ],
)
def test_text_becomes_its_value(parse: Callable[[str], Any], text: str, value: object) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text", "hint"),
    [
        (values.duration, "5 parsecs", "such as 500ms"),
        (values.duration, "-1s", "such as 500ms"),
        (values.duration, "1e3", "such as 500ms"),
        (values.duration, "367d", "366d"),
        (values.positive_duration, "0s", "above zero"),
        (values.size, "12x", "such as 4096"),
        (values.size, "1.5g", "such as 4096"),
        (values.size, "", "such as 4096"),
        (values.share, "1.5", "between 0 and 1"),
        (values.share, "nan", "between 0 and 1"),
        (values.share, "half", "between 0 and 1"),
        (values.truth, "maybe", "true or false"),
        (values.worker_count, "0", "from 1 to 128"),
        (values.worker_count, "129", "from 1 to 128"),
        (values.worker_count, "many", "auto"),
        (values.whole_number, "-3", "whole number"),
        (values.whole_number, "²", "whole number"),
        (values.instance_name, "../etc", "letters, digits"),
        (values.user_name, "nobody-of-that-name", "no such user"),
        (values.group_name, "nobody-of-that-name", "no such group"),
        (values.probe_path, "healthz", "starts with '/'"),
        (values.probe_path, "/a b", "starts with '/'"),
        (values.file_path, "", "path of a file"),
    ],
)
def test_what_will_not_do_says_what_would(parse: Callable[[str], Any], text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        parse(text)


def test_a_lower_bound_is_named_in_its_own_unit() -> None:
    parse = values.at_least(1 << 20, values.size, values.show_size)

    with pytest.raises(ValueError, match="the least is 1m"):
        parse("64k")


def test_an_enum_refuses_with_every_choice() -> None:
    kind = values.one_of(Balance)

    assert kind.parse("least-conn") is Balance.LEAST_CONN
    with pytest.raises(ValueError, match="round-robin, least-conn or two-choices"):
        kind.parse("random")


def test_a_word_may_stand_for_nothing() -> None:
    kind = values.or_word("none", values.Kind("TIME", values.duration, values.show_duration))

    assert kind.parse("none") is None
    assert kind.parse("2m") == 120
    assert (kind.show(None), kind.show(120)) == ("none", "2m")
    with pytest.raises(ValueError, match="2m, or none"):
        kind.parse("never")


@given(st.integers(0, 1 << 45))
def test_a_size_reads_back_from_its_text(count: int) -> None:
    assert values.size(values.show_size(count)) == count


@given(st.integers(0, 86400 * 1000))
def test_a_duration_reads_back_from_its_text(milliseconds: int) -> None:
    seconds = milliseconds / 1000

    assert values.duration(values.show_duration(seconds)) == pytest.approx(seconds, rel=1e-4)
