"""What a scraper is told: every number as a metric, by Prometheus' conventions, in OpenMetrics text.

Owns the names, units and labels of all metrics that are no counter (those are `metric_families`); the text itself is
prometheus-client's. Knows no process: plain values in, bytes out.

Names: prometheus.io/docs/practices/naming. Text: OpenMetrics 1.0.0. A program that was replaced begins anew with zero,
which scrapers take for what it is; a worker that died is still in all sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from accel.stats.counters import COUNTERS
from accel.stats.histograms import Histogram, Histograms
from accel.stats.metric_families import FAMILIES, REQUESTS, Family

CONTENT_TYPE = CONTENT_TYPE_LATEST
Facts = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that is known at one moment, in the values that the admin shows as JSON (`server.admin_routes.Control`)."""

    facts: Facts
    counters: Mapping[str, int]
    sites: Iterable[Facts] = ()
    workers: Iterable[Facts] = ()
    backends: Iterable[Facts] = ()
    store: Facts = field(default_factory=dict)
    histograms: Histograms = field(default_factory=dict)
    overrides: Facts = field(default_factory=dict)


_PROGRAM_GAUGES = (
    ("since", "start_time_seconds", "When the program was started."),
    ("generation", "configuration_generation", "Configurations that took effect since the start, the first included."),
)
_BACKEND_GAUGES: tuple[tuple[str, str, Callable[[Facts], float]], ...] = (
    ("backend_up", "1 while a backend is in rotation.", lambda row: int(row["state"] == "up")),
    ("backend_draining", "1 while an operator keeps it out.", lambda row: int(row["state"] == "draining")),
    ("backend_weight", "Its weight, as far as slow start gives it.", lambda row: row["weight"] * row["ramp"] / 1000),
    ("backend_fetches_in_flight", "Fetches under way.", lambda row: row["in_flight"]),
)
_BACKEND_COUNTERS = (
    ("backend_fetches", "Fetches begun.", "requests"),
    ("backend_fetch_failures", "Fetches that failed.", "failures"),
)
_STORE_GAUGES = (
    ("size_bytes", "store_size_bytes", "Bound of the store, tables included."),
    ("taken_bytes", "store_taken_bytes", "Bytes of the segments that hold something."),
    ("filled_bytes", "store_filled_bytes", "Bytes written in readable segments, what was replaced since included."),
    ("records", "store_responses", "Stored responses and pieces of long bodies that the index leads to."),
    ("pins", "store_pins", "Segments times workers that are reading them."),
    ("oldest_at", "store_oldest_segment_timestamp_seconds", "When the oldest readable segment was opened."),
)
_SEGMENT_STATES = ("free", "open", "sealed", "claimed", "limbo")
_STORE_COUNTERS = (
    ("moved", "store_moved_records", "Records that were used since they were written, copied on by eviction."),
    ("refused", "store_refused_writes", "Writes that no segment could be had for."),
    ("torn", "store_torn_records", "Records with a wrong checksum that came with a file; each was a miss."),
    ("broken", "store_broken_bodies", "Long bodies that lost a piece; each was a miss."),
)


@dataclass(frozen=True, slots=True)
class _Measured:
    """One measure of `histograms` as a metric: whole microseconds or bytes become its unit."""

    measure: str
    name: str
    meaning: str
    per_unit: int
    bounds: tuple[int, ...]
    """Least values of buckets. What is below one of them is up to it in seconds, and up to a byte less in bytes."""


_TIMES = tuple(1 << power for power in range(4, 28))
"""16 us to 134 s."""
_SIZES = tuple(1 << power for power in range(8, 33, 2))
"""256 bytes to 4 GiB."""
_MEASURED = (
    _Measured(
        "first_byte_us",
        "first_byte_seconds",
        "Time from a request's head to its answer's head, by how it was answered.",
        1_000_000,
        _TIMES,
    ),
    _Measured(
        "total_us",
        "request_duration_seconds",
        "Time from a request's head to its answer's last byte, by how it was answered.",
        1_000_000,
        _TIMES,
    ),
    _Measured("body_bytes", "response_body_bytes", "Bodies as sent, by how they were answered.", 1, _SIZES),
)
_OVERRIDE = ("file", "what", "reason")
"""By what uses of overrides are told apart; none lifts a thing that is called as the others are."""
_OTHERS = "other"
_MEANING = {one.name: one.meaning for one in COUNTERS}


def exposition(snapshot: Snapshot) -> bytes:
    """Return the whole text."""
    registry = CollectorRegistry()
    registry.register(_Snapshots(snapshot))
    text: bytes = generate_latest(registry)  # type: ignore[no-untyped-call]
    return text


class _Snapshots(Collector):
    """One snapshot as prometheus-client reads it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        snapshot = self._snapshot
        yield from _of_program(snapshot.facts)
        yield _of_sites(snapshot.sites)
        for family in FAMILIES:
            yield _of_counters(family, snapshot.counters)
        yield _of_overrides(snapshot.overrides)
        yield from _of_workers(list(snapshot.workers))
        backends = list(snapshot.backends)
        yield from _of_backends(backends)
        yield from _of_pools(backends)
        yield from _of_store(snapshot.store)
        for measured in _MEASURED:
            if kinds := snapshot.histograms.get(measured.measure):
                yield _of_histograms(measured, kinds)


def _of_program(facts: Facts) -> Iterator[Metric]:
    yield InfoMetricFamily("accel", "The program.", {"version": facts["version"], "name": facts["name"]})
    for key, name, meaning in _PROGRAM_GAUGES:
        if key in facts:
            yield _gauge(name, meaning, facts[key])


def _of_sites(sites: Iterable[Facts]) -> Metric:
    told = _meaning(REQUESTS)
    made = CounterMetricFamily(f"accel_{REQUESTS.name}", told, labels=("site", REQUESTS.label))
    for row in sites:
        for value, name in REQUESTS.counters.items():
            made.add_metric((row["site"], value), row[name])
    return made


def _of_counters(family: Family, counters: Mapping[str, int]) -> Metric:
    made = CounterMetricFamily(f"accel_{family.name}", _meaning(family), labels=(family.label,) if family.label else ())
    for value, name in family.counters.items():
        made.add_metric((value,) if family.label else (), counters.get(name, 0))
    return made


def _of_overrides(told: Facts) -> Metric:
    """Each that has a count of its own, and those that are counted together: a bounded number, which adds up."""
    meaning = f"Uses of overrides: refusals of the safety floor that a rule lifted. {_OTHERS}: those counted together."
    made = CounterMetricFamily("accel_override_uses", meaning, labels=_OVERRIDE)
    for row in told.get("overrides", ()):
        if row["uses"] is not None:
            made.add_metric([row[label] for label in _OVERRIDE], row["uses"])
    made.add_metric([_OTHERS] * len(_OVERRIDE), told.get("others", 0))
    return made


def _of_workers(workers: list[Facts]) -> Iterator[Metric]:
    states = dict.fromkeys(("starting", "accepting", "leaving"), 0)
    held = GaugeMetricFamily("accel_worker_connections", "Client connections that a worker holds.", labels=("worker",))
    beats = GaugeMetricFamily(
        "accel_worker_heartbeat_age_seconds", "Time since a worker's loop last turned.", labels=("worker",)
    )
    restarts = CounterMetricFamily("accel_worker_restarts", "Times that a worker was replaced.", labels=("worker",))
    for row in workers:
        states[row["state"]] = states.get(row["state"], 0) + 1
        label = (str(row["number"]),)
        held.add_metric(label, row["connections"])
        beats.add_metric(label, row["heartbeat_age_s"])
        restarts.add_metric(label, row["restarts"])
    yield _labelled_gauge("workers", "Worker processes by state.", "state", states)
    yield from (held, beats, restarts)


def _of_backends(backends: list[Facts]) -> Iterator[Metric]:
    for name, meaning, value in _BACKEND_GAUGES:
        yield _labelled_gauge(name, meaning, "backend", {row["address"]: value(row) for row in backends})
    for name, meaning, key in _BACKEND_COUNTERS:
        made = CounterMetricFamily(f"accel_{name}", meaning, labels=("backend",))
        for row in backends:
            made.add_metric((row["address"],), row[key])
        yield made


def _of_pools(backends: list[Facts]) -> Iterator[Metric]:
    """A backend that two pools share counts in both: its numbers are the machine's."""
    members: dict[str, list[Facts]] = {}
    for row in backends:
        for pool in row.get("pools", ()):
            members.setdefault(pool or "default", []).append(row)
    count = GaugeMetricFamily("accel_pool_backends", "Backends of a pool by state.", labels=("pool", "state"))
    for pool, rows in members.items():
        for state in ("up", "down", "draining"):
            count.add_metric((pool, state), sum(row["state"] == state for row in rows))
    yield count
    flying = {pool: sum(row["in_flight"] for row in rows) for pool, rows in members.items()}
    yield _labelled_gauge("pool_fetches_in_flight", "Fetches under way to a pool's backends.", "pool", flying)


def _of_store(store: Facts) -> Iterator[Metric]:
    for key, name, meaning in _STORE_GAUGES:
        if key in store:
            yield _gauge(name, meaning, store[key])
    if "free" in store:
        states = {state: store.get(state, 0) for state in _SEGMENT_STATES}
        yield _labelled_gauge("store_segments", "Segments of the store by state.", "state", states)
    for key, name, meaning in _STORE_COUNTERS:
        if key in store:
            made = CounterMetricFamily(f"accel_{name}", meaning)
            made.add_metric((), store[key])
            yield made


def _of_histograms(measured: _Measured, kinds: Mapping[str, Histogram]) -> Metric:
    made = HistogramMetricFamily(f"accel_{measured.name}", measured.meaning, labels=("outcome",))
    limits = [str(bound / measured.per_unit if measured.per_unit > 1 else bound - 1.0) for bound in measured.bounds]
    for kind, one in kinds.items():
        named = zip(limits, one.below(measured.bounds), strict=True)
        made.add_metric((kind,), [*named, ("+Inf", one.count)], one.sum / measured.per_unit)
    return made


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(f"accel_{name}", meaning, value=value)


def _labelled_gauge(name: str, meaning: str, label: str, values: Mapping[str, float]) -> Metric:
    made = GaugeMetricFamily(f"accel_{name}", meaning, labels=(label,))
    for value, number in values.items():
        made.add_metric((value,), number)
    return made


def _meaning(family: Family) -> str:
    told = family.meaning or _sentence(_MEANING[family.counters[""]])
    if not family.label:
        return told
    meant = (f"{value} ({_MEANING[name]})" for value, name in family.counters.items())
    return f"{told.removesuffix('.')}: {', '.join(meant)}."


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."
