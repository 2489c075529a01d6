"""How much of the memory is the arena's, and how much the writers'; what of a predecessor's is gone on with."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from accel.config import Config, ServerOptions, StoreKind
from accel.proxy.limit_table import LimitTable
from accel.server import stores
from accel.server.handover import Handover
from accel.store.private import PrivateStore
from accel.store.shared import SharedArena, SharedStore

MEMORY_BYTES = 16 << 20


def config(workers: int = 2, **changes: object) -> Config:
    made = Config(server=ServerOptions(workers=workers), memory_bytes=MEMORY_BYTES)
    return replace(made, **changes)  # type: ignore[arg-type]


def arena(workers: int) -> SharedArena:
    made = stores.make_arena(config(workers))
    assert made is not None
    return made


def test_the_arena_is_as_large_however_many_workers_there_are() -> None:
    assert arena(1).plan == arena(100).plan


@pytest.mark.parametrize("workers", [1, 3, 128])
def test_arena_and_all_writers_together_are_within_the_memory(workers: int) -> None:
    made = arena(workers)
    store = cast(SharedStore, stores.make_store(config(workers), made, 0, int))

    assert made.plan.size + workers * store.writer_bytes <= MEMORY_BYTES


def test_with_more_workers_each_ones_writers_have_less() -> None:
    store = cast(SharedStore, stores.make_store(config(1), arena(1), 0, int))
    before = store.writer_bytes
    stores.resize_store(store, config(4))

    assert store.writer_bytes == before // 4


def test_a_private_store_has_its_part_of_the_memory_and_no_arena() -> None:
    private = config(4, store_kind=StoreKind.PRIVATE)

    assert stores.make_arena(private) is None
    assert isinstance(stores.make_store(private, None, 0, int), PrivateStore)


def test_the_file_is_named_after_the_instance() -> None:
    named = config(store_directory="/dev/shm")

    assert stores.store_path(named) == Path("/dev/shm/accel-accel.store")
    assert stores.store_path(config()) is None


def handed(limits_fd: int | None) -> Handover:
    return Handover(41, -1, (-1, -1), -1, (), (), None, (), limits_fd)


def test_the_counts_of_rate_limits_are_a_predecessors(capsys: pytest.CaptureFixture[str]) -> None:
    before = LimitTable.made()
    after = stores.make_limits(handed(before.fd))

    assert before.fd is not None
    os.close(before.fd)
    assert (after.secret, after.zero_at, after.fd) == (before.secret, before.zero_at, before.fd)
    assert capsys.readouterr().err == ""


def test_counts_that_another_version_laid_out_are_begun_anew_and_that_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    fd = os.memfd_create("other")
    os.pwrite(fd, bytes(100), 0)
    table = stores.make_limits(handed(fd))

    open_files = [os.path.realpath(file) for file in Path("/proc/self/fd").iterdir()]
    assert table.fd is not None
    os.close(table.fd)
    assert not any("memfd:other" in file for file in open_files)
    assert " limits-cold why='it is no table of rate limits'" in capsys.readouterr().err


def test_a_predecessor_that_hands_over_no_counts_is_one_to_begin_anew_after(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = stores.make_limits(handed(None))

    assert table.fd is not None
    os.close(table.fd)
    assert " limits-cold why='the program before handed over no counts'" in capsys.readouterr().err
