"""The words that a filter of `accelctl log` may use, and what each is of a record. It brings the language along."""

from __future__ import annotations

from accel.policy.filtering import Word
from accel.policy.vocabulary import Type
from accel.stats.records import OUTCOMES, REASONS

_OUTCOME = Word(
    Type.TEXT, lambda one: one.outcome.encode(), "hit, stale, miss, pass, synthetic, error", frozenset(OUTCOMES)
)

WORDS: dict[str, Word] = {
    "status": Word(Type.STATUS, lambda one: one.status or None, "the answer's status"),
    "method": Word(Type.TEXT, lambda one: one.method, "the method"),
    "host": Word(Type.TEXT, lambda one: one.host, "Host in key form"),
    "url": Word(Type.TEXT, lambda one: one.target, "the target as it was sent"),
    "path": Word(Type.TEXT, lambda one: one.target.partition(b"?")[0], "the target up to `?`, as it was sent"),
    "client": Word(Type.ADDRESS, lambda one: one.client, "the address of whoever connected"),
    "outcome": _OUTCOME,
    "cache": _OUTCOME,
    "reason": Word(
        Type.TEXT,
        lambda one: one.reason.encode() or None,
        "why it was forwarded: uri-miss, stale, bypass, …",
        frozenset(REASONS[1:]),
    ),
    "backend": Word(Type.TEXT, lambda one: one.backend.encode() or None, "who answered"),
    "rule": Word(Type.TEXT, lambda one: one.rule.encode() or None, "file:line of the rule that decided"),
    "time.first_byte": Word(Type.DURATION, lambda one: one.first_byte_s, "from the request to the answer's head"),
    "time.total": Word(Type.DURATION, lambda one: one.duration_s, "from the request to the end"),
    "time.origin": Word(Type.DURATION, lambda one: one.origin_s, "waited for an origin"),
    "bytes": Word(Type.SIZE, lambda one: one.body_bytes, "of the answer's body"),
    "age": Word(Type.DURATION, lambda one: one.age_s, "of what is stored"),
    "ttl": Word(Type.DURATION, lambda one: one.ttl_s, "what is left of its freshness"),
    "retries": Word(Type.NUMBER, lambda one: one.retries, "how often the fetch was tried again"),
    "tags": Word(Type.TEXT, lambda one: one.tags or None, "of what is stored, with spaces between"),
    "referer": Word(Type.TEXT, lambda one: one.referer or None, "the request's Referer"),
    "user-agent": Word(Type.TEXT, lambda one: one.user_agent or None, "the request's User-Agent"),
    "asked": Word(Type.TEXT, lambda one: one.asked or None, "what an origin was asked for, where rules changed it"),
    "varies": Word(Type.TEXT, lambda one: one.varies or None, "of a vary-miss: how many there are, and by what"),
    "key": Word(Type.TEXT, lambda one: one.key_text.encode() or None, "the hash of the cache key, 16 digits"),
    "id": Word(Type.TEXT, lambda one: one.id_text.encode(), "the exchange, as `2-17`: of worker 2"),
    "connection": Word(Type.TEXT, lambda one: one.connection_text.encode() or None, "the client's connection, alike"),
    "worker": Word(Type.NUMBER, lambda one: one.worker, "the worker, from 1"),
}
"""What a filter may read."""
