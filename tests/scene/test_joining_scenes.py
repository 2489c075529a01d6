"""A large response is one fetch over all workers, read in each as it comes; and what is left to whom when it fails."""

from __future__ import annotations

import http.client
import os
import signal
from hashlib import sha256
from itertools import islice

import pytest
from accel_process import Accel, StartAccel
from children import eventually, own_bytes
from fault_origin import FaultOrigin, cut, halved, head, ordered, reply
from http_clients import Client, clients_of_every_worker
from worker_clients import server_of

pytestmark = pytest.mark.scene
MIB = 1 << 20
MINUTE = "Cache-Control: max-age=60"
TAGGED = (MINUTE, 'ETag: "one"')
"""Says what a second fetch completes."""
BODY = os.urandom(32 * MIB)
HALF = len(BODY) // 2
SEEN = HALF - MIB
"""What a follower must have got when the origin has sent half: all but the last pieces."""
CLIENTS, OTHERS = 48, 5
FLAT_BYTES = 6 * MIB
BIG = ("--memory", "384m", "--coalesce-wait", "none")
"""Nobody gives up waiting for a head that is late because the machine is busy: fetches are counted here."""


def parted(accel: Accel, clients: list[Client]) -> tuple[Client, int, list[Client]]:
    """Return a client to lead, the worker that serves it, and some clients that another one serves."""
    leader = clients[0]
    worker = server_of(accel, leader)
    others = list(islice((client for client in clients[1:] if server_of(accel, client) != worker), OTHERS))
    assert len(others) == OTHERS
    return leader, worker, others


def began(clients: list[Client], size: int = SEEN) -> list[tuple[http.client.HTTPResponse, bytes]]:
    """Ask on every connection and read so much of each answer."""
    for client in clients:
        client.begin("/big")
    answers = [client.open_answer() for client in clients]
    return [(answer, answer.read(size)) for answer in answers]


def test_a_large_fetch_is_read_in_every_worker_while_it_comes(start_accel: StartAccel, fault: FaultOrigin) -> None:
    fault.on("/big", halved(BODY, *TAGGED))
    accel = start_accel([fault.backend], *BIG)

    with clients_of_every_worker(accel, CLIENTS) as clients:
        leader, _, others = parted(accel, clients)
        before = {pid: own_bytes(pid) for pid in accel.worker_pids()}
        [(lead, first)] = began([leader])
        follows = began(others[:3])
        growth = {pid: own_bytes(pid) - size for pid, size in before.items()}
        fault.open_gate()
        bodies = [start + answer.read() for answer, start in [(lead, first), *follows]]
        hit = others[0].ask("/big")

    assert {sha256(body).digest() for body in bodies} == {sha256(BODY).digest()}
    assert hit.is_hit and hit.body == BODY
    assert len(fault.asked("/big")) == 1
    assert max(growth.values()) < FLAT_BYTES, growth
    assert accel.counter("joined_cut") == 0


def test_a_killed_leader_of_what_no_other_fetch_could_complete_leaves_the_others_one_new_fetch(
    start_accel: StartAccel, fault: FaultOrigin
) -> None:
    fault.on("/big", ordered(halved(BODY, MINUTE), reply(BODY, MINUTE)))
    accel = start_accel([fault.backend], *BIG)

    with clients_of_every_worker(accel, CLIENTS) as clients:
        leader, worker, others = parted(accel, clients)
        began([leader])
        for client in others[:4]:
            client.begin("/big")
        os.kill(worker, signal.SIGKILL)
        answers = [client.answer() for client in others[:4]]

    assert {(answer.status, answer.body == BODY) for answer in answers} == {(200, True)}
    assert len(fault.asked("/big")) == 2
    assert (accel.counter("joined_resumed"), accel.counter("joined_cut")) == (0, 0)


def test_a_crowd_on_a_slow_large_page_that_no_other_fetch_could_complete_is_one_fetch_a_worker(
    start_accel: StartAccel, fault: FaultOrigin
) -> None:
    body = BODY[: 4 * MIB]
    fault.on("/big", halved(body, MINUTE))
    accel = start_accel([fault.backend], *BIG, workers=3)

    with clients_of_every_worker(accel, CLIENTS) as clients:
        began(clients[:1], MIB)
        follows = began(clients[1:], MIB)
        fault.open_gate()
        assert all(start + follow.read() == body for follow, start in follows)

    assert len(fault.asked("/big")) == 3


def test_a_killed_leader_costs_other_workers_nothing_if_the_entity_tag_says_it_is_the_same(
    start_accel: StartAccel, fault: FaultOrigin
) -> None:
    fault.on("/big", ordered(halved(BODY, *TAGGED), reply(BODY, *TAGGED)))
    accel = start_accel([fault.backend], *BIG)

    with clients_of_every_worker(accel, CLIENTS) as clients:
        leader, worker, others = parted(accel, clients)
        began([leader])
        follows = began(others[:4])
        os.kill(worker, signal.SIGKILL)
        bodies = [start + follow.read() for follow, start in follows]
        hit = others[0].ask("/big")

    assert {sha256(body).digest() for body in bodies} == {sha256(BODY).digest()}
    assert hit.is_hit and hit.body == BODY
    assert len(fault.asked("/big")) == 2
    assert (accel.counter("joined_resumed"), accel.counter("joined_cut")) == (4, 0)


def test_a_killed_leader_that_had_shown_nothing_leaves_its_fetch_to_one_of_the_others(
    start_accel: StartAccel, fault: FaultOrigin
) -> None:
    whole = BODY[: 2 * MIB]
    headed = head(200, MINUTE, f"Content-Length: {len(whole)}") + whole[:1000]
    fault.on("/big", ordered(cut(headed), reply(whole, MINUTE)))
    accel = start_accel([fault.backend], *BIG)

    with clients_of_every_worker(accel, CLIENTS) as clients:
        leader, worker, others = parted(accel, clients)
        leader.begin("/big")
        assert leader.open_answer().status == 200
        for client in others[:4]:
            client.begin("/big")
        os.kill(worker, signal.SIGKILL)
        answers = [client.answer() for client in others[:4]]

    assert {(answer.status, answer.body == whole) for answer in answers} == {(200, True)}
    assert len(fault.asked("/big")) == 2


def test_a_purge_in_the_middle_takes_nothing_from_those_who_began(start_accel: StartAccel, fault: FaultOrigin) -> None:
    fault.on("/big", ordered(halved(BODY, *TAGGED), reply(b"new", MINUTE)))
    accel = start_accel([fault.backend], *BIG)

    with clients_of_every_worker(accel, CLIENTS) as clients:
        leader, _, others = parted(accel, clients)
        [(lead, first)] = began([leader])
        [(follow, start)] = began(others[:1])
        others[1].ask("/big", "PURGE")
        new = others[2].ask("/big")
        fault.open_gate()
        bodies = [first + lead.read(), start + follow.read()]
        eventually("the old one has ended", lambda: accel.counter("not_stored_purged") == 1)
        after = [client.ask("/big").body for client in (others[3], leader)]

    assert new.body == b"new"
    assert bodies == [BODY, BODY]
    assert after == [b"new", b"new"]


def test_the_leaders_client_may_leave_in_the_middle(start_accel: StartAccel, fault: FaultOrigin) -> None:
    fault.on("/big", halved(BODY, *TAGGED))
    accel = start_accel([fault.backend], *BIG)

    with clients_of_every_worker(accel, CLIENTS) as clients:
        leader, _, others = parted(accel, clients)
        began([leader])
        [(follow, start)] = began(others[:1])
        leader.close()
        eventually("it is gone", lambda: accel.counter("client_aborts") == 1)
        fault.open_gate()
        assert start + follow.read() == BODY

    assert len(fault.asked("/big")) == 1


def test_hits_of_large_bodies_take_a_worker_no_memory_however_slow_their_readers(
    start_accel: StartAccel, fault: FaultOrigin
) -> None:
    fault.on("/big", reply(BODY, MINUTE))
    accel = start_accel([fault.backend], *BIG)

    with clients_of_every_worker(accel, CLIENTS) as clients:
        assert clients[0].ask("/big").body == BODY
        began(clients[:2], 1)[0][0].read()
        before = {pid: own_bytes(pid) for pid in accel.worker_pids()}
        slow = began(clients[2:10], MIB)
        growth = {pid: own_bytes(pid) - size for pid, size in before.items()}
        assert all(start + answer.read() == BODY for answer, start in slow)

    assert max(growth.values()) < FLAT_BYTES, growth
    assert len(fault.asked("/big")) == 1
