"""Trace context: whose trace an origin's request belongs to."""

from __future__ import annotations

import re

import pytest

from accel.http.message import Fields
from accel.origin.tracing import begin

OURS = re.compile(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-01")
PARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"


@pytest.mark.parametrize("parent", [PARENT, b"cc" + PARENT[2:] + b"-what-comes-later"])
def test_a_clients_trace_goes_on_as_it_is(parent: bytes) -> None:
    fields = Fields([(b"traceparent", parent), (b"tracestate", b"a=1")])

    begin(fields)

    assert fields == Fields([(b"traceparent", parent), (b"tracestate", b"a=1")])


NO_TRACE, NO_SPAN = b"00-" + b"0" * 32 + PARENT[35:], PARENT[:36] + b"0" * 16 + b"-00"


@pytest.mark.parametrize("parent", [None, b"", b"x", PARENT.upper(), b"ff" + PARENT[2:], NO_TRACE, NO_SPAN])
def test_without_one_that_can_be_read_a_trace_begins(parent: bytes | None) -> None:
    fields = Fields([*([] if parent is None else [(b"traceparent", parent)]), (b"tracestate", b"a=1")])

    begin(fields)

    assert [name for name, _ in fields.lines] == [b"traceparent"]
    assert OURS.fullmatch(fields.get(b"traceparent") or b"")


def test_two_requests_have_two_traces() -> None:
    first, second = Fields(), Fields()

    begin(first)
    begin(second)

    assert first != second
