"""The metrics text: parsed as Prometheus parses it, complete, documented, and the same numbers as elsewhere."""

from __future__ import annotations

from collections import Counter

import pytest
from fake_control import FakeControl
from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from accel.server.admin_routes import snapshot
from accel.stats import metrics
from accel.stats.counters import COUNTERS
from accel.stats.histograms import KINDS, record
from accel.stats.metric_families import FAMILIES, REQUESTS, SUMS

Families = dict[str, Metric]


def parsed(control: FakeControl) -> Families:
    """Return the families of a snapshot by name; the parser raises ValueError for what is no OpenMetrics."""
    families = list(text_string_to_metric_families(metrics.exposition(snapshot(control)).decode()))
    assert max(Counter(family.name for family in families).values()) == 1
    return {family.name: family for family in families}


def samples(families: Families, name: str) -> dict[tuple[str, ...], float]:
    """Return a family's samples by the values of their labels."""
    return {tuple(sample.labels.values()): sample.value for sample in families[name].samples}


def test_every_counter_is_in_exactly_one_metric() -> None:
    placed = Counter(name for family in (REQUESTS, *FAMILIES) for name in family.counters.values())

    assert placed == Counter(one.name for one in COUNTERS if one.name not in SUMS)


def test_every_metric_is_documented_and_named_by_the_conventions(control: FakeControl) -> None:
    for family in parsed(control).values():
        assert family.name.startswith("accel")
        assert family.documentation.endswith("."), family.name
        assert not family.name.endswith(("_total", "_count", "_ms", "_us")), family.name


def test_every_counter_is_documented_in_its_metric(control: FakeControl) -> None:
    families = parsed(control)

    meant = {one.name: one.meaning for one in COUNTERS}
    for family in FAMILIES:
        documentation = families[f"accel_{family.name}"].documentation.lower()
        assert all(meant[name].lower() in documentation for name in family.counters.values()), family.name


def test_every_counter_has_its_value(control: FakeControl) -> None:
    control.counted = {one.name: place for place, one in enumerate(COUNTERS, 1)}

    families = parsed(control)

    for family in FAMILIES:
        expected = {(label,) if label else (): control.counted[name] for label, name in family.counters.items()}
        assert samples(families, f"accel_{family.name}") == expected


def test_requests_are_told_by_site_and_outcome(control: FakeControl) -> None:
    told = samples(parsed(control), "accel_requests")

    assert told["hit", "shop.policy"] == 1450
    assert told["error", "other"] == 50
    assert sum(told.values()) == 2000


def test_uses_of_overrides_are_told_by_file_and_reason_and_add_up(control: FakeControl) -> None:
    line = {"what": "private", "file": "shop.policy", "lines": [3], "is_in_force": True}
    control.override_facts = {
        "total": 12,
        "others": 2,
        "overrides": [
            line | {"reason": 'a "theme"\\', "uses": 7},
            line | {"reason": "no longer", "uses": 3, "is_in_force": False},
            line | {"reason": "new", "uses": 0},
            line | {"reason": "one too many", "uses": None},
        ],
    }

    told = samples(parsed(control), "accel_override_uses")

    assert told == {
        ("shop.policy", 'a "theme"\\', "private"): 7,
        ("shop.policy", "no longer", "private"): 3,
        ("shop.policy", "new", "private"): 0,
        ("other", "other", "other"): 2,
    }
    assert sum(told.values()) == control.override_facts["total"]


def test_backends_and_their_pools_are_told(control: FakeControl) -> None:
    control.backend_rows[0]["pools"] = ["", "images"]
    control.backend_rows[1]["pools"] = ["images"]

    families = parsed(control)

    assert samples(families, "accel_backend_up") == {("127.0.0.1:8001",): 1, ("127.0.0.1:8002",): 0}
    assert samples(families, "accel_backend_weight") == {("127.0.0.1:8001",): 0.43, ("127.0.0.1:8002",): 2}
    assert samples(families, "accel_backend_fetch_failures")[("127.0.0.1:8002",)] == 3
    pools = samples(families, "accel_pool_backends")
    assert (pools["default", "up"], pools["images", "up"], pools["images", "down"]) == (1, 1, 1)
    assert samples(families, "accel_pool_fetches_in_flight") == {("default",): 1, ("images",): 1}


def test_workers_are_counted_by_state(control: FakeControl) -> None:
    families = parsed(control)

    assert samples(families, "accel_workers") == {("starting",): 0, ("accepting",): 1, ("leaving",): 0}
    assert samples(families, "accel_worker_connections") == {("1",): 3}


@pytest.mark.parametrize("kind", ["shared", "private"])
def test_both_kinds_of_store_are_told(control: FakeControl, kind: str) -> None:
    if kind == "private":
        control.store_figures = {"kind": "private", "size_bytes": 77}

    families = parsed(control)

    if kind == "private":
        assert samples(families, "accel_store_size_bytes") == {(): 77}
        assert "accel_store_segments" not in families
    else:
        assert samples(families, "accel_store_segments")[("sealed",)] == 3
        assert samples(families, "accel_store_filled_bytes") == {(): 3145728}


def test_times_and_sizes_are_histograms_in_seconds_and_bytes(control: FakeControl) -> None:
    for body_bytes in (255, 256, 5000):
        record(control.measured, KINDS.index("miss"), 0.001, 0.25, body_bytes)

    families = parsed(control)

    buckets = {
        (family, sample.labels["le"]): sample.value
        for family in ("accel_request_duration_seconds", "accel_response_body_bytes")
        for sample in families[family].samples
        if sample.labels["outcome"] == "miss" and "le" in sample.labels
    }
    assert buckets["accel_request_duration_seconds", "0.131072"] == 0
    assert buckets["accel_request_duration_seconds", "0.262144"] == 3
    assert buckets["accel_response_body_bytes", "255.0"] == 1
    assert buckets["accel_response_body_bytes", "4095.0"] == 2
    assert buckets["accel_response_body_bytes", "+Inf"] == 3
    sums = {
        sample.labels["outcome"]: sample.value
        for sample in families["accel_request_duration_seconds"].samples
        if sample.name.endswith("_sum")
    }
    assert sums == {"hit": 0, "miss": 0.75, "pass": 0}


def test_text_of_others_is_escaped(control: FakeControl) -> None:
    control.backend_rows[0]["address"] = 'unix:/a "b"\\c'

    assert ('unix:/a "b"\\c',) in samples(parsed(control), "accel_backend_up")
