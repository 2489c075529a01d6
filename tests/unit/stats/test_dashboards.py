"""The Grafana dashboard and the alert rules: well formed, and every metric and label that they name exists."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_control import FakeControl
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from accel.server.admin_routes import snapshot
from accel.stats import metrics

DOCKER = Path(__file__).parents[3] / "docker"
FILES = sorted(path for path in (DOCKER / "metrics").rglob("*") if path.is_file())
SELECTOR = re.compile(r"\b(accel_\w+)(?:\{([^}]*)\})?")
LABEL = re.compile(r"(\w+)\s*[=!]~?\s*\"")
OF_THE_SCRAPER = {"instance", "job"}


def expressions() -> Iterator[str]:
    """Yield every expression of the dashboard and of the rules."""
    dashboard = json.loads((DOCKER / "metrics/dashboard.json").read_text())
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    yield from (rule["expr"] for rule in rules())
    yield from (one["query"] for one in dashboard["templating"]["list"])


def rules() -> list[dict[str, Any]]:
    """Return the alert rules."""
    groups = yaml.safe_load((DOCKER / "metrics/alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.fixture
def labels(control: FakeControl) -> dict[str, set[str]]:
    """Return the labels of every sample that a scrape brings, by its name."""
    control.backend_rows[0]["pools"] = [""]
    seen = snapshot(control)
    seen = replace(seen, store=seen.store | {"size_bytes": 1, "taken_bytes": 1})
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(metrics.exposition(seen).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_every_metric_and_label_that_is_asked_for_exists(labels: dict[str, set[str]]) -> None:
    named = [found for expression in expressions() for found in SELECTOR.findall(expression)]

    assert len(named) > 40
    for name, selected in named:
        assert name in labels, name
        assert set(LABEL.findall(selected)) - OF_THE_SCRAPER <= labels[name], (name, selected)


def test_what_is_grouped_by_is_a_label_of_something_in_the_expression(labels: dict[str, set[str]]) -> None:
    for expression in expressions():
        known = OF_THE_SCRAPER.union(*(labels[name] for name, _ in SELECTOR.findall(expression)))
        for grouped in re.findall(r"by \(([^)]*)\)", expression):
            assert {name.strip() for name in grouped.split(",")} <= known, expression


def test_panels_and_alerts_say_what_they_are_and_have_names_of_their_own() -> None:
    panels = json.loads((DOCKER / "metrics/dashboard.json").read_text())["panels"]
    alerts = rules()

    assert len({panel["title"] for panel in panels}) == len({panel["id"] for panel in panels}) == len(panels)
    assert len({alert["alert"] for alert in alerts}) == len(alerts)
    assert all(alert["annotations"]["summary"] and alert["labels"]["severity"] for alert in alerts)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_file_can_be_read(path: Path) -> None:
    read = json.loads if path.suffix == ".json" else yaml.safe_load

    assert read(path.read_text())


def test_the_compose_example_mounts_what_there_is() -> None:
    compose = yaml.safe_load((DOCKER / "compose.metrics.yaml").read_text())

    mounted = [volume for service in compose["services"].values() for volume in service.get("volumes", ())]
    assert all((DOCKER / volume.partition(":")[0]).exists() for volume in mounted)
    scraped = yaml.safe_load((DOCKER / "metrics/prometheus.yaml").read_text())["scrape_configs"][0]
    assert scraped["static_configs"][0]["targets"] == [compose["services"]["accel"]["environment"]["ACCEL_ADMIN"]]
