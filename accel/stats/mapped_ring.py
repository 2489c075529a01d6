"""A ring of another process of this machine, mapped by who may, so that reading it costs that process nothing.

Owns finding it. A ring is a memfd whose name no other has (`ring.LogRings`), and the process that made it has it open
as long as it lives: so it is among its descriptors in /proc, for whoever may trace it (ptrace(2), read access). It is
opened to be read alone. Invariant: what is found under another name, by another process with that number, here or
behind a forwarded socket, is never taken for it.
"""

from __future__ import annotations

import mmap
from contextlib import suppress
from pathlib import Path

from accel.stats.ring import RingReader


def mapped(pid: int, name: str) -> RingReader | None:
    """Return a reader of a ring of process `pid`; None where there is no such one, or not for us."""
    wanted = f"/memfd:{name} (deleted)"
    with suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                if str(descriptor.readlink()) == wanted:
                    return RingReader(_mapped(descriptor))
    return None


def _mapped(descriptor: Path) -> memoryview:
    with descriptor.open("rb") as ring:
        return memoryview(mmap.mmap(ring.fileno(), 0, access=mmap.ACCESS_READ))
