"""The policy that is in force when the operator wrote none; a file like any other, compiled at start.

Owns its loading. Invariant: it needs no preset, no other file and no pool.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

from accel.config import CachingOptions, Network
from accel.policy.check import check
from accel.policy.compile import CompiledPolicy, compiled
from accel.policy.parser import parse

NAME = "built_in.policy"


def built_in(caching: CachingOptions, purge_from: Sequence[Network]) -> CompiledPolicy:
    """Return the built-in rules; PURGE is for addresses in `purge_from`."""
    text = files(__package__).joinpath(NAME).read_text("utf-8")
    return compiled(check(parse(text, NAME), lambda name: None, _no_file), caching, purge_from)


def _no_file(name: str) -> str:
    raise FileNotFoundError(name)
