"""How accelctl shows the arbiter's answers: JSON values in, rich tables and sentences out. Asks nobody."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from accel.values import show_duration

PLAIN_COLUMNS = 160
"""Width of tables that do not go to a terminal, so that no cell is folded."""
STATE_STYLES = {"up": "green", "accepting": "green", "down": "red", "draining": "yellow", "leaving": "yellow"}


_OTHER_PROGRAM = {
    "starting": " (starts process {pid} to replace it)",
    "replaced": " (replaced by process {pid})",
    "left": " (process {pid}, which was to replace it, is gone but for some workers)",
    "replacing": " (the old one, process {pid}, still lives)",
}
"""What there is besides, by the phase of an upgrade (`server.upgrade`)."""


def workers(rows: list[dict[str, Any]]) -> Table:
    """Return one row a worker."""
    counts = (">connections", ">requests", ">heartbeat", ">restarts")
    table = table_of(">worker", ">process", "state", ">age", *counts)
    for row in rows:
        table.add_row(
            str(row["number"]),
            str(row["pid"]),
            _state(row["state"]),
            show_duration(round(row["age_s"])),
            count_of(row["connections"]),
            count_of(row["requests"]),
            f"{row['heartbeat_age_s']:.1f}s ago",
            count_of(row["restarts"]),
        )
    return table


def backends(rows: list[dict[str, Any]]) -> Table:
    """Return one row a backend."""
    are_of_policies = any(pool for row in rows for pool in row.get("pools", ()))
    pools = ("pools",) if are_of_policies else ()
    table = table_of("backend", *pools, ">weight", "state", ">in flight", ">requests", ">failures", "why")
    for row in rows:
        its_pools = [Text(", ".join(pool or "default" for pool in row["pools"]))] if are_of_policies else []
        table.add_row(
            row["address"],
            *its_pools,
            str(row["weight"]),
            _state(row["state"], row["ramp"]),
            count_of(row["in_flight"]),
            count_of(row["requests"]),
            count_of(row["failures"]),
            row["why"] or "",
        )
    return table


def store(figures: Mapping[str, Any]) -> Table:
    """Return the shared store's figures as a table."""
    table = table_of("store", ">now")
    for name, value in figures.items():
        words, unit = (name.removesuffix("_bytes"), "B") if name.endswith("_bytes") else (name, "")
        table.add_row(words.replace("_", " "), value if isinstance(value, str) else count_of(value, unit))
    return table


def bans(rows: list[dict[str, Any]]) -> Table:
    """Return one row a pending ban."""
    table = table_of(">number", ">age", "ban")
    for row in rows:
        table.add_row(str(row["number"]), show_duration(round(row["age_s"])), Text(row["ban"]))
    return table


def receipt(row: Mapping[str, Any]) -> str:
    """Return an invalidation's receipt as a sentence."""
    count = row.get("dropped", row.get("touched", 0))
    responses = f"{count:,} stored response" + ("s" if count != 1 else "")
    if "touched" in row:
        done = f"{responses} count{'s' if count == 1 else ''} as stale" if count else "nothing was stored"
    else:
        done = f"dropped {responses}" if count else "nothing was stored"
    if "counting" in row:
        done = "effective everywhere; counting is still under way"
    answered = f"{row['answered']} of {row['workers']} workers answered"
    return f"{_named(row)}: {done}; {answered}, {row['ms']:.1f} ms"


def _named(row: Mapping[str, Any]) -> str:
    names = ", ".join(row["names"])
    return {"url": names, "tag": f"tag {names}", "ban": f"ban {names}"}.get(row["what"], "everything")


def headline(facts: Mapping[str, Any], counters: Mapping[str, int]) -> Text:
    requests = counters.get("requests", 0)
    ratio = f"{counters.get('hits', 0) / requests:.1%} hits" if requests else "no requests yet"
    other = _OTHER_PROGRAM.get(facts["upgrade"]["phase"], "").format(pid=facts["upgrade"]["other_pid"])
    return Text(f"{facts['name']}: accel {facts['version']}, process {facts['pid']}{other}, {ratio}", "bold")


def console() -> Console:
    """Return where accelctl writes."""
    return Console(width=None if os.isatty(1) else PLAIN_COLUMNS, highlight=False)


def table_of(*headings: str) -> Table:
    """Return a table without lines between rows; a heading that starts with '>' is of numbers."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(heading.lstrip(">"), justify="right" if heading.startswith(">") else "left")
    return table


def count_of(number: int, unit: str = "") -> str:
    return f"{number:,} {unit}".rstrip()


def _state(state: str, ramp: int = 1000) -> Text:
    words = f"{state}, {ramp // 10} % of its share" if state == "up" and ramp < 1000 else state
    return Text(words, STATE_STYLES.get(state, ""))
