"""The command `accelctl`: asks a running accel over its admin socket, and shows what it says.

Exit codes: 0 done, 1 nobody there or it said no, 2 wrong usage. It holds no state and decides nothing: every
answer is the arbiter's (`server.admin_routes`).
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from accel import (
    __version__,
    addresses,
    cli,
    completion,
    ctl_log,
    ctl_numbers,
    ctl_policy,
    ctl_profile,
    ctl_replay,
    ctl_rules,
    ctl_top,
    ctl_views,
    values,
)
from accel.config import Address
from accel.ctl_types import Parsed
from accel.ctl_views import console
from accel.server.listeners import admin_socket_path, answers

TIMEOUT_S = 30.0
POLL_S = 0.1
_NOT_YET = ("starting", "replaced")
"""Phases in which the program that was asked has not failed to start the next one."""


EPILOG = """\b
Examples:
  accelctl stat                                  what it does, with rates
  accelctl log -q 'status >= 500' --follow       what goes wrong, as it happens
  accelctl explain http://shop.example/p/17      why is this no hit?
  accelctl purge --tag product-17                drop what carries a tag, everywhere
  accelctl profile -w 1 -o graph.svg             where does a worker spend its time?
\b
Exit codes: 0 done, 1 nobody there or it said no, 2 wrong usage. COMMAND --help says more of each.
"""


class Daemon:
    """One accel that is asked; every failure is a ClickException that says what to do."""

    def __init__(self, name: str, admin: Address | None) -> None:
        self._called = f"no accel named {name!r}" if admin is None else "nothing"
        self._address = admin or Address(path=admin_socket_path(name))

    def ask(self, path: str, body: dict[str, Any] | None = None, takes_s: float = 0.0) -> Any:
        """Return the JSON answer to a GET, or to a POST of `body`, which takes so long by itself."""
        status, answer = self._exchange(path, body, takes_s)
        if status >= 400:
            raise click.ClickException(answer.get("error") or str(answer))
        return answer

    def _exchange(self, path: str, body: dict[str, Any] | None, takes_s: float = 0.0) -> tuple[int, Any]:
        connection = _Connection(self._address, TIMEOUT_S + takes_s)
        try:
            if body is None:
                connection.request("GET", path)
            else:
                connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise click.ClickException(self._failure(error)) from None
        finally:
            connection.close()

    def _failure(self, error: Exception) -> str:
        where = self._address
        if isinstance(error, PermissionError):
            return f"{where} may not be opened by this user; ask as the user that started accel, or as root"
        if isinstance(error, FileNotFoundError | ConnectionRefusedError):
            return f"{self._called} answers at {where}: {self._others()}"
        if isinstance(error, TimeoutError):
            return f"{where} did not answer in {TIMEOUT_S:g} s: is it stopped, or the machine overloaded?"
        return f"{where} gave no usable answer ({error or type(error).__name__}): is this an accel's --admin?"

    def _others(self) -> str:
        """Return the names of others that do answer, or how to find one."""
        names = _running()
        if names:
            return f"there is {', '.join(names)}; choose with --name"
        whose = "is it running?" if os.geteuid() == 0 else "is it running, and as this user? Root's is asked by root."
        return f"{whose} When it starts it says where its admin is; give that with --admin"


def _running() -> list[str]:
    """Return the names of this user's accels that answer."""
    ours = Path(admin_socket_path("accel")).parent
    return sorted(path.stem for path in ours.glob("*.sock") if answers(str(path)))


def _backends_of(ctx: click.Context) -> list[str]:
    """Return the backends of the accel that a command line that is being typed means; none if it does not answer."""
    try:
        given = (ctx.parent or ctx).params
        return [row["address"] for row in Daemon(given["name"], given["admin"]).ask("/backends")]
    except (click.ClickException, KeyError):
        return []


class _Connection(http.client.HTTPConnection):
    """HTTP to a TCP address or a unix socket."""

    def __init__(self, address: Address, timeout_s: float) -> None:
        super().__init__(address.host or "localhost", address.port or None, timeout=timeout_s)
        self._path = address.path

    def connect(self) -> None:
        """Open the unix socket, if it is one."""
        if not self._path:
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


NAME = Parsed(values.Kind("NAME", values.instance_name))
ADDRESS = Parsed(values.Kind("ADDRESS", addresses.listen_address))
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
"""The option of every command that only shows something."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}, epilog=EPILOG)
@click.option("--name", "-n", type=NAME, default="accel", envvar="ACCEL_NAME", show_default=True,
              shell_complete=completion.of_words(lambda ctx: _running()),
              help="The accel to ask, by its --name.")  # fmt: skip
@click.option("--admin", "-a", type=ADDRESS, help="Or by its address: HOST:PORT or unix:PATH.")
@click.version_option(__version__, message="accelctl %(version)s")
@click.pass_context
def main(ctx: click.Context, name: str, admin: Address | None) -> None:
    """See and steer a running accel, and judge policy files.

    It is found by its name, through a unix socket that its user (and root) may open.
    """
    ctx.obj = Daemon(name, admin)


main.add_command(ctl_log.log)
main.add_command(ctl_policy.check)
main.add_command(ctl_policy.test)
main.add_command(ctl_policy.fmt)
main.add_command(ctl_profile.dump)
main.add_command(ctl_profile.profile)
main.add_command(ctl_replay.replay)
main.add_command(ctl_rules.policies)
main.add_command(ctl_rules.overrides)
main.add_command(ctl_rules.explain)
main.add_command(ctl_numbers.stat)
main.add_command(ctl_numbers.hist)
main.add_command(ctl_top.top)


@main.group()
def store() -> None:
    """See and prove the store that all workers share."""


@store.command("stat")
@as_json
@click.pass_obj
def store_stat(daemon: Daemon, as_json: bool) -> None:
    """Show segments, bytes, pins, records, and what eviction did."""
    figures = daemon.ask("/store")
    if as_json:
        _print_json(figures)
    else:
        _print(ctl_views.store(figures))


@store.command("check")
@as_json
@click.pass_obj
def store_check(daemon: Daemon, as_json: bool) -> None:
    """Walk all of it and prove it; exit 1 if anything is wrong."""
    found = daemon.ask("/store/check")
    if as_json:
        _print_json(found)
    else:
        _print(ctl_views.store({name: value for name, value in found.items() if name != "faults"}))
    for fault in found["faults"]:
        click.echo(f"fault: {fault}", err=True)
    if found["faults"]:
        sys.exit(1)
    if not as_json:
        click.echo("nothing is wrong")


@main.command("completion")
@click.argument("shell", type=click.Choice(completion.SHELLS))
def print_completion(shell: str) -> None:
    """Print what makes SHELL complete accel and accelctl by TAB.

    In ~/.bashrc or ~/.zshrc: eval "$(accelctl completion bash)"; for fish: accelctl completion fish | source
    """
    click.echo(completion.script(shell, (cli.main, main)))


@main.command()
@as_json
@click.pass_obj
def workers(daemon: Daemon, as_json: bool) -> None:
    """Show the worker processes."""
    rows = daemon.ask("/workers")
    _print_json(rows) if as_json else _print(ctl_views.workers(rows))


@main.command()
@as_json
@click.pass_obj
def backends(daemon: Daemon, as_json: bool) -> None:
    """Show the origins: state, load, failures, and why one is down."""
    rows = daemon.ask("/backends")
    _print_json(rows) if as_json else _print(ctl_views.backends(rows))


@main.command()
@click.option("--ready", is_flag=True, help="Ask for a backend that is up, too.")
@click.pass_obj
def health(daemon: Daemon, ready: bool) -> None:
    """Exit with 0 while a worker accepts connections, else with 1.

    Without --ready it is well while all origins are down, for stored responses are served all the same.
    """
    daemon.ask("/readyz" if ready else "/healthz")
    click.echo("ready" if ready else "healthy")


@main.command()
@click.argument("names", nargs=-1, metavar="[URL|TAG]...")
@click.option("--tag", "are_tags", is_flag=True, help="The names are tags: Surrogate-Key, Cache-Tag or xkey.")
@click.option("--all", "everything", is_flag=True, help="Drop everything; give no name.")
@click.option("--soft", is_flag=True, help="Drop nothing: it counts as stale, and is refreshed by its next hit.")
@as_json
@click.pass_obj
def purge(
    daemon: Daemon, names: tuple[str, ...], are_tags: bool, everything: bool, soft: bool, as_json: bool
) -> None:
    """Drop what is stored for URLs, or under tags, or everything.

    A URL is written whole and as it is sent: accelctl purge 'http://shop.example/list?page=2'. When this ends, no
    worker serves what is purged; a URL's variants go with it.
    """
    if everything == bool(names) or (everything and are_tags):
        raise click.UsageError("name URLs, or tags after --tag, or use --all alone")
    kind = "tags" if are_tags else "urls"
    what: dict[str, Any] = {"all": True} if everything else {kind: names}
    _show_receipts(daemon.ask("/purge", what | {"soft": soft})["receipts"], as_json)


@main.command()
@click.argument("expression")
@as_json
@click.pass_obj
def ban(daemon: Daemon, expression: str, as_json: bool) -> None:
    """Drop every stored response that EXPRESSION matches.

    For instance: accelctl ban 'url ~ ^/news/ && age > 1h'

    It compares url (the target), host, status, age or field.NAME (of the response), by == and !=; texts also by ~ and
    !~ (a regular expression), numbers by < <= > >=. && joins conditions. A value with spaces is written "so". What is
    fetched from now on is not touched.
    """
    _show_receipts([daemon.ask("/ban", {"ban": expression})], as_json)


@main.command()
@as_json
@click.pass_obj
def bans(daemon: Daemon, as_json: bool) -> None:
    """Show the bans that are not yet applied to all that is stored.

    They are in effect already: what they match is not served.
    """
    rows = daemon.ask("/bans")
    if as_json:
        _print_json(rows)
    elif rows:
        _print(ctl_views.bans(rows))
    else:
        click.echo("no ban is pending")


def _show_receipts(receipts: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        _print_json(receipts)
    else:
        for receipt in receipts:
            click.echo(ctl_views.receipt(receipt))
    if any(receipt["answered"] < receipt["workers"] and "counting" not in receipt for receipt in receipts):
        raise click.ClickException("not every worker answered; nobody serves it all the same: see 'accelctl workers'")


@main.command()
@click.argument("backend", shell_complete=completion.of_words(_backends_of))
@click.pass_obj
def drain(daemon: Daemon, backend: str) -> None:
    """Give BACKEND no new requests; those under way end.

    BACKEND is written as 'accelctl backends' shows it. It stays so over reloads and upgrades, until 'accelctl undrain'.
    """
    daemon.ask("/drain", {"backend": backend})
    click.echo(f"{backend} gets no new requests; 'accelctl undrain {backend}' gives it back")


@main.command()
@click.argument("backend", shell_complete=completion.of_words(_backends_of))
@click.pass_obj
def undrain(daemon: Daemon, backend: str) -> None:
    """Give BACKEND requests again, after a drain."""
    daemon.ask("/undrain", {"backend": backend})
    click.echo(f"{backend} is in rotation again")


@main.command()
@click.option("--rollback", is_flag=True, help="Return to the policies before these; the files stay as they are.")
@click.pass_obj
def reload(daemon: Daemon, rollback: bool) -> None:
    """Read the configuration and the policies again.

    If anything is wrong, it is said and what runs stays; exit with 1. Of a directory of policies, a file that is wrong
    keeps its last good version while the others change.
    """
    try:
        done = daemon.ask("/reload", {"rollback": True} if rollback else {})
    except click.ClickException as error:
        raise click.ClickException(f"the running configuration stays: {error.message}") from None
    for text in done.get("refused", {}).values():
        click.echo(f"{text}\n", err=True)
    click.echo(f"returned to version {done['policy']} of the policies" if rollback else "reloaded")
    if files := ", ".join(done.get("refused", ())):
        raise click.ClickException(f"not in force as they are on disk: {files}")


@main.command()
@click.option("--keep-old", is_flag=True, help="Leave the old program serving beside the new one.")
@click.pass_obj
def upgrade(daemon: Daemon, keep_old: bool) -> None:
    """Replace the program in place: same sockets, same store.

    The new one is started, and when it serves the old one ends with its last exchange. If it does not come to serve, it
    is said why, and the old one stays.
    """
    new = daemon.ask("/upgrade", {})["pid"]
    facts = _wait_while(daemon, lambda facts: facts["pid"] != new and facts["upgrade"]["phase"] in _NOT_YET)
    if facts["pid"] != new:
        why = facts["upgrade"]["failure"] or "it was gone at once; accel's log says more"
        raise click.ClickException(f"the running program stays: {why}")
    click.echo(f"process {new} serves")
    if not keep_old:
        old = daemon.ask("/retire-old", {})["pid"]
        click.echo(f"process {old} ends when its exchanges have ended")
        _wait_while(daemon, lambda facts: facts["pid"] == new and facts["upgrade"]["phase"] == "replacing")


def _wait_while(daemon: Daemon, is_so: Callable[[Any], bool]) -> Any:
    """Return the facts that are the first to be otherwise; every wait is bounded by a time limit of accel's."""
    while is_so(facts := daemon.ask("/facts")):
        time.sleep(POLL_S)
    return facts


def _print(renderable: Any) -> None:
    console().print(renderable)


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=1))
