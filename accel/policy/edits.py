"""Edits: from the request that came to the one that the key and the origin see, and of fields in either direction.

Owns what `query`, `cookies`, `host`, `set header`, `key +` and `seal` do to bytes. Invariants: what is not dropped
stays byte for byte; without an edit the very same request comes back; and under `seal` everything that the origin
sees is in the key: host, target and `key_extra` together give the whole of it, so two requests with one key reach
the origin identically.
RFC 9110 §12.5.3 (Accept-Encoding is passed on as it is keyed); RFC 6265 §4.2.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter

from accel.caching.key import codings
from accel.http.fields import HOP_BY_HOP, OWS
from accel.http.message import Fields, Line, Request
from accel.policy.decision import Edit, EditMode
from accel.policy.matching import Globs
from accel.policy.runtime import cookie_pairs, decoded

_CONTROLS = re.compile(rb"[\x00-\x1f\x7f]+")
_UNSAFE = re.compile(rb"[^!#-;=?-\[\]_a-z~]")
"""What may not stand in a URI as it is; `%` may, and stays (RFC 3986 §2)."""
_QUOTED = tuple(b"%%%02X" % byte if _UNSAFE.match(bytes((byte,))) else bytes((byte,)) for byte in range(256))
"""Each byte as it may stand there."""
_NAME = itemgetter(0)

FRAMING = HOP_BY_HOP | frozenset({b"content-length", b"content-encoding", b"content-range", b"host", b"expect"})
"""Fields that no edit may touch: they say where a message ends, what its bytes are, and whom it is for."""
FLOOR = FRAMING | frozenset(
    b"age cache-control cdn-cache-control date expires pragma set-cookie set-cookie2 vary".split()
)
"""Fields of what is stored that no edit may touch: the floor, the key and freshness are read from them."""


_SHAPED = frozenset({b"cookie", b"accept-encoding"})
"""Fields that go under seal in a form of their own."""


_Named = list[tuple[bytes, bytes]]
"""Parameters or cookies: each one's name as rules see it, and its bytes as they were sent."""


@dataclass(frozen=True, slots=True)
class NameEdit:
    """One `keep` or `drop` of names."""

    is_keep: bool
    names: Globs

    def kept(self, named: _Named) -> _Named:
        """Return those that stay."""
        exact, prefixes, fits = self.names.exact, self.names.prefixes, self.names.fits
        if self.names.suffixes or self.names.others:
            return [pair for pair in named if fits(pair[0]) is self.is_keep]
        # The same without a call for each name, which would be the dearest part of most decisions.
        if self.is_keep:
            return [pair for pair in named if pair[0] in exact or pair[0].startswith(prefixes)]
        return [pair for pair in named if pair[0] not in exact and not pair[0].startswith(prefixes)]


def edited_target(target: bytes, edits: Sequence[NameEdit], is_sorted: bool) -> bytes:
    """Return a target with its query edited; parameters are judged and sorted by their decoded names."""
    path, question, query = target.partition(b"?")
    if not question:
        return target
    is_coded = b"%" in query or b"+" in query
    named = [(piece.partition(b"=")[0], piece) for piece in query.split(b"&")]
    if is_coded:
        named = [(decoded(name), piece) for name, piece in named]
    for edit in edits:
        named = edit.kept(named)
    if is_sorted:
        named.sort(key=_NAME)
    if not named:
        return path
    edited = b"&".join([piece for _, piece in named])
    return target if edited == query else path + question + edited


def edited_cookies(value: bytes, edits: Sequence[NameEdit]) -> bytes:
    """Return a Cookie field's value edited; empty if none is left."""
    if edits and edits[0].is_keep and not edits[0].names:
        return b""
    pairs = kept = [(pair.partition(b"=")[0].rstrip(OWS), pair) for pair in cookie_pairs(value)]
    for edit in edits:
        kept = edit.kept(kept)
    return value if len(kept) == len(pairs) else b"; ".join([pair for _, pair in kept])


def edited_fields(fields: Fields, edits: Iterable[Edit], guarded: frozenset[bytes]) -> Fields:
    """Return a copy of fields with edits made; those of `guarded` names are left as they are."""
    lines = list(fields.lines)
    for edit in edits:
        names = frozenset(edit.names) - guarded
        if edit.mode is not EditMode.ADD:
            lines = [line for line in lines if line[0] not in names]
        if edit.mode is not EditMode.UNSET:
            lines += ((name, edit.value) for name in edit.names if name in names)
    return Fields(lines)


def field_value(value: bytes) -> bytes:
    """Return what may be put into a field: without control characters, and without space at its ends."""
    return _CONTROLS.sub(b"", value).strip(b" \t")


def uri(value: bytes) -> bytes:
    """Return what may be put into a redirect's target; what the client sent encoded stays so."""
    return value if _UNSAFE.search(value) is None else b"".join(map(_QUOTED.__getitem__, value))


def redirect_target(value: bytes, starts_with_input: bool) -> bytes:
    """Return a redirect's target; one that starts with what a client sent leads to no other host.

    `//host` at its start would: browsers read it, and `/\\`, as a scheme's default (RFC 3986 §4.2).
    """
    if starts_with_input and value[:1] == b"/":
        value = b"/" + value.lstrip(b"/\\")
    return uri(value)


# The key.


def framed(name: bytes, value: bytes | None) -> bytes:
    """Return one value of the key, so that no two sets of values look alike; it holds no line end."""
    if value is None:
        return name + b"-"
    if b"\n" in value or b"\\" in value:
        value = value.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")
    return b"%b:%d:%b" % (name, len(value), value)


_FRAMED = re.compile(rb"([^:,]*)-(?=,|$)|([^:]*):(\d+):")


def unframed(extra: bytes) -> list[bytes]:
    """Return what joined a key, readable: `cookie.currency=eur`; see `framed`."""
    parts: list[bytes] = []
    at = 0
    while at < len(extra):
        found = _FRAMED.match(extra, at)
        if found is None:
            return [*parts, extra[at:]]
        at = found.end()
        if found[3] is None:
            parts.append(found[1].lstrip(b"=") + b" is missing")
        else:
            parts.append(found[2].lstrip(b"=") + b"=" + extra[at : at + int(found[3])])
            at += int(found[3])
        at += 1
    return parts


def shaped(
    request: Request,
    target: bytes,
    host: bytes,
    cookies: Sequence[NameEdit],
    edits: Sequence[Edit],
    keyed: Sequence[bytes],
) -> Request:
    """Return the request as the key and the origin see it; the same one if nothing changes it."""
    fields = request.fields
    value = fields.get(b"cookie") if cookies else None
    if value is not None:
        fields = _with_cookies(fields, value, edited_cookies(value, cookies))
    if edits:
        fields = edited_fields(fields, edits, FRAMING)
    if fields is request.fields and target == request.target and host == request.host and not keyed:
        return request
    # Written out: `replace` would take 2 us.
    return Request(
        request.method,
        target,
        request.authority,
        host,
        request.minor,
        fields,
        request.body_length,
        request.keep_alive,
        request.upgrade,
        b",".join(dict.fromkeys(keyed)) if keyed else b"",
    )


def _with_cookies(fields: Fields, value: bytes, kept: bytes) -> Fields:
    if kept == value:
        return fields
    lines = [line for line in fields.lines if line[0] != b"cookie"]
    return Fields([*lines, (b"cookie", kept)] if kept else lines)


def sealed(
    request: Request,
    target: bytes,
    host: bytes,
    cookies: Sequence[NameEdit],
    edits: Sequence[Edit],
    keyed: Sequence[bytes],
    shown: Sequence[bytes],
    pool: bytes,
) -> Request:
    """Return the request as the key and the origin see it under `seal`; `shown` are the fields that the key names.

    Cookies that are left, Accept-Encoding in its normal form, the pool and every field that a rule sets join the key.
    """
    value = request.fields.get
    lines: list[Line] = []
    if shown:
        names = sorted(set(shown) - FRAMING - _SHAPED)
        lines = [(name, found) for name in names if (found := value(name)) is not None]
    cookie, accepted = value(b"cookie"), value(b"accept-encoding")
    if cookie is not None and (kept := edited_cookies(cookie, cookies)):
        lines.append((b"cookie", kept))
    if accepted is not None:
        lines.append((b"accept-encoding", codings(accepted)))
    fields = edited_fields(Fields(lines), edits, FRAMING) if edits else Fields(lines)
    # What a rule joined to the key has a name first, what the origin sees `=`, the pool `@`: they cannot be confused.
    extra = [b"=%b:%d:%b" % (name, len(line), line) for name, line in fields.lines]
    if keyed:
        extra += dict.fromkeys(keyed)
    if pool:
        extra.append(framed(b"@", pool))
    length, keep_alive = request.body_length, request.keep_alive
    return Request(request.method, target, host, host, 1, fields, length, keep_alive, b"", b",".join(extra))
