"""Server CPU a request, accel beside nginx's proxy_cache, in one run: a 1 KiB hit, a pass and a stored miss.

    python tests/bench/against_nginx.py [--rounds 5] [--seconds 3]

Both servers have one worker on core 0; the load generator (wrk) and the origin (nginx) have core 1. The figure is
user plus system time of the server's processes over the requests that wrk counted, the median of all rounds, which
take turns.
Needs nginx and wrk (Debian: nginx-light, wrk) and two cores.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

FIELDS = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-US,en;q=0.5",
    "Accept-Encoding": "gzip, deflate, br",
    "Connection": "keep-alive",
    "Upgrade-Insecure-Requests": "1",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "none",
    "Priority": "u=0, i",
}
ORIGIN = """
worker_processes 1; daemon off; pid {dir}/origin.pid; error_log {dir}/origin.err;
events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 100000000; client_body_temp_path {dir}/o1; proxy_temp_path {dir}/o2;
 fastcgi_temp_path {dir}/o3; uwsgi_temp_path {dir}/o4; scgi_temp_path {dir}/o5;
 server {{ listen 127.0.0.1:{port} backlog=4096;
  location /stored {{ add_header Cache-Control "max-age=3600"; return 200 "{body}"; }}
  location / {{ add_header Cache-Control "no-store"; return 200 "{body}"; }} }} }}
"""
PROXY = """
worker_processes 1; worker_cpu_affinity 01; daemon off; pid {dir}/proxy.pid; error_log {dir}/proxy.err;
events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 100000000; client_body_temp_path {dir}/p1; proxy_temp_path {dir}/p2;
 fastcgi_temp_path {dir}/p3; uwsgi_temp_path {dir}/p4; scgi_temp_path {dir}/p5;
 proxy_cache_path {dir}/cache keys_zone=z:64m max_size=512m;
 upstream o {{ server 127.0.0.1:{origin}; keepalive 64; keepalive_requests 100000000; }}
 server {{ listen 127.0.0.1:{port} backlog=4096;
  location / {{ proxy_pass http://o; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_cache z; }} }} }}
"""
MISSES = """
local n, salt = 0, "{salt}"
request = function() n = n + 1; return wrk.format("GET", "/stored?" .. salt .. n) end
"""


def free_port() -> int:
    """Return a TCP port that nobody uses."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def start(stack: ExitStack, core: int, *command: str) -> int:
    """Start a command on one core, end it with the stack; return its pid."""
    process = subprocess.Popen(["taskset", "-c", str(core), *command], stderr=subprocess.DEVNULL)
    stack.callback(process.wait, 10)
    stack.callback(process.send_signal, signal.SIGTERM)
    return process.pid


def wait_for(port: int) -> None:
    """Return when something accepts on `port`."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"nothing answers on port {port}")


def family(pid: int) -> list[int]:
    """Return `pid` and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def cpu_s(pids: list[int]) -> float:
    """Return user and system time of `pids`, in seconds."""
    ticks = 0
    for pid in pids:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            continue  # nginx's cache loader ends after a minute; it used next to nothing
        ticks += int(stat[11]) + int(stat[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(port: int, pids: list[int], work: str, seconds: int, directory: Path) -> float:
    """Return microseconds of server CPU a request for one kind of work."""
    command = ["taskset", "-c", "1", "wrk", "-t1", "-c32", f"-d{seconds}s"]
    for name, value in FIELDS.items():
        command += ["-H", f"{name}: {value}"]
    if work == "miss":
        script = directory / "misses.lua"
        script.write_text(MISSES.format(salt=f"{time.time_ns()}-"))
        command += ["-s", str(script)]
    path = {"hit": "/stored", "pass": "/never", "miss": "/stored"}[work]
    before = cpu_s(pids)
    command.append(f"http://127.0.0.1:{port}{path}")
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    used = cpu_s(pids) - before
    if "Non-2xx" in output or "Socket errors" in output:
        raise SystemExit(f"{work} on port {port} failed:\n{output}")
    requests = re.search(r"(\d+) requests in", output)
    assert requests is not None
    return used / int(requests[1]) * 1e6


def main() -> None:
    """Start everything, measure in turns, print a table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=int, default=3)
    chosen = options.parse_args()
    for tool in ("nginx", "wrk", "taskset"):
        if shutil.which(tool) is None and not Path("/usr/sbin", tool).exists():
            raise SystemExit(f"{tool} is missing (Debian: apt-get install nginx-light wrk util-linux)")
    with ExitStack() as stack:
        memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=memory, ignore_cleanup_errors=True)))
        directory.chmod(0o777)  # nginx's workers may run as another user
        origin, nginx, accel = free_port(), free_port(), free_port()
        (directory / "origin.conf").write_text(ORIGIN.format(dir=directory, port=origin, body="x" * 1024))
        (directory / "proxy.conf").write_text(PROXY.format(dir=directory, port=nginx, origin=origin))
        start(stack, 1, "nginx", "-c", str(directory / "origin.conf"))
        nginx_pid = start(stack, 0, "nginx", "-c", str(directory / "proxy.conf"))
        accel_pid = start(
            stack, 0, sys.executable, "-m", "accel", "-b", f"127.0.0.1:{origin}", "-l", f"127.0.0.1:{accel}",
            "-w", "1", "--admin", f"unix:{directory}/admin",
        )  # fmt: skip
        for port in (origin, nginx, accel):
            wait_for(port)
        time.sleep(1)
        servers = {"nginx": (nginx, family(nginx_pid)), "accel": (accel, family(accel_pid))}
        print(f"server CPU a request, median of {chosen.rounds}")
        print(f"{'':6} {'nginx us':>9} {'accel us':>9} {'ratio':>6}")
        for work in ("hit", "pass", "miss"):
            taken: dict[str, list[float]] = {name: [] for name in servers}
            for _ in range(chosen.rounds):
                for name, (port, pids) in servers.items():
                    taken[name].append(measure(port, pids, work, chosen.seconds, directory))
            medians = {name: statistics.median(values) for name, values in taken.items()}
            ratio = medians["accel"] / medians["nginx"]
            print(f"{work:6} {medians['nginx']:9.1f} {medians['accel']:9.1f} {ratio:6.2f}")


if __name__ == "__main__":
    main()
