"""CDN-Cache-Control: cache directives written for caches like this one (RFC 9213).

Owns its syntax, which is a Dictionary of Structured Fields and parsed strictly, unlike Cache-Control's.
Invariant: a field that breaks the syntax anywhere is no field at all, so that Cache-Control speaks again.
RFC 9213 §2.1, §2.2; RFC 8941 §3.2, §4.2.2.
"""

from __future__ import annotations

import re
from functools import lru_cache

from accel.http.fields import Directives

_KEY = rb"[a-z*][a-z0-9_\-.*]*"
_STRING = rb'"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*+"'
_BARE_ITEM = (
    rb"(?:-?(?:\d{1,12}\.\d{1,3}|\d{1,15})|"
    + _STRING
    + rb"|[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*|:[A-Za-z0-9+/=]*:|\?[01])"
)
_PARAMETERS = rb"(?:; *" + _KEY + rb"(?:=" + _BARE_ITEM + rb")?)*+"
_ITEM = _BARE_ITEM + _PARAMETERS
_INNER_LIST = rb"\( *(?:" + _ITEM + rb"(?: +" + _ITEM + rb")*+)? *\)" + _PARAMETERS
_VALUE = rb"(?:(?P<value>" + _BARE_ITEM + rb")|(?P<list>" + _INNER_LIST + rb"))"
_MEMBER = re.compile(rb"(?P<key>" + _KEY + rb")(?:=" + _VALUE + rb")?" + _PARAMETERS)
_COMMA = re.compile(rb"[ \t]*,[ \t]*")


def targeted_cache_control(value: bytes | None) -> Directives | None:
    """Read a combined CDN-Cache-Control value; None if it is absent, empty or malformed (RFC 9213 §2.2)."""
    return _read(value) if value else None


@lru_cache(maxsize=256)
def _read(value: bytes) -> Directives | None:
    arguments: dict[bytes, bytes | None] = {}
    position = 0
    while member := _MEMBER.match(value, position):
        arguments.pop(member["key"], None)
        if member["value"] != b"?0":
            arguments[member["key"]] = _argument(member)
        comma = _COMMA.match(value, member.end())
        if comma is None:
            return Directives(arguments) if member.end() == len(value) else None
        position = comma.end()
    return None


_FIELD_LISTS = frozenset({b"no-cache", b"private"})
"""The directives whose value is a String, of field names; any other's is an Integer (RFC 9213 §2.1)."""


def _argument(member: re.Match[bytes]) -> bytes | None:
    """Return a value as Cache-Control would give it: None for true, and `b""` if it is of the wrong type."""
    value: bytes | None = member["value"]
    if value is None or value == b"?1":
        return None if member["list"] is None else b""
    if member["key"] in _FIELD_LISTS:
        return re.sub(rb"\\(.)", rb"\1", value[1:-1]) if value.startswith(b'"') else b""
    return value if value.isdigit() else b""
