"""The plot of a run: a panel a work, a bar a server, less is better.

Owns how it looks. Knows neither peers nor works. Invariant: without matplotlib nothing is drawn and nothing fails.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
WIDTH, TITLE, BAR, MARGIN = 5.0, 0.6, 0.3, 1.1
"""Inches: of a panel, its title, each of its bars, and for the words above and below all."""
SUBJECT, OTHERS, NOTHING = "#c0392b", "#95a5a6", "the generator fell behind"
NOTE_LETTERS = 80
"""A line of the note below one panel."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One work."""

    unit: str
    subject: str
    """The server whose bar stands out."""
    values: Mapping[str, float | None]
    """By server; None: measured, and nothing of it counts."""
    remarks: Mapping[str, str]
    """What stands behind a server's value."""


def drawn(path: Path, panels: Mapping[str, Panel], note: str) -> bool:
    """Draw the panels by their titles; return whether that was possible."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    most = max(len(panel.values) for panel in panels.values())  # so that all bars are alike
    columns = min(COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    height = (TITLE + BAR * most) * lines + MARGIN
    figure, grid = pyplot.subplots(lines, columns, figsize=(WIDTH * columns, height), squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes, (title, panel) in zip(grid.flat, panels.items(), strict=False):
        _fill(axes, title, panel)
        axes.set_ylim(most - 0.5, -0.5)
    _write_around(figure, columns, height, note)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return True


def _write_around(figure: Figure, columns: int, height: float, note: str) -> None:
    lines = textwrap.wrap(note, NOTE_LETTERS * columns)
    below = 0.15 * len(lines) + 0.2
    figure.text(0.012, 1 - 0.25 / height, "accel beside others: less is better", fontsize=13, va="center")
    figure.text(0.012, 0.1 / height, "\n".join(lines), fontsize=7.5, color="#555555")
    figure.tight_layout(rect=(0, below / height, 1, 1 - 0.4 / height), h_pad=1.8, w_pad=2.5)


def _fill(axes: Axes, title: str, panel: Panel) -> None:
    names = list(panel.values)
    widths = [value or 0.0 for value in panel.values.values()]
    bars = axes.barh(names, widths, color=[SUBJECT if name == panel.subject else OTHERS for name in names], height=0.7)
    labels = [
        f" {NOTHING}" if value is None else f" {_number(value)}  {panel.remarks.get(name, '')}".rstrip()
        for name, value in panel.values.items()
    ]
    axes.bar_label(bars, labels, fontsize=8.5)
    axes.set_xlim(0, max(*widths, 1e-9) * (1.45 if panel.remarks else 1.15))
    axes.set_title(f"{title}  [{panel.unit}]", fontsize=9.5, loc="left")
    axes.xaxis.set_visible(False)
    axes.tick_params(axis="y", length=0, labelsize=9)
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)


def _number(value: float) -> str:
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"
