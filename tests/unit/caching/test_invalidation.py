"""What an unsafe request makes untrue (RFC 9111 §4.4), and what a PURGE asks for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel.caching.ban import Subject, parse
from accel.caching.invalidation import Purge, What, requested, targets
from accel.http.message import Fields, Line, Request, Response


def found(
    *lines: Line,
    method: bytes = b"POST",
    status: int = 200,
    target: bytes = b"/a/b?q",
    host: bytes = b"h.org",
) -> list[tuple[bytes, bytes]]:
    return targets(Request(method, target, host=host), Response(status, b"", Fields(lines)))


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE", b"PATCH", b"BREW"])
@pytest.mark.parametrize("status", [200, 204, 303, 399])
def test_an_unsafe_method_that_succeeds_invalidates_its_target(method: bytes, status: int) -> None:
    """RFC 9111 §4.4: a method that nobody knows is taken for unsafe."""
    assert found(method=method, status=status) == [(b"h.org", b"/a/b?q")]


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"TRACE"])
def test_safe_methods_invalidate_nothing(method: bytes) -> None:
    assert found((b"location", b"/x"), method=method) == []


@pytest.mark.parametrize("status", [101, 199, 400, 404, 500])
def test_failures_invalidate_nothing(status: int) -> None:
    assert found(status=status) == []


@pytest.mark.parametrize(
    ("reference", "target"),
    [
        (b"/x", b"/x"),
        (b"/x?y#z", b"/x?y"),
        (b"c", b"/a/c"),
        (b"./c", b"/a/c"),
        (b"../c", b"/c"),
        (b"../../../c", b"/c"),
        (b"/x/./y/../z", b"/x/z"),
        (b"/x/..", b"/"),
        (b"/x/.", b"/x/"),
        (b"..", b"/"),
        (b"?r", b"/a/b?r"),
        (b"http://h.org", b"/"),
        (b"http://h.org?r", b"/?r"),
        (b"HTTP://H.ORG:80/x", b"/x"),
        (b"https://h.org./x", b"/x"),
        (b"https://h.org:443/x", b"/x"),
        (b"http://h.org:/x", b"/x"),
        (b"//h.org/x", b"/x"),
    ],
)
def test_references_to_the_same_host(reference: bytes, target: bytes) -> None:
    """RFC 3986 §5."""
    assert found((b"location", reference)) == [(b"h.org", b"/a/b?q"), (b"h.org", target)]


@pytest.mark.parametrize(
    "reference",
    [
        b"http://other.org/x",
        b"//other.org/x",
        b"http://h.org:8080/x",
        b"http://h.org:443/x",
        b"http://h.org.other.org/x",
        b"http://h.org@other.org/x",
        b"http://other.org@h.org/x",
        b"ftp://h.org/x",
        b"mailto:x@h.org",
        b"http:x",
        b"http://",
        b"http://[::1/x",
        b"/a b",
        b"/a\nb",
    ],
)
def test_other_hosts_are_not_named(reference: bytes) -> None:
    """RFC 9111 §4.4: else one site could empty another's part of the cache."""
    assert found((b"location", reference)) == [(b"h.org", b"/a/b?q")]


def test_hosts_with_ports_and_addresses() -> None:
    assert found((b"location", b"http://h.org:8080/x"), host=b"h.org:8080")[1:] == [(b"h.org:8080", b"/x")]
    assert found((b"location", b"http://[::1]:8080/x"), host=b"[::1]:8080")[1:] == [(b"[::1]:8080", b"/x")]


def test_location_and_content_location_both_count_and_each_target_once() -> None:
    lines = [(b"location", b"/x"), (b"content-location", b"/y")]
    assert [target for _, target in found(*lines)] == [b"/a/b?q", b"/x", b"/y"]
    assert found((b"location", b"/a/b?q"), (b"content-location", b"#here")) == [(b"h.org", b"/a/b?q")]


@given(st.binary(max_size=60) | st.text("/.:?#@[]ahttp", max_size=30).map(str.encode))
def test_no_reference_makes_it_raise_or_leave_the_host(reference: bytes) -> None:
    for host, target in found((b"location", reference)):
        assert host == b"h.org"
        assert target.startswith(b"/")


def purge(*lines: Line, target: bytes = b"/news") -> Request:
    return Request(b"PURGE", target, b"example.org", b"example.org", 1, Fields(lines))


SOFT = (b"soft-purge", b"1")
BELOW = (b"x-purge-method", b"regex")


@pytest.mark.parametrize(
    ("request_", "asked"),
    [
        (purge(), Purge(What.URL, (b"example.org\0/news",))),
        (purge(SOFT), Purge(What.URL, (b"example.org\0/news",), True)),
        (purge((b"fastly-soft-purge", b"1")), Purge(What.URL, (b"example.org\0/news",), True)),
        (purge((b"soft-purge", b"0")), Purge(What.URL, (b"example.org\0/news",))),
        (purge((b"surrogate-key", b"a b")), Purge(What.TAG, (b"a", b"b"))),
        (purge((b"cache-tag", b"a, b"), (b"xkey", b"c"), SOFT), Purge(What.TAG, (b"a", b"b", b"c"), True)),
        (purge((b"ban", b"url ~ ^/")), Purge(What.BAN, (b"url ~ ^/",))),
        (purge((b"purge", b"all")), Purge(What.ALL)),
        (purge((b"purge", b"all"), SOFT), Purge(What.ALL, (), True)),
        (purge(target=b"*"), Purge(What.ALL)),
        (purge(BELOW, target=b"/.*"), Purge(What.BAN, (b'host == "example.org" && url ~ "^/"',))),
        (purge((b"x-purge-method", b"default")), Purge(What.URL, (b"example.org\0/news",))),
        (purge((b"xkey", b"a"), target=b"*"), Purge(What.TAG, (b"a",))),
    ],
)
def test_a_purge_asks_for_one_thing(request_: Request, asked: Purge) -> None:
    assert requested(request_) == asked


@pytest.mark.parametrize("prefix", [b"/a.b/", b"/a?s=1+1&&x", b'/"\\', b"/[(*"])
def test_what_stands_before_the_plug_ins_star_is_meant_as_it_is(prefix: bytes) -> None:
    [text] = requested(purge(BELOW, target=prefix + b".*")).names

    def is_dropped(host: bytes, target: bytes) -> bool:
        return parse(text.decode()).matches(Subject(host, target, 200, 0.0, Fields))

    assert is_dropped(b"example.org", prefix) and is_dropped(b"example.org", prefix + b"more")
    assert not is_dropped(b"example.org", b"/" + prefix)
    assert not is_dropped(b"example.org", prefix.replace(b".", b"x") if b"." in prefix else b"/")
    assert not is_dropped(b"other.org", prefix)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (purge((b"ban", b"url ~ ^/"), SOFT), "a ban goes alone"),
        (purge((b"ban", b"url ~ ^/"), (b"xkey", b"a")), "a ban goes alone"),
        (purge((b"purge", b"some")), "send Purge: all"),
        (purge((b"purge", b"all"), (b"xkey", b"a")), "send Purge: all, without tags"),
        (purge((b"cache-tag", b" , ")), "Cache-Tag names no tag"),
        (purge((b"xkey", b" ".join(b"%d" % tag for tag in range(257)))), "at most 256 tags at once"),
    ],
)
def test_a_purge_that_could_mean_two_things_is_refused(request_: Request, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        requested(request_)
