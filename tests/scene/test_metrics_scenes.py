"""What a scraper reads while workers are killed: the numbers that the clients saw."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import pytest
from accel_process import Accel, StartAccel
from children import eventually
from fault_origin import FaultOrigin, reply
from http_clients import Load, ask
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from accel.stats.histograms import MEASURES, Histogram, bucket_of, unpacked

pytestmark = pytest.mark.scene
REPLACED_S = 5.0


def scraped(accel: Accel, name: str) -> dict[str, float]:
    """Return the samples of one counter by the value of its outcome, or by nothing."""
    families = {family.name: family for family in text_string_to_metric_families(accel.metrics())}
    sums: dict[str, float] = {}
    for sample in families[name].samples:
        label = sample.labels.get("outcome", "")
        sums[label] = sums.get(label, 0) + sample.value
    return sums


def kill(accel: Accel, pid: int) -> None:
    """Kill a worker and wait until two accept again."""

    def is_replaced() -> bool:
        pids = accel.accepting_pids()
        return len(pids) == 2 and pid not in pids

    os.kill(pid, signal.SIGKILL)
    eventually(f"worker {pid} is replaced", is_replaced, REPLACED_S)


def test_no_request_is_lost_or_counted_twice_when_workers_are_killed(
    start_accel: StartAccel, fault: FaultOrigin
) -> None:
    fault.on("/page", reply(b"page", "Cache-Control: max-age=600"))
    fault.on("/own", reply(b"own", "Cache-Control: no-store"))
    accel = start_accel([fault.backend])
    asked = {"hit": 0.0, "miss": 0.0, "pass": 0.0, "synthetic": 0.0, "error": 0.0}

    for turn in range(4):
        for _ in range(20):
            asked["hit" if ask(accel, "/page").is_hit else "miss"] += 1
            ask(accel, "/own", "POST", b"x")
            asked["pass"] += 1
        eventually("the last answer is counted", lambda: accel.counter("requests") == sum(asked.values()))
        kill(accel, accel.worker_pids()[turn % 2])
        assert scraped(accel, "accel_requests") == asked

    assert asked["hit"] == 79
    assert scraped(accel, "accel_fetches") == {"": asked["miss"] + asked["pass"]}


def test_a_scrape_under_load_adds_up_and_never_goes_back(start_accel: StartAccel, fault: FaultOrigin) -> None:
    fault.on("/page", reply(b"page", "Cache-Control: max-age=600"))
    accel = start_accel([fault.backend])
    seen = [0.0]

    with Load(accel.port, ["/page"]) as load:
        for _ in range(3):
            load.wait_more(200)
            kill(accel, accel.worker_pids()[0])
            seen.append(sum(scraped(accel, "accel_requests").values()))
        load.wait_more(200)

    assert seen == sorted(seen)
    lost = len(load.failures)
    assert abs(accel.counter("requests") - load.done) <= lost, "what a killed worker held may or may not be counted"


@pytest.mark.parametrize("flags", [(), ("--log-memory", "0"), ("--store-kind", "private")])
def test_sizes_of_hits_are_counted_alike_on_every_path(
    start_accel: StartAccel, fault: FaultOrigin, flags: tuple[str, ...]
) -> None:
    sizes = [0, 1, 15, 16, 17, 255, 256, 1000, 4096, 16 * 1024, 70_000]
    for size in sizes:
        fault.on(f"/{size}", reply(b"x" * size, "Cache-Control: max-age=600"))
    accel = start_accel([fault.backend], *flags, workers=1)

    for size in sizes:
        for turn in range(5):
            assert ask(accel, f"/{size}").is_hit == (turn > 0)
    eventually("the last answer is counted", lambda: accel.counter("hits") == 4 * len(sizes))
    made = unpacked(accel.admin("GET", "/histograms"))

    expected = Counter(bucket_of(size) for size in sizes for _ in range(4))
    assert Counter(dict(nonzero(made["body_bytes"]["hit"]))) == expected
    assert made["body_bytes"]["hit"].sum == 4 * sum(sizes)
    assert [made[measure]["hit"].count for measure in MEASURES] == [4 * len(sizes)] * 3
    assert 0 < made["total_us"]["hit"].sum < 4 * len(sizes) * 1_000_000


def nonzero(histogram: Histogram) -> list[tuple[int, int]]:
    """Return the buckets that hold something, with how much."""
    return [(at, count) for at, count in enumerate(histogram.counts) if count]


def test_each_sites_requests_add_up_on_every_path_and_over_kills_and_reloads(
    start_accel: StartAccel, fault: FaultOrigin, tmp_path: Path
) -> None:
    fault.on("/page", reply(b"page", "Cache-Control: max-age=600"))
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "one.policy").write_text("policy 1\nsite one.example\n")
    (policies / "two.policy").write_text('policy 1\nsite two.example\nrequest { when url == "/no" { deny 403 } }\n')
    accel = start_accel([fault.backend], "--policy", str(policies))
    asked: Counter[str] = Counter()

    for turn in range(3):
        for host, target, count in (("one", "/page", 9), ("two", "/page", 5), ("two", "/no", 2), ("free", "/page", 4)):
            for _ in range(count):
                ask(accel, target, host=f"{host}.example")
            asked[{"free": "other"}.get(host, f"{host}.policy")] += count
        eventually("all are counted", lambda: accel.counter("requests") == asked.total())
        if turn == 0:
            kill(accel, accel.worker_pids()[0])
        else:
            (policies / "zero.policy").write_text(f"policy 1\nsite zero.example\n# {turn}\n")
            accel.admin("POST", "/reload", {})

    rows = {row["site"]: row for row in accel.admin("GET", "/sites")}
    assert {site: row["requests"] for site, row in rows.items()} == asked | {"zero.policy": 0}
    assert rows["one.policy"]["hits"] == 27 - rows["one.policy"]["misses"]
    assert rows["two.policy"]["synthetic"] == 6
    assert sum(scraped(accel, "accel_requests").values()) == asked.total()
