"""Policies on their way from the arbiter to a worker that already serves: checked files, packed small.

A new worker gets the compiled rules by fork. Code cannot be sent, so a worker that serves compiles them itself: beside
its event loop, in a thread (a file of 500 rules takes 0.3 s), and switches when they are done. Invariant: the arbiter
has compiled the same files before it sends them, so that this cannot fail where that did not.
"""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from accel.config import Config
from accel.policy.built_in import built_in
from accel.policy.checked import Checked
from accel.policy.compile import CompiledPolicy, compiled
from accel.policy.sites import Sites

MOST_BYTES = 768 * 1024
"""Of a parcel: it travels in one message of the channel, with the rest of the configuration."""


class Parcel(NamedTuple):
    """What a worker gets."""

    files: bytes
    """See `packed`."""
    slots: tuple[int, ...]
    """Where uses of their overrides are counted, see `overrides`."""
    sites: tuple[int, ...]
    """Where each file's requests are counted, see `site_slots`."""


def packed(policies: Iterable[Checked]) -> bytes:
    """Return what a worker needs of checked files: neither their text nor their tests."""
    return zlib.compress(pickle.dumps(tuple(replace(policy, lines=(), tests=()) for policy in policies)))


def unpacked(files: bytes, config: Config) -> Sites:
    """Return the rules of packed files, compiled. In a worker: the arbiter's word may be unpickled."""
    caching, purge_from = config.caching, config.purge_from
    policies: tuple[Checked, ...] = pickle.loads(zlib.decompress(files))
    return sites_of([compiled(policy, caching, purge_from) for policy in policies], config)


def sites_of(policies: Sequence[CompiledPolicy], config: Config) -> Sites:
    """Return rules by host, ready to decide and to explain: nobody is to wait for a compiler later."""
    sites = Sites(policies, built_in(config.caching, config.purge_from))
    for policy in (*policies, sites.otherwise):
        _ = policy.explaining
    return sites
