"""Invalidation: which stored targets an unsafe request has made untrue (RFC 9111 §4.4), and what a PURGE asks for.

Owns the reading of Location and Content-Location, and of PURGE's fields. Invariant: an unsafe request names only
targets of its own host, so that no origin can empty another's part of the cache; a PURGE asks for one thing, and one
that could mean two is refused.
RFC 9110 §9.2.1; RFC 3986 §5.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from accel.caching.key import primary_key
from accel.caching.tags import ANY, MOST_TAGS, tags_of
from accel.caching.tags import FIELDS as TAG_FIELDS
from accel.http.message import Fields, Request, Response


class What(Enum):
    """What a purge names."""

    URL = "url"
    """Every variant of some targets."""
    TAG = "tag"
    """Every response that carries one of some tags."""
    BAN = "ban"
    """Every response that an expression matches."""
    ALL = "all"
    """Everything."""


@dataclass(frozen=True, slots=True)
class Purge:
    """What is to be dropped, or with `is_soft` to count as stale."""

    what: What
    names: tuple[bytes, ...] = ()
    """Primary keys, tags, or the text of one ban."""
    is_soft: bool = False

    def words(self) -> list[str]:
        """Return the names as an operator wrote them."""
        texts = [name.decode("utf-8" if self.what is What.BAN else "latin-1") for name in self.names]
        return ["http://" + text.replace("\0", "", 1) for text in texts] if self.what is What.URL else texts


SAFE_METHODS = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE"})
"""Methods that change nothing; of any other, known or not, it must be assumed (RFC 9110 §9.2.1)."""

_REFERENCE = re.compile(
    rb"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*):)?"
    rb"(?://(?P<authority>[^/?#\0- \x7f]*))?(?P<path>[^?#\0- \x7f]*)(?P<query>\?[^#\0- \x7f]*)?(?:#.*)?"
)
"""RFC 3986, appendix B, without control characters and spaces: those are in no target."""
_AUTHORITY = re.compile(rb"(?P<host>\[[0-9a-f:.]+\]|[^:@\[\]]+)(?::(?P<port>\d*))?")
_SOFT_FIELDS = (b"soft-purge", b"fastly-soft-purge")
_DEFAULT_PORT = {b"http": b"80", b"https": b"443"}


def targets(request: Request, response: Response) -> list[tuple[bytes, bytes]]:
    """Return the (host, target) pairs, in key form, that the response to `request` invalidates."""
    if request.method in SAFE_METHODS or not 200 <= response.status < 400:
        return []
    found = [(request.host, request.target)]
    for name in (b"location", b"content-location"):
        reference = response.fields.get(name)
        target = None if reference is None else _same_host_target(request, reference)
        if target is not None and (request.host, target) not in found:
            found.append((request.host, target))
    return found


def requested(request: Request, is_soft: bool = False) -> Purge:
    """Return what a PURGE asks for, a soft one or where `is_soft`; ValueError says what to write instead."""
    fields = request.fields
    is_soft = is_soft or _is_softened(fields)
    named = [name for name in (b"ban", b"purge", *TAG_FIELDS) if name in fields]
    if b"ban" in named:
        if len(named) > 1 or _is_softened(fields):
            raise ValueError("a ban goes alone: send Ban without Soft-Purge, Purge or tags")
        return Purge(What.BAN, (fields.get(b"ban") or b"",))
    if b"purge" in named:
        if len(named) > 1 or fields.get(b"purge") != b"all":
            raise ValueError("to purge everything send Purge: all, without tags")
        return Purge(What.ALL, (), is_soft)
    if named:
        tags = tags_of(fields)
        if not tags:
            raise ValueError(f"{named[0].decode().title()} names no tag")
        if ANY in tags:
            raise ValueError(f"at most {MOST_TAGS} tags at once")
        return Purge(What.TAG, tags, is_soft)
    if request.target == b"*":
        return Purge(What.ALL, (), is_soft)
    if fields.get(b"x-purge-method") == b"regex" and request.target.endswith(b".*"):
        return Purge(What.BAN, (_below(request.host, request.target[:-2]),))
    return Purge(What.URL, (primary_key(request.host, request.target),), is_soft)


def _below(host: bytes, prefix: bytes) -> bytes:
    """Return the ban of a host's targets that begin so, which WordPress' "Proxy Cache Purge" asks for as `/news/.*`.

    All that stands before `.*` is meant as it is: the plug-in escapes nothing.
    """
    pattern = re.escape(prefix).replace(b"\\", rb"\\").replace(b'"', rb"\"")
    return b'host == "%s" && url ~ "^%s"' % (host, pattern)


def _is_softened(fields: Fields) -> bool:
    return any(fields.get(name) == b"1" for name in _SOFT_FIELDS)


def _same_host_target(request: Request, reference: bytes) -> bytes | None:
    """Return the target of a URI reference, or None if it leads to another host (RFC 3986 §5.2.2)."""
    parts = _REFERENCE.fullmatch(reference)
    if parts is None:
        return None
    scheme = (parts["scheme"] or b"http").lower()
    path, query = parts["path"], parts["query"] or b""
    if parts["authority"] is not None:
        if _key_host(scheme, parts["authority"]) != request.host:
            return None
        return _without_dots(path or b"/") + query
    if parts["scheme"] is not None:
        return None
    base_path, question, base_query = request.target.partition(b"?")
    if not path:
        return base_path + (query or question + base_query)
    if not path.startswith(b"/"):
        path = base_path[: base_path.rfind(b"/") + 1] + path
    return _without_dots(path) + query


def _key_host(scheme: bytes, authority: bytes) -> bytes | None:
    """Return an authority in the form that `Request.host` has, or None if it is not one of the web's."""
    parts = _AUTHORITY.fullmatch(authority.lower())
    if parts is None or scheme not in _DEFAULT_PORT:
        return None
    host = parts["host"].removesuffix(b".")
    port = parts["port"]
    return host if port in (None, b"", _DEFAULT_PORT[scheme]) else host + b":" + port


def _without_dots(path: bytes) -> bytes:
    """Return a path that starts with `/` without its `.` and `..` segments (RFC 3986 §5.2.4)."""
    segments = path.split(b"/")
    kept: list[bytes] = []
    for segment in segments[1:]:
        if segment == b"..":
            del kept[-1:]
        elif segment != b".":
            kept.append(segment)
    if segments[-1] in (b".", b".."):
        kept.append(b"")
    return b"/" + b"/".join(kept)
