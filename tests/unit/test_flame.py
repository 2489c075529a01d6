"""Flame graphs: each frame as wide as its time, and text that can hold anything."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from accel import flame

STACKS = {"running;a.f;b.g": 1.0, "running;a.f": 0.5, "waiting;event loop": 4.5}


def widths(text: str) -> dict[str, float]:
    """Return each frame's width by its title."""
    found = re.findall(r"<title>([^<:]*):.*?</title><rect [^>]*width=\"([0-9.]+)\"", text)
    return {name: float(width) for name, width in found}


def test_a_frame_is_as_wide_as_its_time_with_all_that_it_called() -> None:
    found = widths(flame.svg(STACKS, "worker 1"))

    shares = {name: round(width / flame.WIDTH, 3) for name, width in found.items()}
    assert shares == {"running": 0.25, "a.f": 0.25, "b.g": 0.167, "waiting": 0.75, "event loop": 0.75}


def test_it_is_xml_whatever_the_names_are() -> None:
    ElementTree.fromstring(flame.svg({"running;<lambda>;a&b\"c": 1.0}, "<worker>"))
    ElementTree.fromstring(flame.svg({}, "nothing"))


def test_collapsed_stacks_are_a_line_each_with_their_milliseconds() -> None:
    assert flame.collapsed(STACKS) == "running;a.f 500\nrunning;a.f;b.g 1000\nwaiting;event loop 4500\n"
