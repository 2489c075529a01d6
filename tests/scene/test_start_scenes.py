"""How accel starts, what it says when it cannot, and what it leaves behind."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from accel_process import Accel, StartAccel
from children import free_ports
from fault_origin import FaultOrigin, reply
from http_clients import Raw, ask

pytestmark = pytest.mark.scene


def run(*flags: str) -> subprocess.CompletedProcess[str]:
    """Run accel until it ends by itself."""
    return subprocess.run(
        [sys.executable, "-m", "accel", *flags], capture_output=True, text=True, timeout=10, check=False
    )


def test_it_says_one_fact_a_line(start_accel: StartAccel, fault: FaultOrigin) -> None:
    accel = start_accel([fault.backend], "--memory", "64m")

    said = [line.split(" ")[1] for line in accel.log.splitlines()]

    assert said == ["accel", "listening", "workers", "backend", "memory", "admin", "ready"]
    assert f" backend address={fault.backend} " in accel.log
    assert " memory bytes=67108864 " in accel.log


def test_a_wrong_option_is_exit_code_2_and_says_what_would_do() -> None:
    ended = run("--backend", "127.0.0.1:8001", "--memory", "much")

    assert ended.returncode == 2
    assert "--memory: 'much' will not do" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_taken_port_is_exit_code_1_and_says_who_has_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = run("-b", "127.0.0.1:8001", "-l", address, "--admin", f"unix:{tmp_path / 'admin'}")

    assert ended.returncode == 1
    assert address in ended.stderr and f"(process {os.getpid()})" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_checking_starts_nothing() -> None:
    ended = run("--backend", "127.0.0.1:8001-8008", "--check")

    assert ended.returncode == 0
    assert ended.stdout.startswith("configuration is good")


def test_a_second_one_of_the_same_name_is_refused_and_the_first_serves_on(
    start_accel: StartAccel, fault: FaultOrigin
) -> None:
    fault.on("/page", reply(b"page"))
    accel = start_accel([fault.backend])

    ended = run("-b", fault.backend, "-l", "127.0.0.1:0", "--admin", f"unix:{accel.admin_path}")

    assert ended.returncode == 1
    assert str(accel.admin_path) in ended.stderr
    assert accel.admin("GET", "/healthz") == {"ok": True}
    assert ask(accel, "/page").status == 200


def test_what_a_killed_one_left_behind_is_no_hindrance(start_accel: StartAccel, fault: FaultOrigin) -> None:
    fault.on("/page", reply(b"page"))
    killed = start_accel([fault.backend])
    killed.send(signal.SIGKILL)
    killed.child.wait()
    directory = killed.admin_path.parent

    accel = Accel(directory, [fault.backend])
    try:
        accel.wait_ready()
        assert ask(accel, "/page").status == 200
        accel.stop()
    finally:
        accel.end()


def test_files_that_it_makes_are_gone_when_it_has_stopped(
    start_accel: StartAccel, fault: FaultOrigin, tmp_path: Path
) -> None:
    pid_file = tmp_path / "accel.pid"
    accel = start_accel([fault.backend], "--pid", str(pid_file))
    written = pid_file.read_text()
    mode = stat.S_IMODE(accel.admin_path.stat().st_mode)

    accel.stop()

    assert written == f"{accel.child.pid}\n"
    assert mode == 0o600
    assert not pid_file.exists()
    assert not accel.admin_path.exists()


def test_all_addresses_are_those_of_both_families(start_accel: StartAccel, fault: FaultOrigin) -> None:
    fault.on("/page", reply(b"page", "Cache-Control: no-store"))
    [port] = free_ports(1)
    start_accel([fault.backend], "--listen", f":{port}")

    for host in loopback_hosts():
        with socket.create_connection((host, port), timeout=10) as client:
            client.sendall(b"GET /page HTTP/1.1\r\nHost: scene\r\nConnection: close\r\n\r\n")
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert [seen.fields["x-forwarded-for"] for seen in fault.asked("/page")] == loopback_hosts()


def loopback_hosts() -> list[str]:
    """Return this machine's loopback addresses; a container may have no IPv6."""
    addresses = Path("/proc/net/if_inet6")
    has_ipv6 = addresses.exists() and "lo\n" in addresses.read_text()
    return ["127.0.0.1", "::1"] if has_ipv6 else ["127.0.0.1"]


def test_one_socket_a_worker_serves_too(start_accel: StartAccel, fault: FaultOrigin) -> None:
    fault.on("/page", reply(b"page", "Cache-Control: max-age=60"))
    accel = start_accel([fault.backend], "--reuseport")

    assert {ask(accel, "/page").status for _ in range(50)} == {200}


def test_an_access_log_that_cannot_be_written_is_exit_code_1(tmp_path: Path) -> None:
    ended = run(
        *("-b", "127.0.0.1:8001", "-l", "127.0.0.1:0", "--admin", f"unix:{tmp_path / 'admin'}"),
        *("--access-log", str(tmp_path / "missing" / "log")),
    )

    assert ended.returncode == 1
    assert "--access-log" in ended.stderr and "Traceback" not in ended.stderr


def test_its_own_standard_error_may_be_closed(start_accel: StartAccel, fault: FaultOrigin) -> None:
    """An operator's terminal goes away; what is said goes nowhere and the service goes on."""
    fault.on("/page", reply(b"page", "Cache-Control: no-store"))
    [port] = free_ports(1)
    command = [sys.executable, "-m", "accel", "-b", fault.backend, "-l", f"127.0.0.1:{port}", "--name", f"x{port}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True) as process:
        try:
            assert process.stderr is not None
            while b" ready " not in process.stderr.readline():
                pass
            process.stderr.close()
            process.send_signal(signal.SIGHUP)
            process.send_signal(signal.SIGTTIN)
            with Raw(port) as client:
                client.get("/page")
                client.receive_until(b"page")
            process.terminate()
            assert process.wait(10) == 0
        finally:
            process.kill()
