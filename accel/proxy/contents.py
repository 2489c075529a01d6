"""What lies in the store as HTTP sees it: stored responses, variant lists and hit-for-miss marks, decoded.

Owns the reading of a record and what a process keeps beside it; looks nothing up and decides nothing. Invariant: what
is kept beside a record never refers back to it, so that it may outlive its pin.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace

from accel.caching.key import variant_key
from accel.caching.stored import Incomplete, PassMark, Stored, VariantList, decode
from accel.http.cache_status import Forward
from accel.http.writer import field_lines, status_line
from accel.policy.decision import Edit
from accel.policy.edits import FRAMING, edited_fields
from accel.proxy.covering import Covered, CoveredResponse
from accel.proxy.origin_view import VIA_LINE
from accel.store.store import Record


class Entry(CoveredResponse):
    """A stored response's head, ready to be sent; kept beside its record (which it must not refer back to)."""

    __slots__ = ("__weakref__", "_edited", "head", "hits")

    def __init__(self, stored: Stored, length: int | None) -> None:
        """`length` is the body's, None if it is not known yet."""
        super().__init__(stored)
        self.head = prepared_head(stored, length)
        self.hits = 0
        """Answers that this worker made of it."""
        self._edited: tuple[tuple[Edit, ...], bytes] | None = None

    def edited_head(self, edits: tuple[Edit, ...], length: int | None) -> bytes:
        """Return the head with its fields edited; the last one is kept, since most answers get the same edits."""
        if self._edited is None or self._edited[0] != edits:
            stored = replace(self.stored, fields=edited_fields(self.stored.fields, edits, FRAMING))
            self._edited = (edits, prepared_head(stored, length))
        return self._edited[1]


class Variants(Covered):
    """A variant list, with the order in which this process used the variants that it names."""

    __slots__ = ("list", "order")

    def __init__(self, variant_list: VariantList) -> None:
        super().__init__(variant_list.number)
        self.list = variant_list
        self.order: OrderedDict[bytes, None] = OrderedDict.fromkeys(variant_list.values)
        """Selecting values, least recently used first."""

    def used(self, values: bytes) -> None:
        """Note a use of one variant."""
        if values in self.order:
            self.order.move_to_end(values)

    def key(self, primary: bytes, values: bytes) -> bytes:
        """Return where the variant with these selecting values lies."""
        return variant_key(primary, self.list.generation, values)

    def keys(self, primary: bytes) -> list[bytes]:
        """Return where the variants lie that the list names."""
        return [self.key(primary, values) for values in self.order]


class Mark(Covered):
    """A hit-for-miss mark."""

    __slots__ = ("mark",)

    def __init__(self, mark: PassMark) -> None:
        super().__init__(mark.number)
        self.mark = mark


Content = Entry | Variants | Mark


@dataclass(slots=True)
class Found:
    """What lies under a request's key."""

    primary: bytes
    key: bytes
    """Where an answer to exactly this request would lie, as far as is known."""
    entry: Entry | None = None
    record: Record | None = None
    """The entry's body; None just if there is no entry."""
    is_marked: bool = False
    """The last answer could not be stored: do not wait for each other."""
    missing: Forward = Forward.URI_MISS
    """Why there is no entry."""
    beside: Variants | None = None
    """The list of the stored variants of which none is this request's."""

    def without_entry(self) -> Found:
        """Return the same place as if nothing lay there: for a fetch that is no validation."""
        return Found(self.primary, self.key, missing=self.missing)


@dataclass(frozen=True, slots=True)
class Listed:
    """A variant's place in the list that names it."""

    record: Record
    """The list's."""
    variants: Variants
    values: bytes
    """The variant's selecting values."""

    @property
    def names(self) -> tuple[bytes, ...]:
        """Return the fields that select among the variants."""
        return self.variants.list.names


def prepared_head(stored: Stored, length: int | None) -> bytes:
    """Return a stored response's head up to the lines that differ from one answer to the next."""
    head = status_line(stored.status, stored.reason) + field_lines(stored.fields.lines) + VIA_LINE
    if length is None or stored.status == 204:
        return head
    return head + b"Content-Length: %d\r\n" % length


def content_of(record: Record) -> Content:
    """Return what a record is; raises ValueError or struct.error if that cannot be read."""
    match decode(record.meta):
        case Stored() as stored:
            return Entry(stored, record.length)
        case VariantList() as variant_list:
            return Variants(variant_list)
        case PassMark() as mark:
            return Mark(mark)
        case Incomplete():
            raise AssertionError("no response's key begins as those of what is under way")


def stands(content: Content | None, now: float) -> bool:
    """Whether it is a mark that says: do not wait for each other."""
    return type(content) is Mark and now < content.mark.until_at
