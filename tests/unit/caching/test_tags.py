"""Which tags a response carries, read from the fields that carry them."""

import pytest

from accel.caching.tags import ANY, MOST_TAGS, tags_of
from accel.http.message import Fields, Line


@pytest.mark.parametrize(
    ("lines", "tags"),
    [
        ([(b"surrogate-key", b"a  b\tc")], (b"a", b"b", b"c")),
        ([(b"surrogate-key", b"a,b")], (b"a,b",)),
        ([(b"cache-tag", b"a, b c ,,d")], (b"a", b"b c", b"d")),
        ([(b"xkey", b"a, b"), (b"xkey", b"c d")], (b"a", b"b", b"c", b"d")),
        ([(b"surrogate-key", b"b a"), (b"cache-tag", b"a,c"), (b"xkey", b"A")], (b"b", b"a", b"c", b"A")),
        ([(b"x-key", b"a"), (b"surrogate-key", b"")], ()),
    ],
)
def test_the_tags_of_all_fields_are_joined_each_once(lines: list[Line], tags: tuple[bytes, ...]) -> None:
    assert tags_of(Fields(lines)) == tags


def test_tags_beyond_the_bound_are_kept_as_one_that_stands_for_them_all() -> None:
    at_most = tags_of(Fields([(b"xkey", b" ".join(b"%d" % tag for tag in range(MOST_TAGS)))]))
    beyond = tags_of(Fields([(b"xkey", b" ".join(b"%d" % tag for tag in range(MOST_TAGS + 9)))]))

    assert len(at_most) == MOST_TAGS and ANY not in at_most
    assert beyond == (*at_most, ANY)
