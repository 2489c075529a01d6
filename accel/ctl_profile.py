"""`accelctl profile` and `accelctl dump`: what a worker spends its time on, and what is under way in all of them.

Prefers py-spy where it is installed and may look (it sees compiled code, too); else the worker's own profiler
(`server.profiler`) is asked over the admin. Owns the files that it writes, and no fact.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from accel import ctl_views, flame

AT_REST = "waiting;event loop"
"""As the worker's profiler calls it: it would be most of the graph, and say nothing."""
HEAVIEST = 15
"""Functions that are named without a file to write."""


@click.command()
@click.option("--worker", "-w", type=click.IntRange(1), default=1, show_default=True, help="Which: see 'workers'.")
@click.option("--seconds", "-s", type=click.FloatRange(0.1, 600), default=10, show_default=True, help="How long.")
@click.option("--output", "-o", type=click.Path(dir_okay=False, writable=True, path_type=Path),
              help="FILE.svg: a flame graph; FILE.txt: its stacks, a line each.")  # fmt: skip
@click.option("--own", is_flag=True, help="Ask the worker itself even if py-spy is installed.")
@click.pass_obj
def profile(daemon: Any, worker: int, seconds: float, output: Path | None, own: bool) -> None:
    """Show where a live worker spends its time, running and waiting.

    Costs the worker 1 % while it lasts and nothing otherwise. Without -o it prints the functions that ran longest.
    py-spy is used where it is installed, since it sees compiled code, too; its graph shows running time alone.
    """
    if output is not None and output.suffix not in (".svg", ".txt"):
        raise click.UsageError("-o takes FILE.svg or FILE.txt")
    spy = None if own or output is None else shutil.which("py-spy")
    if spy and output and _spied(daemon, spy, worker, seconds, output):
        return
    found = daemon.ask("/profile", {"worker": worker, "seconds": seconds}, seconds)
    said = f"worker {worker}: {found['wall_s']:.1f} s, of which {found['cpu_s']:.2f} s running"
    click.echo(said)
    if output is None:
        _print_heaviest(found)
    else:
        stacks = found["stacks"]
        drawn = {stack: spent for stack, spent in stacks.items() if stack != AT_REST}
        rest = f"; {stacks.get(AT_REST, 0.0):.2f} s at rest, not drawn"
        output.write_text(flame.svg(drawn, said + rest) if output.suffix == ".svg" else flame.collapsed(stacks))
        click.echo(f"written to {output}")


def _spied(daemon: Any, spy: str, worker: int, seconds: float, output: Path) -> bool:
    """Let py-spy do it; False if it may not."""
    pid = next((row["pid"] for row in daemon.ask("/workers") if row["number"] == worker), None)
    if pid is None:
        raise click.ClickException(f"there is no worker {worker}: see 'accelctl workers'")
    form = "flamegraph" if output.suffix == ".svg" else "raw"
    command = [spy, "record", "--pid", str(pid), "--duration", str(max(1, round(seconds))), "--format", form]
    done = subprocess.run([*command, "--output", str(output)], capture_output=True, text=True, check=False)
    if done.returncode:
        words = done.stderr.strip().splitlines()
        why = words[-1] if words else "it said nothing"
        click.echo(f"py-spy could not ({why}); the worker is asked itself", err=True)
        return False
    click.echo(f"worker {worker}: written to {output} by py-spy")
    return True


def _print_heaviest(found: Mapping[str, Any]) -> None:
    """Print functions by the time that they themselves ran."""
    own: dict[str, float] = {}
    for stack, seconds in found["stacks"].items():
        kind, _, rest = stack.partition(";")
        name = f"{kind}: {rest.rpartition(';')[2]}"
        own[name] = own.get(name, 0.0) + seconds
    table = ctl_views.table_of(">seconds", ">share", "function")
    for name, seconds in sorted(own.items(), key=lambda item: -item[1])[:HEAVIEST]:
        table.add_row(f"{seconds:.3f}", f"{seconds / found['wall_s']:.1%}", Text(name))
    ctl_views.console().print(table)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.pass_obj
def dump(daemon: Any, as_json: bool) -> None:
    """Show what is under way in each worker.

    Connections by state, exchanges and fetches (the longest first), and where its tasks wait. The id of an exchange is
    the one that it will have in 'accelctl log'.
    """
    rows = daemon.ask("/dump")
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        if "error" in row:
            click.echo(f"worker {row['worker']}: {row['error']}")
        else:
            _print_dump(row)


def _print_dump(row: Mapping[str, Any]) -> None:
    states = ", ".join(f"{count} {state}" for state, count in sorted(row["connections"].items())) or "none"
    idle = sum(sum(pool.values()) for pool in row["idle_origin_connections"].values())
    click.secho(f"worker {row['worker']}", bold=True)
    click.echo(f"connections: {states}; to origins, at rest: {idle}")
    if row["exchanges"]:
        table = ctl_views.table_of("id", ">for", "outcome", ">status", ">bytes", "client", "backend", "exchange")
        for one in row["exchanges"]:
            name = f"{row['worker']}-{one['id']}" if one["id"] else "-"
            table.add_row(name, f"{one['for_s']:.3f}s", one["outcome"], str(one["status"] or "-"),
                          f"{one['body_bytes']:,}", one["client"], one["backend"] or "-",
                          Text(_named(one)))  # fmt: skip
        ctl_views.console().print(table)
    if row["fetches"]:
        table = ctl_views.table_of("fetch by", "head", ">bytes", ">of", ">readers", "backend", "of")
        for one in row["fetches"]:
            of_bytes = "-" if one["of_bytes"] is None else f"{one['of_bytes']:,}"
            table.add_row(one["by"], one["head"], f"{one['body_bytes']:,}", of_bytes, str(one["readers"]),
                          one["backend"] or "-", Text(_named(one)))  # fmt: skip
        ctl_views.console().print(table)
    table = ctl_views.table_of(">tasks", "where each waits, the innermost last")
    for one in row["tasks"]:
        table.add_row(str(one["count"]), Text(one["where"]))
    ctl_views.console().print(table)


def _named(one: Mapping[str, Any]) -> str:
    return f"{one['method']} {one['host']}{one['target']}"
