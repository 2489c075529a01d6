"""Which body that another worker fetches is read here as it comes, and what becomes of its readers if that ends early.

Owns the wait for another worker's fetch, and the second and third fetch; `proxy.following` has the reading itself.
Invariant: no reader is given bytes of two fetches unless a strong validator says that they are of one representation.
RFC 9110 §8.8.1, §15.3.7.3; RFC 9111 §3.4.

A kill -9 is to cost the exchanges of the killed process alone. Whoever has a part of a body can be helped only if the
rest may come from another fetch: a strong entity tag says so and nothing else does (`validation.may_complete`), and the
length must be known. So only such a body is read while its leader could die; any other is read here when it is whole,
for then it lies in shared memory to its end, and our pins keep it there.

How the wait for another worker's fetch ends:

- a `Join`: it is under way, can be resumed and fits (or has ended, and what it showed is whole); answer from it.
- ENDED: look what is in the store now.
- APART: it is long and cannot be resumed, and its end did not come in time (`patience.END_WAIT_S`): fetch it
  once for this worker, beside the other, without a claim. Who comes later finds that fetch in this worker.
- UNFIT: what comes is another variant, or was purged since: do not wait for it, and do not lead in its place either.
- LATE: nothing is known of what comes, and waiting does not pay any more (`proxy.patience`).

So a crowd on a cold large page without such a tag is one fetch if that ends soon, and at most one a worker if not: none
waits for one after another, and none waits long without a byte, whatever it weighs and however slow its origin is. Each
of these fetches is stored as it comes, for those who come to its worker later; the last to end stands, the others'
room is reclaimed as that of anything replaced. A place before full backends is not asked for: one fetch a worker is no
crowd. A body of unknown length is treated the same, whatever its tag: it may outgrow the store.

Who had a part of a body whose leader died, or failed, goes on from a second fetch, asked for as by any request: it is
in the store by now, or somebody leads it, or we do. The readers move over there, each to the byte where it is
(`SharedBody.hand_over`), once its head shows the same representation. What if:

- all workers that read along come at once: the claim makes one of them lead, the others join that fetch.
- the second leader dies too, or its origin fails; or the second response cannot be stored, for want of room or by what
  its head says; or what is under way is for others: a third fetch, for the readers in this worker alone and stored by
  nobody. No other worker's death can end that one. So a worker makes two fetches for them at most. A response that
  kills whoever fetches it comes to each worker with readers at last, as it does to those who merely wait for it.
- an invalidation came since the first began: the same. The second fetch begins after it, and if the tag is still the
  same then so are the bytes, which whoever asked before the invalidation may have.
- the origin has another representation by now: they are cut (`joined_cut`). Nobody has the rest any more: it died with
  the leader, whom the origin would have given it. This takes a death and a new version within one transfer.
- the origin fails: they are cut, as clients of that origin would be. So are those who read in a failed fetch's own
  worker.
- all readers leave: before the head, this ends here and a fetch of ours goes on; after it, see `release`.

A leader that is dead and not yet buried, or stopped, is joined as if it lived: what it showed is there, and its end
comes when the arbiter ends its claim. A `Join` that has ended is found by nobody: it leaves the table before it looks
for a second fetch. What waits and has no byte yet is in no danger: it looks again, twice, and then fetches alone.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING

from accel.caching.validation import may_complete
from accel.errors import OriginError
from accel.origin.fetch import OriginResponse
from accel.proxy.asking import Asking
from accel.proxy.contents import Found
from accel.proxy.fill import Fill, shared_fill
from accel.proxy.following import Join
from accel.proxy.origin_view import origin_request
from accel.proxy.patience import END_WAIT_S, wait_until

if TYPE_CHECKING:
    from accel.proxy.service import Claim, Service


class Unjoined(Enum):
    """Why there is nothing to read as it comes."""

    ENDED = "the fetch has ended"
    APART = "it cannot be read as it comes, and its end is not near"
    UNFIT = "the fetch is of something else"
    LATE = "waiting does not pay any more"


async def joined(
    service: Service, asking: Asking, found: Found, claim: Claim, until: float | None
) -> Join | Fill | Unjoined:
    """Wait for another worker's fetch until there is something to read, or it has ended; see the module's top.

    Once its head shows that it will be stored and can be resumed, that is worth any wait; before, `until` then (None:
    any), and longer only if a fetch of its own would have to queue before full backends.
    """
    goes_on = True
    is_apart = is_over = False
    while True:
        step = claim.follow()
        local = service.flights.find(service, found)
        if local is not None:
            return local
        join = _seen(service, asking, found.key, claim, step)
        if join is not None:
            if not join.fits(asking.asked):
                return Unjoined.UNFIT
            if join.is_whole or (goes_on and join.is_resumable and join.body.length):
                join.start(_resumed)
                return join
        if not goes_on:
            return Unjoined.ENDED
        if is_over:
            return Unjoined.APART
        if join is not None and not is_apart:
            is_apart = not join.is_resumable
            until = asyncio.get_running_loop().time() + END_WAIT_S if is_apart else None
        if not await wait_until(until, claim.changed(step)):
            if not is_apart and service.origin(asking.pool).reserve():
                return Unjoined.LATE
            is_over, until = is_apart, None
        goes_on = claim.stands


def _seen(service: Service, asking: Asking, key: bytes, claim: Claim, step: int) -> Join | None:
    """Return what there is to see of a fetch."""
    record = service.cache.under_way(claim.name)
    return Join(service, asking, key, claim, step, record) if record is not None else None


# The second fetch, and the third.


async def _resumed(join: Join) -> bool:
    """Let the readers go on with another fetch of the same representation; False: they are to be cut."""
    if not join.body.reader_count or not join.is_resumable:
        return False
    source = None if join.has_taken_over else await _source_for(join)
    if isinstance(source, Fill):
        await source.head()
    if source is None or source.entry is None or not _is_readable(source):
        return await _is_finished(join)
    if not _is_completed_by(join, source):
        if isinstance(source, Join):
            source.release(join)  # it may have been made for us
        return False
    if source.record is not None:
        join.completes_with(source.record)
    elif not isinstance(source, Found):
        join.moves_to(source)
    return True


def _is_readable(source: Fill | Join | Found) -> bool:
    """Whether all of it can be read there: a fetch that outgrew the store lets go of what its readers have."""
    return isinstance(source, Found) or source.record is not None or source.body.is_whole_so_far


def _is_completed_by(join: Join, source: Fill | Join | Found) -> bool:
    """Whether the rest is the same there."""
    if source.entry is None:
        return False
    length = source.length if not isinstance(source, Found) else None
    if source.record is not None:
        length = source.record.length
    return length == join.length and may_complete(join.entry.stored, source.entry.stored)


async def _source_for(join: Join) -> Fill | Join | Found | None:
    """Return what the rest may come from: a fetch, which is ours if nobody else's is under way, or what is stored.

    It is not known yet that it brings the same; None: only a fetch for the readers alone may.
    """
    service = join.service
    found = _look_again(join)
    if found is None or _is_settled(join, found):
        return found
    flight = service.flights.find(service, found)
    if flight is not None:
        return flight
    claim = service.claim(found.key)
    if claim is None or claim.leads:
        return _begin(join, claim)
    joint = await joined(service, join.asking, found, claim, None)
    if not isinstance(joint, Unjoined):
        return joint
    return _look_again(join) if joint is Unjoined.ENDED else None


def _look_again(join: Join) -> Found | None:
    """Return what is stored now; None if nothing will be."""
    found = join.service.cache.find(join.asking.asked, join.service.now())
    return None if found.is_marked else found


def _is_settled(join: Join, found: Found) -> bool:
    """Whether what is stored completes this, or came later; what is older the first fetch was to renew."""
    if found.entry is None:
        return False
    is_newer = found.entry.stored.response_at > join.entry.stored.response_at
    return is_newer or _is_completed_by(join, found)


def _begin(join: Join, claim: Claim | None) -> Fill | Found | None:
    """Fetch for the readers, unless what they need was stored before the claim was ours."""
    fill, service = None, join.service
    try:
        found = _look_again(join)
        if found is None or _is_settled(join, found):
            return found
        fill = shared_fill(service, join.asking, found, None)
        service.flights.begin(found, fill, claim)
        return fill
    finally:
        if fill is None and claim is not None:
            claim.release()


async def _is_finished(join: Join) -> bool:
    """Fetch for the readers alone, and store nothing; False: the origin does not give the same."""
    response = await _fetched_again(join)
    if response is None:
        return False
    try:
        await join.goes_on_with(response)
    except OriginError as error:
        join.body.fail(error)
    finally:
        response.close()
    return True


async def _fetched_again(join: Join) -> OriginResponse | None:
    try:
        asked = origin_request(join.asking.asked, "", whole=True)
        response = await join.service.origin(join.asking.pool).fetch(asked)
    except OriginError:
        return None
    if response.head.body_length == join.length and may_complete(join.entry.stored, response.head):
        return response
    response.close()
    return None
