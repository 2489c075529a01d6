"""Answers of our own: errors, refusals, receipts.

Invariant: an error says no version, no path and nothing that the client sent, and is never stored by anybody
(`Cache-Control: no-store`).
"""

from __future__ import annotations

import json
from http import HTTPStatus

from accel.http.cache_status import NAME
from accel.http.message import Line
from accel.policy.decision import Answer as Ruled

Answer = tuple[int, list[Line], bytes]
"""Status, field lines (without Connection), body."""

_MEANINGS = {
    400: "The request could not be understood in one way only.",
    403: "This is not allowed from your address.",
    404: "Nothing was stored under this address.",
    405: "This method is not served here.",
    408: "The request was not complete in time.",
    413: "The request's body is larger than is accepted here.",
    414: "The request's target is longer than is accepted here.",
    417: "The only expectation met here is 100-continue.",
    431: "The request's header fields are larger than is accepted here.",
    501: "This method or transfer coding is not known here.",
    502: "The origin gave no usable answer.",
    503: "No origin is available at the moment.",
    504: "The origin did not answer in time.",
    505: "Only HTTP/1.0 and HTTP/1.1 are served here.",
}
_BODILESS = frozenset({204, 205})
"""A client reads no body behind these: one would be taken for the next answer (RFC 9112 §6.3)."""
_ALLOW = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"


def error(status: int, date: bytes) -> Answer:
    """Return the answer for something that went wrong, or is not allowed."""
    if status in _BODILESS:
        return written(Ruled(status), date)
    phrase = HTTPStatus(status).phrase
    body = f"{status} {phrase}\n{_MEANINGS.get(status, '')}\n".encode()
    lines = _lines(b"text/plain; charset=utf-8", body, date)
    if status == 405:
        lines.append((b"allow", _ALLOW))
    if status == 503:
        lines.append((b"retry-after", b"5"))
    return status, lines, body


def written(answer: Ruled, date: bytes) -> Answer:
    """Return an answer that a rule wrote; what it says of caching is its own, else it is not to be stored."""
    lines = [(b"date", date), *answer.lines, (b"server", NAME)]
    if answer.status != 204:  # RFC 9110 §8.6
        lines.append((b"content-length", b"%d" % len(answer.body)))
    if not any(name == b"cache-control" for name, _ in answer.lines):
        lines.append((b"cache-control", b"no-store"))
    return answer.status, lines, answer.body


def only_if_cached(date: bytes) -> Answer:
    """Return the 504 of a request that would take a stored response alone (RFC 9111 §5.2.1.7)."""
    body = b"504 Gateway Timeout\nNothing usable is stored, and only-if-cached was asked.\n"
    return 504, _lines(b"text/plain; charset=utf-8", body, date), body


def options(date: bytes) -> Answer:
    """Return the answer to an OPTIONS that was not to go further (RFC 9110 §7.6.2)."""
    lines = [(b"date", date), (b"allow", _ALLOW), (b"cache-control", b"no-store"), (b"server", NAME)]
    return 204, lines, b""


def receipt(status: int, facts: dict[str, object], date: bytes) -> Answer:
    """Return the answer to a purge: what it did, as JSON."""
    body = json.dumps(facts).encode() + b"\n"
    return status, _lines(b"application/json", body, date), body


def _lines(content_type: bytes, body: bytes, date: bytes) -> list[Line]:
    return [
        (b"date", date),
        (b"content-type", content_type),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (b"server", NAME),
    ]
