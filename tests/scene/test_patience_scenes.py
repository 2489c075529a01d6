"""Crowds before a cold page: one fetch if it can be shared, and no second round if it cannot."""

from __future__ import annotations

import pytest
from accel_process import StartAccel
from fault_origin import FaultOrigin, gated, reply
from http_clients import Client, clients_of_every_worker

pytestmark = pytest.mark.scene
MINUTE = "Cache-Control: max-age=60"
CROWD = 500


def begin_all(clients: list[Client], target: str) -> None:
    """Send one request on every connection."""
    for client in clients:
        client.begin(target)


def test_a_crowd_before_a_quick_cold_page_is_one_fetch(start_accel: StartAccel, fault: FaultOrigin) -> None:
    fault.on("/quick", reply(b"quick", MINUTE))
    accel = start_accel([fault.backend])

    with clients_of_every_worker(accel, CROWD) as clients:
        begin_all(clients, "/quick")
        answers = [client.answer() for client in clients]

    assert {(answer.status, answer.body) for answer in answers} == {(200, b"quick")}
    assert len(fault.asked("/quick")) == 1


@pytest.mark.parametrize("page", ["/known", "/unknown"])
def test_a_crowd_before_a_slow_page_that_is_nobody_elses_goes_no_second_round(
    page: str, start_accel: StartAccel, fault: FaultOrigin
) -> None:
    fault.on(page, reply(b"own", "Cache-Control: private"))
    accel = start_accel([fault.backend])

    with clients_of_every_worker(accel, CROWD) as clients:
        if page == "/known":
            clients[0].ask(page)
        before = len(fault.asked(page))
        fault.on(page, gated(reply(b"own", "Cache-Control: private")))
        begin_all(clients, page)
        # The gate is shut: whoever followed has stopped waiting, and all are at the origin at once.
        fault.wait_asked(page, before + len(clients))
        fault.open_gate()
        answers = [client.answer() for client in clients]

    assert {(answer.status, answer.body) for answer in answers} == {(200, b"own")}
    assert len(fault.asked(page)) == before + len(clients)


def test_a_purged_page_is_one_fetch_however_slow(start_accel: StartAccel, fault: FaultOrigin) -> None:
    fault.on("/page", reply(b"old", MINUTE))
    accel = start_accel([fault.backend], "--coalesce-wait", "0")

    with clients_of_every_worker(accel) as clients:
        for client in clients:
            client.ask("/page")
        fault.on("/page", gated(reply(b"new", MINUTE)))
        clients[0].ask("/page", "PURGE")
        waiting, others = clients[::2], clients[1::2]
        begin_all(waiting, "/page")
        fault.wait_asked("/page", 2)
        for client in others:
            client.ask("/warm")  # by then its worker has read what came before
        fault.open_gate()
        answers = [client.answer() for client in waiting]

    assert {answer.body for answer in answers} == {b"new"}
    assert len(fault.asked("/page")) == 2
