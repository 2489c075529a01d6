"""A live worker is asked what it does: over the admin, the channel, and back."""

from __future__ import annotations

import pytest
from accel_process import Accel, StartAccel
from children import eventually
from fault_origin import FaultOrigin, gated, reply
from http_clients import several_clients

pytestmark = pytest.mark.scene


def fetches(accel: Accel) -> list[str]:
    """Return what is being fetched."""
    return [one["target"] for row in accel.admin("GET", "/dump") for one in row["fetches"]]


def test_a_dump_has_the_exchange_that_waits_and_its_fetch(start_accel: StartAccel, fault: FaultOrigin) -> None:
    fault.on("/slow", gated(reply(b"late", "Cache-Control: max-age=60")))
    accel = start_accel([fault.backend])

    with several_clients(accel, 1) as (client,):
        client.begin("/slow")
        eventually("it is fetched", lambda: fetches(accel) == ["/slow"])
        (row,) = [row for row in accel.admin("GET", "/dump") if row["exchanges"]]
        fault.open_gate()
        client.answer()

    assert (row["connections"]["busy"], row["exchanges"][0]["target"]) == (1, "/slow")
    assert any("Fill" in task["where"] for task in row["tasks"])
    assert fetches(accel) == []


def test_a_worker_that_serves_is_profiled(start_accel: StartAccel, fault: FaultOrigin) -> None:
    fault.on("/page", reply(b"page", "Cache-Control: no-store"))
    accel = start_accel([fault.backend], workers=1)

    profile = accel.admin("POST", "/profile", {"worker": 1, "seconds": 0.5})
    missing = accel.admin_answer("POST", "/profile", {"worker": 2, "seconds": 0.5})

    assert profile["wall_s"] >= 0.5
    assert profile["stacks"]["waiting;event loop"] > 0
    assert missing == (404, {"error": "there is no worker 2 that serves: see 'accelctl workers'"})
