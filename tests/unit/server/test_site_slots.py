"""Slots of sites: given once, kept over reloads, and what happens when there are none left."""

from __future__ import annotations

import pytest

from accel.config import CachingOptions
from accel.policy.built_in import built_in
from accel.policy.check import check
from accel.policy.checked import Checked
from accel.policy.compile import compiled
from accel.policy.parser import parse
from accel.policy.shipped import preset
from accel.policy.sites import Sites
from accel.server.site_slots import OTHERS, SiteSlots, number_sites
from accel.stats.counters import SITE_SLOTS


def file(name: str) -> Checked:
    """Return a policy for one host, which is its name."""
    return check(parse(f"policy 1\nsite {name}.example\n", f"/etc/{name}.policy"), preset, str)


def test_each_file_has_a_slot_of_its_own_and_keeps_it() -> None:
    slots = SiteSlots()
    slots.take([file("a"), file("b")])
    slots.take([file("b"), file("c")])

    assert slots.of([file("c"), file("b"), file("a")]) == (3, 2, 1)
    assert dict(slots.named()) == {"a.policy": 1, "b.policy": 2, "c.policy": 3, OTHERS: 0}


def test_files_beyond_the_slots_count_with_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    slots = SiteSlots()
    files = [file(f"s{number}") for number in range(SITE_SLOTS + 1)]
    slots.take(files)
    slots.take(files)

    given = slots.of(files)
    assert (given[:-2], given[-2:]) == (tuple(range(1, SITE_SLOTS)), (0, 0))
    said = "".join(capsys.readouterr())
    assert said.count("site-slots-full") == 2, "each of them once"


def test_compiled_files_are_told_their_slots_and_what_no_file_governs_has_none() -> None:
    caching = CachingOptions()
    sites = Sites([compiled(file("a"), caching), compiled(file("b"), caching)], built_in(caching, ()))

    number_sites(sites, (5, 9))

    assert [sites.of(host).site for host in (b"a.example", b"b.example", b"c.example")] == [5, 9, 0]
