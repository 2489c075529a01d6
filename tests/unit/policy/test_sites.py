"""Which file governs which host."""

from __future__ import annotations

import pytest
from making import made

from accel.policy.sites import Sites

BLOG = made("site blog.example, www.blog.example")
WIDE = made("site *.example")
WIDER = made("site *.shop.example, shop.example:8443")
REST = made("")
BUILT_IN = made("")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (b"blog.example", BLOG),
        (b"blog.example:8080", BLOG),
        (b"a.example", WIDE),
        (b"a.b.example", WIDE),
        (b"a.shop.example", WIDER),
        (b"shop.example:8443", WIDER),
        (b"shop.example:8444", WIDE),
        (b"example", REST),
        (b"", REST),
        (b"[::1]:80", REST),
    ],
)
def test_a_host_has_its_file_then_the_longest_wildcard_then_the_rest(host: bytes, expected: object) -> None:
    assert Sites([BLOG, WIDE, WIDER, REST], BUILT_IN).of(host) is expected


def test_where_no_file_governs_the_built_in_rules_do() -> None:
    assert Sites([BLOG], BUILT_IN).of(b"other") is BUILT_IN
    assert Sites([], BUILT_IN).of(b"other") is BUILT_IN

