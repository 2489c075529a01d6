"""What a record says about itself: a stored response, a variant list, a hit-for-miss mark, or what is still coming.

Owns the binary form of a record's `meta`; the body lies beside it and the store knows neither. Invariant:
what was encoded decodes to an equal value, and a form written by another version of this module is refused,
never guessed.

    stored response  version kind status reason-length field-count number response-at initial-age tags-length
                     request-at lifetime grace if-error keep source flags
                     | tags, one a line | reason | { name-length value-length name value }
    variant list     version kind generation number | names, one a line; an empty line; values, one a line
    pass mark        version kind until number
    incomplete       version kind length key-length | key | stored response

Whoever walks over everything stored reads a `Glimpse`: what invalidation asks for, without decoding the fields.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct

from accel.caching.freshness import LifetimeSource, Terms, date_at
from accel.http.conditional import etag_of, last_modified_of
from accel.http.message import Fields, Line

VERSION = 3
_STORED, _VARIANTS, _PASS, _INCOMPLETE = 1, 2, 3, 4

_STORED_HEAD = Struct("<BBHHHQddIdddddBB")
_VARIANTS_HEAD = Struct("<BBQQ")
_PASS_HEAD = Struct("<BBdQ")
_INCOMPLETE_HEAD = Struct("<BBQI")
_LINE = Struct("<HI")
_UNKNOWN = 2**64 - 1
"""A length."""

_MUST_REVALIDATE, _NO_CACHE, _IMMUTABLE, _SHARED = 1, 2, 4, 8


@dataclass(frozen=True, slots=True)
class Stored:
    """The head of a stored response, with what reuse needs to know."""

    status: int
    reason: bytes
    fields: Fields
    """As they are sent on: end-to-end only, without Age, Content-Length and whatever may not be stored."""
    request_at: float
    """Wall seconds when its request was sent (RFC 9111 §4.2.3)."""
    response_at: float
    """Wall seconds when its head arrived."""
    initial_age_s: float
    """Its age at `response_at`."""
    terms: Terms
    number: int
    """The invalidation number read before its fetch began: whatever is invalidated after that covers it."""
    tags: tuple[bytes, ...] = ()
    """See `caching.tags`."""

    @property
    def etag(self) -> bytes | None:
        """Its entity tag, weak or strong."""
        return etag_of(self.fields)

    @property
    def last_modified(self) -> bytes | None:
        """Its modification date, if that is a date."""
        return last_modified_of(self.fields)

    @property
    def date_at(self) -> float:
        """Wall seconds when the origin made it: its Date, or when it arrived."""
        return date_at(self.fields, self.response_at)


@dataclass(frozen=True, slots=True)
class VariantList:
    """What lies under a primary key whose responses vary: the variants' keys are made from it."""

    names: tuple[bytes, ...]
    """The request fields named by Vary, lower case, sorted."""
    generation: int
    """Part of the variants' keys: a list with a new one leaves every older variant behind."""
    number: int
    """The invalidation number read before the fetch that made it began."""
    values: tuple[bytes, ...] = ()
    """The selecting values of the variants stored under it, oldest first; a field's value holds no line end."""


@dataclass(frozen=True, slots=True)
class PassMark:
    """Hit-for-miss: the target's last response could not be stored, so requests need not queue for it."""

    until_at: float
    """Wall seconds until which it stands."""
    number: int
    """The invalidation number read before the fetch that made it began."""


@dataclass(frozen=True, slots=True)
class Incomplete:
    """A response whose body is still coming (RFC 9111 §3.3): beside it lies what has come."""

    key: bytes
    """Where it will be stored."""
    length: int | None
    """Bytes of the whole body; None: it is not known."""
    stored: Stored

    @property
    def number(self) -> int:
        """The invalidation number read before its fetch began."""
        return self.stored.number


Meta = Stored | VariantList | PassMark | Incomplete


def encode(meta: Meta) -> bytes:
    """Return the bytes of a record's `meta`."""
    match meta:
        case Stored():
            return _encode_stored(meta)
        case VariantList():
            head = _VARIANTS_HEAD.pack(VERSION, _VARIANTS, meta.generation, meta.number)
            return head + b"\n".join(meta.names) + b"\n\n" + b"\n".join(meta.values)
        case PassMark():
            return _PASS_HEAD.pack(VERSION, _PASS, meta.until_at, meta.number)
        case Incomplete():
            length = _UNKNOWN if meta.length is None else meta.length
            head = _INCOMPLETE_HEAD.pack(VERSION, _INCOMPLETE, length, len(meta.key))
            return head + meta.key + _encode_stored(meta.stored)


def decode(meta: bytes) -> Meta:
    """Return what `encode` was given.

    Raises ValueError for a form that this version does not write.
    """
    decoder = _DECODERS.get(meta[:2])
    if decoder is None:
        raise ValueError(f"meta begins {meta[:2]!r}")
    return decoder(meta)


class Glimpse:
    """What invalidation asks of an encoded stored response."""

    __slots__ = ("_count", "_meta", "_start", "initial_age_s", "number", "response_at", "status", "tags")

    def __init__(self, meta: bytes) -> None:
        """`meta` is of a stored response; see `glimpse`."""
        head = _STORED_HEAD.unpack_from(meta)
        _, _, self.status, reason_length, self._count, self.number, self.response_at, *rest = head
        self.initial_age_s, length, *_ = rest
        tags_end = _STORED_HEAD.size + length
        self.tags = _parted(meta[_STORED_HEAD.size : tags_end])
        self._meta, self._start = meta, tags_end + reason_length

    @property
    def fields(self) -> Fields:
        """The fields, decoded anew each time."""
        return Fields(_decode_lines(self._meta, self._start, self._count))


def glimpse(meta: bytes) -> Glimpse | None:
    """Return what invalidation asks of a record's `meta`; None if that is no stored response."""
    return Glimpse(meta) if meta[:2] == _STORED_FORM else None


def _joined(tags: tuple[bytes, ...]) -> bytes:
    """Return tags as lines: no field's value holds a line end, and the empty tag comes last if it is there."""
    return b"".join(tag + b"\n" for tag in tags)


def _parted(lines: bytes) -> tuple[bytes, ...]:
    return tuple(lines.split(b"\n")[:-1])


def _encode_stored(stored: Stored) -> bytes:
    terms, lines, tags = stored.terms, stored.fields.lines, _joined(stored.tags)
    flags = terms.must_revalidate * _MUST_REVALIDATE | terms.no_cache * _NO_CACHE
    flags |= terms.immutable * _IMMUTABLE | terms.is_shared * _SHARED
    head = _STORED_HEAD.pack(
        VERSION,
        _STORED,
        stored.status,
        len(stored.reason),
        len(lines),
        stored.number,
        stored.response_at,
        stored.initial_age_s,
        len(tags),
        stored.request_at,
        terms.lifetime_s,
        terms.grace_s,
        terms.if_error_s,
        terms.keep_s,
        terms.source.value,
        flags,
    )
    pieces = [head, tags, stored.reason]
    for name, value in lines:
        pieces += (_LINE.pack(len(name), len(value)), name, value)
    return b"".join(pieces)


def _decode_stored(meta: bytes) -> Stored:
    head = _STORED_HEAD.unpack_from(meta)
    _, _, status, reason_length, count, number, response_at, initial_age_s, tags_length, request_at, *rest = head
    start = _STORED_HEAD.size + tags_length
    stop = start + reason_length
    return Stored(
        status=status,
        reason=meta[start:stop],
        fields=Fields(_decode_lines(meta, stop, count)),
        request_at=request_at,
        response_at=response_at,
        initial_age_s=initial_age_s,
        terms=_decode_terms(*rest),
        number=number,
        tags=_parted(meta[_STORED_HEAD.size : start]),
    )


def _decode_terms(
    lifetime_s: float, grace_s: float, if_error_s: float, keep_s: float, source: int, flags: int
) -> Terms:
    return Terms(
        lifetime_s=lifetime_s,
        source=LifetimeSource(source),
        grace_s=grace_s,
        if_error_s=if_error_s,
        keep_s=keep_s,
        must_revalidate=bool(flags & _MUST_REVALIDATE),
        no_cache=bool(flags & _NO_CACHE),
        immutable=bool(flags & _IMMUTABLE),
        is_shared=bool(flags & _SHARED),
    )


def _decode_lines(meta: bytes, position: int, count: int) -> list[Line]:
    lines: list[Line] = []
    for _ in range(count):
        name_length, value_length = _LINE.unpack_from(meta, position)
        middle = position + _LINE.size + name_length
        end = middle + value_length
        lines.append((meta[position + _LINE.size : middle], meta[middle:end]))
        position = end
    return lines


def _decode_variants(meta: bytes) -> VariantList:
    _, _, generation, number = _VARIANTS_HEAD.unpack_from(meta)
    names, _, values = meta[_VARIANTS_HEAD.size :].partition(b"\n\n")
    return VariantList(tuple(names.split()), generation, number, tuple(values.split(b"\n")) if values else ())


def _decode_pass(meta: bytes) -> PassMark:
    _, _, until_at, number = _PASS_HEAD.unpack(meta)
    return PassMark(until_at, number)


def _decode_incomplete(meta: bytes) -> Incomplete:
    _, _, length, key_length = _INCOMPLETE_HEAD.unpack_from(meta)
    stop = _INCOMPLETE_HEAD.size + key_length
    known = None if length == _UNKNOWN else length
    return Incomplete(meta[_INCOMPLETE_HEAD.size : stop], known, _decode_stored(meta[stop:]))


_STORED_FORM = bytes((VERSION, _STORED))
_DECODERS: dict[bytes, Callable[[bytes], Meta]] = {
    _STORED_FORM: _decode_stored,
    bytes((VERSION, _VARIANTS)): _decode_variants,
    bytes((VERSION, _PASS)): _decode_pass,
    bytes((VERSION, _INCOMPLETE)): _decode_incomplete,
}
