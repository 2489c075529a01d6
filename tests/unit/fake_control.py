"""A Control that answers from plain values and notes what it was asked to do."""

from __future__ import annotations

from accel.caching.invalidation import Purge
from accel.errors import RequestError
from accel.http.message import Request
from accel.server import log_view
from accel.server.admin_routes import Facts
from accel.stats.counters import COUNTERS, OUTCOMES
from accel.stats.histograms import Histograms, private_row, read
from accel.stats.ring import LogRings


class FakeControl:
    """Two backends, one worker, everything well; tests change what they need."""

    def __init__(self) -> None:
        self.purged: list[Purge] = []
        self.rings = LogRings(1)
        self.refusal: Exception | None = None
        self.said_too: Facts = {}
        self.pending: list[Facts] = []
        self.drained: dict[str, bool] = {}
        self.answered = 1
        self.outcome: Facts = {"ok": True}
        self.upgrade_outcome: Facts = {"ok": True, "pid": 50}
        self.upgrades = [(40, "alone")]
        """Process and phase that the facts say, one after the other; the last one stays."""
        self.upgrade_failure: str | None = None
        self.has_retired_old = False
        self.has_rolled_back = False
        self.policy_facts: Facts = {}
        self.override_facts: Facts = {"total": 0, "others": 0, "overrides": []}
        self.explanation: Facts = {}
        self.stacks = {"running;accel.a;accel.b": 1.0, "running;accel.a": 0.5, "waiting;event loop": 8.5}
        self.dumped: list[Facts] = []
        self.asked: list[tuple[Request, str]] = []
        self.store_figures: Facts = {"kind": "shared", "free": 12, "sealed": 3, "filled_bytes": 3145728, "pins": 0}
        self.checked: Facts = {"kind": "shared", "records": 7, "reachable": 6, "faults": []}
        self.counted = dict.fromkeys((one.name for one in COUNTERS), 0) | {"requests": 2000, "hits": 1500}
        self.measured = private_row()
        nothing = dict.fromkeys(("requests", *OUTCOMES), 0)
        self.site_outcomes = {
            "shop.policy": nothing | {"requests": 1900, "hits": 1450, "misses": 450},
            "other": nothing | {"requests": 100, "hits": 50, "errors": 50},
        }
        self.worker_rows: list[Facts] = [
            {"number": 1, "pid": 41, "state": "accepting", "age_s": 120.4, "connections": 3}
            | {"requests": 2000, "heartbeat_age_s": 0.21, "restarts": 0},
        ]
        self.backend_rows: list[Facts] = [
            {"address": "127.0.0.1:8001", "weight": 1, "state": "up", "ramp": 430}
            | {"in_flight": 1, "requests": 10, "failures": 0, "why": ""},
            {"address": "127.0.0.1:8002", "weight": 2, "state": "down", "ramp": 1000}
            | {"in_flight": 0, "requests": 9, "failures": 3, "why": "connection refused"},
        ]

    def facts(self) -> Facts:
        if len(self.upgrades) > 1:
            self.upgrades.pop(0)
        pid, phase = self.upgrades[0]
        upgrade = {"phase": phase, "other_pid": 50, "failure": self.upgrade_failure}
        return {"name": "shop", "version": "0.1.0", "pid": pid, "upgrade": upgrade}

    def counters(self) -> dict[str, int]:
        return self.counted

    def sites(self) -> list[Facts]:
        return [{"site": site, **outcomes} for site, outcomes in self.site_outcomes.items()]

    def histograms(self) -> Histograms:
        return read([self.measured])

    def workers(self) -> list[Facts]:
        return self.worker_rows

    def backends(self) -> list[Facts]:
        return self.backend_rows

    async def invalidate(self, purge: Purge) -> Facts:
        if self.refusal is not None:
            raise self.refusal
        self.purged.append(purge)
        counted = "touched" if purge.is_soft else "dropped"
        facts: Facts = {"what": purge.what.value, "names": purge.words(), counted: 2}
        return facts | {"workers": 1, "answered": self.answered, "ms": 1.25} | self.said_too

    def bans(self) -> list[Facts]:
        return self.pending

    def set_drain(self, backend: str, draining: bool) -> bool:
        self.drained[backend] = draining
        return any(row["address"] == backend for row in self.backend_rows)

    def reload(self, is_rollback: bool) -> Facts:
        self.has_rolled_back = is_rollback
        return self.outcome

    def store(self) -> Facts:
        return self.store_figures

    def glimpse(self) -> Facts:
        return {"kind": "shared", "map": "TikA", "segment_bytes": 1048576, "filled_bytes": 1966080, "records": 7}

    def log(self, row: int | None, place: int) -> Facts | None:
        return log_view.rows(self.rings) if row is None else log_view.piece(self.rings, row, place)

    async def check_store(self) -> Facts:
        return self.checked

    def policies(self) -> Facts:
        return self.policy_facts

    def overrides(self) -> Facts:
        return self.override_facts

    async def explain(self, request: Request, client_ip: str) -> Facts:
        if self.refusal is not None:
            raise self.refusal
        self.asked.append((request, client_ip))
        return self.explanation

    async def profile(self, worker: int, seconds: float) -> Facts:
        if worker != 1:
            raise RequestError(404, f"there is no worker {worker} that serves")
        return {"wall_s": seconds, "cpu_s": 1.5, "samples": 300, "stacks": self.stacks}

    async def dump(self) -> list[Facts]:
        return self.dumped

    def upgrade(self) -> Facts:
        return self.upgrade_outcome

    def retire_old(self) -> Facts:
        self.has_retired_old = True
        return {"ok": True, "pid": 40}
