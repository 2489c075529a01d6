"""What is in force: the configuration and the policies, and how both are replaced while workers serve.

Runs in the arbiter. Owns no worker and tells none: that is the arbiter's. Invariant: whatever is wrong with what is
read, nothing changes: every part is judged before the first one is used.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from accel.config import Config
from accel.errors import AccelError, PolicyRefused
from accel.policy.sites import Sites
from accel.server.journal import note
from accel.server.overrides import OverrideSlots
from accel.server.policy_parcel import Parcel
from accel.server.policy_versions import Refusal, Version, Versions
from accel.server.pool_health import PoolHealth
from accel.server.pools import Pool, pools_of
from accel.server.privileges import prepare_log
from accel.server.reloading import with_kept
from accel.server.site_slots import SiteSlots, number_sites


@dataclass(frozen=True, slots=True)
class Change:
    """What came of a wish for a change."""

    error: str = ""
    """Why nothing changed, as an operator reads it; empty: it was done."""
    refused: tuple[Refusal, ...] = ()
    """Files that keep their last good version, or are not in force at all."""


class InForce:
    """Configuration and policies."""

    def __init__(self, config: Config, reread: Callable[[], Config], health: PoolHealth) -> None:
        self.config = config
        self.versions = Versions()
        self.overrides = OverrideSlots()
        self.site_slots = SiteSlots()
        self._reread = reread
        self._health = health
        self.sites: Sites
        """The rules, compiled; there from `begin` on."""

    def begin(self, is_successor: bool) -> None:
        """Read the policies for the first time. Raises PolicyRefused, StartError.

        A successor gives up at any wrong file: the program that it would replace may have a good version of it.
        """
        version = self.versions.read(self.config, time.time(), is_strict=is_successor)
        self._use(self.config, version)
        _note_refused(version.refused)

    @property
    def pools(self) -> tuple[Pool, ...]:
        """Every pool, the command line's first."""
        return pools_of(self.config, self.versions.current.policies)

    @property
    def parcel(self) -> Parcel:
        """The policies as workers are sent them."""
        current = self.versions.current
        return Parcel(current.parcel, self.overrides.of(current.policies), self.site_slots.of(current.policies))

    def reload(self) -> Change:
        """Read everything again and use it, or nothing of it."""
        try:
            config, waiting = with_kept(self.config, self._reread())
            version = self.versions.read(config, time.time())
            if config.log != self.config.log:
                prepare_log(config.log.path, config.server)
            self._use(config, version)
        except AccelError as error:
            return _refused(error)
        if waiting:
            note("reload-needs-restart", options=",".join(waiting))
        _note_refused(version.refused)
        return Change(refused=version.refused)

    def roll_back(self) -> Change:
        """Return to the policies before these; the configuration stays, and so do the files."""
        try:
            self._use(self.config, self.versions.before(self.config))
        except AccelError as error:
            return _refused(error)
        note("policy-rolled-back", version=self.versions.current.number)
        return Change()

    def _use(self, config: Config, version: Version) -> None:
        """Take both over. Raises StartError if there are too many backends; then nothing has changed."""
        self._health.configure(pools_of(config, version.policies))
        self.sites = version.sites(config)
        self.config = config
        self.versions.adopt(version)
        self.overrides.take(version.policies)
        self.site_slots.take(version.policies)
        number_sites(self.sites, self.site_slots.of(version.policies))


def _refused(error: AccelError) -> Change:
    if isinstance(error, PolicyRefused):
        for problem in error.problems:
            note("policy-problem", what=problem)
    note("reload-refused", why=str(error).partition("\n")[0])
    return Change(str(error))


def _note_refused(refused: Iterable[Refusal]) -> None:
    for one in refused:
        for problem in one.problems:
            note("policy-problem", what=problem)
        note("policy-refused", file=one.file, see="the problems above; the other files go on")
