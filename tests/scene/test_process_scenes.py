"""Processes that are killed, stopped, stuck, added, retired and suspended while clients are there."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from accel_process import Accel, StartAccel
from children import answers, eventually, is_alive
from fault_origin import FaultOrigin, gated, reply
from http_clients import Load, Raw, ask, several_clients

pytestmark = pytest.mark.scene
DEAD_REPLACED_S = 1.0
STUCK_REPLACED_S = 4.0
"""The promises, with the default `--worker-timeout` of 3 s."""
LOOPING = (str(Path(__file__).with_name("looping_accel.py")),)


@pytest.fixture
def origin(fault: FaultOrigin) -> FaultOrigin:
    """Return an origin with a page that may be stored, and one that answers when its gate is open."""
    fault.on("/page", reply(b"page", "Cache-Control: max-age=600"))
    fault.on("/slow", gated(reply(b"whole", "Cache-Control: no-store")))
    return fault


def wait_replaced(accel: Accel, pid: int, within_s: float) -> None:
    """Wait until two workers accept and `pid` is none of them."""

    def is_replaced() -> bool:
        pids = accel.accepting_pids()
        return len(pids) == 2 and pid not in pids

    eventually(f"worker {pid} is replaced", is_replaced, within_s)


def check_only_its_own_failed(load: Load, held: int) -> None:
    """Fail unless at most `held` connections of the load had one failure each."""
    failed = Counter(failure.client for failure in load.failures)
    assert len(failed) <= held, load.failures
    assert set(failed.values()) <= {1}, load.failures
    assert set(load.statuses) == {200}


def test_a_killed_worker_takes_only_its_own_exchanges_with_it(start_accel: StartAccel, origin: FaultOrigin) -> None:
    accel = start_accel([origin.backend])

    with Load(accel.port, ["/page"]) as load:
        victim, other = accel.workers()
        requests = accel.counter("requests")
        os.kill(victim["pid"], signal.SIGKILL)
        wait_replaced(accel, victim["pid"], DEAD_REPLACED_S)
        load.wait_more(200)

    check_only_its_own_failed(load, victim["connections"])
    assert other["pid"] in accel.worker_pids()
    assert accel.counter("requests") >= requests, "the successor counts on"
    assert f" worker-died worker=1 pid={victim['pid']} why='signal SIGKILL'" in accel.log
    assert accel.workers()[0]["restarts"] == 1


def test_a_killed_workers_fetches_no_longer_count_as_load(start_accel: StartAccel, origin: FaultOrigin) -> None:
    accel = start_accel([origin.backend])
    with several_clients(accel, 20) as clients:
        for number, client in enumerate(clients):
            client.begin(f"/slow?{number}")
        origin.wait_asked("/slow", 20)
        for pid in accel.worker_pids():
            os.kill(pid, signal.SIGKILL)
            wait_replaced(accel, pid, DEAD_REPLACED_S)
        in_flight = accel.backends()[origin.backend]["in_flight"]

    assert in_flight == 0
    assert accel.connections() == [0, 0]


def test_a_stopped_worker_is_dumped_and_replaced_and_the_other_serves_on(
    start_accel: StartAccel, origin: FaultOrigin
) -> None:
    accel = start_accel([origin.backend])
    accel.expects_dump = True

    with Load(accel.port, ["/page"]) as load:
        victim = accel.workers()[0]
        os.kill(victim["pid"], signal.SIGSTOP)
        newcomers = {ask(accel, "/page").status for _ in range(50)}
        wait_replaced(accel, victim["pid"], STUCK_REPLACED_S)
        load.wait_more(200)

    check_only_its_own_failed(load, victim["connections"])
    assert newcomers == {200}
    check_dumped(accel, victim["pid"])


def test_a_looping_worker_is_dumped_and_replaced_and_the_other_serves_on(
    start_accel: StartAccel, origin: FaultOrigin
) -> None:
    accel = start_accel([origin.backend], program=LOOPING)
    accel.expects_dump = True

    with Raw(accel.port) as looping:
        looping.get("/loop")
        victim = eventually("a heart has stopped", lambda: silent_worker(accel))
        newcomers = {ask(accel, "/page").status for _ in range(50)}
        wait_replaced(accel, victim, STUCK_REPLACED_S)
        assert looping.ended()

    assert newcomers == {200}
    check_dumped(accel, victim)
    assert 'looping_accel.py", line' in accel.log, "the stacks say where"


def silent_worker(accel: Accel) -> int | None:
    """Return the process id of a worker that has missed two heartbeats."""
    return next((row["pid"] for row in accel.workers() if row["heartbeat_age_s"] > 0.5), None)


def check_dumped(accel: Accel, pid: int) -> None:
    """Fail unless the log has the stacks of the stuck worker, and no other worker died."""
    assert "Fatal Python error: Aborted" in accel.log
    assert "most recent call first" in accel.log
    assert accel.log.count(" worker-died ") == 1
    assert f" pid={pid} why='signal SIGABRT'" in accel.log


def test_workers_finish_what_they_have_and_leave_when_the_arbiter_is_killed(
    start_accel: StartAccel, origin: FaultOrigin
) -> None:
    accel = start_accel([origin.backend])
    port, pids = accel.port, accel.worker_pids()

    with several_clients(accel, 1) as [client]:
        client.begin("/slow")
        origin.wait_asked("/slow")
        accel.send(signal.SIGKILL)
        accel.child.wait()
        eventually("nobody accepts any more", lambda: not answers(port))
        origin.open_gate()
        answer = client.answer()

    assert answer.body == b"whole"
    eventually("the workers are gone", lambda: not any(map(is_alive, pids)))
    assert accel.log.count(" arbiter-gone ") == 2
    accel.check_log()


def test_workers_come_and_go_by_signal_and_nobody_notices(start_accel: StartAccel, origin: FaultOrigin) -> None:
    accel = start_accel([origin.backend])

    with Load(accel.port, ["/page"]) as load:
        for _ in range(2):
            accel.send(signal.SIGTTIN)
            eventually("three workers", lambda: len(accel.accepting_pids()) == 3)
            load.wait_more(50)
            accel.send(signal.SIGTTOU)
            eventually("two workers", lambda: len(accel.worker_pids()) == 2)
            load.wait_more(50)

    assert load.failures == []
    assert set(load.statuses) == {200}


def test_the_last_worker_is_not_retired(start_accel: StartAccel, origin: FaultOrigin) -> None:
    accel = start_accel([origin.backend], workers=1)

    accel.send(signal.SIGTTOU)
    accel.child.wait_for(" worker-count-refused ")

    assert ask(accel, "/page").status == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_a_graceful_stop_lets_an_exchange_end(
    number: signal.Signals, start_accel: StartAccel, origin: FaultOrigin
) -> None:
    accel = start_accel([origin.backend])
    port = accel.port

    with several_clients(accel, 2) as [busy, idle]:
        idle.ask("/page")
        busy.begin("/slow")
        origin.wait_asked("/slow")
        accel.send(number)
        eventually("nobody accepts any more", lambda: not answers(port))
        last = idle.ask("/page")
        origin.open_gate()
        answer = busy.answer()

    assert answer.body == b"whole"
    assert answer.fields["connection"] == last.fields["connection"] == "close"
    assert accel.child.wait() == 0
    accel.check_log()


def test_a_graceful_stop_under_load_cuts_nobody_off(start_accel: StartAccel, origin: FaultOrigin) -> None:
    """Every client is told `Connection: close` with an answer; after that, new connections are refused.

    One may come in the instant between a worker's last accept and its close.
    """
    origin.on("/passed", reply(b"passed", "Cache-Control: no-store"))
    accel = start_accel([origin.backend])

    with Load(accel.port, ["/page", "/passed"], connections=16) as load:
        accel.send(signal.SIGTERM)
        code = accel.child.wait()

    assert code == 0
    assert load.reconnects >= 16
    assert set(load.statuses) == {200}
    assert not any(failure.answers for failure in load.failures)
    assert sum("refused" not in failure.why for failure in load.failures) <= 1
    accel.check_log()


@pytest.mark.parametrize("numbers", [[signal.SIGINT], [signal.SIGTERM, signal.SIGTERM]], ids=["INT", "TERM-TERM"])
def test_a_hurried_stop_waits_for_no_exchange(
    numbers: list[signal.Signals], start_accel: StartAccel, origin: FaultOrigin
) -> None:
    accel = start_accel([origin.backend])

    with Raw(accel.port) as client:
        client.get("/slow")
        origin.wait_asked("/slow")
        for number in numbers:
            accel.send(number)
            accel.child.wait_for(" stopping ")
        assert accel.child.wait() == 0
        assert client.ended()

    accel.check_log()


def test_a_graceful_stop_does_not_wait_for_ever(start_accel: StartAccel, origin: FaultOrigin) -> None:
    accel = start_accel([origin.backend], "--graceful-timeout", "300ms")

    with Raw(accel.port) as client:
        client.get("/slow")
        origin.wait_asked("/slow")
        accel.send(signal.SIGTERM)
        assert accel.child.wait() == 0
        assert client.ended()

    accel.check_log()


def test_rotating_the_access_log_under_load_loses_no_line(
    start_accel: StartAccel, origin: FaultOrigin, tmp_path: Path
) -> None:
    log = tmp_path / "access.log"
    accel = start_accel([origin.backend], "--access-log", str(log))

    with Load(accel.port, ["/page"]) as load:
        for turn in range(3):
            log.rename(tmp_path / f"access.log.{turn}")
            accel.send(signal.SIGUSR1)
            eventually("a new log is written", lambda: log.exists() and log.stat().st_size > 0)
    accel.stop()

    lines = [line for path in tmp_path.glob("access.log*") for line in path.read_text().splitlines()]
    assert len(lines) == load.done
    assert all(' "GET /page HTTP/1.1" 200 ' in line for line in lines)
    assert load.failures == []


def test_a_suspended_machine_is_no_reason_to_kill_anybody(start_accel: StartAccel, origin: FaultOrigin) -> None:
    accel = start_accel([origin.backend], "--worker-timeout", "1s")
    pids = accel.worker_pids()
    accel.child.send_to_group(signal.SIGSTOP)
    time.sleep(3)  # the suspension itself, three times what a worker may be silent
    accel.child.send_to_group(signal.SIGCONT)
    woken_at = min(row["age_s"] for row in accel.workers())

    eventually(
        "every worker could have been judged since", lambda: min(row["age_s"] for row in accel.workers()) > woken_at + 2
    )

    assert accel.worker_pids() == pids
    assert " worker-stuck " not in accel.log


def test_a_thousand_new_connections_are_spread_fairly(start_accel: StartAccel, origin: FaultOrigin) -> None:
    accel = start_accel([origin.backend])

    with several_clients(accel, 1000) as clients:
        for client in clients:
            client.begin("/page")
        statuses = {client.answer().status for client in clients}
        held = accel.connections()

    assert statuses == {200}
    assert sum(held) == 1000
    assert all(250 <= count <= 1000 for count in held), held


def test_a_few_connections_that_come_at_once_do_not_all_stay_with_one_worker(
    start_accel: StartAccel, origin: FaultOrigin
) -> None:
    accel = start_accel([origin.backend])

    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Raw(accel.port)) for _ in range(16)]
        eventually("all are taken", lambda: sum(accel.connections()) == len(clients))
        held = accel.connections()

    assert min(held) >= 2, held


def test_workers_that_die_at_once_are_replaced_ever_more_slowly(start_accel: StartAccel, origin: FaultOrigin) -> None:
    accel = start_accel([origin.backend], workers=1)
    pids: list[int] = []
    for _ in range(3):
        [pid] = eventually("a new worker", lambda: [pid for pid in accel.worker_pids() if pid not in pids])
        os.kill(pid, signal.SIGKILL)
        pids.append(pid)

    eventually("a worker accepts again", accel.accepting_pids)

    assert " crash-loop next_worker_in_s=0.25" in accel.log
    assert ask(accel, "/page").status == 200


def test_everything_at_once_leaves_a_sound_accel(start_accel: StartAccel, origin: FaultOrigin) -> None:
    """Kills, reloads, purges and more or fewer workers, in an order that is the same each time, under load."""
    origin.on("/passed", reply(b"passed", "Cache-Control: no-store"))
    accel = start_accel([origin.backend])
    order = random.Random(5)
    number_of = {"reload": signal.SIGHUP, "more": signal.SIGTTIN, "fewer": signal.SIGTTOU, "logs": signal.SIGUSR1}
    kills = 0

    with Load(accel.port, ["/page", "/passed"], connections=12) as load:
        for _ in range(40):
            deed = order.choice(["kill", "purge", *number_of])
            if deed == "kill":
                os.kill(eventually("a worker that is no newcomer", lambda: grown_worker(accel)), signal.SIGKILL)
                kills += 1
            elif deed == "purge":
                accel.admin("POST", "/purge", {"urls": ["http://scene/page"]})
            else:
                accel.send(number_of[deed])
            load.wait_more(50)
    eventually("nothing is in flight", lambda: accel.backends()[origin.backend]["in_flight"] == 0)
    eventually("every worker accepts", lambda: len(accel.accepting_pids()) == accel.admin("GET", "/facts")["workers"])

    assert kills >= 5
    assert len(load.failures) <= 12 * kills, "no client fails more than once for each kill"
    assert set(load.statuses) == {200}


def grown_worker(accel: Accel) -> int | None:
    """Return the process id of a worker whose death is no sign of a crash loop."""
    return next((row["pid"] for row in accel.workers() if row["age_s"] > 0.6), None)


def test_process_titles_say_which_is_which(start_accel: StartAccel, origin: FaultOrigin) -> None:
    accel = start_accel([origin.backend])

    pids = (accel.child.pid, *accel.worker_pids())
    titles = [Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0 ") for pid in pids]

    assert titles == [b"accel: arbiter scene", b"accel: worker 1 scene", b"accel: worker 2 scene"]


def test_its_facts_can_be_asked_for_while_it_stops(start_accel: StartAccel, origin: FaultOrigin) -> None:
    accel = start_accel([origin.backend], workers=1)
    address = f"127.0.0.1:{accel.port}"

    with several_clients(accel, 1) as [client]:
        client.begin("/slow")
        origin.wait_asked("/slow")
        accel.send(signal.SIGTERM)
        accel.child.wait_for(" stopping ")
        facts = accel.admin("GET", "/facts")
        origin.open_gate()
        assert client.answer().status == 200

    assert facts["listeners"] == [address]
    assert accel.child.wait(10) == 0


def test_what_a_killed_worker_had_answered_is_in_the_access_log(
    start_accel: StartAccel, origin: FaultOrigin, tmp_path: Path
) -> None:
    log = tmp_path / "access.log"
    accel = start_accel([origin.backend], "--access-log", str(log))
    victim = accel.workers()[0]

    with Load(accel.port, ["/page"]) as load:
        eventually("it has answered", lambda: load.done > 200)
        os.kill(victim["pid"], signal.SIGKILL)
        eventually("another has its place", lambda: len(accel.workers()) == 2)
    accel.stop()

    answered = log.read_text().count(' "GET /page HTTP/1.1" 200 ')
    assert answered >= load.done
    assert len(log.read_text().splitlines()) - answered <= len(load.failures)


def test_a_pipe_that_nobody_reads_holds_up_nobody_and_is_said(
    start_accel: StartAccel, origin: FaultOrigin, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "log")
    reading = os.open(tmp_path / "log", os.O_RDONLY | os.O_NONBLOCK)
    flags = ("--access-log", str(tmp_path / "log"), "--log-memory", "256k")
    accel = start_accel([origin.backend], *flags)

    with Load(accel.port, ["/page"]) as load:
        eventually("the pipe is full, and the rings too", lambda: load.done > 8_000, 60)
        eventually("it is said", lambda: " access-log-failing why='nobody reads it' " in accel.log)
    accel.stop()

    assert load.failures == []
    assert " access-log-ended lost=" in accel.log
    os.close(reading)
