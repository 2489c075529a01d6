"""Real origins of the scenes: gunicorn with sync or gevent workers, Tornado, nginx. Each is started on free ports.

The scripted one, which breaks rules on purpose, is in `fault_origin`.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

from children import Child, answers, eventually, free_ports

HERE = Path(__file__).parent
NGINX = """
daemon off;
{user}
pid {root}/nginx.pid;
worker_processes 1;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  default_type application/octet-stream;
  types {{ text/html html; text/css css; image/svg+xml svg; }}
  client_body_temp_path {root}/body;
  proxy_temp_path {root}/proxy;
  fastcgi_temp_path {root}/fastcgi;
  uwsgi_temp_path {root}/uwsgi;
  scgi_temp_path {root}/scgi;
  server {{
    listen 127.0.0.1:{port};
    root {root}/pages;
    location /files/ {{ add_header Cache-Control max-age=60; }}
    location /coded/ {{ add_header Cache-Control max-age=60; gzip on; gzip_vary on; gzip_proxied any; }}
    location /large/ {{ add_header Cache-Control no-store; }}
  }}
}}
"""


class Origin:
    """A real server's process and its ports."""

    def __init__(self, child: Child, ports: list[int]) -> None:
        self.child = child
        self.ports = ports
        try:
            eventually(f"an origin:\n{child.log}", lambda: all(map(answers, ports)))
        except BaseException:
            child.end()
            raise

    @property
    def backends(self) -> list[str]:
        """The addresses for `--backend`."""
        return [f"127.0.0.1:{port}" for port in self.ports]

    def stop(self) -> None:
        """Let it end itself, and its own children."""
        self.child.send(signal.SIGINT)
        self.child.wait()
        self.end()

    def end(self) -> None:
        """Kill it; idempotent."""
        self.child.end()


def gunicorn(
    directory: Path, worker_class: str, count: int = 8, application: str = "wsgi_app:application"
) -> Origin:
    """Start gunicorn on `count` ports."""
    ports = free_ports(count)
    command = gunicorn_command(worker_class, [f"127.0.0.1:{port}" for port in ports], application)
    name = f"gunicorn-{worker_class}-{application.partition(':')[0]}.log"
    return Origin(Child(command, directory / name), ports)


def gunicorn_command(
    worker_class: str, addresses: list[str], application: str = "wsgi_app:application"
) -> list[str]:
    """Return the command that serves an application on some addresses."""
    binds = [part for address in addresses for part in ("--bind", address)]
    options = ["--worker-class", worker_class, "--no-control-socket", "--chdir", str(HERE)]
    return [sys.executable, "-m", "gunicorn", *options, *binds, application]


def tornado(directory: Path) -> Origin:
    """Start Tornado on one port."""
    [port] = free_ports(1)
    return Origin(Child([sys.executable, str(HERE / "tornado_app.py"), str(port)], directory / "tornado.log"), [port])


def nginx(directory: Path) -> Origin:
    """Start nginx on one port, over `directory`/pages; fails if there is no nginx here."""
    binary = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    assert binary, "the scenes need nginx: apt-get install nginx-light"
    [port] = free_ports(1)
    _write_pages(directory / "pages")
    user = "" if os.geteuid() else "user root;"  # pytest's directories are their owner's alone
    config = directory / "nginx.conf"
    config.write_text(NGINX.format(root=directory, port=port, user=user))
    command = [binary, "-e", "stderr", "-c", str(config), "-p", str(directory)]
    return Origin(Child(command, directory / "nginx.log"), [port])


def _write_pages(root: Path) -> None:
    for folder in ("files", "coded", "large", "media"):
        (root / folder).mkdir(parents=True)
    (root / "files" / "alphabet.txt").write_bytes(bytes(range(ord("a"), ord("z") + 1)))
    (root / "media" / "film.mp4").write_bytes(bytes(range(256)) * 256)
    (root / "media" / "style.3f2a9c1b.css").write_bytes(b"body { color: teal }")
    (root / "coded" / "page.html").write_bytes(b"<p>the same again and again</p>\n" * 100)
    for name, size in (("gib", 1 << 30), ("mib100", 100 << 20), ("mib4", 4 << 20)):
        with (root / "large" / name).open("wb") as file:
            file.truncate(size)  # sparse: no disk is used
