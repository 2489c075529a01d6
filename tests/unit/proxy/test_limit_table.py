"""The table of rate limits as it goes from one program to the next."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from accel.policy.decision import LimitCheck, Rule
from accel.proxy.limit_table import HEAD_BYTES, SIZE, VERSION, LimitTable, why_unfit
from accel.proxy.limiter import Limiter
from accel.stats.counters import private_row

ASKED = LimitCheck("shop.policy", b"192.0.2.1", 1 / 3600, 10, None, 429, Rule("shop.policy", 7))


@pytest.fixture
def table() -> Iterator[LimitTable]:
    """Return a table as the first program makes it."""
    made = LimitTable.made()
    yield made
    os.close(fd_of(made))


def fd_of(table: LimitTable) -> int:
    assert table.fd is not None
    return table.fd


def granted(table: LimitTable, times: int, after_s: float = 0.0) -> int:
    one = Limiter(table, 1, private_row())
    return sum(one.admits(ASKED, table.zero_at + 1 + after_s) for _ in range(times))


def test_what_one_program_granted_counts_in_the_next_and_the_other_way_round(table: LimitTable) -> None:
    assert why_unfit(fd_of(table)) == ""
    taken = LimitTable.taken(fd_of(table))

    assert [granted(table, 4), granted(taken, 4), granted(table, 1), granted(taken, 9)] == [4, 4, 1, 1]
    assert granted(LimitTable.taken(fd_of(taken)), 9, after_s=3600) == 1


def test_another_process_finds_a_key_by_the_secret_of_the_table(table: LimitTable) -> None:
    """Python's own hash would be another in a program that was started anew."""
    taken = LimitTable.taken(fd_of(table))
    other = LimitTable.made()
    os.close(fd_of(other))

    assert taken.secret == table.secret != other.secret
    assert taken.zero_at == table.zero_at


def test_the_head_is_no_bucket_and_nobody_changes_the_size(table: LimitTable) -> None:
    head = os.pread(fd_of(table), HEAD_BYTES, 0)
    granted(table, 3)

    assert os.pread(fd_of(table), HEAD_BYTES, 0) == head
    with pytest.raises(PermissionError):
        os.truncate(fd_of(table), SIZE - 8)


@pytest.mark.parametrize(
    ("at", "value", "why"),
    [
        (0, b"another!", "it is no table of rate limits"),
        (8, (VERSION + 1).to_bytes(8, "little"), f"its layout is version {VERSION + 1}, this program's {VERSION}"),
    ],
)
def test_another_versions_table_is_refused(table: LimitTable, at: int, value: bytes, why: str) -> None:
    os.pwrite(fd_of(table), value, at)

    assert why_unfit(fd_of(table)) == why


@pytest.mark.parametrize("size", [0, HEAD_BYTES, SIZE - 8, SIZE + 8])
def test_a_file_of_another_size_is_refused(table: LimitTable, size: int) -> None:
    fd = os.memfd_create("cut")
    os.pwrite(fd, os.pread(fd_of(table), SIZE, 0), 0)
    os.truncate(fd, size)
    why = why_unfit(fd)
    os.close(fd)

    assert why == ("it was cut short or grew" if size else "it is no table of rate limits")
