"""The servers that are compared, each set up as well as its manual knows how.

Owns their configurations. Knows no work. What all have in common: one worker (one thread where there are threads), 256
MiB for what is stored, in memory; keep-alive to clients and to the origin without a number of requests as its end; no
log; cookies do not keep anything from being a hit.
Sources: nginx, ngx_http_proxy_module and ngx_http_core_module; HAProxy 2.6 configuration manual, 6 (cache) and 3.2;
Varnish, varnishd(1) and the users' guide on hit-for-miss and on dropping cookies.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from side import rules

MEMORY_MIB = 256
NGINX = """
worker_processes 1; daemon off; pid {dir}/nginx.pid; error_log {dir}/nginx.err;
events {{ worker_connections {connections}; multi_accept on; }}
http {{
  access_log off; sendfile on;
  keepalive_requests 1000000000; keepalive_timeout 300s;
  open_file_cache max=20000 inactive=300s; open_file_cache_valid 300s; open_file_cache_min_uses 2;
  client_body_temp_path {dir}/n1; proxy_temp_path {dir}/n2; fastcgi_temp_path {dir}/n3;
  uwsgi_temp_path {dir}/n4; scgi_temp_path {dir}/n5;
  proxy_cache_path {dir}/nginx-cache levels=1:2 keys_zone=z:64m max_size={memory}m inactive=1h use_temp_path=off;
  upstream origin {{ server 127.0.0.1:{origin}; keepalive 128; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_cache z;
      proxy_buffers 32 16k;
    }}
  }}
}}
"""
HAPROXY = """
global
  nbthread 1
  maxconn {connections}
defaults
  mode http
  timeout connect 5s
  timeout client 300s
  timeout server 60s
  timeout http-keep-alive 300s
  http-reuse always
cache c
  total-max-size {memory}
  max-object-size 4194304
  max-age 3600
listen front
  bind 127.0.0.1:{port} backlog 4096
  http-request cache-use c
  http-response cache-store c
  server origin 127.0.0.1:{origin} pool-max-conn 128
"""
UNLOGGED = (
    "Begin End Link Timestamp ReqStart ReqMethod ReqURL ReqProtocol ReqHeader ReqUnset ReqAcct RespProtocol RespStatus"
    " RespReason RespHeader RespUnset BereqMethod BereqURL BereqProtocol BereqHeader BereqUnset BereqAcct"
    " BerespProtocol BerespStatus BerespReason BerespHeader BerespUnset VCL_call VCL_return VCL_use Hit HitMiss HitPass"
    " TTL Storage Length Fetch_Body Filters BackendOpen BackendClose BackendReuse BackendStart SessOpen SessClose"
)
"""What Varnish would write into its log in memory for each request, though nobody reads it."""
VARNISH = """
vcl 4.1;
backend origin {{ .host = "127.0.0.1"; .port = "{origin}"; }}
sub vcl_recv {{ unset req.http.Cookie; }}
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one server runs."""

    directory: Path
    port: int
    origin: int
    small_server: Path

    def write(self, name: str, text: str) -> str:
        """Write a configuration; return its path."""
        path = self.directory / name
        path.write_text(
            text.format(
                dir=self.directory, port=self.port, origin=self.origin, memory=MEMORY_MIB, connections=connections()
            )
        )
        return str(path)


@dataclass(frozen=True, slots=True)
class Peer:
    """A server that can be started."""

    name: str
    programs: tuple[str, ...]
    package: str
    """Debian's name of what brings the programs."""
    version: tuple[str, ...]
    command: Callable[[Place], list[str]]
    cores: int = 1
    """On how many it runs; the load generator's is the second."""
    forwards: bool = True
    """Whether it asks the origin at all."""
    is_threaded: bool = False
    """Whether its threads wait for each other's turn on the core."""
    said_of_a_hit: str = ""
    """What the head of an answer that is a hit contains; empty: only the origin's count proves it."""

    @property
    def is_there(self) -> bool:
        """Whether its programs are installed."""
        return all(map(found, self.programs))

    def shown_version(self) -> str:
        """Return the first line that it says of its version."""
        if not self.version:
            return self.name
        command = [found(self.version[0]) or self.version[0], *self.version[1:]]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        return next(iter((ran.stdout + ran.stderr).splitlines()), self.name)


def connections() -> int:
    """Return how many connections each peer may hold: HAProxy and accel count on two files each."""
    return (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200) // 2


def found(program: str) -> str | None:
    """Return where a program lies; Debian's daemons may lie outside of PATH."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def _limit(place: Place) -> list[str]:
    return [str(place.small_server), str(place.port)]


def _nginx(place: Place) -> list[str]:
    place.directory.chmod(0o755)  # its worker is another user when root starts it
    (place.directory / "nginx-cache").mkdir()
    (place.directory / "nginx-cache").chmod(0o777)
    return [found("nginx") or "nginx", "-c", place.write("nginx.conf", NGINX)]


def _haproxy(place: Place) -> list[str]:
    return [found("haproxy") or "haproxy", "-f", place.write("haproxy.cfg", HAPROXY)]


def _varnish(place: Place) -> list[str]:
    parameters = {
        "thread_pools": "1", "thread_pool_min": "100", "thread_pool_max": "200", "thread_pool_timeout": "600",
        "timeout_idle": "300", "backend_idle_timeout": "60", "thread_queue_limit": "10000",
        "vsl_mask": ",".join(f"-{tag}" for tag in UNLOGGED.split()),
    }  # fmt: skip
    return [
        *(found("varnishd") or "varnishd", "-F", "-j", "none", "-n", str(place.directory / "varnish")),
        *("-a", f"127.0.0.1:{place.port}", "-f", place.write("varnish.vcl", VARNISH)),
        *("-s", f"malloc,{MEMORY_MIB}m"),
        *(part for name, value in parameters.items() for part in ("-p", f"{name}={value}")),
    ]


def _accel(place: Place, *flags: str, workers: int = 1) -> list[str]:
    return [
        *(sys.executable, "-m", "accel", "--name", f"bench-{place.port}", "-w", str(workers)),
        *("-b", f"127.0.0.1:{place.origin}", "-l", f"127.0.0.1:{place.port}"),
        *("--admin", f"unix:{place.directory}/admin", *flags),
    ]


def _accel_with_rules(place: Place) -> list[str]:
    path = place.directory / "bench.policy"
    path.write_text(rules.policy(place.origin))
    return _accel(place, "--policy", str(path))


_ACCEL = ("accel", (), "", (sys.executable, "-m", "accel", "--version"))
PEERS = {
    peer.name: peer
    for peer in (
        Peer("limit", (), "", (), _limit, forwards=False),
        Peer(*_ACCEL, _accel, said_of_a_hit="Cache-Status: accel; hit"),
        Peer("haproxy", ("haproxy",), "haproxy", ("haproxy", "-v"), _haproxy),
        Peer("nginx", ("nginx",), "nginx-light", ("nginx", "-v"), _nginx),
        Peer("varnish", ("varnishd",), "varnish", ("varnishd", "-V"), _varnish, is_threaded=True),
    )
}
"""Those that stand side by side, the limit first."""
TWIN = Peer("accel, its twin", *_ACCEL[1:], _accel, said_of_a_hit="Cache-Status: accel; hit")
RULED = Peer("accel, 500 rules", *_ACCEL[1:], _accel_with_rules, said_of_a_hit="Cache-Status: accel; hit")
PAIRED = Peer(
    *("accel, 2 workers", *_ACCEL[1:], lambda place: _accel(place, workers=2)),
    cores=2,
    said_of_a_hit="Cache-Status: accel; hit",
)
"""accel as it is set up for works of its own."""
