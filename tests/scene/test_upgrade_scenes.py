"""USR2, WINCH and QUIT while clients are there: the next program takes over, fails, dies, or is taken back."""

from __future__ import annotations

import http.client
import os
import signal
import socket
from collections import Counter
from pathlib import Path

import pytest
from accel_process import StartAccel
from children import SOON_S, eventually, is_alive
from fault_origin import FaultOrigin, StartFaultOrigin, reply
from http_clients import Load, ask, several_clients
from programs import (
    NEVER_STORED,
    begin_upgrade,
    facts,
    in_charge,
    retire,
    stop,
    title,
    upgrade,
    wait_alone,
    wait_in_charge,
    with_file,
    with_pages,
)

pytestmark = pytest.mark.scene
PRIVATE = ("--store-kind", "private")


@pytest.fixture
def origin(fault: FaultOrigin) -> FaultOrigin:
    """Return an origin with the pages of these scenes."""
    return with_pages(fault)


@pytest.mark.parametrize("flags", [(), PRIVATE, ("--reuseport",)], ids=["shared", "private", "reuseport"])
def test_upgrades_under_load_fail_nobody(flags: tuple[str, ...], start_accel: StartAccel, origin: FaultOrigin) -> None:
    accel = start_accel([origin.backend], *flags)

    with Load(accel.port, ["/page", "/passed"]) as load:
        for _ in range(2):
            old = in_charge(accel)
            assert upgrade(accel) != old
            load.wait_more(100)
            retire(accel, old)
            load.wait_more(100)

    assert load.failures == []
    assert set(load.statuses) == {200}
    assert len(origin.asked("/page")) == 1 or flags == PRIVATE, "what is stored goes on being a hit"
    assert accel.child.wait() == 0
    stop(accel)


def test_upgrades_under_load_lose_and_double_no_line_of_the_access_log(
    start_accel: StartAccel, origin: FaultOrigin, tmp_path: Path
) -> None:
    log = tmp_path / "access.log"
    accel = start_accel([origin.backend], "--access-log", str(log))
    targets = ["/page", *(f"/passed?{number}" for number in range(1000))]

    with Load(accel.port, targets) as load:
        for _ in range(2):
            old = in_charge(accel)
            upgrade(accel)
            load.wait_more(100)
            retire(accel, old)
            load.wait_more(100)
    stop(accel)

    assert load.failures == []
    logged = Counter(line.split()[6] for line in log.read_text().splitlines())
    assert logged == load.answered


def test_a_purge_through_either_program_holds_in_both(start_accel: StartAccel, origin: FaultOrigin) -> None:
    accel = start_accel([origin.backend])

    with several_clients(accel, 1) as [of_the_old]:
        first = of_the_old.ask("/page").served
        upgrade(accel)
        accel.admin("POST", "/purge", {"urls": ["http://scene/page"]})
        second = of_the_old.ask("/page").served
        of_the_old.ask("/page", "PURGE")
        others = {ask(accel, "/page").served for _ in range(16)}

    assert first != second
    assert others.isdisjoint({first, second})
    assert len(others) == 1
    retire(accel, accel.child.pid)
    stop(accel)


def test_what_the_old_program_fetches_is_a_hit_in_the_new_one(start_accel: StartAccel, origin: FaultOrigin) -> None:
    accel = start_accel([origin.backend])
    old = in_charge(accel)

    with several_clients(accel, 1) as [of_the_old]:
        of_the_old.ask("/passed")
        upgrade(accel)
        served = of_the_old.ask("/page").served
        retire(accel, old)
    answer = ask(accel, "/page")

    assert answer.is_hit
    assert answer.served == served
    stop(accel)


def test_a_store_of_another_size_begins_anew_and_says_so(
    start_accel: StartAccel, origin: FaultOrigin, tmp_path: Path
) -> None:
    path = tmp_path / "accel.toml"
    accel = with_file(start_accel, origin, path)
    ask(accel, "/page")
    path.write_text('memory = "64m"')

    with Load(accel.port, ["/page", "/passed"]) as load:
        old = in_charge(accel)
        upgrade(accel)
        retire(accel, old)
        load.wait_more(100)

    assert load.failures == []
    assert " store-cold why='it was made for another --memory'" in accel.log
    assert len(origin.asked("/page")) == 2
    stop(accel)


def test_one_socket_a_worker_may_come_and_go_with_an_upgrade(
    start_accel: StartAccel, origin: FaultOrigin, tmp_path: Path
) -> None:
    path = tmp_path / "accel.toml"
    accel = with_file(start_accel, origin, path)

    with Load(accel.port, ["/page", "/passed"]) as load:
        for setting in ("reuseport = true", ""):
            path.write_text(setting)
            old = in_charge(accel)
            upgrade(accel)
            retire(accel, old)
            load.wait_more(100)

    assert load.failures == []
    stop(accel)


def test_a_store_in_a_file_is_taken_over_and_kept_for_the_next_start(
    start_accel: StartAccel, origin: FaultOrigin, tmp_path: Path
) -> None:
    flags = ("--store", str(tmp_path / "store"))
    accel = start_accel([origin.backend], *flags)
    ask(accel, "/page")
    old = in_charge(accel)

    upgrade(accel)
    retire(accel, old)
    taken_over = ask(accel, "/page")
    stop(accel)
    kept = ask(start_accel([origin.backend], *flags), "/page")

    assert taken_over.is_hit
    assert kept.is_hit


def test_an_exchange_and_an_idle_connection_of_the_old_program_end_well(
    start_accel: StartAccel, origin: FaultOrigin
) -> None:
    accel = start_accel([origin.backend])
    old = in_charge(accel)

    with several_clients(accel, 2) as [busy, idle]:
        idle.ask("/passed")
        busy.begin("/slow")
        origin.wait_asked("/slow")
        upgrade(accel)
        served = idle.ask("/passed")
        os.kill(old, signal.SIGQUIT)
        accel.child.wait_for(" stopping ")
        eventually("its worker hears of it", lambda: idle.ask("/passed").fields.get("connection") == "close")
        origin.open_gate()
        answer = busy.answer()

    assert answer.body == b"whole"
    assert served.status == 200
    assert answer.fields["connection"] == "close"
    wait_alone(accel)
    stop(accel)


def test_until_it_is_ready_the_old_program_answers_and_then_the_new_one(
    start_accel: StartAccel, origin: FaultOrigin
) -> None:
    accel = start_accel([origin.backend])
    old = in_charge(accel)

    new = begin_upgrade(accel)
    starting = facts(accel)["upgrade"]
    wait_in_charge(accel, new)
    replacing = facts(accel)["upgrade"]
    retire(accel, old)

    assert starting in ({"phase": "starting", "other_pid": new, "failure": None}, replacing)
    assert replacing == {"phase": "replacing", "other_pid": old, "failure": None}
    stop(accel)


def test_process_ids_and_titles_say_which_program_is_which(
    start_accel: StartAccel, origin: FaultOrigin, tmp_path: Path
) -> None:
    pid_file = tmp_path / "accel.pid"
    accel = start_accel([origin.backend], "--pid", str(pid_file))
    old = in_charge(accel)

    new = upgrade(accel)
    written = pid_file.read_text(), Path(f"{pid_file}.oldbin").read_text()
    titles = title(old), title(new)
    retire(accel, old)
    files = sorted(path.name for path in tmp_path.glob("accel.pid*"))
    stop(accel)

    assert written == (f"{new}\n", f"{old}\n")
    assert titles == ("accel: old arbiter scene", "accel: arbiter scene")
    assert files == ["accel.pid"]
    assert not pid_file.exists()
    assert not accel.admin_path.exists()


def test_winch_sends_the_old_workers_away_and_hup_brings_them_back(
    start_accel: StartAccel, origin: FaultOrigin
) -> None:
    accel = start_accel([origin.backend])
    old, old_workers = in_charge(accel), accel.worker_pids()

    with Load(accel.port, ["/page", "/passed"]) as load:
        new = upgrade(accel)
        os.kill(old, signal.SIGWINCH)
        eventually("the old workers are gone", lambda: not any(map(is_alive, old_workers)))
        load.wait_more(100)
        os.kill(old, signal.SIGHUP)
        accel.child.wait_for(" workers-wanted count=2")
        os.kill(new, signal.SIGQUIT)
        wait_in_charge(accel, old)
        wait_alone(accel)
        load.wait_more(100)

    assert load.failures == []
    assert len(accel.accepting_pids()) == 2
    assert f" successor-gone pid={new} why='exit code 0'" in accel.log


def test_winch_without_a_new_program_is_not_obeyed(start_accel: StartAccel, origin: FaultOrigin) -> None:
    """A terminal that changes its size sends it, too."""
    accel = start_accel([origin.backend])

    accel.send(signal.SIGWINCH)
    accel.child.wait_for(" signal-ignored signal=SIGWINCH ")

    assert ask(accel, "/page").status == 200


def test_a_unix_sockets_path_stays_until_the_last_program_has_gone(
    start_accel: StartAccel, origin: FaultOrigin, tmp_path: Path
) -> None:
    path = tmp_path / "clients.sock"
    accel = start_accel([origin.backend], "--listen", f"unix:{path}")
    old = in_charge(accel)

    upgrade(accel)
    both = {ask_unix(path) for _ in range(20)}
    retire(accel, old)
    alone = ask_unix(path)
    stop(accel)

    assert both == {200}
    assert alone == 200
    assert not path.exists()


def ask_unix(path: Path) -> int:
    """Return the status of a page asked for through a unix socket."""
    connection = http.client.HTTPConnection("scene", timeout=SOON_S)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(SOON_S)
    connection.sock.connect(str(path))
    try:
        connection.request("GET", "/passed")
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_drained_backend_stays_drained(start_accel: StartAccel, start_fault_origin: StartFaultOrigin) -> None:
    kept, drained = (start_fault_origin() for _ in range(2))
    for origin in (kept, drained):
        origin.on("/passed", reply(b"passed", NEVER_STORED))
    accel = start_accel([kept.backend, drained.backend])
    accel.admin("POST", "/drain", {"backend": drained.backend})
    old = in_charge(accel)

    upgrade(accel)
    retire(accel, old)
    statuses = {ask(accel, "/passed").status for _ in range(10)}

    assert statuses == {200}
    assert accel.backends()[drained.backend]["state"] == "draining"
    assert drained.asked("/passed") == []
    stop(accel)


def test_an_address_that_the_new_configuration_adds_is_listened_on_and_one_that_it_lacks_is_left(
    start_accel: StartAccel, origin: FaultOrigin, tmp_path: Path
) -> None:
    gone, added = tmp_path / "gone.sock", tmp_path / "added.sock"
    path = tmp_path / "accel.toml"
    path.write_text(f'listen = ["unix:{gone}"]')
    accel = start_accel([origin.backend], "--config", str(path), listens=False)
    path.write_text(f'listen = ["unix:{added}"]')
    old = in_charge(accel)

    upgrade(accel)
    both = ask_unix(gone), ask_unix(added)
    retire(accel, old)

    assert both == (200, 200)
    assert ask_unix(added) == 200
    assert not gone.exists()
    stop(accel)


def test_systemd_is_told_which_process_is_the_main_one(
    start_accel: StartAccel, origin: FaultOrigin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(SOON_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        accel = start_accel([origin.backend])
        old = in_charge(accel)
        new = upgrade(accel)
        os.kill(new, signal.SIGTERM)
        wait_in_charge(accel, old)
        wait_alone(accel)
        said = [systemd.recv(1000).decode().splitlines() for _ in range(6)]

    assert said[0] == ["READY=1"]
    assert [f"MAINPID={new}"] in said
    assert said.index([f"MAINPID={old}", "READY=1"]) > said.index(["STOPPING=1"])
