# cython: annotation_typing=False, show_performance_hints=False
"""How long a request waits for another's fetch of the same page before it fetches for itself.

Waiting pays if what comes can be shared: then one fetch answers all. If it turns out to be the leader's alone, the
wait was lost: a page that takes 1 s takes its followers 2 s. Which of the two it will be is known only with the
leader's head, so what came before decides:

| known of what will come | a follower waits |
|---|---|
| SHARED: the page is stored though stale, or was storable, or its kin were | as long as the leader's fetch lives |
| OWN: its kin were not storable | not at all |
| UNKNOWN: nothing, or now the one and now the other | `--coalesce-wait`, once, however many fetches it follows |

The wait is 100 ms unless told otherwise: most pages that can be shared come within it, and 500 clients before a page of
1 s that cannot be are all answered within 1.3 s, their own work of about 150 ms included (two cores, 2026-11).

Whoever has waited in vain fetches for itself, at once: all of them together, none behind another. (A key's own
hit-for-miss mark is stronger than all this: under it nobody follows anybody.)

A page's kin are those of its directory, or, where it has a query, those that differ in the query alone. One answer
says little of them (a stored style sheet lies beside an account page), so it takes `_SURE` pages in a row of which the
same was learned. In doubt both sides are served: a page that comes within the wait is one fetch, a slow one that may
not be stored costs its followers the wait and no second round.

A worker that is busy with the crowd itself may not have read yet what came for it long ago, and the busier it is the
less it can afford fetches in vain. So the wait is made in `_STEPS` steps, each armed when the one before was seen to be
over: between two the loop has looked at its sockets.

A long body that may not be read as it comes is waited for `END_WAIT_S` from its head on, whatever is known or told:
most are a hit by then, and whoever waited has the whole sooner than by a fetch of its own. A slow one each worker
fetches once more (`proxy.joining`), so that no client is kept without a byte until its end.

Where backends are limited (`--max-connections`) no more give up than get a place at once: for the others the leader's
place is the quickest way to an answer, and in the queue before full backends they would push everybody else out.

Who could lie? A client chooses the pages that it asks for, never what is learned of them: of an answer only that
counts which any client would get (`Fill._says_something_lasting`), of kin only a success, since whoever makes up
names gets 404s. Whoever walks through pages that are not storable makes their kin OWN until one is stored: then a herd
on a page that this worker has never seen stored is not gathered, as if there were no coalescing; pages that it has
seen keep their own evidence. Whoever makes kin SHARED costs the followers of a page that cannot be stored a second
round, once: its mark stands from then on, and what was learned of the page itself goes before its kin.

After a purge of a slow hot page the evidence is what keeps the herd together: every worker that ever served the page
has it, because a stored response is noted when it is first decoded here, whoever fetched it.

Owns what one worker remembers; nothing is shared, nothing outlives the process, and both tables are bounded. Wrong
evidence costs a wait or a fetch, never a wrong answer. Cf. nginx's proxy_cache_lock_timeout, the wait without evidence.
Compiled, if it can be, as `origin.wire` is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accel.proxy.contents import Found

_PAGES = 8192
"""As many as have their heads decoded in a worker; some 250 bytes each."""
_KIN = 1024
END_WAIT_S = 1.0
_STEPS = 5
_SURE = 3
"""One page may be an exception, and the second its twin."""


class _Lately:
    """What was said or asked for lately: when the younger half is full, what is left in the older one goes.

    Each miss notes one: cachetools' LRUCache takes 10 us for that, and this, not compiled, 0.5 (CPython 3.11, 2026-11).
    """

    __slots__ = ("_half", "_old", "_young")

    def __init__(self, most: int) -> None:
        self._half = max(1, most // 2)
        self._young: dict[Any, Any] = {}
        self._old: dict[Any, Any] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, key: int | bytes) -> Any:
        """Return what was said of `key`."""
        value = self._young.get(key)
        if value is None:
            value = self._old.pop(key, None)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: int | bytes, value: object) -> None:
        """Say something of `key`; None is nothing that can be said."""
        if len(self._young) >= self._half and key not in self._young:
            self._old, self._young = self._young, {}
        self._young[key] = value


class Prospect(Enum):
    """What is known of what a fetch will bring."""

    SHARED = "it will be stored"
    OWN = "it will be for its own request alone"
    UNKNOWN = "either"


class Evidence:
    """What one worker has seen of which pages can be stored."""

    __slots__ = ("_kin", "_pages")

    def __init__(self, pages: int = _PAGES, kin: int = _KIN) -> None:
        self._pages = _Lately(pages)
        """By a hash of the page's key: whether what came last was storable."""
        self._kin = _Lately(kin)
        """How many pages in a row were storable; below zero: not storable."""

    def note(self, key: bytes, status: int, is_storable: bool) -> None:
        """Learn from an answer; `key` is the page's primary key, or that of one of its variants."""
        if status >= 500 and not is_storable:
            return
        page = _page(key)
        number = hash(page)
        if self._pages.get(number) is is_storable:
            return
        self._pages.put(number, is_storable)
        if status < 400:
            self._note_kin(_kin(page), is_storable)

    def _note_kin(self, kin: bytes, is_storable: bool) -> None:
        run = self._kin.get(kin) or 0
        self._kin.put(kin, max(run, 0) + 1 if is_storable else min(run, 0) - 1)

    def prospect(self, found: Found) -> Prospect:
        """Return what a fetch for what was `found`, or was not, will bring."""
        was_storable = self._pages.get(hash(found.primary))
        if found.entry is not None or was_storable:
            return Prospect.SHARED
        run = 0 if was_storable is False else self._kin.get(_kin(found.primary)) or 0
        if abs(run) < _SURE:
            return Prospect.UNKNOWN
        return Prospect.SHARED if run > 0 else Prospect.OWN


def deadline(prospect: Prospect, wait_s: float | None) -> float | None:
    """Return until when, in the loop's time, a request waits for others; `wait_s` None: always for as long as it takes.

    None: as long as it takes.
    """
    if prospect is Prospect.SHARED or wait_s is None:
        return None
    now = asyncio.get_running_loop().time()
    return now if prospect is Prospect.OWN else now + wait_s


async def wait_until(until: float | None, what: Awaitable[object]) -> bool:
    """Wait for `what`, at most until then; whether it came. Time in which the loop was busy does not count."""
    now = asyncio.get_running_loop().time()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(until if until is None or until <= now else None) as timeout:
            steps = _Steps(timeout, until - now) if until is not None and until > now else None
            try:
                await what
            finally:
                if steps is not None:
                    steps.stop()
                del timeout, steps  # a cancelled task holds this frame, and a timeout its task: a circle otherwise
            return True
    return False


class _Steps:
    """The steps of one wait; after the last the timeout is over. A late one counts as one, however late it is."""

    __slots__ = ("_left", "_step_s", "_timeout", "_timer")

    def __init__(self, timeout: asyncio.Timeout, wait_s: float) -> None:
        self._timeout = timeout
        self._step_s = wait_s / _STEPS
        self._left = _STEPS
        self._take()

    def _take(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._step_s, self._taken)

    def _taken(self) -> None:
        self._left -= 1
        if self._left:
            self._take()
        else:
            self._timeout.reschedule(asyncio.get_running_loop().time())

    def stop(self) -> None:
        """The wait is over."""
        self._timer.cancel()


def _page(key: bytes) -> bytes:
    """Return the primary key that a variant's begins with; a primary key is its own."""
    return b"\0".join(key.split(b"\0", 2)[:2])


def _kin(page: bytes) -> bytes:
    """Return what a page shares with its kin."""
    path, query, _ = page.partition(b"?")
    return path if query else path[: path.rfind(b"/") + 1]
