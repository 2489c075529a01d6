"""The live log as the admin gives it: where each worker's ring begins and ends, and its bytes, a piece at a time.

Runs on the arbiter's loop, and so does a bounded amount of work for each question: what the bytes say is worked out by
who asks (`stats.records`), and who may map a ring reads it there (`stats.mapped_ring`). Invariant: any row and place
may be asked for; nothing outside a ring is ever given.
"""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Mapping

from accel.stats.ring import LogRings, RingReader

MOST_PAGES = 8
"""Of one answer: half a megabyte, a millisecond's work."""


def rows(rings: LogRings) -> dict[str, object]:
    """Return who answers, when, and of each worker's row its ring's name, begin and end, and how many were begun."""
    return {
        "pid": os.getpid(),
        "now": time.time(),
        "rows": {
            str(row): {
                "name": rings.name(row),
                "oldest": reader.oldest(),
                "head": reader.head(),
                "records": reader.records(),
            }
            for row, reader in rings.readers().items()
        },
    }


def piece(rings: LogRings, row: int, place: int) -> dict[str, object] | None:
    """Return some records of a row from a place on, in base64, and where the next begin; None: there is no such row."""
    readers: Mapping[int, RingReader] = rings.readers()
    if row not in readers:
        return None
    chunks = []
    for _ in range(MOST_PAGES):
        chunk, place = readers[row].read(place)
        if not chunk:
            break
        chunks.append(chunk)
    return {"pid": os.getpid(), "next": place, "records": base64.b64encode(b"".join(chunks)).decode()}
