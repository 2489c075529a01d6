"""Our Cache-Status member (RFC 9211)."""

from accel.http.cache_status import Forward, forward, hit


def test_a_hit_says_how_long_it_stays_fresh() -> None:
    """RFC 9211 §2.1, §2.4: negative once stale."""
    assert hit(12) == b"accel; hit; ttl=12"
    assert hit(-3, b"stale") == b"accel; hit; ttl=-3; detail=stale"


def test_a_forward_says_why_and_what_came_of_it() -> None:
    """RFC 9211 §2.2 to §2.6."""
    assert forward(Forward.BYPASS) == b"accel; fwd=bypass"
    assert forward(Forward.MISS, detail=b"no-room") == b"accel; fwd=miss; detail=no-room"
    assert forward(Forward.STALE, 304, stored=True, ttl_s=60) == b"accel; fwd=stale; fwd-status=304; ttl=60; stored"
    assert forward(Forward.URI_MISS, 200, collapsed=True) == b"accel; fwd=uri-miss; fwd-status=200; collapsed"


def test_the_reasons_are_the_registered_ones() -> None:
    words = {reason.value for reason in Forward}
    assert words == {
        b"bypass",
        b"method",
        b"uri-miss",
        b"vary-miss",
        b"miss",
        b"request",
        b"stale",
        b"partial",
    }
