"""`accelctl stat` and `accelctl hist`: what is counted and measured, once or live.

Owns these commands and when they ask; every number is the arbiter's, how it is shown `ctl_number_views`. A rate is what
came between two readings.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

import click
from rich.console import RenderableType
from rich.live import Live

from accel import ctl_number_views as views
from accel.ctl_views import console
from accel.stats.histograms import Histograms, unpacked

READING_S = 1.0
"""Between two readings."""


class Daemon(Protocol):
    """The accel that is asked."""

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Return the JSON answer to a GET, or to a POST of `body`."""
        ...


_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
_watch = click.option("--watch", is_flag=True, help="Show it again every second, until Ctrl-C.")
_once = click.option("--once", is_flag=True, help="Read once: totals, at once and without rates.")


@click.command()
@_as_json
@click.option("--all", "everything", is_flag=True, help="Show the counters that are zero, too.")
@click.option("--sites", is_flag=True, help="Show requests by site, that is, policy file.")
@_once
@_watch
@click.pass_obj
def stat(daemon: Daemon, as_json: bool, everything: bool, sites: bool, once: bool, watch: bool) -> None:
    """Show the counters of all workers, and the last second's."""
    if as_json:
        click.echo(json.dumps(daemon.ask("/sites" if sites else "/stat"), indent=1))
        return
    if sites:
        _show(lambda: {row["site"]: row for row in daemon.ask("/sites")}, views.sites, once, watch)
        return
    facts = daemon.ask("/facts")
    _show(
        lambda: daemon.ask("/stat"),
        lambda now, before, passed_s: views.stat(facts, now, before, passed_s, everything),
        once,
        watch,
    )


@click.command()
@_as_json
@_once
@_watch
@click.pass_obj
def hist(daemon: Daemon, as_json: bool, once: bool, watch: bool) -> None:
    """Show how long answers took and how large they were.

    Hits beside misses and passes: of the last second, or with --once of all since the start. A value is known to 6 %.
    """
    if as_json:
        click.echo(json.dumps(daemon.ask("/histograms"), indent=1))
        return
    _show(lambda: unpacked(daemon.ask("/histograms")), _hist, once, watch)


def _hist(now: Histograms, before: Histograms | None, passed_s: float) -> RenderableType:
    if before is None:
        return views.hist(now, "since the start")
    since = {
        measure: {kind: one.since(before[measure][kind]) for kind, one in kinds.items()}
        for measure, kinds in now.items()
    }
    return views.hist(since, f"in the last {passed_s:.1f} s")


def _show(
    read: Callable[[], Any], view: Callable[[Any, Any, float], RenderableType], once: bool, watch: bool
) -> None:
    """Show one reading, or what came between two, or that again and again."""
    before, before_mono = read(), time.monotonic()
    if once:
        console().print(view(before, None, 0.0))
        return
    with suppress(KeyboardInterrupt):
        if not watch:
            time.sleep(READING_S)
            console().print(view(read(), before, time.monotonic() - before_mono))
            return
        with Live(view(before, None, 0.0), console=console(), auto_refresh=False, screen=os.isatty(1)) as live:
            while True:
                time.sleep(READING_S)
                now, mono = read(), time.monotonic()
                live.update(view(now, before, mono - before_mono), refresh=True)
                before, before_mono = now, mono
