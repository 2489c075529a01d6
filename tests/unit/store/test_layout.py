"""The memory map: everything in its place, inside its bound."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accel.errors import ConfigError
from accel.store import layout
from accel.store.c_header import c_header
from accel.store.numbers import table_bytes

MIB = 1 << 20


def test_a_structure_fills_its_words_without_gaps() -> None:
    sizes = {name: layout.structure_bytes(name) for name in layout.STRUCTURES}

    assert sizes == {"header": 29 * 8, "row": 64, "segment": 32, "record": 64}


@settings(deadline=None)
@given(memory=st.integers(16 * MIB, 1 << 40), rows=st.integers(1, 128))
def test_a_map_lies_within_its_memory_table_behind_table(memory: int, rows: int) -> None:
    plan = layout.plan(memory, rows)
    tables = [
        (layout.PAGE_BYTES, plan.rows_at),
        (2 * rows * 64, plan.segments_at),
        (plan.segment_count * 32, plan.pins_at),
        (2 * (rows + 1) * plan.pins_stride * 4, plan.index_at),
        (plan.bucket_count * 64, plan.ghosts_at),
        (plan.ghost_count * 4, plan.numbers_at),
        (table_bytes(plan.number_cells), plan.data_at),
    ]

    assert plan.data_at + plan.segment_count * plan.segment_bytes == plan.size <= memory
    assert plan.pins_stride >= plan.segment_count and plan.segment_count <= 1 << layout.SEGMENT_BITS
    assert plan.segment_bytes <= 1 << (layout.OFFSET_BITS + layout.UNIT_BITS)
    end = 0
    for length, behind in tables:
        assert end + length <= behind
        end = behind


@pytest.mark.parametrize("offset", ["index_at", "pins_at", "segments_at", "numbers_at"])
def test_tables_begin_on_a_cache_line(offset: str) -> None:
    assert getattr(layout.plan(256 * MIB, 128), offset) % layout.LINE_BYTES == 0


@settings(deadline=None)
@given(memory=st.integers(64 * MIB, 64 << 30))
def test_nearly_all_memory_is_for_records(memory: int) -> None:
    plan = layout.plan(memory, 8)

    assert plan.segment_count * plan.segment_bytes > 0.95 * memory


def test_segments_grow_with_the_map_but_a_walk_stays_short() -> None:
    sizes = [layout.plan(memory * MIB, 8).segment_bytes for memory in (16, 64, 256, 1024, 65536)]

    assert all(smaller <= larger for smaller, larger in pairwise(sizes))
    assert (sizes[0], sizes[-1]) == (64 * 1024, MIB)


def test_too_little_memory_is_refused_with_what_would_do() -> None:
    with pytest.raises(ConfigError, match="at least 1 MiB"):
        layout.plan(MIB // 2, 2)

    assert layout.plan(3 * MIB, 2).segment_count >= 8


def test_the_c_header_says_what_the_tables_say() -> None:
    header = c_header()

    assert "#define STATE_LIMBO 4" in header
    assert "uint64_t sequence;" in header and "uint32_t shape;" in header
    assert f"#define LAYOUT_FINGERPRINT {layout.FINGERPRINT}u" in header
