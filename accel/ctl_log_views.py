"""A record of the live log as an operator sees it, in three forms.

Asks nobody.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from math import isnan

from accel.stats.access_log import combined_line, json_facts
from accel.stats.records import TEXTS, LogRecord

Format = Callable[[LogRecord], str]


combined: Format = combined_line
"""Returns it in Combined Log Format."""


def as_json(one: LogRecord) -> str:
    """Return all that is known, in a line of JSON: the access log's facts and more."""
    more = {
        "id": one.id_text,
        "reason": one.reason or None,
        "rule": one.rule or None,
        "retries": one.retries,
        "first_byte_ms": _ms(one.first_byte_s),
        "origin_ms": _ms(one.origin_s),
        "age_s": None if isnan(one.age_s) else round(one.age_s, 3),
        "ttl_s": None if isnan(one.ttl_s) else round(one.ttl_s, 3),
        "tags": one.tags.decode("latin-1").split(),
        "key": one.key_text or None,
        "connection": one.connection_text or None,
        "asked": one.asked.decode("latin-1") or None,
        "varies": one.varies.decode("latin-1") or None,
        "cut": [text for bit, text in enumerate(TEXTS) if one.cut >> bit & 1],
    }
    return json.dumps(json_facts(one) | more, separators=(",", ":")) + "\n"


def long(one: LogRecord) -> str:
    """Return a block that tells the way it took."""
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one.at)) + f".{int(one.at % 1 * 1000):03d}"
    asked = _shown(one.method + b" http://" + one.host + one.target)
    lines = [f"{one.id_text}  {at}  {asked}"]
    lines += [f"    {name:<10} {text}" for name, text in _facts(one) if text]
    return "\n".join([*lines, "", ""])


def _facts(one: LogRecord) -> Iterator[tuple[str, str]]:
    yield "client", one.client
    yield "connection", one.connection_text
    yield "way", _way(one)
    yield "rule", one.rule
    yield "asked", _shown(one.asked)
    yield "varies", _shown(one.varies)
    yield "origin", _origin(one)
    if one.status:
        took = f"first byte after {_time(one.first_byte_s)}, all after {_time(one.duration_s)}"
        yield "answer", f"{one.status}, {one.body_bytes:,} bytes; {took}"
    else:
        yield "answer", f"none: over after {_time(one.duration_s)}"
    if not isnan(one.age_s):
        yield "stored", f"age {_time(one.age_s)}, fresh for {_time(one.ttl_s)}"
    yield "tags", _shown(one.tags)
    yield "key", one.key_text
    yield "referer", _shown(one.referer)
    yield "agent", _shown(one.user_agent)
    yield "cut", ", ".join(text for bit, text in enumerate(TEXTS) if one.cut >> bit & 1)


def _way(one: LogRecord) -> str:
    return f"{one.outcome}, forwarded: {one.reason}" if one.reason else one.outcome


def _origin(one: LogRecord) -> str:
    if not one.reason:
        return ""
    retries = f", tried again {one.retries} times" if one.retries else ""
    return f"{one.backend or 'none answered'}, waited {_time(one.origin_s)}{retries}"


def _ms(seconds: float) -> float | None:
    return None if isnan(seconds) else round(seconds * 1000, 3)


def _time(seconds: float) -> str:
    if isnan(seconds):
        return "-"
    unit, scale = next(one for one in _UNITS if not seconds or abs(seconds) * one[1] >= 1 or one is _UNITS[-1])
    return f"{seconds * scale:.3g} {unit}"


def _shown(value: bytes) -> str:
    """Return bytes of a client so that no terminal does anything for them."""
    return value.decode("latin-1").encode("ascii", "backslashreplace").decode().translate(_CONTROLS)


_UNITS = (("s", 1), ("ms", 1000), ("us", 1_000_000))
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), 127)}
