"""The policy that is in force when the operator wrote none; a file like any other, compiled at start.

Owns its loading. Invariant: it needs no preset, no other file and no pool.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files

from accel.config import CachingOptions, Network
from accel.policy.check import check
from accel.policy.checked import Checked
from accel.policy.compile import CompiledPolicy, compiled
from accel.policy.parser import parse
from accel.policy.sites import Sites

NAME = "built_in.policy"


def built_in(caching: CachingOptions, purge_from: Sequence[Network]) -> CompiledPolicy:
    """Return the built-in rules; PURGE is for addresses in `purge_from`."""
    return compiled(checked(), caching, purge_from)


def built_in_sites(caching: CachingOptions, purge_from: Sequence[Network]) -> Sites:
    """Return the built-in rules for every host."""
    return Sites((), built_in(caching, purge_from))


@lru_cache(maxsize=1)
def checked() -> Checked:
    """Return the file, checked: once in the arbiter, since reading the grammar takes a while."""
    text = files(__package__).joinpath(NAME).read_text("utf-8")
    return check(parse(text, NAME), lambda name: None, _no_file)


def _no_file(name: str) -> str:
    raise FileNotFoundError(name)
