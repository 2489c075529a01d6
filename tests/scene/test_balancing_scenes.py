"""The pool of origins as it is seen from outside: shares, deaths, returns, draining."""

from __future__ import annotations

from collections import Counter

import origins
import pytest
from accel_process import Accel, StartAccel
from children import eventually, free_ports
from fault_origin import FaultOrigin, StartFaultOrigin, gated, reply
from http_clients import Load, ask, clients_of_every_worker, several_clients

pytestmark = pytest.mark.scene
QUICK_PROBES = ("--probe-interval", "50ms", "--probe-rise", "2", "--slow-start", "0s")
NEVER_STORED = "Cache-Control: no-store"


@pytest.fixture
def pool(start_fault_origin: StartFaultOrigin) -> list[FaultOrigin]:
    """Return four scripted origins."""
    return [start_fault_origin() for _ in range(4)]


def backends(pool: list[FaultOrigin]) -> list[str]:
    return [origin.backend for origin in pool]


def shares(pool: list[FaultOrigin], path: str) -> list[int]:
    """Return how many requests for a path each origin got."""
    return [len(origin.asked(path)) for origin in pool]


def serve(pool: list[FaultOrigin], path: str) -> None:
    for origin in pool:
        origin.on(path, reply(b"page", NEVER_STORED))


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_eighty_uncacheable_requests_are_ten_for_each_of_eight_backends(
    workers: int, start_accel: StartAccel, gunicorn_sync: origins.Origin
) -> None:
    accel = start_accel(gunicorn_sync.backends, workers=workers)

    answers = [ask(accel, "/uncached") for _ in range(80)]

    assert Counter(answer.fields["x-origin"] for answer in answers) == {str(port): 10 for port in gunicorn_sync.ports}


def test_shares_are_even_over_all_workers_together(start_accel: StartAccel, pool: list[FaultOrigin]) -> None:
    serve(pool, "/page")
    accel = start_accel(backends(pool))

    with clients_of_every_worker(accel) as clients:
        for turn in range(80):
            clients[turn % len(clients)].ask("/page")
        requests = [row["requests"] for row in accel.workers()]

    assert shares(pool, "/page") == [20, 20, 20, 20]
    assert all(requests)


def test_weights_are_shares(start_accel: StartAccel, pool: list[FaultOrigin]) -> None:
    serve(pool, "/page")
    first, second, *_ = pool
    accel = start_accel([f"{first.backend}*3", second.backend])

    for _ in range(40):
        ask(accel, "/page")

    assert shares(pool, "/page") == [30, 10, 0, 0]


def test_least_conn_gives_nothing_to_a_backend_that_is_busy_in_any_worker(
    start_accel: StartAccel, pool: list[FaultOrigin]
) -> None:
    """Each of two backends hangs on half the requests; the one that is let go is the one that gets all others."""
    serve(pool, "/page")
    busy, freed, *_ = pool
    for origin in (busy, freed):
        origin.on("/slow", gated(reply(b"slow", NEVER_STORED)))
    accel = start_accel(backends([busy, freed]), "--balance", "least-conn")
    with several_clients(accel, 8) as slow, clients_of_every_worker(accel) as clients:
        for number, client in enumerate(slow):
            client.begin(f"/slow?{number}")
        busy.wait_asked("/slow", 4)
        freed.wait_asked("/slow", 4)
        freed.open_gate()
        eventually("the freed one is idle", lambda: accel.backends()[freed.backend]["in_flight"] == 0)
        for client in clients:
            client.ask("/page")
        busy.open_gate()
        statuses = {client.answer().status for client in slow}

    assert shares([busy, freed], "/slow") == [4, 4]
    assert shares([busy, freed], "/page") == [0, len(clients)]
    assert statuses == {200}


def test_a_backend_that_dies_leaves_rotation_in_every_worker_at_once(
    start_accel: StartAccel, pool: list[FaultOrigin]
) -> None:
    serve(pool, "/page")
    accel = start_accel(backends(pool), "--probe-interval", "60s")
    dead = pool[0]

    with clients_of_every_worker(accel) as clients:
        dead.stop()
        killer = clients[0]
        eventually("the arbiter ejected it", lambda: killer.ask("/page").status == 200 and is_down(accel, dead))
        refused = accel.counter("fetch_connect_failures")
        statuses = {client.ask("/page").status for client in clients}

    assert statuses == {200}
    assert accel.counter("fetch_connect_failures") == refused, "a worker still tried the dead backend"
    assert refused <= 4, "three failures eject it, wherever they happened"


def is_down(accel: Accel, origin: FaultOrigin) -> bool:
    return bool(accel.backends()[origin.backend]["state"] == "down")


def test_only_what_a_dying_backend_had_taken_fails_under_load(
    start_accel: StartAccel, pool: list[FaultOrigin]
) -> None:
    serve(pool, "/page")
    accel = start_accel(backends(pool), *QUICK_PROBES)
    mortal = pool[1]

    with Load(accel.port, ["/page"], connections=8) as load:
        mortal.stop()
        accel.wait_backend(mortal.backend, "down")
        load.wait_more(100)
        before = len(mortal.asked("/page"))
        mortal.start()
        accel.wait_backend(mortal.backend, "up")
        mortal.wait_asked("/page", before + 10)

    assert [failure.why for failure in load.failures] == []
    assert set(load.statuses) <= {200, 502}
    assert load.statuses[502] <= 8, "each of eight connections had one exchange at most with it"
    assert " backend-down " in accel.log and " backend-up " in accel.log


def test_a_probe_that_fails_takes_a_backend_out_and_one_that_passes_brings_it_back(
    start_accel: StartAccel, pool: list[FaultOrigin]
) -> None:
    serve(pool, "/page")
    for origin in pool:
        origin.on("/healthz", reply(b"well"))
    sick = pool[2]
    accel = start_accel(backends(pool), *QUICK_PROBES, "--probe", "/healthz")

    sick.on("/healthz", reply(b"sick", status=500))
    accel.wait_backend(sick.backend, "down")
    for _ in range(9):
        ask(accel, "/page")
    while_sick = shares(pool, "/page")
    why = accel.backends()[sick.backend]["why"]
    sick.on("/healthz", reply(b"well"))
    accel.wait_backend(sick.backend, "up")
    for _ in range(8):
        ask(accel, "/page")

    assert while_sick == [3, 3, 0, 3]
    assert why == "status 500"
    assert len(sick.asked("/page")) == 2


def test_a_backend_that_hangs_leaves_rotation_with_its_third_time_out(
    start_accel: StartAccel, pool: list[FaultOrigin]
) -> None:
    serve(pool, "/page")
    hanging = pool[1]
    hanging.on("/page", gated(reply(b"late", NEVER_STORED)))
    accel = start_accel(backends(pool), "--first-byte-timeout", "200ms", "--probe-interval", "60s")

    answers = [ask(accel, "/page") for _ in range(40)]

    assert Counter(answer.status for answer in answers) == {200: 37, 504: 3}
    assert is_down(accel, hanging)
    assert accel.backends()[hanging.backend]["why"] == "no answer in time"


def test_a_draining_backend_ends_what_it_has_and_gets_nothing_new(
    start_accel: StartAccel, pool: list[FaultOrigin]
) -> None:
    serve(pool, "/page")
    leaving = pool[3]
    for origin in pool:
        origin.on("/slow", gated(reply(b"whole", NEVER_STORED)))
    accel = start_accel(backends(pool))
    with several_clients(accel, 4) as slow:
        for number, client in enumerate(slow):
            client.begin(f"/slow?{number}")
        for origin in pool:
            origin.wait_asked("/slow")
        accel.admin("POST", "/drain", {"backend": leaving.backend})
        for _ in range(30):
            ask(accel, "/page")
        drained = len(leaving.asked("/page"))
        row = accel.backends()[leaving.backend]
        for origin in pool:
            origin.open_gate()
        bodies = [client.answer().body for client in slow]
    accel.admin("POST", "/undrain", {"backend": leaving.backend})
    for _ in range(40):
        ask(accel, "/page")

    assert (drained, row["state"], row["in_flight"]) == (0, "draining", 1)
    assert bodies == [b"whole"] * 4
    assert len(leaving.asked("/page")) == 10


def test_draining_an_unknown_backend_names_those_there_are(start_accel: StartAccel, fault: FaultOrigin) -> None:
    accel = start_accel([fault.backend])

    status, payload = accel.admin_answer("POST", "/drain", {"backend": "127.0.0.1:1"})

    assert status == 404
    assert fault.backend in payload["error"]


def test_all_backends_down_is_a_503_at_once_and_their_return_ends_it(start_accel: StartAccel) -> None:
    ports = free_ports(2)
    accel = start_accel([f"127.0.0.1:{port}" for port in ports], *QUICK_PROBES)

    answers = [ask(accel, "/page") for _ in range(10)]
    origin = FaultOrigin(port=ports[0])
    origin.on("/page", reply(b"back", NEVER_STORED))
    try:
        origin.start()
        accel.wait_backend(origin.backend, "up")
        back = ask(accel, "/page")
    finally:
        origin.end()

    assert {answer.status for answer in answers} == {503}
    assert {answer.fields["cache-control"] for answer in answers} == {"no-store"}
    assert back.body == b"back"
    assert accel.admin_answer("GET", "/readyz")[0] == 200


def test_a_full_pool_lets_requests_wait_their_turn(start_accel: StartAccel, fault: FaultOrigin) -> None:
    fault.on("/slow", gated(reply(b"slow", NEVER_STORED)))
    accel = start_accel([fault.backend], "--max-connections", "2", "--queue-timeout", "20s")
    with several_clients(accel, 6) as clients:
        for number, client in enumerate(clients):
            client.begin(f"/slow?{number}")
        fault.wait_asked("/slow", 2)
        eventually("all are in", lambda: sum(accel.connections()) == 6)
        in_flight = accel.backends()[fault.backend]["in_flight"]
        fault.open_gate()
        statuses = [client.answer().status for client in clients]

    assert in_flight == 2
    assert statuses == [200] * 6
