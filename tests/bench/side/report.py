"""What a run found: ratios first, then the figures; as a table on the terminal, in Markdown, as JSON, and as a plot.

Owns the medians. A ratio is the median of the rounds' ratios, so what slows the machine for a while slows both sides.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from statistics import median

from side import plot
from side.peers import Peer
from side.rounds import Figures
from side.works import WORKS, Way, Work

Seen = dict[str, dict[str, list[Figures]]]
"""The figures of each round, by work, then by server."""
UNITS = {Way.CPU: "µs CPU a request", Way.PACED: "µs, p99", Way.EVEN: "µs, p99", Way.IDLE: "KiB a connection"}
FELL_BEHIND = "the generator fell behind"
SUBJECT = "accel"


def subject_of(work: Work) -> str:
    """Return whose costs are set in relation to the others'."""
    return work.own.name if work.own else SUBJECT


def ratio(rounds: dict[str, list[Figures]], one: str, other: str) -> float | None:
    """Return the median of one server's costs over another's; None where no round measured both."""
    pairs = zip(rounds.get(one, []), rounds.get(other, []), strict=False)
    ratios = [mine.cost / max(theirs.cost, 1e-9) for mine, theirs in pairs if mine.counts and theirs.counts]
    return median(ratios) if ratios else None


def cost(rounds: list[Figures]) -> float | None:
    """Return the median of what counts; None where nothing does."""
    costs = [each.cost for each in rounds if each.counts]
    return median(costs) if costs else None


def shown(work: Work, figures: Figures) -> str:
    """Return one measurement in a line."""
    if not figures.counts:
        return FELL_BEHIND
    rate = f" at {figures.per_second:,.0f}/s, core {figures.busy:.0%} busy" if figures.busy else ""
    return f"{figures.cost:10.2f} {UNITS[work.way]}{rate}"


def _grid(header: list[str], rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for row in [header, ["-" * width for width in widths], *rows]:
        first, *others = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append(f"| {' | '.join([first.strip().ljust(widths[0]), *others])} |")
    return "\n".join(lines)


def ratios(seen: Seen) -> str:
    """Return the table of accel's costs over each other's."""
    names = _others(seen)
    rows = []
    for name, rounds in seen.items():
        subject = subject_of(WORKS[name])
        found = [None if other == subject else ratio(rounds, subject, other) for other in names]
        if any(value is not None for value in found):
            rows.append([WORKS[name].title, *("" if value is None else f"{value:.2f}" for value in found)])
    return _grid(["accel's cost over that of", *names], rows) if rows else ""


def _others(seen: Seen) -> list[str]:
    named = dict.fromkeys(server for rounds in seen.values() for server in rounds)
    subjects = {subject_of(WORKS[name]) for name, rounds in seen.items() if WORKS[name].own}
    usual = {SUBJECT} if not subjects else set()
    return [server for server in named if server not in subjects | usual]


def costs(seen: Seen) -> str:
    """Return the table of all costs: medians, and between which values they lay."""
    rows = [
        [WORKS[name].title, server, *_row(WORKS[name], [one for one in figures if one.counts])]
        for name, rounds in seen.items()
        for server, figures in rounds.items()
    ]
    return _grid(["work", "server", "median", "range", "unit", "requests/s", "core", "p50 µs", "p99 µs"], rows)


def _row(work: Work, counted: list[Figures]) -> list[str]:
    if not counted:
        return ["", "", FELL_BEHIND, "", "", "", ""]
    values = [each.cost for each in counted]
    rate, busy, p50, p99 = (
        median(getattr(each, part) for each in counted) for part in ("per_second", "busy", "p50_us", "p99_us")
    )
    return [
        f"{median(values):.2f}", f"{min(values):.2f}-{max(values):.2f}", UNITS[work.way],
        f"{rate:,.0f}" if rate else "", f"{busy:.0%}" if busy else "", f"{p50:,.0f}", f"{p99:,.0f}",
    ]  # fmt: skip


def note(peers: Iterable[Peer], rounds: int, seconds: float) -> str:
    """Return on what, of what and when this was measured."""
    about = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.partition(":")[2].strip() for line in about if "model name" in line), platform.machine())
    versions = "; ".join(peer.shown_version() for peer in peers if peer.version)
    return (
        f"{time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}; {cpu}, Linux {platform.release()}, Python"
        f" {platform.python_version()}; servers on core 0, load generator and origin on core 1; {rounds} rounds of"
        f" {seconds:g} s, in turns; medians.\n{versions}."
    )


def text_of(seen: Seen, said: str) -> str:
    """Return the whole report."""
    return f"{ratios(seen)}\n\n{costs(seen)}\n\n{said}\n"


def write(directory: Path, seen: Seen, said: str) -> None:
    """Write side_by_side.md, .json and, where matplotlib is there, .png."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "side_by_side.md").write_text(f"# Side by side\n\n{text_of(seen, said)}")
    raw = {
        work: {server: [asdict(one) for one in figures] for server, figures in rounds.items()}
        for work, rounds in seen.items()
    }
    (directory / "side_by_side.json").write_text(json.dumps({"note": said, "rounds": raw}, indent=1) + "\n")
    bars = {WORKS[name].title: _bars(WORKS[name], rounds) for name, rounds in seen.items()}
    if not plot.drawn(directory / "side_by_side.png", bars, said):
        print("no plot: matplotlib is not installed (pip install matplotlib)")


def _bars(work: Work, rounds: dict[str, list[Figures]]) -> plot.Panel:
    paced = {server: figures for server, figures in rounds.items() if cost(figures) and figures[0].busy}
    return plot.Panel(
        UNITS[work.way],
        subject_of(work),
        {server: cost(figures) for server, figures in rounds.items()},
        {server: f"at {median(one.per_second for one in paced[server]):,.0f}/s" for server in paced},
    )
