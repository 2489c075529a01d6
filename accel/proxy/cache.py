"""The store as HTTP sees it: stored responses, variant lists and hit-for-miss marks, under keys made from requests.

Owns which key a request and a response go under, and whether what lies there may still be seen (invalidation by
number). Decides nothing about freshness. Invariant: an entry whose fetch began before an invalidation that covers it
is never returned and never made visible (see `covering`).
"""

from __future__ import annotations

import struct
from dataclasses import replace

from accel.caching.key import EXTRA, primary_key, selecting_values, variant_key, variant_names
from accel.caching.stored import Incomplete, PassMark, Stored, VariantList, encode
from accel.http.cache_status import Forward
from accel.http.message import Request
from accel.proxy.contents import Content, Entry, Found, Listed, Mark, Variants, content_of, stands
from accel.proxy.covering import Covered, CoveredResponse, Covering, Numbers
from accel.proxy.patience import Evidence
from accel.stats.counters import CounterRow, index
from accel.store.store import Record, Store, Writer

UNDER_WAY = b"\x01"
"""Before the name of a fetch: where what it has brought so far lies. No host begins with it, so no primary key does."""
_NO_GENERATION = 0
"""In a variant's key: no list names it."""
_STORED, _NO_ROOM, _PURGED = index("stored"), index("not_stored_no_room"), index("not_stored_purged")


class Filling:
    """A response being stored."""

    __slots__ = ("_cache", "_length", "_primary", "_writer", "entry", "key")

    def __init__(
        self, cache: Cache, primary: bytes, key: bytes, entry: Entry, writer: Writer, length: int | None
    ) -> None:
        self._cache, self._primary, self._writer, self._length = cache, primary, writer, length
        self.key, self.entry = key, entry

    def append(self, data: bytes) -> bool:
        """Add a piece of the body; False when it will not be stored after all."""
        if self._writer.append(data):
            return True
        self._cache.counters[_NO_ROOM] += 1
        return False

    def commit(self) -> None:
        """The body is whole: make the response visible, unless it was invalidated while it came."""
        self._cache.commit(self._primary, self.key, self.entry.stored, self._writer)

    def abort(self) -> None:
        """The body did not come whole."""
        self._writer.abort()

    def show(self, name: bytes | None, is_whole: bool) -> Record | None:
        """Return a record of what came so far, which others find by `name` unless that is None; None: as before.

        `is_whole`: nothing more will come.
        """
        if name is None:
            return self._writer.show(None, b"", is_whole)
        meta = encode(Incomplete(self.key, self._length, self.entry.stored))
        return self._writer.show(UNDER_WAY + name, meta, is_whole)

    def hide(self, name: bytes) -> None:
        """What was shown by `name` is not to be found any more; whoever holds it may read on."""
        self._cache.hide(name)


class Cache:
    """Look-up and storing in one worker."""

    def __init__(self, store: Store, numbers: Numbers, counters: CounterRow, variants_limit: int) -> None:
        self._store, self._covering = store, Covering(numbers)
        self.variants_limit = variants_limit
        self.counters = counters
        self.evidence = Evidence()

    def sequence(self) -> int:
        """Return the number to note when a fetch begins."""
        return self._covering.sequence()

    def may_serve(self, primary: bytes, entry: Entry) -> bool:
        """Whether an entry that somebody holds since an earlier look may be given to who asks now."""
        return self._covering.may_appear(primary, entry)

    def may_join(self, primary: bytes, number: int) -> bool:
        """Whether a request that comes now may share a fetch of `primary` that began at `number`."""
        return self._covering.may_join(primary, number)

    def find(self, request: Request, now: float) -> Found:
        """Return what is stored for a request."""
        primary = primary_key(request.host, request.target)
        record, content = self._visible(primary, primary)
        if type(content) is Variants:
            return self._find_variant(request, primary, content, now)
        if request.key_extra:
            return self._find_apart(request, primary, content, now)
        if type(content) is Entry:
            return Found(primary, primary, content, record)
        return Found(primary, primary, None, None, stands(content, now))

    def _find_variant(self, request: Request, primary: bytes, variants: Variants, now: float) -> Found:
        values = selecting_values(request, variants.list.names)
        key = variants.key(primary, values)
        record, content = self._visible(primary, key)
        if type(content) is Entry:
            variants.used(values)
            return Found(primary, key, content, record)
        return Found(primary, key, None, None, stands(content, now), Forward.VARY_MISS, variants)

    def _find_apart(self, request: Request, primary: bytes, content: Content | None, now: float) -> Found:
        """Return the place of what rules join something to the key of while there is no variant list.

        It is not the primary key's: what lies there, and who fetches it, is for requests without such an addition.
        """
        key = variant_key(primary, _NO_GENERATION, selecting_values(request, (EXTRA,)))
        _, mark = self._visible(primary, key)
        missing = Forward.VARY_MISS if type(content) is Entry else Forward.URI_MISS
        return Found(primary, key, None, None, stands(mark, now), missing)

    def marked(self, found: Found) -> tuple[Record, PassMark] | None:
        """Return the hit-for-miss mark that lies where a request looked."""
        record, content = self._visible(found.primary, found.key)
        return (record, content.mark) if record is not None and type(content) is Mark else None

    def listed(self, request: Request, found: Found) -> Listed | None:
        """Return what names the variant that was found; None if that was replaced since."""
        record, content = self._visible(found.primary, found.primary)
        if record is None or type(content) is not Variants:
            return None
        values = selecting_values(request, content.list.names)
        return Listed(record, content, values) if content.key(found.primary, values) == found.key else None

    def begin(self, request: Request, primary: bytes, stored: Stored, length: int | None) -> Filling | None:
        """Begin to store a response of `length` body bytes (None: unknown); None when there is no room for it."""
        key = self._storing_key(request, primary, stored)
        writer = self._store.create(key, length) if key is not None else None
        if key is None or writer is None:
            self.counters[_NO_ROOM] += 1
            return None
        return Filling(self, primary, key, Entry(stored, length), writer, length)

    def under_way(self, name: bytes) -> Record | None:
        """Return what another worker's fetch has brought so far; its meta is an `Incomplete`."""
        return self._store.get(UNDER_WAY + name)

    def hide(self, name: bytes) -> None:
        """See `Filling.hide`."""
        self._store.remove(UNDER_WAY + name)

    def commit(self, primary: bytes, key: bytes, stored: Stored, writer: Writer) -> None:
        """Make a whole response visible; what was invalidated since its fetch began is dropped instead."""
        if not self._covering.may_appear(primary, CoveredResponse(stored)):
            self.counters[_PURGED] += 1
            writer.abort()
            return
        record = writer.commit(encode(stored))
        if record is None:
            self.counters[_NO_ROOM] += 1
            return
        self.counters[_STORED] += 1
        record.decoded = Entry(stored, record.length)
        if key != primary:
            self._note_variant(primary, key)

    def freshen(self, primary: bytes, record: Record, stored: Stored) -> tuple[Entry, Record]:
        """Return what a 304 renewed; it is stored too, unless it was invalidated or is gone."""
        entry = Entry(stored, record.length)
        may_appear = self._covering.may_appear(primary, entry)
        renewed = self._store.freshen(record, encode(stored)) if may_appear else None
        if renewed is None:
            return entry, record
        renewed.decoded = entry
        return entry, renewed

    def mark(self, found: Found, until_at: float, number: int) -> None:
        """Remember until `until_at` that answers to this key cannot be stored."""
        if self._covering.may_appear(found.primary, Covered(number)):
            self._store.put(found.key, encode(PassMark(until_at, number)))

    def drop(self, primary: bytes) -> int:
        """Free everything stored under a primary key; return how many responses that were.

        All workers may do so at once: the one whose `remove` took a record is the one that counts it.
        """
        record = self._store.get(primary)
        content = self._decoded(record) if record is not None else None
        was_ours = self._store.remove(primary)
        if type(content) is Entry:
            return int(was_ours)
        if type(content) is Variants:
            return sum(map(self._drop_variant, content.keys(primary)))
        return 0

    def drop_covered(self, primary: bytes) -> int:
        """Do as `drop` if an invalidation covers what lies there.

        A worker hears of an invalidation after it was published: what was fetched in between is not covered, and stays.
        """
        record = self._store.get(primary)
        content = self._decoded(record) if record is not None else None
        is_newer = content is not None and not self._covering.is_dropped(primary, content)
        return 0 if is_newer else self.drop(primary)

    def count(self, primary: bytes) -> int:
        """Return how many responses are stored under a primary key."""
        _, content = self._visible(primary, primary)
        if type(content) is Variants:
            return sum(type(self._visible(primary, key)[1]) is Entry for key in content.keys(primary))
        return int(type(content) is Entry)

    def _drop_variant(self, key: bytes) -> bool:
        record = self._store.get(key)
        is_response = record is not None and type(self._decoded(record)) is Entry
        return self._store.remove(key) and is_response

    def _storing_key(self, request: Request, primary: bytes, stored: Stored) -> bytes | None:
        """Return the key that the response goes under, making a variant list where Vary asks for one."""
        names = variant_names(request, stored.fields)
        if names is None:
            return None
        _, content = self._visible(primary, primary)
        variants = content if type(content) is Variants else None
        if variants is None and not names:
            return primary
        if variants is None or not set(names) <= set(variants.list.names):
            variants = self._new_list(primary, names, variants, stored)
        return variants.key(primary, selecting_values(request, variants.list.names)) if variants is not None else None

    def _new_list(
        self, primary: bytes, names: tuple[bytes, ...], old: Variants | None, stored: Stored
    ) -> Variants | None:
        """Put a list of all names seen so far under the primary key; variants of an older list are left behind."""
        for key in old.keys(primary) if old is not None else ():
            self._store.remove(key)
        every_name = tuple(sorted({*names, *(old.list.names if old is not None else ())}))
        variant_list = VariantList(every_name, int(stored.response_at * 1e6), stored.number)
        return self._put_list(primary, variant_list)

    def _put_list(self, primary: bytes, variant_list: VariantList) -> Variants | None:
        record = self._store.put(primary, encode(variant_list))
        if record is None:
            return None
        variants = record.decoded = Variants(variant_list)
        return variants

    def _note_variant(self, primary: bytes, key: bytes) -> None:
        """Name a variant in its list, for every worker to see; the least used go when there are too many.

        Of two workers that name one at the same time the later's list stands: the other variant is only not counted.
        """
        _, content = self._visible(primary, primary)
        if type(content) is not Variants:
            return
        values = key.removeprefix(content.key(primary, b""))
        if values in content.order:
            content.used(values)
            return
        named = [*content.order, values]
        surplus = max(0, len(named) - self.variants_limit)
        for oldest in named[:surplus]:
            self._store.remove(content.key(primary, oldest))
        self._put_list(primary, replace(content.list, values=tuple(named[surplus:])))

    def _visible(self, primary: bytes, key: bytes) -> tuple[Record | None, Content | None]:
        """Return what lies under `key`, unless an invalidation of `primary` covers it, or another version of this
        program wrote it in a form of its own: then it is freed.
        """
        record = self._store.get(key)
        if record is None:
            return None, None
        content = self._decoded(record)
        if content is None or self._covering.is_dropped(primary, content):
            self.drop(key)
            return None, None
        return record, content

    def _decoded(self, record: Record) -> Content | None:
        """Return what a record is; None if that cannot be read."""
        content: Content | None = record.decoded
        if content is None:
            try:
                content = record.decoded = content_of(record)
            except (ValueError, struct.error):
                return None
            if type(content) is Entry:
                self.evidence.note(record.key, content.stored.status, is_storable=True)
        return content
