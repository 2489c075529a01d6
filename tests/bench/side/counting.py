"""Instructions counted by callgrind, piece by piece, in one run.

Owns the way there: a child of this very program under valgrind, which tells valgrind through a few lines of C where a
piece begins and ends; each piece's count is a dump of its own. Knows no piece.
Source: the Valgrind manual, 6.4 (callgrind's client requests).
"""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from side.peers import found

_LIBRARY = """
#include <valgrind/callgrind.h>
void begin(void) { CALLGRIND_START_INSTRUMENTATION; CALLGRIND_ZERO_STATS; }
void end(const char *name) { CALLGRIND_DUMP_STATS_AT(name); CALLGRIND_STOP_INSTRUMENTATION; }
"""


class Collected:
    """What the child says to valgrind."""

    def __init__(self, library: Path) -> None:
        """`library` is what `count_instructions` compiled."""
        self._library = ctypes.CDLL(str(library))

    def begin(self) -> None:
        """Count from here."""
        self._library.begin()

    def end(self, name: str) -> None:
        """Up to here it was this piece."""
        self._library.end(ctypes.c_char_p(name.encode()))


def count_instructions(program: Sequence[str], turns: int) -> dict[str, float]:
    """Return the instructions a turn, by piece; the piece without a name is taken off the others.

    `program` gets `--turns` and `--collect-by`; it hands the latter to `Collected`. Raises SystemExit where a tool
    is missing.
    """
    for tool in ("valgrind", "gcc"):
        if found(tool) is None:
            raise SystemExit(f"{tool} is missing (Debian: apt-get install valgrind gcc libc6-dev)")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "marks.c").write_text(_LIBRARY)
        library = directory / "marks.so"
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", str(library), str(directory / "marks.c")], check=True)
        command = [
            *("valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={directory}/out", "-q"),
            *(sys.executable, *program, "--turns", str(turns), "--collect-by", str(library)),
        ]
        subprocess.run(command, check=True, stdout=sys.stderr)
        counts = dict(filter(None, map(_count, sorted(directory.glob("out.*"), key=_number))))
    nothing = counts.pop("")
    return {piece: (count - nothing) / turns for piece, count in counts.items()}


def _number(dump: Path) -> int:
    return int(dump.suffix[1:])


def _count(dump: Path) -> tuple[str, int] | None:
    text = dump.read_text()
    name = re.search(r"^desc: Trigger: Client Request: ?(.*)$", text, re.MULTILINE)
    total = re.search(r"^(?:totals|summary): (\d+)", text, re.MULTILINE)
    return (name[1], int(total[1])) if name and total else None
