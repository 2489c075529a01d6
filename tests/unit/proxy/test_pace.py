"""How long a client may leave bytes unread."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from accel.config import ClientTimeouts
from accel.proxy.pace import ReadingPace

TIMEOUTS = ClientTimeouts(write_s=30, least_rate=500, least_rate_after_s=10)


def dropped_at(taken: Iterator[int], timeouts: ClientTimeouts = TIMEOUTS, held: int = 1) -> int | None:
    """Return the second at which a client that has taken so much by then is dropped, None if not in two minutes."""
    pace = ReadingPace()
    return next((now for now in range(120) if pace.is_too_slow(float(now), held, next(taken), timeouts)), None)


def at_rate(rate: int) -> Iterator[int]:
    """Yield what a client has taken after each second."""
    total = 0
    while True:
        yield total
        total += rate


def test_a_client_that_takes_nothing_has_its_time() -> None:
    assert dropped_at(at_rate(0)) == 31


@pytest.mark.parametrize(("rate", "second"), [(1, 11), (400, 11), (500, None), (10_000, None)])
def test_a_client_that_takes_something_has_a_least_rate(rate: int, second: int | None) -> None:
    assert dropped_at(at_rate(rate)) == second


def test_a_client_that_stops_is_dropped_from_there() -> None:
    assert dropped_at(iter([0, 100_000, *[100_000] * 118])) in range(11, 60)


def test_a_rate_of_zero_asks_for_no_pace() -> None:
    timeouts = ClientTimeouts(write_s=30, least_rate=0, least_rate_after_s=10)
    assert dropped_at(at_rate(1), timeouts) is None
    assert dropped_at(at_rate(0), timeouts) == 31


def test_while_nothing_waits_no_time_counts() -> None:
    assert dropped_at(at_rate(0), held=0) is None
    pace = ReadingPace()
    for now in range(0, 200, 20):
        assert not pace.is_too_slow(now, 1, 0, TIMEOUTS)
        assert not pace.is_too_slow(now + 10, 0, 1, TIMEOUTS)
