"""Reading field values: lists, tokens, Cache-Control, dates, entity tags, hop-by-hop names.

Owns syntax only; what a directive or a date means to a cache is `caching`'s. Invariant: no value makes a
function here raise, and where a value can be read in two ways the reading under which less is stored or
reused wins.
RFC 9110 §5.6, §7.6.1, §8.8.3; RFC 9111 §1.2.2, §4.2, §5.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache

OWS = b" \t"

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_LIST_MEMBER = re.compile(rb'(?:[^,"]++|"(?:[^"\\]|\\.)*+(?:"|\\?\Z))++', re.DOTALL)
_QUOTED_STRING = re.compile(rb'"((?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*+)"')
_BALANCED = re.compile(rb'(?:[^"]++|"(?:[^"\\]|\\.)*+")*+', re.DOTALL)
_QUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)
_ENTITY_TAG = re.compile(rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
_TAG_MEMBER = re.compile(rb"[ \t,]*(" + _ENTITY_TAG.pattern + rb")[ \t]*(?:,|\Z)")

GREATEST_DELTA_S = 2**31 - 1
"""What a larger delta-seconds is taken for (RFC 9111 §1.2.2)."""

_CACHED_VALUE_BYTES = 256
"""Longer values are read anew each time, so that the caches below stay small whatever clients send."""


def is_token(value: bytes) -> bool:
    """Whether `value` is a token (RFC 9110 §5.6.2)."""
    return _TOKEN.fullmatch(value) is not None


def parse_list(value: bytes) -> list[bytes]:
    """Return a list's members, quoted strings respected and empty ones left out (RFC 9110 §5.6.1)."""
    members = _LIST_MEMBER.findall(value) if b'"' in value else value.split(b",")
    return [stripped for member in members if (stripped := member.strip(OWS))]


def delta_seconds(value: bytes) -> int | None:
    """Return a count of seconds, capped; None unless it is digits alone (RFC 9111 §1.2.2)."""
    if not value.isdigit():
        return None
    return GREATEST_DELTA_S if len(value.lstrip(b"0")) > 10 else min(int(value[-10:]), GREATEST_DELTA_S)


class Directives(Mapping[bytes, bytes | None]):
    """Cache-Control as read: lower-case directive names, each with its argument unquoted, or None for none.

    An argument that could not be read, or came twice with a difference, is `b""`: never a value.
    """

    __slots__ = ("_arguments",)

    def __init__(self, arguments: Mapping[bytes, bytes | None]) -> None:
        self._arguments = dict(arguments)

    def __getitem__(self, name: bytes) -> bytes | None:
        return self._arguments[name]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._arguments)

    def __len__(self) -> int:
        return len(self._arguments)

    def __contains__(self, name: object) -> bool:
        return name in self._arguments

    def __repr__(self) -> str:
        return f"Directives({self._arguments!r})"

    def seconds(self, name: bytes) -> int | None:
        """Return the seconds that `name` gives; None when it is absent or gives none that can be read."""
        argument = self._arguments.get(name)
        return None if argument is None else delta_seconds(argument)

    def field_names(self, name: bytes) -> frozenset[bytes]:
        """Return the lower-case names that `name="field, field"` lists; none if anything there is no name."""
        names = parse_list((self._arguments.get(name) or b"").lower())
        return frozenset(names) if all(map(is_token, names)) else frozenset()


NO_DIRECTIVES = Directives({})
_FIELD_LISTS = frozenset({b"no-cache", b"private"})


def cache_control(value: bytes | None) -> Directives:
    """Read a combined Cache-Control value (RFC 9111 §5.2)."""
    if not value:
        return NO_DIRECTIVES
    return _cached_directives(value) if len(value) <= _CACHED_VALUE_BYTES else _read_directives(value)


def _read_directives(value: bytes) -> Directives:
    # With a quote left open nobody can say which directives it was meant to hide: then none is hidden.
    members = parse_list(value if _BALANCED.fullmatch(value) else value.replace(b'"', b""))
    arguments: dict[bytes, bytes | None] = {}
    for member in members:
        raw_name, equals, raw_argument = member.partition(b"=")
        name = raw_name.rstrip(OWS).lower()
        argument = _argument(raw_argument) if equals else None
        if name in arguments:
            argument = _merged(name, arguments[name], argument)
        if is_token(name):
            arguments[name] = argument
    return Directives(arguments)


_cached_directives = lru_cache(maxsize=1024)(_read_directives)


def _argument(raw: bytes) -> bytes:
    if is_token(raw):
        return raw
    quoted = _QUOTED_STRING.fullmatch(raw)
    return _QUOTED_PAIR.sub(rb"\1", quoted[1]) if quoted else b""


def _merged(name: bytes, first: bytes | None, second: bytes | None) -> bytes | None:
    """Return the stricter reading of one directive given twice (RFC 9111 §4.2.1)."""
    if first == second:
        return first
    if name in _FIELD_LISTS:
        return first + b"," + second if first and second else None
    return b""


_MONTHS = (b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec")
_MONTH = {name: number for number, name in enumerate(_MONTHS, 1)}
_CLOCK = rb"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_DATE_FORMS = tuple(
    re.compile(form.replace(b"CLOCK", _CLOCK), re.IGNORECASE)
    for form in (
        rb"(?:mon|tue|wed|thu|fri|sat|sun), (?P<day>\d\d) (?P<month>[a-z]{3}) (?P<year>\d{4}) CLOCK GMT",
        rb"(?:mon|tues|wednes|thurs|fri|satur|sun)day, (?P<day>\d\d)-(?P<month>[a-z]{3})-(?P<year>\d\d)"
        rb" CLOCK GMT",
        rb"(?:mon|tue|wed|thu|fri|sat|sun) (?P<month>[a-z]{3}) (?P<day>[ \d]\d) CLOCK (?P<year>\d{4})",
    )
)
"""IMF-fixdate, RFC 850, asctime (RFC 9110 §5.6.7); case is ignored and only GMT taken (RFC 9111 §4.2)."""

_LONGEST_DATE_BYTES = 40
_LEAP_SECOND = 60


def http_date(value: bytes) -> float | None:
    """Return the wall seconds of an HTTP-date in any of its three forms, or None (RFC 9110 §5.6.7)."""
    return _read_date(value) if len(value) <= _LONGEST_DATE_BYTES else None


@lru_cache(maxsize=1024)
def _read_date(value: bytes) -> float | None:
    for form in _DATE_FORMS:
        if match := form.fullmatch(value):
            return _timestamp(match)
    return None


def _timestamp(match: re.Match[bytes]) -> float | None:
    month = _MONTH.get(match["month"].lower(), 0)
    year, second = int(match["year"]), int(match["second"])
    if len(match["year"]) == 2:
        # POSIX's turning point: never more than 50 years ahead (RFC 9110 §5.6.7) and, in doubt, long past.
        year += 2000 if year < 70 else 1900
    if second > _LEAP_SECOND:
        return None
    try:
        day = datetime(year, month, int(match["day"]), int(match["hour"]), int(match["minute"]), tzinfo=UTC)
    except ValueError:
        return None
    return day.timestamp() + second


def format_date(now: float) -> bytes:
    """Return `now`, in wall seconds, as an IMF-fixdate (RFC 9110 §5.6.7)."""
    return _format_second(int(now))


@lru_cache(maxsize=64)
def _format_second(second: int) -> bytes:
    moment = datetime.fromtimestamp(second, UTC)
    weekday = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[moment.weekday()]
    month = _MONTHS[moment.month - 1].decode().capitalize()
    return f"{weekday}, {moment.day:02d} {month} {moment.year:04d} {moment:%H:%M:%S} GMT".encode()


def entity_tags(value: bytes) -> list[bytes] | None:
    """Return a list's entity tags, or None if it holds anything else, as `*` (RFC 9110 §8.8.3, §13.1.2)."""
    tags, position, end = [], 0, len(value.rstrip(b" \t,"))
    while position < end:
        member = _TAG_MEMBER.match(value, position)
        if member is None:
            return None
        tags.append(member[1])
        position = member.end()
    return tags or None


def is_entity_tag(value: bytes) -> bool:
    """Whether `value` is one entity tag, weak or strong (RFC 9110 §8.8.3)."""
    return _ENTITY_TAG.fullmatch(value) is not None


def strong_match(a: bytes, b: bytes) -> bool:
    """Compare entity tags strongly: equal, and neither weak (RFC 9110 §8.8.3.2)."""
    return a == b and not a.startswith(b"W/")


def weak_match(a: bytes, b: bytes) -> bool:
    """Compare entity tags weakly: opaque parts equal (RFC 9110 §8.8.3.2)."""
    return a.removeprefix(b"W/") == b.removeprefix(b"W/")


HOP_BY_HOP = frozenset(
    b"connection http2-settings keep-alive proxy-authenticate proxy-authentication-info proxy-authorization"
    b" proxy-connection te trailer transfer-encoding upgrade".split()
)
"""Fields that concern one connection alone, or a proxy's own authentication (RFC 9110 §7.6.1, §11.7)."""

PROTECTED = frozenset(
    b"accept accept-encoding accept-language age authorization cache-control cache-status cdn-cache-control"
    b" content-encoding content-length content-location content-range content-type cookie date etag expires"
    b" forwarded host if-match if-modified-since if-none-match if-range if-unmodified-since last-modified"
    b" location pragma range set-cookie vary via www-authenticate x-forwarded-for x-forwarded-host"
    b" x-forwarded-proto".split()
)
"""Fields that Connection may not take out: safety, framing or the cache key rests on them."""


@lru_cache(maxsize=256)
def hop_by_hop(connection_value: bytes | None) -> frozenset[bytes]:
    """Return the names of the fields that end at this hop: the fixed ones and those that Connection names.

    The names that safety rests on stay in, whatever Connection says (RFC 9110 §7.6.1).
    """
    if not connection_value:
        return HOP_BY_HOP
    named = frozenset(parse_list(connection_value.lower().replace(b'"', b"")))
    return HOP_BY_HOP | (named - PROTECTED)
