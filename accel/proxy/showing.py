"""The leader's side of a long body: what has come lies in the store, where its readers find it as it comes.

Owns when a body under way is shown, and for how long what was shown stays. Knows neither clients nor origins.

A long body's pieces are written to shared memory as they fill. Now and then the leader makes a record of those that
are there: its own readers read from that, so that what has been shown takes this worker no memory; and if the fetch is
claimed, the record lies under a key of the claim's own (`cache.UNDER_WAY`), and a step of the claim wakes who follows.
A body up to `AWAITED_BYTES` is not shown: others wait for its end, which is near. Of a body that nothing could complete
if this process were killed (`is_resumable`) others see the head alone, so that they know not to wait for long, and the
whole in the end; so do those of a body that does not state its length, which may outgrow the store.

The last record is of the whole body and is shown before the response is committed under its own key. So a follower
that began gets the whole even if the response is then not stored, because of a purge or for want of room for its last
record. If anybody follows, leader and record stay for `LINGER_S` after the end; a follower that is stopped for longer
than that, just then, finds nothing. If the body fails, or outgrows the memory, or this process is killed, those who
began to read it look for another fetch of the same (`proxy.joining`), and the rest as after any fetch that failed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from accel.caching.stored import Stored
from accel.caching.validation import may_complete
from accel.store.store import Record

if TYPE_CHECKING:
    from accel.proxy.cache import Filling
    from accel.proxy.service import Claim
    from accel.proxy.streaming import SharedBody

AWAITED_BYTES = 1024 * 1024
"""Other workers wait for the end of a body up to this length; a longer one they read as it comes."""
LINGER_S = 1.0
_STEP_BYTES = 128 * 1024
_STEPS_A_BODY = 64
"""Beyond `_STEP_BYTES` each step is this part of what was shown before, so that all records together stay at a
hundredth of the body: each lists every piece so far, in eight bytes."""


def is_resumable(stored: Stored, length: int | None) -> bool:
    """Whether who has a part of a body may go on with that of another fetch, should this one's worker die."""
    return length is not None and may_complete(stored, stored)


class Showing:
    """One body under way."""

    def __init__(self, filling: Filling, body: SharedBody, length: int | None, claim: Claim | None) -> None:
        """`length` is the body's, None if it is not known; `claim` is ours, None if nobody else waits."""
        self._filling, self._body, self._length = filling, body, length
        self._is_long = length is None or length > AWAITED_BYTES
        self._claim = claim if self._is_long else None
        self._is_read_by_others = is_resumable(filling.entry.stored, length)
        self._record: Record | None = None
        self._shown_bytes = 0
        if self._claim is not None:
            self._show(is_named=True)  # the head alone: whoever waits knows that it is worth it, or goes its own way

    def came(self) -> None:
        """More of the body has been appended to the filling."""
        wanted = max(_STEP_BYTES, self._shown_bytes // _STEPS_A_BODY)
        if self._is_long and self._body.length - self._shown_bytes >= wanted:
            self._show(is_named=self._is_read_by_others)

    def is_whole(self) -> None:
        """All of it has: to be called before the filling is committed."""
        if self._shown_bytes:
            self._show(is_named=self._length is not None, is_whole=True)

    def close(self) -> None:
        """Nothing more is stored, and the claim is released; idempotent."""
        record, self._record = self._record, None
        if self._claim is None or record is None:
            return
        if self._claim.is_followed and record.length == self._length:
            # The timer holds the record, and so its pieces, for those who have been woken and are on their way.
            asyncio.get_running_loop().call_later(LINGER_S, self._hide, self._claim, record)
        else:
            self._hide(self._claim, record)

    def _show(self, *, is_named: bool, is_whole: bool = False) -> None:
        """Make a record of what there is; named, others find it."""
        claim = self._claim if is_named else None
        record = self._filling.show(claim.name if claim is not None else None, is_whole)
        if record is None:
            return
        self._record, self._shown_bytes = record, record.length
        self._body.keep(record)
        if claim is not None:
            claim.step()

    def _hide(self, claim: Claim, record: Record) -> None:
        """Hide what was shown; until then `record` holds it."""
        self._filling.hide(claim.name)
