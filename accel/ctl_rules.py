"""`accelctl policies`, `overrides` and `explain`: the rules of a running accel, and what they make of requests.

Owns these commands and what they print; every answer is the arbiter's (`server.admin_routes`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any, Protocol

import click

from accel.values import show_duration


class Daemon(Protocol):
    """The accel that is asked."""

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Return the JSON answer to a GET, or to a POST of `body`."""
        ...


_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


@click.command()
@click.option("--reads", is_flag=True, help="Show what the rules of each phase read.")
@_as_json
@click.pass_obj
def policies(daemon: Daemon, reads: bool, as_json: bool) -> None:
    """Show the policies in force: versions, hosts, rules, overrides."""
    facts = daemon.ask("/policies")
    if as_json:
        click.echo(json.dumps(facts, indent=1))
        return
    for line in _policies(facts, reads, time.time()):
        click.echo(line)
    for text in facts["refused"].values():
        click.echo(f"\nnot in force as it is on disk:\n{text}", err=True)


@click.command()
@_as_json
@click.pass_obj
def overrides(daemon: Daemon, as_json: bool) -> None:
    """Show how often overrides let something past the safety floor.

    The most used first, each with its reason and its place.
    """
    facts = daemon.ask("/overrides")
    if as_json:
        click.echo(json.dumps(facts, indent=1))
        return
    for override in sorted(facts["overrides"], key=lambda one: -(one["uses"] or 0)):
        click.echo(_override(override))
    if facts["others"]:
        click.echo(f"{facts['others']:>10,}  all others together: there are more than are counted one by one")
    if not facts["overrides"]:
        click.echo("no rule overrides the safety floor")


@click.command()
@click.argument("url")
@click.option("-H", "--header", "fields", multiple=True, metavar="'NAME: VALUE'", help="A field of the request.")
@click.option("--from", "client_ip", metavar="IP", default="192.0.2.1", show_default=True, help="The client's address.")
@click.option("--method", "-X", default="GET", metavar="METHOD", show_default=True, help="Of the request.")
@_as_json
@click.pass_obj
def explain(daemon: Daemon, url: str, fields: tuple[str, ...], client_ip: str, method: str, as_json: bool) -> None:
    """Say what would become of a request for URL, and why.

    Each rule that holds, the key, what the origin would see, what is stored, and the one change that would make it a
    hit. Nothing is fetched and nothing changes.

    For instance: accelctl explain http://shop.example.org/cart/ -H 'Cookie: session=1'
    """
    pairs = []
    for text in fields:
        name, colon, value = text.partition(":")
        if not colon:
            raise click.UsageError(f"{text!r}: a field is written 'Name: value'")
        pairs.append([name.strip(), value.strip()])
    facts = daemon.ask("/explain", {"url": url, "method": method, "fields": pairs, "from": client_ip})
    if as_json:
        click.echo(json.dumps(facts, indent=1))
        return
    for line in _explanation(facts):
        click.echo(line)


def _policies(facts: dict[str, Any], reads: bool, now: float) -> Iterator[str]:
    yield f"version {facts['version']}, for {_since(facts['since'], now)}, from {facts['path'] or 'no file: built in'}"
    for file in facts["files"]:
        hosts = ", ".join(file["hosts"]) or "every other host"
        yield f"{file['file']}: for {hosts}"
        kept = "; the file on disk is refused, this is its last good version" if file["is_last_good"] else ""
        yield f"  {file['rules']} rules, {file['tests']} tests, for {_since(file['since'], now)}{kept}"
        if file["pools"]:
            yield f"  pools {', '.join(file['pools'])}"
        for override in file["overrides"]:
            said = f"overrides {override['what']}: {override['reason']} ({', '.join(override['rules'])})"
            yield f"  {said}, {_uses(override['uses'])}"
        if reads:
            for phase, inputs in file["reads"].items():
                yield f"  {phase:<9}{', '.join(inputs) or '-'}"
    for earlier in facts["earlier"]:
        yield f"kept: version {earlier['version']}, in force {_since(earlier['since'], now)} ago"


def _override(override: dict[str, Any]) -> str:
    lines = ",".join(map(str, override["lines"]))
    place = f"{override['file']}:{lines}" if override["is_in_force"] else f"{override['file']}, no longer in force"
    uses = "others" if override["uses"] is None else f"{override['uses']:,}"
    return f"{uses:>10}  {override['what']}: {override['reason']} ({place})"


def _uses(uses: int | None) -> str:
    if uses is None:
        return "counted with others"
    return "used once" if uses == 1 else f"used {uses:,} times"


def _since(at: float, now: float) -> str:
    return show_duration(max(0, round(now - at)))


def _explanation(facts: dict[str, Any]) -> Iterator[str]:
    asked, key = facts["request"], facts["key"]
    yield f"{asked['method']} http://{asked['host']}{asked['target']} from {asked['from']}"
    why = f", {facts['why']}" if facts["why"] else ""
    status = f" {facts['status']}" if facts["status"] else ""
    yield _row("outcome", f"{facts['outcome']}{status}")
    yield _row("verdict", f"{facts['verdict']}{why} ({facts['rule'] or 'no rule decided'})")
    for number, rule in enumerate(facts["matched"]):
        yield _row("" if number else "rules", f"{rule}{_line(facts, rule)}")
    yield from (_row("limit", limit) for limit in facts["limits"])
    yield _row("key", f"{key['host']}{key['target']}")
    yield from (_row("", f"+ {joined}") for joined in key["joined"])
    if key["vary"]:
        yield _row("", f"Vary: {key['vary']}")
    if key["hash"]:
        yield _row("", f"in the log: {key['hash']}")
    yield from _stored(facts["stored"])
    if facts["is_marked"]:
        yield _row("marked", "hit-for-miss: its last answer could not be stored")
    for number, line in enumerate(facts["origin_sees"]):
        yield _row("" if number else "origin", line)
    yield _row("pool", facts["pool"])
    if facts["nearest"]:
        yield _row("nearest", facts["nearest"])


def _stored(stored: dict[str, Any] | None) -> Iterator[str]:
    if stored is None:
        yield _row("stored", "nothing")
        return
    left = stored["remaining_s"]
    life = f"fresh for {show_duration(left)} more" if left > 0 else f"stale for {show_duration(-left)}"
    soft = ", soft purged" if stored["is_soft_purged"] else ""
    yield _row("stored", f"status {stored['status']}, {stored['bytes']:,} B, age {stored['age_s']:g} s, {life}{soft}")
    spans = f"lifetime {stored['lifetime_s']:g} s ({stored['lifetime_from']}), grace {stored['grace_s']:g} s"
    yield _row("", f"{spans}, if-error {stored['if_error_s']:g} s, hits {stored['hits']} by the worker that was asked")
    if stored["tags"]:
        yield _row("tags", " ".join(stored["tags"]))
    for number, rule in enumerate(stored["matched"]):
        yield _row("" if number else "by rules", rule)


def _line(facts: dict[str, Any], rule: str) -> str:
    text = facts.get("lines", {}).get(rule)
    return f"  {text}" if text else ""


def _row(word: str, text: str) -> str:
    return f"  {word:<9}{text}"
