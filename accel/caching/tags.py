"""Tags: the names by which an origin lets its responses be invalidated together.

Owns the reading of the fields that carry them, in a response and in a purge. Invariant: whoever purges a tag reaches
every response that carries it: a response with more tags than are kept is reached by a purge of any tag.

The fields are those in use: `Surrogate-Key: a b` (Fastly), `Cache-Tag: a, b` (Akamai, Cloudflare), `xkey: a b`, also
with commas or repeated (Varnish). Tags match exactly, letter case too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from accel.http.message import Fields

MOST_TAGS = 256
"""Tags kept of one response."""
ANY = b""
"""Stands for the tags beyond those that are kept; no field can name it, and every purge of a tag covers it."""

_COMMAS = re.compile(rb"[ \t]*,[ \t]*")
_SPACES = re.compile(rb"[ \t]+")
_EITHER = re.compile(rb"[ \t,]+")
_SEPARATORS = {b"surrogate-key": _SPACES, b"cache-tag": _COMMAS, b"xkey": _EITHER}
FIELDS = tuple(_SEPARATORS)
"""The fields that carry tags, lower case."""


def tags_of(fields: Fields) -> tuple[bytes, ...]:
    """Return the tags that a message names, in order, each once; beyond MOST_TAGS of them only ANY."""
    return together(
        tag
        for name, value in fields.lines
        if name in _SEPARATORS
        for tag in _SEPARATORS[name].split(value)
        if tag
    )


def together(tags: Iterable[bytes]) -> tuple[bytes, ...]:
    """Return tags from several places, in order, each once; beyond MOST_TAGS of them only ANY."""
    found = tuple(dict.fromkeys(tags))
    return found if len(found) <= MOST_TAGS else (*found[:MOST_TAGS], ANY)

