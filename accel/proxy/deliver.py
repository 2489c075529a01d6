"""Writing answers to the client: from the store, from a body under way, from a passed response, our own.

Owns the last form of a head (Age, Cache-Status, Connection, framing) and the choice between whole, 304, 206 and 416
for what is stored (RFC 9110 §13, §14; RFC 9111 §4.3.2). Invariant: framing is decided here alone, from what is known
when the head is written, and a body that does not arrive whole never ends cleanly.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from accel.caching.freshness import current_age
from accel.caching.reuse import remaining_s
from accel.http import cache_status
from accel.http.conditional import Precondition, evaluate, not_modified_fields
from accel.http.fields import hop_by_hop
from accel.http.message import Fields, Line, Response
from accel.http.ranges import (
    ByteRange,
    Multipart,
    Refusal,
    byte_ranges,
    content_range,
    if_range_holds,
    unsatisfied_range,
)
from accel.http.writer import LAST_CHUNK, chunk, field_lines, status_line
from accel.origin.fetch import OriginResponse
from accel.policy.edits import FRAMING, edited_fields
from accel.proxy.contents import Entry
from accel.proxy.origin_view import VIA_LINE
from accel.proxy.outcome import Outcome
from accel.stats.counters import index
from accel.store.store import Buffer, Record

if TYPE_CHECKING:
    from accel.proxy.exchange import Exchange
    from accel.proxy.fill import Fill
    from accel.proxy.following import Join
    from accel.proxy.streaming import BodyReader

_NOT_MODIFIED, _PARTIAL = index("not_modified"), index("partial")
_BODILESS = frozenset({204, 304})
_REWRITTEN = frozenset({b"content-length", b"transfer-encoding", b"trailer"})


def send_hit(exchange: Exchange, entry: Entry, record: Record, now: float) -> None:
    """Answer from the store at once."""
    send_stored(exchange, entry, record, now, cache_status.hit(remaining_s(entry.stored, now)))


def send_stored(exchange: Exchange, entry: Entry, record: Record, now: float, member: bytes) -> None:
    """Answer from a whole stored response; `member` is our part of Cache-Status."""
    entry.hits += 1
    tail = _tail(exchange, entry, now, member)
    fields = exchange.request.fields
    if (b"if-none-match" in fields or b"if-modified-since" in fields) and _is_not_modified(exchange, entry):
        _send_not_modified(exchange, entry, tail)
        return
    if b"range" in fields and _send_ranges(exchange, entry, record, tail):
        return
    head = _head(exchange, entry, record.length, now)
    exchange.sent_head(entry.stored.status, 0 if exchange.is_head else record.length)
    if exchange.is_head:
        exchange.connection.write(head + tail)
    else:
        exchange.connection.writelines([head + tail, *record.chunks()])


def repeated_head(exchange: Exchange, entry: Entry, record: Record) -> tuple[bytes, bool]:
    """Return the head that `send_hit` has sent, up to the lines that differ, and whether it was a 304's."""
    if exchange.status == 304 and entry.stored.status != 304:
        return _not_modified_head(exchange, entry), True
    return _head(exchange, entry, record.length, exchange.service.now()), False


async def send_fill(exchange: Exchange, fill: Fill | Join, now: float, member: bytes) -> None:
    """Answer from a body that is still arriving; raises what the fetch failed with."""
    entry, reader = fill.entry, fill.body.reader()
    assert entry is not None
    try:
        if _is_not_modified(exchange, entry):
            _send_not_modified(exchange, entry, _tail(exchange, entry, now, member))
            return
        tail_of = partial(_tail, exchange, entry, now, member)
        if fill.length is not None:
            match _asked_ranges(exchange, entry, fill.length):
                case Refusal.UNSATISFIABLE:
                    _send_unsatisfied(exchange, entry, fill.length, tail_of())
                    return
                case [part]:
                    _send_part_head(exchange, entry, part, fill.length, tail_of())
                    await _copy(exchange, partial(_read_part, reader, part), None)
                    return
                case _:
                    pass
        framing, frame = _framing(exchange, fill.length, entry.stored.status)
        exchange.sent_head(entry.stored.status)
        exchange.connection.write_soon(_head(exchange, entry, fill.length, now) + framing + tail_of())
        if not exchange.is_head:
            await _copy(exchange, reader.read, frame)
    finally:
        reader.close()


async def send_passed(exchange: Exchange, response: OriginResponse, member: bytes) -> None:
    """Answer with an origin's response as it is; raises what the fetch failed with, closes the response."""
    try:
        head = response.head
        is_bodiless = exchange.is_head or head.status in _BODILESS
        length = head.body_length if head.body_length >= 0 else None
        framing, frame = _passed_framing(exchange, head, length, is_bodiless)
        lines = passed_lines(head)
        if b"date" not in head.fields:
            lines.append((b"date", exchange.date()))
        if response.early:
            exchange.request.keep_alive = False
        edited = _edited(exchange, head.status, lines)
        closing = exchange.decide_keep()
        exchange.sent_head(head.status)
        exchange.connection.write_soon(
            b"%b%b%bCache-Status: %b\r\n%b%b\r\n"
            % (status_line(head.status, head.reason), field_lines(edited), VIA_LINE, member, framing, closing)
        )
        if not is_bodiless:
            await _copy(exchange, response.read, frame)
    finally:
        response.close()


def send_synthetic(exchange: Exchange, status: int, lines: Sequence[Line], body: bytes) -> None:
    """Answer with a message of our own."""
    lines = _edited(exchange, status, lines)
    closing = exchange.decide_keep()
    head = b"%b%b%b\r\n" % (status_line(status), field_lines(lines), closing)
    exchange.sent_head(status, 0 if exchange.is_head else len(body))
    exchange.connection.write(head if exchange.is_head else head + body)


def passed_lines(head: Response) -> list[Line]:
    """Return the lines of an origin's response that go on to the client."""
    drop = hop_by_hop(head.fields.get(b"connection")) | _REWRITTEN
    return [line for line in head.fields.lines if line[0] not in drop]


def _head(exchange: Exchange, entry: Entry, length: int | None, now: float) -> bytes:
    """Return a stored response's head, as the rules want it on its way out."""
    if not exchange.may_be_edited:
        return entry.head
    edits = exchange.edits(entry.stored.status, entry.stored.fields, current_age(entry.stored, now), entry.hits)
    return entry.head if not edits else entry.edited_head(edits, length)


def _edited(exchange: Exchange, status: int, lines: Sequence[Line], entry: Entry | None = None) -> Sequence[Line]:
    """Return the lines of an answer as the rules want them; those that framing rests on are not theirs to edit.

    `entry` is what it was made of, if that is stored.
    """
    if not exchange.may_be_edited:
        return lines
    fields = Fields(lines)
    if entry is None:
        edits = exchange.edits(status, fields)
    else:
        edits = exchange.edits(status, fields, current_age(entry.stored, exchange.service.now()), entry.hits)
    return edited_fields(fields, edits, FRAMING).lines if edits else lines


def _tail(exchange: Exchange, entry: Entry, now: float, member: bytes) -> bytes:
    """Return the lines that differ from one answer to the next, and the empty line.

    An answer that the origin has just made or validated has no Age (RFC 9111 §5.1), unless it came with one.
    """
    age = int(current_age(entry.stored, now))
    age_line = b"" if exchange.outcome is Outcome.MISS and not age else b"Age: %d\r\n" % age
    return b"%bCache-Status: %b\r\n%b\r\n" % (age_line, member, exchange.decide_keep())


def _is_not_modified(exchange: Exchange, entry: Entry) -> bool:
    stored = entry.stored
    if stored.status != 200:
        return False
    outcome = evaluate(exchange.request.fields, stored.etag, stored.last_modified, stored.date_at)
    return outcome is Precondition.NOT_MODIFIED


def _send_not_modified(exchange: Exchange, entry: Entry, tail: bytes) -> None:
    exchange.service.counters[_NOT_MODIFIED] += 1
    head = _not_modified_head(exchange, entry)
    exchange.sent_head(304)
    exchange.connection.write(head + tail)


def _not_modified_head(exchange: Exchange, entry: Entry) -> bytes:
    lines = _edited(exchange, 304, not_modified_fields(entry.stored.fields).lines, entry)
    return status_line(304) + field_lines(lines) + VIA_LINE


def _framing(exchange: Exchange, length: int | None, status: int) -> tuple[bytes, Callable[[Buffer], bytes] | None]:
    """Return the framing lines of a body and how its pieces are written; an unknown length is chunked or ends with
    the connection (RFC 9112 §6.3).
    """
    if length is not None or status in _BODILESS:
        return b"", None
    if exchange.request.minor == 1:
        return b"Transfer-Encoding: chunked\r\n", chunk
    exchange.request.keep_alive = False
    return b"", None


def _passed_framing(
    exchange: Exchange, head: Response, length: int | None, is_bodiless: bool
) -> tuple[bytes, Callable[[Buffer], bytes] | None]:
    if is_bodiless:
        announced = head.fields.get(b"content-length")
        if announced is None or head.status == 204:
            return b"", None
        return b"Content-Length: %b\r\n" % announced, None
    if length is not None:
        return b"Content-Length: %d\r\n" % length, None
    return _framing(exchange, None, head.status)


async def _copy(
    exchange: Exchange, read: Callable[[], Awaitable[Buffer]], frame: Callable[[Buffer], bytes] | None
) -> None:
    """Pass a body on piece by piece, no faster than the client reads."""
    connection = exchange.connection
    while data := await read():
        exchange.body_bytes += len(data)
        connection.write(frame(data) if frame is not None else data)
        await connection.drain()
    if frame is not None:
        connection.write(LAST_CHUNK)


def _asked_ranges(exchange: Exchange, entry: Entry, length: int) -> list[ByteRange] | Refusal:
    """Return the parts that a Range request may get of a stored 200 of `length` bytes (RFC 9110 §14.2)."""
    stored, fields = entry.stored, exchange.request.fields
    value = fields.get(b"range")
    if value is None or stored.status != 200 or exchange.request.method != b"GET":
        return Refusal.IGNORE
    condition = fields.get(b"if-range")
    if condition is not None and not if_range_holds(condition, stored.etag, stored.last_modified, stored.date_at):
        return Refusal.IGNORE
    return byte_ranges(value, length, exchange.service.limits.ranges)


def _send_ranges(exchange: Exchange, entry: Entry, record: Record, tail: bytes) -> bool:
    """Answer a Range request from the store with 206 or 416; False if the whole is to be sent."""
    match _asked_ranges(exchange, entry, record.length):
        case Refusal.IGNORE:
            return False
        case Refusal.UNSATISFIABLE:
            _send_unsatisfied(exchange, entry, record.length, tail)
        case [part]:
            _send_part_head(exchange, entry, part, record.length, tail)
            exchange.body_bytes += part[1] - part[0]
            exchange.connection.writelines(record.slice(*part))
        case parts:
            _send_multipart(exchange, entry, record, parts, tail)
    return True


def _send_unsatisfied(exchange: Exchange, entry: Entry, length: int, tail: bytes) -> None:
    lines = [
        (b"date", exchange.date()),
        (b"cache-control", b"no-store"),
        (b"content-range", unsatisfied_range(length)),
    ]
    _send_range_head(exchange, 416, entry, lines, 0, tail)


def _send_part_head(exchange: Exchange, entry: Entry, part: ByteRange, length: int, tail: bytes) -> None:
    lines = [*entry.stored.fields.lines, (b"content-range", content_range(part, length))]
    _send_range_head(exchange, 206, entry, lines, part[1] - part[0], tail)


def _send_multipart(exchange: Exchange, entry: Entry, record: Record, parts: list[ByteRange], tail: bytes) -> None:
    boundary = os.urandom(16).hex().encode()
    content_type = entry.stored.fields.get(b"content-type")
    multipart = Multipart(parts, record.length, content_type, boundary)
    lines = [line for line in entry.stored.fields.lines if line[0] != b"content-type"]
    lines.append((b"content-type", b"multipart/byteranges; boundary=" + boundary))
    buffers: list[Buffer] = []
    for part_head, part in zip(multipart.heads, parts, strict=True):
        buffers += [part_head, *record.slice(*part)]
    _send_range_head(exchange, 206, entry, lines, multipart.content_length, tail)
    exchange.body_bytes += multipart.content_length
    exchange.connection.writelines([*buffers, multipart.closing])


def _send_range_head(
    exchange: Exchange, status: int, entry: Entry, lines: Sequence[Line], length: int, tail: bytes
) -> None:
    if status == 206:
        exchange.service.counters[_PARTIAL] += 1
    lines = _edited(exchange, status, lines, entry)
    exchange.sent_head(status)
    exchange.connection.write_soon(
        b"%b%b%bContent-Length: %d\r\n%b" % (status_line(status), field_lines(lines), VIA_LINE, length, tail)
    )


async def _read_part(reader: BodyReader, part: ByteRange) -> Buffer:
    """Return the next piece of a body that lies in `part`, empty behind its end."""
    while reader.offset < part[1]:
        offset = reader.offset
        data = await reader.read()
        if not data:
            break
        piece = data[max(0, part[0] - offset) : part[1] - offset]
        if piece:
            return piece
    return b""
