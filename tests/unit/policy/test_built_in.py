"""The built-in policy file: its tests hold, and it changes nothing of what it is shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel.caching.freshness import terms
from accel.config import CachingOptions
from accel.http.message import CHUNKED, Fields, Request, Response
from accel.policy.built_in import built_in
from accel.policy.testing import run_tests, shown

FILE = built_in(CachingOptions(), ())
LINES = st.lists(
    st.tuples(
        st.sampled_from([b"cookie", b"authorization", b"via", b"x-forwarded-for", b"forwarded", b"upgrade", b"x-a"]),
        st.binary(min_size=1, max_size=4),
    ),
    max_size=3,
)
REQUESTS = st.builds(
    Request,
    method=st.sampled_from([b"GET", b"HEAD", b"POST", b"PURGE", b"OPTIONS", b"DELETE", b"PROPFIND"]),
    target=st.sampled_from([b"/", b"/a?b=c", b"*"]),
    host=st.sampled_from([b"", b"a.example"]),
    fields=LINES.map(Fields),
    body_length=st.sampled_from([0, 7, CHUNKED]),
    upgrade=st.sampled_from([b"", b"websocket"]),
)


def test_its_own_tests_hold() -> None:
    assert [shown(outcome, FILE.checked.lines) for outcome in run_tests(FILE) if not outcome.is_passed] == []


@given(REQUESTS, st.sampled_from(["10.1.2.3", "::1", "fe80::1%eth0", ""]))
def test_it_edits_no_request(request: Request, client: str) -> None:
    decision = FILE.request(request, client)

    assert decision.asked is request
    assert (decision.pool, decision.limits, decision.answer) == ("", (), None)


@pytest.mark.parametrize("control", [b"max-age=5", b"no-store", b"no-cache", b"s-maxage=3, stale-if-error=9", b"x"])
def test_it_takes_responses_at_their_word(control: bytes) -> None:
    request, response = Request(b"GET", b"/"), Response(200, b"", Fields([(b"cache-control", control)]))
    stated = terms(response, CachingOptions(), 0.0)

    decision = FILE.response(FILE.request(request, ""), request, response, stated, 0.0)

    assert decision.terms is stated
    assert (decision.pass_why, decision.lifted, decision.edits, decision.tags) == (None, frozenset(), (), ())
