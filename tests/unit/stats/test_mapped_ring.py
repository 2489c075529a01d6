"""Rings of another process: found by name, read and never written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from math import nan
from pathlib import Path

import pytest

from accel.stats.mapped_ring import mapped
from accel.stats.records import records_of
from accel.stats.ring import LogRings, RingWriter, Writer


@pytest.fixture
def rings() -> LogRings:
    """Return the rings of a program."""
    return LogRings(1)


def writer(rings: LogRings, row: int) -> Writer:
    """Return who writes a row's ring."""
    memory = rings.memory(row)
    assert memory is not None
    return RingWriter(memory)


def write(log: Writer, target: bytes) -> None:
    """Write an exchange."""
    texts = "192.0.2.1", b"GET", b"h", target, b"", b"", "", "", b""
    log.write(1.0, nan, 1.0, 0.0, nan, nan, 0, 5, 0, 0, 200, 1, 0, 0, 0, *texts)


def test_what_is_written_is_read_without_the_arbiter(rings: LogRings) -> None:
    logs = [writer(rings, row) for row in range(2)]
    ring = mapped(os.getpid(), rings.name(1))
    assert ring is not None

    write(logs[0], b"/other")
    write(logs[1], b"/one")
    write(logs[1], b"/two")

    assert [record.target for record in records_of(ring.read(0)[0])] == [b"/one", b"/two"]


def test_another_process_is_never_taken_for_the_one_that_has_it(rings: LogRings) -> None:
    writer(rings, 0)

    assert mapped(os.getpid(), LogRings(1).name(0)) is None
    assert mapped(os.getpid(), rings.name(1)) is None
    assert mapped(os.getppid(), rings.name(0)) is None
    assert mapped(2**22 + 1, rings.name(0)) is None


def test_who_may_not_look_gets_nothing(rings: LogRings, monkeypatch: pytest.MonkeyPatch) -> None:
    writer(rings, 0)

    def refused(path: Path) -> Iterator[Path]:
        raise PermissionError(path)

    monkeypatch.setattr(Path, "iterdir", refused)

    assert mapped(os.getpid(), rings.name(0)) is None


def test_it_goes_when_nobody_has_it_any_more() -> None:
    rings = LogRings(1)
    name, log = rings.name(0), writer(rings, 0)

    del log, rings

    assert mapped(os.getpid(), name) is None
