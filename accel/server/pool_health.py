"""The health of all pools' backends, judged once for everybody in the arbiter, by probes and what workers report.

Owns which scoreboard row a backend has and what is published there. Invariant: the arbiter alone writes a backend's
row, so all workers see one state, at once; a backend that failed `fall` times in a row, over all workers together,
leaves rotation with the report that makes it so many. A backend that is in several pools is one backend with one row
and one health: the first of them that asks for a path says how it is probed, if none does the first.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence, Set

from accel.config import Address, BackendConfig
from accel.errors import StartError
from accel.origin.health import BackendHealth, Health, probe
from accel.server.handover import HandedBackend
from accel.server.journal import note
from accel.server.pools import Pool
from accel.server.scoreboard import BACKEND_ROWS, BackendState, Scoreboard


class Member:
    """One backend of one or more pools."""

    def __init__(self, config: BackendConfig, row: int, pools: Sequence[Pool]) -> None:
        self.config = config
        self.row = row
        self.pools = tuple(pools)
        self.options = probing(pools).probe
        self.health = BackendHealth(self.options)
        self.is_draining = False
        self.successes_seen = 0
        self.next_probe_mono = 0.0
        self.probing: asyncio.Task[None] | None = None

    @property
    def label(self) -> str:
        """The name that operators use."""
        return str(self.config.address)

    @property
    def host(self) -> str:
        """The Host that probes say."""
        return probing(self.pools).origin.host or self.config.address.host or "localhost"

    @property
    def is_down(self) -> bool:
        """Whether probes or fetches failed, drained or not."""
        return self.health.state is Health.DOWN

    @property
    def state(self) -> BackendState:
        """What is published."""
        if self.is_draining:
            return BackendState.DRAINING
        return BackendState.DOWN if self.is_down else BackendState.UP


class PoolHealth:
    """All backends of the configuration in force."""

    def __init__(self, board: Scoreboard) -> None:
        self._board = board
        self._members: dict[Address, Member] = {}
        self._pools: tuple[Pool, ...] = ()
        self._removed: set[int] = set()
        """Rows of backends that left the configuration, published as they were while a worker may still pick them."""

    @property
    def members(self) -> list[Member]:
        """The backends in the order of the configuration."""
        return list(self._members.values())

    @property
    def rows(self) -> dict[str, tuple[int, ...]]:
        """The scoreboard rows of each pool's members, in their order."""
        return {pool.name: tuple(self._members[one.address].row for one in pool.members) for pool in self._pools}

    def configure(self, pools: tuple[Pool, ...]) -> None:
        """Take new pools; a backend that stays keeps row, draining and, under the same options, health.

        Those that left stay in rotation until `forget_removed`: without them, a worker that has not heard of the new
        list yet would have nobody to ask. Raises StartError if there are more than the scoreboard has rows for.
        """
        old = self._members
        taken = self._removed | {member.row for member in old.values()}
        members: dict[Address, Member] = {}
        for config, its_pools in _by_address(pools):
            member = old.get(config.address)
            if member is None or member.options != probing(its_pools).probe:
                row = member.row if member is not None else self._free_row(taken)
                renewed = Member(config, row, its_pools)
                renewed.is_draining = member is not None and member.is_draining
                if member is not None:
                    _stop_probing(member)
                member = renewed
            member.config, member.pools = config, tuple(its_pools)
            taken.add(member.row)
            members[config.address] = member
        for address, member in old.items():
            if address not in members:
                _stop_probing(member)
                self._removed.add(member.row)
        self._members, self._pools = members, pools
        self.publish(time.monotonic())

    def forget_removed(self) -> None:
        """Take the backends that left out of rotation: every worker has the new list."""
        for row in self._removed:
            self._board.set_backend(row, BackendState.UNUSED, 0)
        self._removed.clear()

    def failed(self, row: int, why: str) -> None:
        """A worker reports a failed fetch."""
        member = next((member for member in self._members.values() if member.row == row), None)
        if member is None:
            return
        successes = self._board.backend_successes(row)
        if successes != member.successes_seen:
            member.successes_seen = successes
            member.health.passive_succeeded()
        now = time.monotonic()
        if member.health.passive_failed(now, why):
            self._went_down(member, now)

    def set_drain(self, label: str, draining: bool) -> bool:
        """Take a backend out of rotation, or give it back; False if there is none of that name."""
        member = next((member for member in self._members.values() if member.label == label), None)
        if member is None:
            return False
        member.is_draining = draining
        note("backend-draining" if draining else "backend-undrained", backend=label)
        self.publish(time.monotonic())
        return True

    # From one program to the next.

    def handed(self) -> tuple[HandedBackend, ...]:
        """Return the backends that are out of rotation."""
        return tuple(
            HandedBackend(member.label, member.is_draining, member.health.last_why if member.is_down else None)
            for member in self._members.values()
            if member.state is not BackendState.UP
        )

    def inherit(self, backends: Iterable[HandedBackend]) -> None:
        """Take a predecessor's word for who is out of rotation; probes bring back whoever is well."""
        handed = {backend.label: backend for backend in backends}
        for member in self._members.values():
            if backend := handed.get(member.label):
                member.is_draining = backend.is_drained
                if backend.down_why is not None:
                    member.health.begin_down(backend.down_why)
        self.publish(time.monotonic())

    def drain_exactly(self, labels: Set[str]) -> None:
        """Have these backends drained, and no other."""
        for member in self._members.values():
            if member.is_draining != (member.label in labels):
                self.set_drain(member.label, member.label in labels)

    def publish(self, now: float) -> None:
        """Write every backend's state and ramp to the scoreboard; `now` is monotonic."""
        for member in self._members.values():
            self._board.set_backend(member.row, member.state, member.health.ramp(now))

    def tick(self, now: float) -> None:
        """Begin the probes that are due and publish ramps; `now` is monotonic. Needs a running loop."""
        for member in self._members.values():
            if member.probing is None and now >= member.next_probe_mono and self._is_probed(member):
                member.next_probe_mono = now + member.options.interval_s
                member.probing = asyncio.get_running_loop().create_task(self._probe(member))
        self.publish(now)

    def close(self) -> None:
        """Stop probing."""
        for member in self._members.values():
            _stop_probing(member)

    def _is_probed(self, member: Member) -> bool:
        """Without a path to ask for, only a backend that is down is probed, by connecting."""
        return member.options.path is not None or member.is_down

    async def _probe(self, member: Member) -> None:
        options = member.options
        try:
            why = await probe(member.config.address, options.path, member.host, options.timeout_s)
        finally:
            member.probing = None
        now = time.monotonic()
        if why is not None:
            if member.health.probe_failed(now, why):
                self._went_down(member, now)
        elif member.health.probe_passed(now):
            note("backend-up", backend=member.label)
            self.publish(now)

    def _went_down(self, member: Member, now: float) -> None:
        self.publish(now)
        note("backend-down", backend=member.label, why=member.health.last_why)

    def _free_row(self, taken: set[int]) -> int:
        for row in range(BACKEND_ROWS):
            if row not in taken and not self._board.in_flight(row):
                self._board.clear_backend(row)
                return row
        raise StartError(f"more than {BACKEND_ROWS} backends: join some behind one address")


def probing(pools: Sequence[Pool]) -> Pool:
    """Return the pool that says how a backend is probed that is in all of these."""
    return next((pool for pool in pools if pool.probe.path is not None), pools[0])


def _by_address(pools: Iterable[Pool]) -> Iterable[tuple[BackendConfig, list[Pool]]]:
    """Return every backend as its first pool has it, and the pools that it is in."""
    found: dict[Address, tuple[BackendConfig, list[Pool]]] = {}
    for pool in pools:
        for config in pool.members:
            found.setdefault(config.address, (config, []))[1].append(pool)
    return found.values()


def _stop_probing(member: Member) -> None:
    if member.probing is not None:
        member.probing.cancel()
