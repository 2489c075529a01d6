"""One exchange as it is logged, and the records of a ring's bytes.

Owns the meaning of a record's fields. Invariant: whatever bytes it is given, reading ends, at what can be no record,
and never raises.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import nan

from accel.stats.plain_ring import EXCHANGE, FIXED, PREFIX, checksum

OUTCOMES = ("hit", "stale", "miss", "pass", "synthetic", "error")
"""How an exchange was answered, by the number in its record."""
REASONS = ("", "bypass", "method", "uri-miss", "vary-miss", "miss", "request", "stale", "partial")
"""Why it was forwarded, by the number in its record; the first if it was not."""
TEXTS = ("client", "method", "host", "target", "referer", "user_agent", "backend", "rule", "tags", "asked", "varies")
"""The texts of a record, in their order."""


LAST_AT = 2.0**33
"""A later time is none: the year 2242."""


@dataclass(slots=True)
class LogRecord:
    """What is known when an exchange has ended. What came from an access log has the fields without default."""

    at: float
    """Wall time of the request's head, s."""
    client: str
    method: bytes
    host: bytes
    target: bytes
    minor: int
    status: int
    """0 if nothing was answered."""
    body_bytes: int
    duration_s: float
    outcome: str
    """One of OUTCOMES."""
    backend: str
    referer: bytes
    user_agent: bytes
    first_byte_s: float = nan
    """From `at` to the answer's head; NaN: nothing was answered."""
    origin_s: float = 0.0
    """Of that, waited for an origin; 0: none was asked."""
    age_s: float = nan
    """Of what was served from the store; NaN where unknown."""
    ttl_s: float = nan
    """What was left of its freshness lifetime, negative if it was stale; NaN where unknown."""
    key_hash: int = 0
    """Of the key under which it was looked up; all variants of a page have one. 0: it was not."""
    reason: str = ""
    """One of REASONS."""
    rule: str = ""
    """`file:line` of the rule that decided; empty: none did."""
    retries: int = 0
    tags: bytes = b""
    exchange_id: int = 0
    """Of those of its worker, in the order in which they began."""
    connection_id: int = 0
    """Of those of its worker, in the order in which they came; 0: not known."""
    number: int = 0
    """Of all records of its ring, in the order in which they ended."""
    cut: int = 0
    """A bit for each of TEXTS that was longer."""
    asked: bytes = b""
    """The target that an origin was asked for; empty: the one that was sent, or none was asked."""
    varies: bytes = b""
    """Of a miss beside stored variants: how many those are, then `field=hash` of what they are told apart by.

    The hash is of the request's value; the field `:key` is what rules joined.
    """
    worker: int = 0
    """Whose it is, from 1; 0: whoever read it did not say."""

    @property
    def id_text(self) -> str:
        """What tells it from all others of this program."""
        return f"{self.worker}-{self.exchange_id}"

    @property
    def connection_text(self) -> str:
        """What tells its connection from all others of this program; empty: not known."""
        return f"{self.worker}-{self.connection_id}" if self.connection_id else ""

    @property
    def key_text(self) -> str:
        """The key's hash in hex; empty: it has none."""
        return f"{self.key_hash:016x}" if self.key_hash else ""


def records_of(chunk: bytes) -> Iterator[LogRecord]:
    """Yield the records of bytes that a RingReader gave."""
    at, end = 0, len(chunk)
    while end - at >= PREFIX.size:
        length, kind, _ = PREFIX.unpack_from(chunk, at)
        if length % 8 or not PREFIX.size <= length <= end - at:
            return
        if kind == EXCHANGE:
            if length < FIXED.size:
                return
            record = _record(chunk, at, length)
            if record is not None:
                yield record
        at += length


def _record(chunk: bytes, at: int, length: int) -> LogRecord | None:
    """Return the exchange of one record; None if its lengths, its time or its checksum cannot be."""
    (_, _, cut, number, began_at, key_hash, body_bytes, exchange_id, connection_id, status,
     minor, outcome, reason, retries, n1, n2, n3, n4, n5, n6, n7, n8, n9, n10, n11,
     first_byte_s, total_s, origin_s, age_s, ttl_s, check) = FIXED.unpack_from(chunk, at)  # fmt: skip
    client = at + FIXED.size
    method = client + n1
    host = method + n2
    target = host + n3
    referer = target + n4
    user_agent = referer + n5
    backend = user_agent + n6
    rule = backend + n7
    tags = rule + n8
    asked = tags + n9
    varies = asked + n10
    if not 0 <= began_at <= LAST_AT or varies + n11 > at + length:
        return None
    if check and check != checksum(chunk[at : at + length]):
        return None
    return LogRecord(
        began_at,
        chunk[client:method].decode("utf-8", "replace"),
        chunk[method:host],
        chunk[host:target],
        chunk[target:referer],
        minor,
        status,
        body_bytes,
        total_s,
        OUTCOMES[outcome] if outcome < len(OUTCOMES) else "",
        chunk[backend:rule].decode("utf-8", "replace"),
        chunk[referer:user_agent],
        chunk[user_agent:backend],
        first_byte_s,
        origin_s,
        age_s,
        ttl_s,
        key_hash,
        REASONS[reason] if reason < len(REASONS) else "",
        chunk[rule:tags].decode("utf-8", "replace"),
        retries,
        chunk[tags:asked],
        exchange_id,
        connection_id,
        number,
        cut,
        chunk[asked:varies],
        chunk[varies : varies + n11],
    )
