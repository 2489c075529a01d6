"""A `BackendBoard` of plain lists: what one worker alone would know."""

from __future__ import annotations

from accel.origin.balancer import FULL_RAMP


class LocalBoard:
    """Rows 0 to `size - 1`, all up; tests set the lists directly."""

    def __init__(self, size: int) -> None:
        self.turn = -1
        self.available = [True] * size
        self.ramps = [FULL_RAMP] * size
        self.flights = [0] * size
        self.successes = [0] * size
        self.failures: list[list[str]] = [[] for _ in range(size)]

    def next_turn(self) -> int:
        self.turn += 1
        return self.turn

    def changes(self) -> object:
        return list(self.available), list(self.ramps)

    def is_available(self, row: int) -> bool:
        return self.available[row]

    def ramp(self, row: int) -> int:
        return self.ramps[row]

    def in_flight(self, row: int) -> int:
        return self.flights[row]

    def add_in_flight(self, row: int, delta: int) -> None:
        self.flights[row] += delta
        assert self.flights[row] >= 0

    def note_success(self, row: int) -> None:
        self.successes[row] += 1

    def note_failure(self, row: int, why: str) -> None:
        self.failures[row].append(why)
