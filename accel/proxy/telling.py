"""What is left of an exchange when it has ended: its count, its part in the histograms, its record in the live log.

Owns which fact of an exchange is which field of a record. The hot path does the same for what it replays.
"""

from __future__ import annotations

from hashlib import blake2b
from math import isnan, nan
from typing import TYPE_CHECKING

from accel.caching.freshness import current_age
from accel.caching.key import selecting_values
from accel.http.cache_status import Forward
from accel.proxy.outcome import Outcome
from accel.stats.counters import SITE_WORDS, index
from accel.stats.histograms import record
from accel.stats.records import OUTCOMES, REASONS

try:
    from accel.store._shared import keyed_hash
except ImportError:

    def keyed_hash(low: int, high: int, data: bytes) -> int:
        """Stand in where the compiled part was not built."""
        return int.from_bytes(blake2b(data, digest_size=8).digest(), "little")


if TYPE_CHECKING:
    from accel.proxy.exchange import Exchange
    from accel.stats.ring import Writer

_OUTCOMES = {outcome: OUTCOMES.index(outcome.word) for outcome in Outcome}
_REASONS = {None: 0} | {reason: REASONS.index(reason.value.decode()) for reason in Forward}

_CONNECTION_BITS = 0xFFFF_FFFF
"""A record has so much room for a connection's number."""
_HITS_STALE = index("hits_stale")
_SWITCHING = 101


def settled(exchange: Exchange) -> None:
    """Count, measure and log an exchange."""
    counters = exchange.service.counters
    counters[exchange.site * SITE_WORDS + exchange.outcome.counter] += 1
    if exchange.outcome is Outcome.STALE:
        counters[_HITS_STALE] += 1
    _measure(exchange)
    if exchange.service.log is not None:
        _tell(exchange, exchange.service.log)


def _measure(exchange: Exchange) -> None:
    """Count how long an exchange that has ended took and how large its answer was, if that is measured at all."""
    kind = exchange.outcome.histogram
    if kind is None or not exchange.head_sent or exchange.status == _SWITCHING:
        return
    service, began_at = exchange.service, exchange.started_at
    first_byte_s, total_s = exchange.first_byte_at - began_at, service.now() - began_at
    record(service.histograms, kind, first_byte_s, total_s, exchange.body_bytes)


def _tell(exchange: Exchange, log: Writer) -> None:
    """Write the record of an exchange that has ended."""
    request, began_at, now = exchange.request, exchange.started_at, exchange.service.now()
    fields, age_s, ttl_s, tags = request.fields, nan, nan, b""
    if exchange.served is not None:
        stored = exchange.served.stored
        age_s = current_age(stored, exchange.first_byte_at)
        ttl_s = stored.terms.lifetime_s - age_s
        tags = b" ".join(stored.tags)
    log.write(
        began_at,
        exchange.first_byte_at - began_at,
        now - began_at,
        _origin_s(exchange, now),
        age_s,
        ttl_s,
        0 if exchange.found is None else key_hash(exchange.found.primary),
        exchange.body_bytes,
        exchange.id,
        exchange.connection.id & _CONNECTION_BITS,
        exchange.status,
        request.minor,
        _OUTCOMES[exchange.outcome],
        _REASONS[exchange.reason],
        min(exchange.retries, 255),
        exchange.client_ip or "-",
        request.method,
        request.host,
        request.target,
        fields.get(b"referer") or b"",
        fields.get(b"user-agent") or b"",
        exchange.backend,
        exchange.rule,
        tags,
        _asked(exchange),
        _varies(exchange),
    )


def key_hash(key: bytes) -> int:
    """Return what stands for a cache key in the log, today and tomorrow."""
    return keyed_hash(0, 0, key)


def _asked(exchange: Exchange) -> bytes:
    """Return the target that an origin was asked for if rules changed it."""
    if exchange.reason is None or exchange.asking.asked.target == exchange.request.target:
        return b""
    return exchange.asking.asked.target


def _varies(exchange: Exchange) -> bytes:
    """Return what tells the request from those whose answers are stored; see `LogRecord.varies`."""
    if exchange.found is None or exchange.found.beside is None:
        return b""
    asked, variants = exchange.asking.asked, exchange.found.beside
    values = (b" %b=%08x" % (name, key_hash(selecting_values(asked, (name,))) >> 32) for name in variants.list.names)
    return b"%d" % len(variants.order) + b"".join(values)


def _origin_s(exchange: Exchange, now: float) -> float:
    """Return how long it waited for an origin's head, its own fetch's or another's; 0: it did not."""
    if isnan(exchange.asked_at):
        return 0.0
    return (now if isnan(exchange.first_byte_at) else exchange.first_byte_at) - exchange.asked_at
