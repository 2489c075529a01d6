"""`accelctl top`: what there is most of in the live log, ranked, once or live.

Owns what is ranked and by which weight; records come by `ctl_log`, whose reader merges the workers, and who do nothing
for it. Invariant: memory does not grow with the traffic: each ranking is a sketch of `KEPT` names (`stats.sketch`); of
what makes keys many `KEPT_PARTS` are kept (`stats.fragments`).

What it shows is of the records that were read: all of them, unless some were overrun (then it says how many) or only
one of `--sample` is looked at (then numbers are multiplied).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass

import click
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from accel.ctl_log import Daemon, Reader
from accel.ctl_views import console, count_of, table_of
from accel.stats.fragments import Fragments, Part
from accel.stats.records import LogRecord
from accel.stats.sketch import Entry, SpaceSaving

KEPT = 2000
"""Names of one ranking: whatever is over 1/2000 of the whole is among them."""
KEPT_PARTS = 500
READING_S = 1.0
_HITS = frozenset({"hit", "stale"})


@dataclass(frozen=True, slots=True)
class Ranking:
    """One thing to rank."""

    title: str
    name: Callable[[LogRecord], str]
    """Empty: it does not count here."""
    weight: Callable[[LogRecord], float]
    show: Callable[[float], str]


def _url(one: LogRecord) -> str:
    return (one.host + one.target).decode("latin-1") if one.target else ""


def _once_each(one: LogRecord) -> float:
    return 1.0


def _count(weight: float) -> str:
    return count_of(round(weight))


def _seconds(weight: float) -> str:
    return f"{weight:,.2f} s"


def _bytes(weight: float) -> str:
    return count_of(round(weight), "B")


RANKINGS = {
    "hits": Ranking("URLs by hits", lambda one: _url(one) if one.outcome in _HITS else "", _once_each, _count),
    "misses": Ranking("URLs by misses", lambda one: _url(one) if one.outcome == "miss" else "", _once_each, _count),
    "origin": Ranking(
        "URLs by seconds waited for an origin",
        lambda one: _url(one) if one.origin_s else "",
        lambda one: one.origin_s,
        _seconds,
    ),
    "bytes": Ranking("URLs by bytes", _url, lambda one: one.body_bytes, _bytes),
    "vary": Ranking(
        "URLs missed though another variant is stored: see Vary, and accelctl explain",
        lambda one: _url(one) if one.reason == "vary-miss" else "",
        _once_each,
        _count,
    ),
    "agents": Ranking(
        "user agents that missed so",
        lambda one: one.user_agent.decode("latin-1") if one.reason == "vary-miss" else "",
        _once_each,
        _count,
    ),
    "backends": Ranking("backends by seconds waited for", lambda one: one.backend, lambda one: one.origin_s, _seconds),
    "clients": Ranking("clients by requests", lambda one: one.client, _once_each, _count),
    "rules": Ranking("rules by requests that they decided", lambda one: one.rule, _once_each, _count),
    "errors": Ranking("URLs by errors", lambda one: _url(one) if one.status >= 500 else "", _once_each, _count),
}
KEYS = "keys"
"""The ranking that is of parts of keys, by their different values."""
_USUAL = ("hits", "misses", "origin", "clients", KEYS)


class Ranks:
    """Some rankings, fed with records."""

    def __init__(self, which: Sequence[str], sample: int) -> None:
        self._sketches = {name: SpaceSaving(KEPT) for name in which if name != KEYS}
        self._fragments = Fragments(KEPT_PARTS) if KEYS in which else None
        self._sample = sample
        self.read = 0

    def add(self, one: LogRecord) -> None:
        """Count a record in each ranking."""
        if one.number % self._sample:
            return
        self.read += 1
        for which, sketch in self._sketches.items():
            ranking = RANKINGS[which]
            if name := ranking.name(one):
                sketch.add(name, ranking.weight(one) * self._sample)
        if self._fragments is not None:
            self._fragments.add(one, self._sample)

    def top(self, count: int) -> dict[str, list[Entry]]:
        """Return the first ones of each."""
        return {which: sketch.top(count) for which, sketch in self._sketches.items()}

    def parts(self, count: int) -> list[Part]:
        """Return the first parts of keys; none if they are not wanted."""
        return [] if self._fragments is None else self._fragments.top(count)

    def total(self, which: str) -> float:
        """Return what all names of a ranking weigh together."""
        return self._sketches[which].total


@click.command()
@click.option("--by", "which", type=click.Choice([*RANKINGS, KEYS]), multiple=True,
              help="What to rank; may be repeated.")  # fmt: skip
@click.option("--limit", type=click.IntRange(1, KEPT), metavar="N", help="Show N of each: 20, or 8 of several.")
@click.option("--sample", type=click.IntRange(1), metavar="N", default=1, help="Look at one record of N.")
@click.option("--once", is_flag=True, help="Show what is in the log now, and end.")
@click.option("--json", "as_json", is_flag=True, help="The same as JSON, for programs.")
@click.pass_obj
def top(daemon: Daemon, which: tuple[str, ...], limit: int | None, sample: int, once: bool, as_json: bool) -> None:
    """Rank URLs, clients, backends and rules by the live log.

    It begins with what is in the log and goes on until Ctrl-C. A number with ± may be that much too large: there were
    too many names.

    --by: URLs by hits, misses, origin (seconds waited for one), bytes, vary (misses though another variant is stored)
    or errors; agents (that missed so), backends (by seconds), clients, rules; keys. Without it: hits, misses, origin,
    clients, keys.

    `keys` ranks what makes keys many: query parameters, and fields that responses vary on, by the different values that
    misses had. If many values do not make many pages, take them out of the key: `query drop`, or edit the field.
    """
    which = which or _USUAL
    limit = limit or (20 if len(which) == 1 else 8)
    reader, ranks = Reader(daemon), Ranks(which, sample)
    _feed(ranks, reader)
    if as_json:
        click.echo(json.dumps(_facts(ranks, reader, limit), indent=1))
    elif once:
        console().print(_view(ranks, reader, limit))
    else:
        _live(ranks, reader, limit)


def _feed(ranks: Ranks, reader: Reader) -> None:
    for one in reader.new():
        ranks.add(one)


def _live(ranks: Ranks, reader: Reader, limit: int) -> None:
    with (
        suppress(KeyboardInterrupt),
        Live(_view(ranks, reader, limit), console=console(), auto_refresh=False, screen=os.isatty(1)) as live,
    ):
        while True:
            time.sleep(READING_S)
            _feed(ranks, reader)
            live.update(_view(ranks, reader, limit), refresh=True)


def _view(ranks: Ranks, reader: Reader, limit: int) -> Group:
    parts: list[object] = [Text(f"of {count_of(ranks.read)} exchanges{_missed(reader)}", "bold")]
    for which, entries in ranks.top(limit).items():
        ranking, whole = RANKINGS[which], ranks.total(which)
        table = table_of(">", ">share", ranking.title)
        for entry in entries:
            doubt = f" ± {ranking.show(entry.excess)}" if entry.excess else ""
            table.add_row(ranking.show(entry.weight) + doubt, f"{entry.weight / whole:.1%}", Text(_shown(entry.name)))
        parts.append(table)
    if fragments := ranks.parts(limit):
        parts.append(_fragments(fragments))
    return Group(*parts)  # type: ignore[arg-type]


def _fragments(fragments: list[Part]) -> Table:
    table = table_of(">values", ">misses", "what makes keys many: different values in misses")
    for part in fragments:
        doubt = f" ± {_count(part.excess)}" if part.excess else ""
        table.add_row(f"~{_count(part.values)}", _count(part.misses) + doubt, Text(_shown(part.name)))
    return table


def _missed(reader: Reader) -> str:
    return f"; {count_of(reader.lost)} were overrun before they were read: see --log-memory" if reader.lost else ""


def _shown(name: str) -> str:
    """Return a name without what a client might do to a terminal."""
    return "".join(char if char.isprintable() else "�" for char in name)


def _facts(ranks: Ranks, reader: Reader, limit: int) -> dict[str, object]:
    ranked: dict[str, object] = {
        which: [{"name": one.name, "weight": one.weight, "excess": one.excess} for one in entries]
        for which, entries in ranks.top(limit).items()
    }
    if parts := ranks.parts(limit):
        ranked[KEYS] = [asdict(part) for part in parts]
    return {"exchanges": ranks.read, "overrun": reader.lost, "top": ranked}
