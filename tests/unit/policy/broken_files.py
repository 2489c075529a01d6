"""Checks the files in `broken/` as an operator's would be, and returns the messages."""

from __future__ import annotations

from pathlib import Path

from accel.policy.check import check
from accel.policy.document import Policy
from accel.policy.parser import parse
from accel.policy.problems import PolicyError

BROKEN = Path(__file__).parent / "broken"
_TRACKING = 'policy 1\nlist tracking-params { "utm_*", gclid }\n'


def preset(name: str) -> Policy | None:
    """Return the one preset that these files need."""
    return parse(_TRACKING, "preset tracking-params") if name == "tracking-params" else None


def missing(name: str) -> str:
    """Find no file."""
    raise FileNotFoundError(2, "No such file or directory")


def messages(path: Path) -> str:
    """Return what is said about a broken file."""
    try:
        check(parse(path.read_text("utf-8"), path.name), preset, missing)
    except PolicyError as error:
        return f"{error}\n"
    return "nothing is wrong\n"
