"""Flame graphs: stacks with their seconds as one self-contained SVG. Pure; knows no profiler.

Each frame is a rectangle as wide as its time, above the one that called it (Gregg, "The Flame Graph", CACM 59/6). The
first name of a stack says whether it ran or waited, and sets the colour: warm and cool, in a bright and in a dark
browser. A title on each tells the whole name, seconds and share.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html import escape
from zlib import crc32

WIDTH, ROW, TOP, CHAR = 1200, 17, 46, 6.6
LEAST_PX = 0.4
"""Narrower frames are left out."""
WAITING = "waiting"
_STYLE = """\
text { font: 11px ui-monospace, Menlo, Consolas, monospace; fill: #1b2027 }
.said { font: 15px system-ui, sans-serif } svg { background: #fff }
rect { stroke: #fff; stroke-width: .5 } g:hover rect { stroke: #000; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) { svg { background: #12151a } .said { fill: #e6e9ee } rect { stroke: #12151a }
g:hover rect { stroke: #fff } }"""


@dataclass(slots=True)
class _Frame:
    """One name at one place of the tree."""

    seconds: float = 0.0
    callees: dict[str, _Frame] = field(default_factory=dict)


def collapsed(stacks: Mapping[str, float]) -> str:
    """Return the text that flame graph tools read: a stack a line, with its milliseconds."""
    return "".join(f"{stack} {max(1, round(seconds * 1000))}\n" for stack, seconds in sorted(stacks.items()))


def svg(stacks: Mapping[str, float], title: str) -> str:
    """Return the graph."""
    root = _tree(stacks)
    frames = list(_placed(root, 0.0, 0, WIDTH / root.seconds if root.seconds else 0.0, ""))
    depth = max((row for row, *_ in frames), default=0)
    height = TOP + (depth + 1) * ROW + 8
    drawn = "\n".join(_drawn(height, root.seconds, *frame) for frame in frames)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">\n'
        f"<style>{_STYLE}</style>\n"
        f'<text class="said" x="8" y="24">{escape(title)}</text>\n{drawn}\n</svg>\n'
    )


def _tree(stacks: Mapping[str, float]) -> _Frame:
    root = _Frame()
    for stack, seconds in stacks.items():
        frame = root
        frame.seconds += seconds
        for name in stack.split(";"):
            frame = frame.callees.setdefault(name, _Frame())
            frame.seconds += seconds
    return root


def _placed(
    frame: _Frame, left: float, row: int, scale: float, first: str
) -> Iterator[tuple[int, float, float, str, float, str]]:
    """Yield row, left, width, name, seconds and the first name of the stack for each frame that can be seen."""
    for name, callee in sorted(frame.callees.items()):
        width = callee.seconds * scale
        if width >= LEAST_PX:
            yield row, left, width, name, callee.seconds, first or name
            yield from _placed(callee, left, row + 1, scale, first or name)
        left += width


def _drawn(
    height: int, total: float, row: int, left: float, width: float, name: str, seconds: float, first: str
) -> str:
    top = height - 8 - (row + 1) * ROW
    room = int((width - 6) / CHAR)
    short = name.rsplit(".", 2)[-1] if len(name) > room else name
    text = short if len(short) <= room else short[: max(0, room - 1)] + "…" if room > 2 else ""
    label = f'<text x="{left + 3:.1f}" y="{top + 12}">{escape(text)}</text>' if text else ""
    told = f"{name}: {seconds:.3f} s, {seconds / total:.1%}" if total else name
    return (
        f"<g><title>{escape(told)}</title>"
        f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{ROW - 1}" rx="2" fill="{_colour(name, first)}"/>'
        f"{label}</g>"
    )


def _colour(name: str, first: str) -> str:
    shade = crc32(name.encode()) % 24
    if first == WAITING:
        return f"hsl({205 + shade} 45% {72 + shade % 8}%)"
    return f"hsl({20 + shade} 85% {62 + shade % 10}%)"
