"""All pools of one configuration: the command line's, and those of the policies in force. Pure.

Invariant: a pool's name is unique over all files (`policy.compile.pool_names` makes it); "" is the command line's,
which is always there, if only with nobody in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from accel.config import BackendConfig, Config, OriginOptions, ProbeOptions
from accel.policy.checked import Checked
from accel.policy.compile import pool_names


@dataclass(frozen=True, slots=True)
class Pool:
    """One pool as the processes know it."""

    name: str
    origin: OriginOptions
    probe: ProbeOptions

    @property
    def members(self) -> tuple[BackendConfig, ...]:
        """Everybody in it, backups last: the order in which its rows are told."""
        return self.origin.backends + self.origin.backups


def pools_of(config: Config, policies: Iterable[Checked]) -> tuple[Pool, ...]:
    """Return every pool, the command line's first."""
    pools = [Pool("", config.origin, config.probe)]
    for policy in policies:
        names = pool_names(policy)
        for plan in policy.pools.values():
            origin = replace(plan.origin, backups=plan.backups, host=plan.host, trace=config.origin.trace)
            pools.append(Pool(names[plan.name], origin, plan.probe))
    return tuple(pools)
