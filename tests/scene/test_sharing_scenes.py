"""What workers share: one stored response, one fetch a cold page, and what a killed leader leaves to the others."""

from __future__ import annotations

import os
import signal

import pytest
from accel_process import StartAccel
from children import eventually
from fault_origin import FaultOrigin, gated, ordered, raw, reply
from http_clients import Client, ask, clients_of_every_worker, several_clients
from worker_clients import server_of, still_served

pytestmark = pytest.mark.scene
MINUTE = "Cache-Control: max-age=60"


def begin_all(clients: list[Client], target: str) -> None:
    """Send one request on every connection."""
    for client in clients:
        client.begin(target)


def test_what_one_worker_fetched_is_a_hit_in_each(start_accel: StartAccel, fault: FaultOrigin) -> None:
    fault.on("/page", reply(b"page", MINUTE))
    accel = start_accel([fault.backend])

    ask(accel, "/page")
    with clients_of_every_worker(accel) as clients:
        answers = [client.ask("/page") for client in clients]

    assert all(answer.is_hit for answer in answers)
    assert len(fault.asked("/page")) == 1


def test_a_purge_counts_the_variants_that_any_worker_stored(start_accel: StartAccel, fault: FaultOrigin) -> None:
    fault.on("/page", reply(b"page", MINUTE, "Vary: Accept-Language"))
    accel = start_accel([fault.backend])

    with clients_of_every_worker(accel) as clients:
        for number, client in enumerate(clients[:16]):
            client.ask("/page", accept_language=f"l{number}")
        receipt = ask(accel, "/page", "PURGE")
        after = clients[0].ask("/page", accept_language="l3")

    assert b'"dropped": 16' in receipt.body
    assert not after.is_hit


def test_many_clients_of_all_workers_are_one_fetch_of_a_cold_page(start_accel: StartAccel, fault: FaultOrigin) -> None:
    fault.on("/cold", gated(reply(b"cold", MINUTE)))
    accel = start_accel([fault.backend], "--coalesce-wait", "none")

    with several_clients(accel, 200) as clients:
        begin_all(clients, "/cold")
        eventually("all are in", lambda: sum(accel.connections()) == 200)
        assert min(accel.connections()) > 0
        fault.wait_asked("/cold")
        fault.open_gate()
        answers = [client.answer() for client in clients]

    assert {(answer.status, answer.body) for answer in answers} == {(200, b"cold")}
    assert len(fault.asked("/cold")) == 1
    assert accel.counter("collapsed") + accel.counter("hits") >= 199


def test_an_answer_that_cannot_be_shared_keeps_nobody_waiting(start_accel: StartAccel, fault: FaultOrigin) -> None:
    others = gated(reply(b"own", "Cache-Control: private"))
    fault.on("/own", ordered(reply(b"own", "Cache-Control: private"), *[others] * 39))
    accel = start_accel([fault.backend])

    with several_clients(accel, 40) as clients:
        begin_all(clients, "/own")
        # The gate is shut: all the others are at the origin at once, none behind another.
        fault.wait_asked("/own", 40)
        fault.open_gate()
        answers = [client.answer() for client in clients]

    assert {(answer.status, answer.body) for answer in answers} == {(200, b"own")}


def test_a_killed_leader_leaves_its_fetch_to_one_of_the_others(start_accel: StartAccel, fault: FaultOrigin) -> None:
    fault.on("/cold", gated(reply(b"cold", MINUTE)))
    accel = start_accel([fault.backend], "--coalesce-wait", "none")

    with clients_of_every_worker(accel) as clients:
        leader = clients[0]
        victim = server_of(accel, leader)
        leader.begin("/cold")
        fault.wait_asked("/cold")
        survivors = still_served(accel, clients[1:], victim)
        begin_all(survivors, "/cold")
        os.kill(victim, signal.SIGKILL)
        fault.wait_asked("/cold", 2)
        fault.open_gate()
        answers = [client.answer() for client in survivors]

    assert {(answer.status, answer.body) for answer in answers} == {(200, b"cold")}
    assert len(fault.asked("/cold")) == 2


def test_a_leader_that_fails_leaves_its_fetch_to_one_of_the_others(start_accel: StartAccel, fault: FaultOrigin) -> None:
    fault.on("/cold", ordered(gated(raw(b"no response\r\n\r\n")), reply(b"cold", MINUTE)))
    accel = start_accel([fault.backend], "--coalesce-wait", "none")

    with several_clients(accel, 60) as clients:
        begin_all(clients, "/cold")
        eventually("all are in", lambda: sum(accel.connections()) == 60)
        fault.wait_asked("/cold")
        fault.open_gate()
        answers = [client.answer() for client in clients]

    assert sorted(answer.status for answer in answers) == [200] * 59 + [502]
    assert len(fault.asked("/cold")) == 2
