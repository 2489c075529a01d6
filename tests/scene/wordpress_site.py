"""The real WordPress of Debian's packages for policies/wordpress.policy: MariaDB, PHP over FastCGI, nginx before it.

Owns three processes and a directory with all that they write; what is installed is only read. Must not know accel.
Invariant: nothing of a site outlives its context.

MariaDB runs without its tables of users (`--skip-grant-tables`, on loopback), which spares their making. WordPress is
installed by its own form; tests/scene/wordpress has its configuration, a theme and a plug-in.
"""

from __future__ import annotations

import http.client
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from string import Template
from urllib.parse import urlencode

from children import Child, answers, eventually, free_ports

HOST = "blog.example.org"
PASSWORD = "only for tests"
INSTALLED = Path("/usr/share/wordpress")
OWN = Path(__file__).parent / "wordpress"
PACKAGES = "wordpress php-cgi mariadb-server-core nginx-light"
_SEARCH = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"


@contextmanager
def running(directory: Path) -> Iterator[WordPress]:
    """Start an installed WordPress; it ends, and its files go, with the context."""
    site = WordPress(directory)
    try:
        site.start()
        yield site
    finally:
        site.end()
        shutil.rmtree(directory)


class WordPress:
    """One site with one post, "Hello world!", and one user, ada."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "root"
        self._state = directory / "state"
        self._database_port, self._php_port, self._port = free_ports(3)
        self._children: list[Child] = []

    @property
    def backends(self) -> list[str]:
        """The addresses for `--backend`."""
        return [f"127.0.0.1:{self._port}"]

    def purges_at(self, port: int) -> None:
        """Tell the plug-in where to send its PURGE."""
        (self.root / "purge-port").write_text(str(port))

    def start(self) -> None:
        """Start everything, and install WordPress into its database."""
        self._link()
        data = self._state / "data"
        data.mkdir(parents=True)
        self._start("mariadb", self._mariadb(data), self._database_port)
        self._start("php", [*self._php(), "-b", f"127.0.0.1:{self._php_port}"], self._php_port)
        self._start("nginx", self._nginx(), self._port)
        self._install()

    @contextmanager
    def down(self) -> Iterator[None]:
        """Have nobody on its port for a while."""
        self._children.pop().end()
        try:
            yield
        finally:
            self._start("nginx", self._nginx(), self._port)

    def end(self) -> None:
        """Kill it all; idempotent."""
        for child in reversed(self._children):
            child.end()

    def _link(self) -> None:
        assert (INSTALLED / "wp-load.php").is_file(), _missing("WordPress")
        content = self.root / "wp-content"
        (content / "mu-plugins").mkdir(parents=True)
        (content / "themes").mkdir()
        for path in INSTALLED.iterdir():
            if path.name not in ("wp-content", "wp-config.php"):
                (self.root / path.name).symlink_to(path)
        (self.root / "wp-config.php").symlink_to(OWN / "wp-config.php")
        (content / "mu-plugins" / "scene.php").symlink_to(OWN / "plugin.php")
        (content / "themes" / "scene").symlink_to(OWN / "theme")

    def _start(self, name: str, command: list[str], port: int) -> None:
        child = Child(command, self._state / f"{name}.log")
        self._children.append(child)
        eventually(f"{name} accepts, or ends", lambda: answers(port) or not child.is_running)
        assert child.is_running, f"{name} ended:\n{child.log}"

    def _mariadb(self, data: Path) -> list[str]:
        create = self._state / "create.sql"
        create.write_text("CREATE DATABASE wordpress;\n")
        return [
            *(_program("mariadbd"), "--no-defaults", "--skip-grant-tables", "--bind-address=127.0.0.1"),
            *(f"--datadir={data}", f"--port={self._database_port}", "--socket=socket", f"--init-file={create}"),
            *("--innodb-log-file-size=4M", "--innodb-buffer-pool-size=16M", "--innodb-flush-log-at-trx-commit=0"),
            *(() if os.geteuid() else ("--user=root",)),
        ]

    def _php(self) -> list[str]:
        variables = {"SCENE_ROOT": self.root, "SCENE_DATABASE_PORT": self._database_port, "PHP_FCGI_CHILDREN": 4}
        said = [f"{name}={value}" for name, value in variables.items()]
        options = [f"auto_prepend_file={OWN}/abspath.php", "sendmail_path=/bin/true"]
        return ["/usr/bin/env", *said, _program("php-cgi"), *(part for option in options for part in ("-d", option))]

    def _nginx(self) -> list[str]:
        config = self._state / "nginx.conf"
        user = "" if os.geteuid() else "user root;"  # pytest's directories are their owner's alone
        text = Template((OWN / "nginx.conf").read_text()).substitute(
            root=self.root, state=self._state, port=self._port, php_port=self._php_port, user=user
        )
        config.write_text(text)
        return [_program("nginx"), "-e", "stderr", "-c", str(config), "-p", str(self._state)]

    def _install(self) -> None:
        form = {"weblog_title": "Scene", "user_name": "ada", "admin_email": "ada@example.org", "pw_weak": "1"}
        form |= {"admin_password": PASSWORD, "admin_password2": PASSWORD}
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        fields = {"Host": HOST, "Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", "/wp-admin/install.php?step=2", urlencode(form), fields)
        page = connection.getresponse().read()
        connection.close()
        assert b"WordPress has been installed" in page, page


def _program(name: str) -> str:
    found = shutil.which(name, path=_SEARCH)
    assert found, _missing(name)
    return found


def _missing(what: str) -> str:
    return f"the scenes need {what}: apt-get install --no-install-recommends {PACKAGES}"
