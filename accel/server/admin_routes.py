"""What an operator may ask of the arbiter: the `Control` that answers, and the table of routes onto it.

Knows JSON values, no socket and no HTTP but statuses. All about workers and memory comes through `Control`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from accel.caching.invalidation import Purge, What
from accel.errors import RequestError
from accel.http.message import Request
from accel.server import admin_reading as reading
from accel.server.admin_answers import Answer, Document, Own, Refused
from accel.stats import histograms, metrics
from accel.stats.histograms import Histograms

Facts = dict[str, object]

EXCHANGE_S = 30.0
"""A connection that has not finished by then is dropped; a purge waits for workers far shorter than that."""


class Control(Protocol):
    """What the arbiter lets an operator see and do."""

    def facts(self) -> Facts:
        """Return name, version, pid, since, listeners, configuration generation, and upgrade.

        That has phase, other_pid and failure (`server.upgrade`).
        """
        ...

    def counters(self) -> dict[str, int]:
        """Return every counter of `stats.counters`, summed over the workers."""
        ...

    def sites(self) -> list[Facts]:
        """Return site, requests and the five outcomes of each policy file that was ever in force, others last."""
        ...

    def histograms(self) -> Histograms:
        """Return times and sizes of answers, over the workers."""
        ...

    def workers(self) -> list[Facts]:
        """Return number, pid, state, age_s, connections, requests, heartbeat_age_s, restarts of each.

        State is starting, accepting or leaving.
        """
        ...

    def backends(self) -> list[Facts]:
        """Return address, pools, weight, state (up, down, draining), in_flight, requests, failures, why, ramp."""
        ...

    async def invalidate(self, purge: Purge) -> Facts:
        """Drop in every worker; return what, names, dropped (touched if soft), workers, answered, ms, and counting.

        Raises ValueError for a ban that cannot be read, RequestError when it could not be done.
        """
        ...

    def bans(self) -> list[Facts]:
        """Return ban, number and age_s of each ban that is not known to be applied everywhere."""
        ...

    def set_drain(self, backend: str, draining: bool) -> bool:
        """Take a backend out of rotation or give it back; False if there is no such backend."""
        ...

    def reload(self, is_rollback: bool) -> Facts:
        """Read configuration and policies again, or return to the policies before these.

        Return ok, and error where it was refused; else policy (its version) and refused: by file, what is wrong.
        """
        ...

    def policies(self) -> Facts:
        """Return path, version, since, files, refused and earlier (`policy_facts`)."""
        ...

    def overrides(self) -> Facts:
        """Return total, others, and overrides: what, reason, file, lines, uses, is_in_force of each (`overrides`).

        Uses are null of one that is counted with the others, for want of a slot of its own.
        """
        ...

    async def explain(self, request: Request, client_ip: str) -> Facts:
        """Return what would become of a request (`proxy.explain`), and the lines of the rules.

        Raises RequestError if no worker says so.
        """
        ...

    async def profile(self, worker: int, seconds: float) -> Facts:
        """Return where a worker spent its time: `stacks`, in seconds, each begins with running or waiting.

        Raises RequestError if there is no such worker, or it does not answer.
        """
        ...

    async def dump(self) -> list[Facts]:
        """Return what is under way in each worker: tasks, connections, exchanges, fetches."""
        ...

    def upgrade(self) -> Facts:
        """Start a successor on the same sockets and store; return ok and its pid, or error."""
        ...

    def retire_old(self) -> Facts:
        """End the program that this one replaced, gracefully; return ok and its pid, or error."""
        ...

    def store(self) -> Facts:
        """Return the store's kind and, of a shared one, segments by state, bytes, pins, records."""
        ...

    def glimpse(self) -> Facts:
        """Return what of the store may be asked for each second: `map` is base64 of a byte for each segment."""
        ...

    def log(self, row: int | None, place: int) -> Facts | None:
        """Return what there is of all rings, or a piece of one (`log_view`); None if there is no such row."""
        ...

    async def check_store(self) -> Facts:
        """Walk the whole shared store and return what was counted and what is wrong with it (faults)."""
        ...


Handler = Callable[[Control, Any], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Route:
    """One thing that can be asked for."""

    method: bytes
    path: bytes
    meaning: str
    handler: Handler
    most_s: Callable[[Any], float] = lambda body: EXCHANGE_S
    """How long it may take, by its body."""


async def _index(control: Control, body: Any) -> Answer:
    return 200, {f"{route.method.decode()} {route.path.decode()}": route.meaning for route in ROUTES}


async def _status(control: Control, body: Any) -> Answer:
    return 200, Own.PAGE


async def _events(control: Control, body: Any) -> Answer:
    return 200, Own.EVENTS


async def _facts(control: Control, body: Any) -> Answer:
    return 200, control.facts()


async def _stat(control: Control, body: Any) -> Answer:
    return 200, control.counters()


async def _sites(control: Control, body: Any) -> Answer:
    return 200, control.sites()


async def _histograms(control: Control, body: Any) -> Answer:
    return 200, histograms.packed(control.histograms())


def snapshot(control: Control) -> metrics.Snapshot:
    """Return what a scrape is made of."""
    return metrics.Snapshot(
        facts=control.facts(),
        counters=control.counters(),
        sites=control.sites(),
        workers=control.workers(),
        backends=control.backends(),
        store=control.store(),
        histograms=control.histograms(),
        overrides=control.overrides(),
    )


async def _metrics(control: Control, body: Any) -> Answer:
    return 200, Document(metrics.CONTENT_TYPE, metrics.exposition(snapshot(control)))


async def _workers(control: Control, body: Any) -> Answer:
    return 200, control.workers()


async def _backends(control: Control, body: Any) -> Answer:
    return 200, control.backends()


async def _alive(control: Control, body: Any) -> Answer:
    if not any(worker["state"] == "accepting" for worker in control.workers()):
        raise Refused(503, "no worker accepts connections")
    return 200, {"ok": True}


async def _ready(control: Control, body: Any) -> Answer:
    if not any(backend["state"] == "up" for backend in control.backends()):
        raise Refused(503, "no backend is up")
    return await _alive(control, body)


async def _purge(control: Control, body: Any) -> Answer:
    purges = reading.purges(body)
    return 200, {"receipts": [await _invalidated(control, purge) for purge in purges]}


async def _ban(control: Control, body: Any) -> Answer:
    text = body.get("ban")
    if not isinstance(text, str):
        raise Refused(400, 'write {"ban": "url ~ ^/news/"}')
    return 200, await _invalidated(control, Purge(What.BAN, (text.encode(),)))


async def _invalidated(control: Control, purge: Purge) -> Facts:
    try:
        return await control.invalidate(purge)
    except ValueError as error:
        raise Refused(400, str(error)) from None
    except RequestError as error:
        raise Refused(error.status, error.why) from None


async def _bans(control: Control, body: Any) -> Answer:
    return 200, control.bans()


async def _drain(control: Control, body: Any) -> Answer:
    return _set_drain(control, body, True)


async def _undrain(control: Control, body: Any) -> Answer:
    return _set_drain(control, body, False)


def _set_drain(control: Control, body: Any, draining: bool) -> Answer:
    backend = body.get("backend")
    if not isinstance(backend, str):
        raise Refused(400, 'write {"backend": "127.0.0.1:8001"}')
    if not control.set_drain(backend, draining):
        known = ", ".join(str(row["address"]) for row in control.backends())
        raise Refused(404, f"there is no backend {backend}; there is {known}")
    return 200, {"ok": True, "backend": backend, "draining": draining}


async def _reload(control: Control, body: Any) -> Answer:
    is_rollback = body.get("rollback", False)
    if not isinstance(is_rollback, bool):
        raise Refused(400, 'write {} or {"rollback": true}')
    outcome = control.reload(is_rollback)
    return (200 if outcome.get("ok") else 422), outcome


async def _policies(control: Control, body: Any) -> Answer:
    return 200, control.policies()


async def _overrides(control: Control, body: Any) -> Answer:
    return 200, control.overrides()


async def _explain(control: Control, body: Any) -> Answer:
    request, client_ip = reading.asked_about(body)
    try:
        return 200, await control.explain(request, client_ip)
    except RequestError as error:
        raise Refused(error.status, error.why) from None


async def _profile(control: Control, body: Any) -> Answer:
    worker, seconds = reading.profile_of(body)
    try:
        return 200, await control.profile(worker, seconds)
    except RequestError as error:
        raise Refused(error.status, error.why) from None


def _profile_s(body: Any) -> float:
    return EXCHANGE_S + reading.profile_of(body)[1]


async def _dump(control: Control, body: Any) -> Answer:
    return 200, await control.dump()


async def _upgrade(control: Control, body: Any) -> Answer:
    outcome = control.upgrade()
    return (202 if outcome.get("ok") else 409), outcome


async def _retire_old(control: Control, body: Any) -> Answer:
    outcome = control.retire_old()
    return (202 if outcome.get("ok") else 409), outcome


async def _store(control: Control, body: Any) -> Answer:
    return 200, control.store()


async def _glimpse(control: Control, body: Any) -> Answer:
    return 200, control.glimpse()


async def _log(control: Control, body: Any) -> Answer:
    return 200, control.log(None, 0)


async def _log_piece(control: Control, body: Any) -> Answer:
    row, place = body.get("row"), body.get("from")
    if type(row) is not int or type(place) is not int or place < 0:
        raise Refused(400, 'write {"row": 0, "from": 0}')
    if (piece := control.log(row, place)) is None:
        raise Refused(404, f"no worker has had row {row}, or --log-memory is 0")
    return 200, piece


async def _check_store(control: Control, body: Any) -> Answer:
    return 200, await control.check_store()


ROUTES = (
    Route(b"GET", b"/", "this list", _index),
    Route(b"GET", b"/status", "the status page; a browser gets it at /, too", _status),
    Route(b"GET", b"/events", "what the status page shows: server-sent events, one each second", _events),
    Route(b"GET", b"/healthz", "200 while a worker accepts connections, else 503", _alive),
    Route(b"GET", b"/readyz", "200 while a backend is up, too", _ready),
    Route(b"GET", b"/facts", "name, version, process, listeners", _facts),
    Route(b"GET", b"/stat", "every counter, summed over the workers", _stat),
    Route(b"GET", b"/metrics", "every number for Prometheus, as OpenMetrics text", _metrics),
    Route(b"GET", b"/sites", "requests and how they were answered, by policy file", _sites),
    Route(b"GET", b"/histograms", "times and sizes of answers, by hit, miss and pass", _histograms),
    Route(b"GET", b"/workers", "the worker processes", _workers),
    Route(b"GET", b"/backends", "the origins, their state and load", _backends),
    Route(b"GET", b"/store", "the shared store: segments, bytes, pins", _store),
    Route(b"GET", b"/store/map", "the shared store, a byte for each segment", _glimpse),
    Route(b"GET", b"/store/check", "walk all of the shared store and prove it", _check_store),
    Route(b"GET", b"/log", "where each worker's log begins and ends", _log),
    Route(b"POST", b"/log", 'its records, as they lie in memory: {"row": 0, "from": 0}', _log_piece),
    Route(b"POST", b"/purge", 'drop {"urls": [...]}, {"tags": [...]} or {"all": true}; "soft": true', _purge),
    Route(b"POST", b"/ban", 'drop what {"ban": "url ~ ^/news/"} matches', _ban),
    Route(b"GET", b"/bans", "the bans that are pending", _bans),
    Route(b"POST", b"/drain", 'take {"backend": ...} out of rotation', _drain),
    Route(b"POST", b"/undrain", 'give {"backend": ...} back', _undrain),
    Route(b"POST", b"/reload", 'read configuration and policies again; {"rollback": true} undoes the last', _reload),
    Route(b"GET", b"/policies", "the policies in force, and the versions before", _policies),
    Route(b"GET", b"/overrides", "what passed the safety floor, by rule and reason", _overrides),
    Route(b"POST", b"/explain", 'what would become of a request: {"url": ..., "fields": [...], "from": ...}', _explain),
    Route(b"POST", b"/profile", 'where a worker spends its time: {"worker": 1, "seconds": 10}', _profile, _profile_s),
    Route(b"GET", b"/dump", "each worker's tasks, connections and fetches under way", _dump),
    Route(b"POST", b"/upgrade", "start the program anew on the same sockets and store", _upgrade),
    Route(b"POST", b"/retire-old", "end the program that this one replaced", _retire_old),
)
BY_PATH: dict[bytes, dict[bytes, Route]] = {}
for _route in ROUTES:
    BY_PATH.setdefault(_route.path, {})[_route.method] = _route
