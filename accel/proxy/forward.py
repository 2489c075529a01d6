"""The ways of a request that wait for somebody: pass, miss, pipe, purge.

Each is one coroutine that an exchange runs as its task. Owns the order of steps; what a fetch for the cache does is
in `proxy.fill`. Invariant: a request is forwarded at most once for its client, save for the one retry that
`fill.Ending.FAILED` grants, and never after a byte of an answer.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING

from accel.caching.invalidation import Purge, What, requested, targets
from accel.caching.key import primary_key
from accel.caching.reuse import Reuse, judge, may_serve_on_error, may_serve_stale, remaining_s
from accel.caching.storing import is_shareable
from accel.errors import OriginError
from accel.http import cache_status
from accel.http.cache_status import Forward
from accel.origin.fetch import OriginResponse
from accel.proxy import deliver, synth, tunnel
from accel.proxy.contents import Found
from accel.proxy.fill import Ending, Fill, shared_fill
from accel.proxy.following import Join
from accel.proxy.joining import Unjoined, joined
from accel.proxy.origin_view import hops_left, origin_request
from accel.proxy.outcome import Outcome
from accel.proxy.patience import deadline, wait_until
from accel.stats.counters import index

if TYPE_CHECKING:
    from accel.proxy.exchange import Exchange

_COLLAPSED, _VALIDATED, _GAVE_UP = index("collapsed"), index("hits_validated"), index("waits_given_up")


class Next(Enum):
    """What a request does after it waited for a fill."""

    NOTHING = "it is answered"
    AGAIN = "look again: what came was not for this request, or did not come"
    ALONE = "fetch for itself: what comes cannot be shared, or does not come in time"


async def passed(exchange: Exchange, reason: Forward) -> None:
    """Forward a request and its answer; nothing is looked up or stored."""
    if hops_left(exchange.request) == 0:
        exchange.answer(synth.options(exchange.date()), Outcome.SYNTHETIC)
        return
    response = await _fetch(exchange)
    await _invalidate(exchange, response)
    await _pass_on(exchange, response, reason)


async def piped(exchange: Exchange) -> None:
    """Forward a request to leave HTTP: a tunnel if the origin agrees, else an answer as any other."""
    response = await _fetch(exchange, exchange.request.upgrade)
    if response.head.status == 101:
        await tunnel.run(exchange, response)
        return
    exchange.request.keep_alive = False  # what the client sent behind its request cannot be read as HTTP any more
    await _pass_on(exchange, response, Forward.BYPASS)


async def purged(exchange: Exchange) -> None:
    """Drop what the request names in all workers, then answer with a receipt; 404 if no URL was stored."""
    service, started_at = exchange.service, exchange.service.now()
    try:
        decision = exchange.asking.decision
        named = replace(exchange.request, host=decision.asked.host, target=decision.asked.target)
        purge = requested(named, decision.is_soft)
        receipt = await service.invalidator.invalidate(purge, counted=True)
    except ValueError as error:
        exchange.answer(synth.receipt(400, {"error": str(error)}, exchange.date()), Outcome.SYNTHETIC)
        return
    status = 404 if purge.what is What.URL and not receipt.count else 200
    facts = receipt.facts(purge, service.now() - started_at)
    exchange.answer(synth.receipt(status, facts, exchange.date()), Outcome.SYNTHETIC)


async def missed(exchange: Exchange, found: Found, reason: Forward) -> None:
    """Fetch for the cache, together with whoever wants the same, and answer."""
    asking, service = exchange.asking, exchange.service
    request = asking.asked
    is_unshared = exchange.body is not None or b"authorization" in request.fields
    if request.method != b"GET" or found.is_marked or is_unshared:
        await _miss_alone(exchange, found, reason)
        return
    until = deadline(service.cache.evidence.prospect(found), service.caching.coalesce_wait_s)
    for may_fail in (True, False):
        fill = None if reason is Forward.REQUEST else service.flights.find(service, found)
        if fill is not None:
            next_step = await _followed(exchange, found, fill, may_fail, reason, until)
        else:
            next_step = await _led(exchange, found, reason, until)
        match next_step:
            case Next.NOTHING:
                return
            case Next.ALONE:
                break
            case Next.AGAIN:
                found = service.cache.find(request, service.now())
    await _miss_alone(exchange, found, reason)


async def resumed(exchange: Exchange, found: Found, fill: Fill, reason: Forward) -> None:
    """Answer from a fetch for the cache that a relay has begun."""
    if await _answered(exchange, found, fill, True, False, reason) is not Next.NOTHING:
        await _miss_alone(exchange, found, reason)


async def _followed(
    exchange: Exchange, found: Found, fill: Fill | Join, may_fail: bool, reason: Forward, until: float | None
) -> Next:
    """Answer from another request's fill, unless its head does not come `until` then."""
    await wait_until(until, fill.head())
    if not fill.has_head and not exchange.service.origin(exchange.asking.pool).reserve():
        await fill.head()
    if fill.has_head:
        return await _answered(exchange, found, fill, False, may_fail, reason)
    exchange.service.counters[_GAVE_UP] += 1
    return Next.ALONE


async def _led(exchange: Exchange, found: Found, reason: Forward, until: float | None) -> Next:
    """Fetch for this worker, unless another one does: then wait for that, and look what came of it."""
    asking, service = exchange.asking, exchange.service
    request = asking.asked
    claim = None if reason is Forward.REQUEST else service.claim(found.key)
    if claim is not None and not claim.leads:
        flight = await joined(service, asking, found, claim, until)
        match flight:
            case Unjoined.ENDED:
                return _answered_from_store(exchange, service.cache.find(request, service.now()), reason)
            case Unjoined.LATE:
                service.counters[_GAVE_UP] += 1
                return Next.ALONE
            case Unjoined.APART:
                service.counters[_GAVE_UP] += 1
                claim = None
            case Unjoined.UNFIT:
                claim = None
            case _:
                return await _answered(exchange, found, flight, False, True, reason)
    key, fill = found.key, None
    try:
        found = service.cache.find(request, service.now())
        # Since this request looked first, somebody may have stored the answer, or found that it cannot be stored.
        next_step = Next.AGAIN if reason is Forward.REQUEST else _answered_from_store(exchange, found, reason)
        if next_step is not Next.AGAIN or found.key != key:
            return next_step
        fill = shared_fill(service, asking, found, exchange)
        service.flights.begin(found, fill, claim)
    finally:
        if fill is None and claim is not None:
            claim.release()
    return await _answered(exchange, found, fill, True, False, reason)


def _answered_from_store(exchange: Exchange, found: Found, reason: Forward) -> Next:
    """Answer with what another worker's fetch has just stored, if it did and that fits this request."""
    if found.is_marked:
        return Next.ALONE
    service, now = exchange.service, exchange.service.now()
    if found.entry is None or found.record is None:
        return Next.AGAIN
    entry, fields = found.entry, exchange.request.fields
    if judge(entry.stored, fields, now, service.caching, entry.is_soft_purged).reuse is not Reuse.FRESH:
        return Next.AGAIN
    service.counters[_COLLAPSED] += 1
    exchange.served = found.entry
    member = cache_status.forward(reason, collapsed=True, ttl_s=remaining_s(found.entry.stored, now))
    deliver.send_stored(exchange, found.entry, found.record, now, member)
    exchange.finish()
    return Next.NOTHING


async def _answered(
    exchange: Exchange, found: Found, fill: Fill | Join, is_leader: bool, may_fail: bool, reason: Forward
) -> Next:
    """Wait for a fill and answer from it if that can be; raises its failure unless this request `may_fail` once."""
    try:
        ending = await fill.head()
        exchange.backend = fill.backend
        exchange.retries += fill.retries
        match ending:
            case Ending.STREAMING | Ending.VALIDATED:
                return await _answer_from(exchange, fill, is_leader, reason)
            case Ending.UNCACHEABLE:
                return await _answer_claimed(exchange, fill, reason)
            case Ending.FAILED:
                if served_stale(exchange, found, reason, fill.status):
                    return Next.NOTHING
                if may_fail:
                    return Next.AGAIN
                raise fill.error
    finally:
        fill.release(exchange)


async def _answer_from(exchange: Exchange, fill: Fill | Join, is_leader: bool, reason: Forward) -> Next:
    service, entry = exchange.service, fill.entry
    assert entry is not None
    if not is_leader:
        if not fill.fits(exchange.asking.asked):
            return Next.AGAIN
        service.counters[_COLLAPSED] += 1
    now = service.now()
    exchange.served = entry
    member = cache_status.forward(
        reason,
        status=fill.status,
        stored=True,
        collapsed=not is_leader,
        ttl_s=remaining_s(entry.stored, now),
    )
    if fill.record is not None:
        service.counters[_VALIDATED] += 1
        deliver.send_stored(exchange, entry, fill.record, now, member)
    elif fill.body.is_whole_so_far:
        await deliver.send_fill(exchange, fill, now, member)
        if is_leader and exchange.signature and service.relays is not None:
            service.relays.learn_lookup(exchange.signature, exchange)
    else:
        return Next.ALONE
    exchange.finish()
    return Next.NOTHING


async def _answer_claimed(exchange: Exchange, fill: Fill | Join, reason: Forward) -> Next:
    response = fill.claim(exchange)
    if response is None:
        return Next.ALONE
    if fill.is_passed:
        exchange.outcome = Outcome.PASS
    if fill.is_shared and b"range" in exchange.request.fields and response.head.status == 200:
        # The whole was asked for the cache's sake alone, and will not be stored: ask for the part instead.
        response.close()
        return Next.ALONE
    await _pass_on(exchange, response, reason)
    return Next.NOTHING


def served_stale(
    exchange: Exchange, found: Found, reason: Forward, status: int | None, is_demanded: bool = False
) -> bool:
    """Answer with what is stored though the forward failed, if that is allowed (RFC 5861 §4).

    `is_demanded`: a rule says so, however old it is.
    """
    service, now = exchange.service, exchange.service.now()
    found = _still_found(exchange, found)
    if found.entry is None or found.record is None:
        return False
    stored, fields = found.entry.stored, exchange.request.fields
    if b"authorization" in fields and not is_shareable(stored):
        return False
    if not (is_demanded and may_serve_stale(stored)) and not may_serve_on_error(stored, fields, now, service.caching):
        return False
    exchange.outcome, exchange.served = Outcome.STALE, found.entry
    member = cache_status.forward(reason, status=status, ttl_s=remaining_s(found.entry.stored, now))
    deliver.send_stored(exchange, found.entry, found.record, now, member)
    exchange.finish()
    return True


def _still_found(exchange: Exchange, found: Found) -> Found:
    """Return what is stored now, else what was found before, unless an invalidation since then may cover that."""
    cache = exchange.service.cache
    again = cache.find(exchange.asking.asked, exchange.service.now())
    if again.entry is None and found.entry is not None and cache.may_serve(found.primary, found.entry):
        return found  # it has made room for others meanwhile
    return again


async def _miss_alone(exchange: Exchange, found: Found, reason: Forward) -> None:
    """Fetch for this request alone, as the client asked it; store what may be stored."""
    asking, service = exchange.asking, exchange.service
    if asking.asked.method == b"GET" and exchange.body is None:
        asked = origin_request(asking.asked, asking.shown_ip)
        asked.begun = exchange.take_begun()
        fill = Fill(service, found.without_entry(), asking, asked, exchange)
        fill.start(lambda ended: None)
        if await _answered(exchange, found, fill, True, False, reason) is not Next.NOTHING:
            raise OriginError("the response outgrew the store before it could be read")
        return
    response = await _fetch(exchange)
    await _pass_on(exchange, response, reason)


async def _fetch(exchange: Exchange, upgrade: bytes = b"") -> OriginResponse:
    asking = exchange.asking
    asked = origin_request(asking.asked, asking.shown_ip, exchange.body)
    asked.upgrade, asked.begun = upgrade, exchange.take_begun()
    response = await exchange.service.origin(asking.pool).fetch(asked)
    exchange.backend = response.backend
    exchange.retries += response.retries
    return response


async def _pass_on(exchange: Exchange, response: OriginResponse, reason: Forward) -> None:
    """Answer with an origin's response as it is."""
    await deliver.send_passed(exchange, response, cache_status.forward(reason, status=response.head.status))
    if exchange.signature and exchange.service.relays is not None:
        exchange.service.relays.learn(exchange.signature, exchange)
    exchange.finish()


async def _invalidate(exchange: Exchange, response: OriginResponse) -> None:
    """After a successful unsafe method nothing that was stored for its targets is served (RFC 9111 §4.4)."""
    untrue = targets(exchange.asking.asked, response.head)
    keyed = [exchange.asking.policy.keyed_as(*target) for target in untrue]
    keys = tuple(dict.fromkeys(primary_key(*target) for target in (*untrue, *keyed)))
    if not keys:
        return
    try:
        await exchange.service.invalidator.invalidate(Purge(What.URL, keys), counted=False)
    except BaseException:
        response.close()
        raise
