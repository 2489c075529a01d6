"""Which worker serves which client: for scenes in which one leads and another follows."""

from __future__ import annotations

from accel_process import Accel
from children import eventually
from http_clients import Client


def server_of(accel: Accel, client: Client) -> int:
    """Return the pid of the worker that holds a client's connection."""
    before = {row["pid"]: row["requests"] for row in accel.workers()}
    client.ask("/warm")
    return eventually(
        "the request is counted",
        lambda: next((row["pid"] for row in accel.workers() if row["requests"] > before[row["pid"]]), None),
    )


def still_served(accel: Accel, clients: list[Client], victim: int) -> list[Client]:
    """Return the clients that another worker than `victim` serves."""
    survivors = [client for client in clients if server_of(accel, client) != victim]
    assert survivors
    return survivors
