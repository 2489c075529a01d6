"""What covers what, looked up once a world; and bans, of which each thing is asked once."""

from __future__ import annotations

import mmap

import pytest

from accel.caching.freshness import Terms
from accel.caching.stored import Stored
from accel.caching.tags import ANY, MOST_TAGS
from accel.http.message import Fields
from accel.proxy.covering import Covered, CoveredResponse, Covering, key_names, tag_names
from accel.store.numbers import Cells, Numbers, table_bytes

PRIMARY = b"example.org\0/page"


class Watched(Numbers):
    """Real numbers that note how often their words are looked at."""

    looks = 0

    def __init__(self) -> None:
        super().__init__(mmap.mmap(-1, table_bytes(4096)), bytes(16), is_shared=False)
        self.covering = Covering(self)

    def hard(self, cells: Cells) -> int:
        """Count a look."""
        self.looks += 1
        return super().hard(cells)


@pytest.fixture
def watched() -> Watched:
    return Watched()


def response(number: int = 0, tags: tuple[bytes, ...] = (), status: int = 200, age_s: float = 0.0) -> CoveredResponse:
    fields = Fields([(b"x-kind", b"page")])
    return CoveredResponse(Stored(status, b"", fields, 0.0, 0.0, age_s, Terms(), number, tags))


def purge(watched: Watched, *names: bytes, soft: bool = False) -> int:
    return watched.invalidate(map(watched.cell, names), soft)


def test_while_the_world_stands_still_one_look_is_enough(watched: Watched) -> None:
    page = response()

    assert [watched.covering.is_dropped(PRIMARY, page) for _ in range(5)] == [False] * 5
    assert watched.looks == 1
    purge(watched, *key_names((b"example.org\0/other",)))
    assert [watched.covering.is_dropped(PRIMARY, page) for _ in range(5)] == [False] * 5
    assert watched.looks == 2


@pytest.mark.parametrize(
    ("names", "is_dropped"),
    [
        (key_names((PRIMARY,)), True),
        (key_names((b"news",)), False),
        (tag_names((b"news",)), True),
        (tag_names((b"shop",)), False),
        (tag_names((PRIMARY,)), False),
    ],
)
def test_a_response_is_covered_by_its_key_and_its_tags(watched: Watched, names: list[bytes], is_dropped: bool) -> None:
    page = response(tags=(b"de", b"news"))
    assert not watched.covering.is_dropped(PRIMARY, page)

    number = purge(watched, *names)

    assert watched.covering.is_dropped(PRIMARY, page) is is_dropped
    assert not watched.covering.is_dropped(PRIMARY, response(number, (b"news",)))


def test_a_response_with_more_tags_than_are_kept_is_covered_by_every_tag(watched: Watched) -> None:
    page = response(tags=(*(b"%d" % tag for tag in range(MOST_TAGS)), ANY))

    purge(watched, *tag_names((b"unheard of",)))

    assert watched.covering.is_dropped(PRIMARY, page)


def test_a_soft_invalidation_is_noted_and_drops_nothing(watched: Watched) -> None:
    page = response(tags=(b"news",))
    before = watched.covering.is_dropped(PRIMARY, page), page.is_soft_purged

    number = purge(watched, *tag_names((b"news",)), soft=True)

    assert (before, watched.covering.is_dropped(PRIMARY, page), page.is_soft_purged) == ((False, False), False, True)
    newer = response(number, (b"news",))
    assert (watched.covering.is_dropped(PRIMARY, newer), newer.is_soft_purged) == (False, False)


def test_a_pending_ban_drops_what_it_matches_and_not_what_is_newer(watched: Watched) -> None:
    number = watched.ban("url ~ ^/page && status == 404")

    assert watched.covering.is_dropped(PRIMARY, response(status=404))
    assert not watched.covering.is_dropped(PRIMARY, response(status=200))
    assert not watched.covering.is_dropped(b"example.org\0/", response(status=404))
    assert not watched.covering.is_dropped(PRIMARY, response(number, status=404))


def test_an_age_is_that_at_the_time_of_the_ban(watched: Watched) -> None:
    watched.ban("age < 50w")

    [ban] = watched.covering.bans()

    assert ban.at > 1e9
    assert not watched.covering.is_dropped(PRIMARY, response())


def test_a_thing_is_matched_with_a_ban_once_however_often_the_world_moves(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.ban("field.x-kind == other")
    page = response()
    assert not watched.covering.is_dropped(PRIMARY, page)
    monkeypatch.setattr(page.stored.fields, "_index", None)
    monkeypatch.setattr(Fields, "get", None)

    purge(watched, b"elsewhere")

    assert not watched.covering.is_dropped(PRIMARY, page)


def test_marks_and_lists_are_no_business_of_a_ban(watched: Watched) -> None:
    watched.ban("url ~ .")

    assert not watched.covering.is_dropped(PRIMARY, Covered(0))
    assert watched.covering.is_dropped(PRIMARY, response())


def test_a_ban_that_another_version_wrote_covers_everything_before_it(watched: Watched) -> None:
    number = watched.ban("moon == full")

    assert watched.covering.is_dropped(PRIMARY, response())
    assert not watched.covering.is_dropped(PRIMARY, response(number))


def test_what_was_under_way_before_a_ban_that_ended_is_not_stored(watched: Watched) -> None:
    before = response(watched.sequence())
    number = watched.ban("url == /other")
    assert watched.covering.may_appear(PRIMARY, before)

    watched.end_ban(number)

    assert not watched.covering.may_appear(PRIMARY, before)
    assert watched.covering.may_appear(PRIMARY, response(number))


def test_a_fetch_is_joined_only_if_no_invalidation_may_cover_it(watched: Watched) -> None:
    may_join = watched.covering.may_join
    begun = watched.sequence()
    purge(watched, *tag_names((b"news",)))
    by_tag = may_join(PRIMARY, begun)
    ban = watched.ban("url == /other")
    by_pending = may_join(PRIMARY, begun), may_join(PRIMARY, ban)
    watched.end_ban(ban)
    by_ended = may_join(PRIMARY, begun), may_join(PRIMARY, ban)
    purged = purge(watched, *key_names((PRIMARY,)))

    assert (by_tag, by_pending, by_ended) == (True, (False, True), (False, True))
    assert (may_join(PRIMARY, ban), may_join(PRIMARY, purged)) == (False, True)
