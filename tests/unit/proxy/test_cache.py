"""Keys, variants, marks and invalidation numbers over a store; no request goes anywhere here."""

from __future__ import annotations

from dataclasses import replace

import pytest

from accel.caching.freshness import LifetimeSource, Terms
from accel.caching.stored import Stored
from accel.http.cache_status import Forward
from accel.http.message import Fields, Line, Request
from accel.proxy.cache import Cache
from accel.proxy.contents import Found
from accel.proxy.covering import key_names
from accel.stats.counters import private_row, totals
from accel.store.numbers import Numbers
from accel.store.private import PrivateStore

NOW = 1_000_000.0


class Shelf:
    """A cache with short ways to put and find."""

    def __init__(self, variants: int = 32, capacity: int = 1 << 20) -> None:
        self.numbers = Numbers.alone()
        self.counters = private_row()
        self.store = PrivateStore(capacity)
        self.cache = Cache(self.store, self.numbers, self.counters, variants)

    def stored(self, vary: bytes = b"", number: int | None = None) -> Stored:
        """Return a response's head."""
        fields = Fields([(b"vary", vary)] if vary else [])
        terms = Terms(60.0, LifetimeSource.MAX_AGE)
        number = self.numbers.sequence() if number is None else number
        return Stored(200, b"", fields, NOW, NOW, 0.0, terms, number)

    def put(self, body: bytes, *lines: Line, vary: bytes = b"", number: int | None = None, length: bool = True) -> None:
        """Store a response to `/` for a request with these fields."""
        asked = request(*lines)
        known = len(body) if length else None
        filling = self.cache.begin(asked, b"a\0/", self.stored(vary, number), known)
        assert filling is not None
        assert filling.append(body)
        filling.commit()

    def find(self, *lines: Line, now: float = NOW) -> Found:
        """Look up `/`."""
        return self.cache.find(request(*lines), now)

    def body(self, *lines: Line) -> bytes | None:
        """Return the body found."""
        record = self.find(*lines).record
        return None if record is None else b"".join(record.chunks())

    def purge(self, key: bytes, soft: bool = False) -> None:
        """Invalidate a key."""
        self.numbers.invalidate(map(self.numbers.cell, key_names((key,))), soft)

    def count(self, name: str) -> int:
        """Return a counter."""
        return totals([self.counters])[name]


def request(*lines: Line) -> Request:
    """Return a request for `/`."""
    return Request(b"GET", b"/", b"a", b"a", 1, Fields(lines))


DE, EN, FR = ((b"accept-language", language) for language in (b"de", b"en", b"fr"))


def test_nothing_is_found_in_an_empty_cache() -> None:
    found = Shelf().find()
    assert (found.primary, found.key, found.entry, found.missing) == (b"a\0/", b"a\0/", None, Forward.URI_MISS)


@pytest.mark.parametrize("length", [True, False])
def test_what_was_put_is_found_with_its_head(length: bool) -> None:
    shelf = Shelf()
    shelf.put(b"hello", length=length)
    found = shelf.find()
    assert found.entry is not None
    assert found.entry.head == b"HTTP/1.1 200 OK\r\nVia: 1.1 accel\r\nContent-Length: 5\r\n"
    assert shelf.body() == b"hello"
    assert shelf.count("stored") == 1


def test_a_record_read_back_by_another_process_gives_the_same_head() -> None:
    shelf = Shelf()
    shelf.put(b"hello")
    found = shelf.find()
    assert found.entry is not None and found.record is not None
    found.record.decoded = None
    again = shelf.find()
    assert again.entry is not None
    assert again.entry.head == found.entry.head


def test_an_unfinished_body_is_not_seen() -> None:
    shelf = Shelf()
    filling = shelf.cache.begin(request(), b"a\0/", shelf.stored(), 10)
    assert filling is not None
    filling.append(b"half")
    assert shelf.find().entry is None
    filling.commit()
    assert shelf.find().entry is None
    assert shelf.store.used_bytes == 0
    assert (shelf.count("stored"), shelf.count("not_stored_no_room")) == (0, 1)


def test_variants_lie_beside_each_other() -> None:
    shelf = Shelf()
    for line, body in ((DE, b"de"), (EN, b"en")):
        shelf.put(body, line, vary=b"accept-language")
    assert (shelf.body(DE), shelf.body(EN), shelf.body(FR), shelf.body()) == (b"de", b"en", None, None)
    assert shelf.find(FR).missing is Forward.VARY_MISS


def test_a_vary_by_more_fields_begins_anew_with_all_of_them() -> None:
    shelf = Shelf()
    shelf.put(b"de", DE, vary=b"accept-language")
    shelf.put(b"en", EN, (b"x", b"1"), vary=b"x")
    assert shelf.body(DE) is None
    assert shelf.body(EN, (b"x", b"1")) == b"en"
    assert shelf.body(EN, (b"x", b"2")) is None
    shelf.put(b"de", DE, (b"x", b"1"), vary=b"accept-language")
    assert shelf.body(EN, (b"x", b"1")) == b"en"


def test_a_response_without_vary_under_a_list_is_one_of_its_variants() -> None:
    shelf = Shelf()
    shelf.put(b"de", DE, vary=b"accept-language")
    shelf.put(b"en", EN)
    assert (shelf.body(DE), shelf.body(EN)) == (b"de", b"en")


def test_of_too_many_variants_the_least_used_goes() -> None:
    shelf = Shelf(variants=2)
    shelf.put(b"de", DE, vary=b"accept-language")
    shelf.put(b"en", EN, vary=b"accept-language")
    shelf.body(DE)
    shelf.put(b"fr", FR, vary=b"accept-language")
    assert (shelf.body(DE), shelf.body(EN), shelf.body(FR)) == (b"de", None, b"fr")


def test_a_drop_frees_every_variant_and_says_how_many() -> None:
    shelf = Shelf()
    for line in (DE, EN, FR):
        shelf.put(b"x", line, vary=b"accept-language")
    assert shelf.cache.drop(b"a\0/") == 3
    assert shelf.cache.drop(b"a\0/") == 0
    assert shelf.store.record_count == 0


@pytest.mark.parametrize("vary", [b"", b"accept-language"])
def test_a_worker_that_hears_late_of_an_invalidation_leaves_what_came_after_it(vary: bytes) -> None:
    shelf = Shelf()
    shelf.put(b"old", DE, vary=vary)
    shelf.purge(b"a\0/")
    shelf.put(b"new", DE, vary=vary)
    assert shelf.cache.drop_covered(b"a\0/") == 0
    assert shelf.body(DE) == b"new"


@pytest.mark.parametrize("vary", [b"", b"accept-language"])
def test_it_frees_what_is_older(vary: bytes) -> None:
    shelf = Shelf()
    shelf.put(b"old", DE, vary=vary)
    shelf.purge(b"a\0/")
    assert shelf.cache.drop_covered(b"a\0/") == 1
    assert shelf.store.record_count == 0


@pytest.mark.parametrize("vary", [b"", b"accept-language"])
def test_what_another_worker_took_first_is_not_counted_twice(monkeypatch: pytest.MonkeyPatch, vary: bytes) -> None:
    shelf = Shelf()
    shelf.put(b"x", DE, vary=vary)
    remove = shelf.store.remove

    def remove_too_late(key: bytes) -> bool:
        remove(key)
        return remove(key)

    monkeypatch.setattr(shelf.store, "remove", remove_too_late)
    assert shelf.cache.drop(b"a\0/") == 0


def test_a_dropped_mark_is_no_response() -> None:
    shelf = Shelf()
    shelf.cache.mark(shelf.find(), NOW + 60, 0)
    assert shelf.cache.drop(b"a\0/") == 0
    assert not shelf.find().is_marked


def test_a_mark_stands_until_its_time() -> None:
    shelf = Shelf()
    shelf.cache.mark(shelf.find(), NOW + 60, 0)
    assert (shelf.find().is_marked, shelf.find(now=NOW + 60).is_marked) == (True, False)
    shelf.put(b"x")
    assert shelf.body() == b"x"


def test_a_variant_may_be_marked_alone() -> None:
    shelf = Shelf()
    shelf.put(b"de", DE, vary=b"accept-language")
    shelf.cache.mark(shelf.find(EN), NOW + 60, 0)
    assert (shelf.find(EN).is_marked, shelf.find(FR).is_marked, shelf.body(DE)) == (True, False, b"de")


def test_a_purge_covers_what_was_put_and_what_was_under_way() -> None:
    shelf = Shelf()
    shelf.put(b"old")
    under_way = shelf.cache.begin(request(), b"a\0/", shelf.stored(), 3)
    assert under_way is not None
    under_way.append(b"old")
    shelf.purge(b"a\0/")
    assert shelf.find().entry is None
    under_way.commit()
    assert shelf.find().entry is None
    assert (shelf.count("not_stored_purged"), shelf.store.used_bytes) == (1, 0)
    shelf.put(b"new")
    assert shelf.body() == b"new"


def test_a_purge_covers_variants_and_marks() -> None:
    shelf = Shelf()
    shelf.put(b"de", DE, vary=b"accept-language")
    shelf.cache.mark(shelf.find(EN), NOW + 60, 0)
    shelf.purge(b"a\0/")
    assert shelf.body(DE) is None
    assert not shelf.find(EN).is_marked


def test_a_purge_forbids_marks_and_freshening_from_before_it() -> None:
    shelf = Shelf()
    shelf.put(b"x")
    found = shelf.find()
    assert found.record is not None
    shelf.purge(b"a\0/")
    shelf.cache.freshen(b"a\0/", found.record, shelf.stored(number=0))
    shelf.cache.mark(found, NOW + 60, 0)
    assert (shelf.find().entry, shelf.find().is_marked) == (None, False)


def test_a_purge_of_another_key_covers_nothing_here() -> None:
    shelf = Shelf()
    shelf.put(b"x")
    shelf.purge(b"b\0/")
    assert shelf.body() == b"x"


def test_freshening_keeps_the_body_under_the_new_head() -> None:
    shelf = Shelf()
    shelf.put(b"body")
    found = shelf.find()
    assert found.record is not None
    entry, record = shelf.cache.freshen(b"a\0/", found.record, shelf.stored(vary=b""))
    assert shelf.find().entry is entry
    assert b"".join(record.chunks()) == b"body"


def test_what_is_too_large_is_refused_at_once_or_when_it_shows() -> None:
    shelf = Shelf(capacity=8 * 1000)
    assert shelf.cache.begin(request(), b"a\0/", shelf.stored(), 1001) is None
    filling = shelf.cache.begin(request(), b"a\0/", shelf.stored(), None)
    assert filling is not None
    assert not filling.append(b"x" * 1001)
    assert shelf.count("not_stored_no_room") == 2
    assert shelf.store.used_bytes == 0


def test_what_rules_join_to_the_key_tells_responses_apart_under_one_url() -> None:
    shelf = Shelf()
    shelf.put(b"plain")
    euro = replace(request(), key_extra=b"euro")
    assert shelf.cache.find(euro, NOW).entry is None

    filling = shelf.cache.begin(euro, b"a\0/", shelf.stored(), 4)
    assert filling is not None and filling.append(b"euro")
    filling.commit()
    shelf.put(b"plain")

    assert shelf.body() == b"plain"
    record = shelf.cache.find(euro, NOW).record
    assert record is not None and b"".join(record.chunks()) == b"euro"
    shelf.purge(b"a\0/")
    assert shelf.cache.find(euro, NOW).entry is None and shelf.body() is None


@pytest.mark.parametrize("meta", [b"", b"\xff\x01", b"\x03\x01"])
def test_what_another_version_wrote_is_a_miss_and_goes(meta: bytes) -> None:
    shelf = Shelf()
    shelf.store.put(b"a\0/", meta)

    assert shelf.find().entry is None
    assert shelf.store.get(b"a\0/") is None


def test_a_mark_of_an_extended_key_leaves_the_others_theirs() -> None:
    shelf, extended = Shelf(), replace(request(), key_extra=b"session:1:1")
    shelf.put(b"for all")
    found = shelf.cache.find(extended, NOW)
    shelf.cache.mark(found, NOW + 60, 0)

    assert shelf.body() == b"for all"
    assert shelf.cache.find(extended, NOW).is_marked
    assert not shelf.cache.find(replace(extended, key_extra=b"session:1:2"), NOW).is_marked
    shelf.purge(b"a\0/")
    assert not shelf.cache.find(extended, NOW).is_marked
