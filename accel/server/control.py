"""What an operator sees and does, in plain values: the arbiter's answers to the admin server.

Reads the scoreboard; changes nothing but through the arbiter. Serves `server.admin_routes.Control`.
"""

from __future__ import annotations

import os
import time
from base64 import b64encode
from typing import TYPE_CHECKING

from accel import __version__
from accel.caching.invalidation import Purge
from accel.http.message import Request
from accel.server import log_view
from accel.server.admin_routes import Facts
from accel.server.channel import Dump, Explain, Profile
from accel.server.policy_facts import facts_of, lines_of
from accel.server.scoreboard import WorkerState
from accel.stats.counters import totals
from accel.stats.histograms import Histograms

if TYPE_CHECKING:
    from accel.server.arbiter import Arbiter


class ArbiterControl:
    """The arbiter as `accelctl` knows it."""

    def __init__(self, arbiter: Arbiter) -> None:
        self._arbiter = arbiter

    def facts(self) -> Facts:
        """See `Control`."""
        arbiter = self._arbiter
        return {
            "name": arbiter.config.server.name,
            "version": __version__,
            "pid": os.getpid(),
            "since": arbiter.since,
            "listeners": list(map(str, arbiter.sockets.addresses)),
            "generation": arbiter.generation,
            "workers": arbiter.wanted,
            "memory_bytes": arbiter.config.memory_bytes,
            "upgrade": {
                "phase": arbiter.upgrade.phase.value,
                "other_pid": arbiter.upgrade.other_pid or None,
                "failure": arbiter.upgrade.failure or None,
            },
        }

    def counters(self) -> dict[str, int]:
        """See `Control`."""
        sums = self._arbiter.board.counter_sums()
        if self._arbiter.arena is not None:
            sums["evicted"] += self._arbiter.arena.glimpse()["evicted"]  # counted in the store's own rows
        sums["overridden"] = sum(self._arbiter.board.override_sums())  # counted by reason only
        return sums | self._arbiter.invalidations.counters()

    def sites(self) -> list[Facts]:
        """See `Control`."""
        board = self._arbiter.board
        return [{"site": name, **board.site_sums(slot)} for name, slot in self._arbiter.in_force.site_slots.named()]

    def histograms(self) -> Histograms:
        """See `Control`."""
        return self._arbiter.board.histogram_sums()

    def workers(self) -> list[Facts]:
        """See `Control`."""
        board, now = self._arbiter.board, time.monotonic()
        return [
            {
                "number": child.row + 1,
                "pid": child.pid,
                "state": WorkerState(board.worker_state(child.row)).name.lower(),
                "age_s": round(now - child.started_mono, 1),
                "connections": board.connections(child.row),
                "requests": totals([board.counters(child.row)])["requests"],
                "heartbeat_age_s": round(now - board.heartbeat_ns(child.row) / 1e9, 3),
                "restarts": self._arbiter.crew.restarts[child.row],
            }
            for child in self._arbiter.crew.children
        ]

    def backends(self) -> list[Facts]:
        """See `Control`."""
        board = self._arbiter.board
        return [
            {
                "address": member.label,
                "pools": [pool.name for pool in member.pools],
                "weight": member.config.weight,
                "state": member.state.name.lower(),
                "in_flight": board.in_flight(member.row),
                "requests": board.backend_requests(member.row),
                "failures": board.backend_failures(member.row),
                "why": member.health.last_why,
                "ramp": board.ramp(member.row),
            }
            for member in self._arbiter.health.members
        ]

    def store(self) -> Facts:
        """See `Control`."""
        arena = self._arbiter.arena
        if arena is None:
            return {"kind": "private", "size_bytes": self._arbiter.config.memory_bytes}
        return {"kind": "shared", **arena.stat()}

    def glimpse(self) -> Facts:
        """See `Control`."""
        arena = self._arbiter.arena
        if arena is None:
            return {"kind": "private", "size_bytes": self._arbiter.config.memory_bytes}
        seen = arena.glimpse()
        return {"kind": "shared", "map": b64encode(seen.pop("segments")).decode(), **seen}

    def log(self, row: int | None, place: int) -> Facts | None:
        """See `Control`."""
        rings = self._arbiter.access_log.rings
        return log_view.rows(rings) if row is None else log_view.piece(rings, row, place)

    async def check_store(self) -> Facts:
        """See `Control`."""
        walker = self._arbiter.invalidations.walker
        if walker is None:
            return {"kind": "private", "faults": []}
        return {"kind": "shared", **await walker.check()}

    async def invalidate(self, purge: Purge) -> Facts:
        """See `Control`."""
        began = time.monotonic()
        receipt = await self._arbiter.invalidations.invalidate(purge)
        return receipt.facts(purge, time.monotonic() - began)

    def bans(self) -> list[Facts]:
        """See `Control`."""
        now = time.time()
        return [
            {"ban": ban.text, "number": ban.number, "age_s": round(max(0.0, now - ban.at), 1)}
            for ban in self._arbiter.invalidations.numbers.bans()
        ]

    def set_drain(self, backend: str, draining: bool) -> bool:
        """See `Control`."""
        return self._arbiter.health.set_drain(backend, draining)

    def reload(self, is_rollback: bool) -> Facts:
        """See `Control`."""
        change = self._arbiter.roll_back() if is_rollback else self._arbiter.reload()
        if change.error:
            return {"ok": False, "error": change.error}
        refused = {one.file: one.text for one in change.refused}
        return {"ok": True, "policy": self._arbiter.in_force.versions.current.number, "refused": refused}

    def policies(self) -> Facts:
        """See `Control`."""
        in_force, sums = self._arbiter.in_force, self._arbiter.board.override_sums()
        return facts_of(in_force.versions, in_force.config.policy_path, in_force.overrides.uses(sums))

    def overrides(self) -> Facts:
        """See `Control`."""
        in_force = self._arbiter.in_force
        return in_force.overrides.facts(in_force.versions.current.policies, self._arbiter.board.override_sums())

    async def explain(self, request: Request, client_ip: str) -> Facts:
        """See `Control`."""
        facts = await self._arbiter.inquiries.ask(Explain(request, client_ip))
        return facts | {"lines": lines_of(self._arbiter.in_force.versions.current, facts)}

    async def profile(self, worker: int, seconds: float) -> Facts:
        """See `Control`."""
        return await self._arbiter.inquiries.ask(Profile(seconds), worker - 1, seconds)

    async def dump(self) -> list[Facts]:
        """See `Control`."""
        told = await self._arbiter.inquiries.ask_all(Dump())
        return [{"worker": row + 1, **facts} for row, facts in told.items()]

    def upgrade(self) -> Facts:
        """See `Control`."""
        refusal = self._arbiter.begin_upgrade()
        if refusal is not None:
            return {"ok": False, "error": refusal}
        return {"ok": True, "pid": self._arbiter.upgrade.other_pid}

    def retire_old(self) -> Facts:
        """See `Control`."""
        upgrade = self._arbiter.upgrade
        if upgrade.retire_other():
            return {"ok": True, "pid": upgrade.other_pid}
        return {"ok": False, "error": "there is no old program that this one replaced"}
