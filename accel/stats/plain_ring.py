"""A ring's writer and loads in plain Python, where the compiled part was not built; see `ring` for the map.

Invariant: what it writes is what `_ring` writes, and a checksum beside: a processor that puts stores in another order
than they were made may show a reader a record that is not there yet.
"""

from __future__ import annotations

import zlib
from struct import Struct

HEADER_BYTES = 4096
PAGE_BYTES = 65_536
FILLER, EXCHANGE = range(2)
RESERVED, HEAD, RECORDS, BEGUN = range(4)
"""The ring's words."""

PREFIX = Struct("=IHH")
"""Length of the whole record, a multiple of 8; kind; a bit for each text that was cut."""
FIXED = Struct("=IHHQdQQQIHBBBB11H5fI")
"""The prefix; number; at; key hash, body bytes, exchange; connection; status; minor, outcome, reason, retries; lengths
of the texts; seconds to the first byte, in all, at the origin, of age, of ttl; checksum. The texts follow.
"""
CHECKSUM_AT = FIXED.size - 4
BOUNDS = (64, 32, 256, 2048, 1024, 512, 256, 256, 1024, 2048, 512)
"""Most bytes of client, method, host, target, referer, user agent, backend, rule, tags, asked, varies."""


def checksum(record: bytes) -> int:
    """Return the checksum of a whole record; never 0, which stands for none."""
    return zlib.crc32(record[CHECKSUM_AT + 4 :], zlib.crc32(record[:CHECKSUM_AT])) or 1


class PlainWriter:
    """Writes exchanges into one ring; at any time one process has one for it. Begins where the last one's head is."""

    def __init__(self, mapping: memoryview) -> None:
        self._words = mapping[:HEADER_BYTES].cast("Q")
        self._data = mapping[HEADER_BYTES:]

    def begun(self) -> int:
        """Return the number of an exchange that begins."""
        self._words[BEGUN] += 1
        return self._words[BEGUN]

    def write(self, at: float, first_byte_s: float, total_s: float, origin_s: float, age_s: float, ttl_s: float,
              key_hash: int, body_bytes: int, exchange_id: int, connection_id: int, status: int, minor: int,
              outcome: int, reason: int, retries: int, *texts: str | bytes) -> None:  # fmt: skip
        """Write one exchange; see `_ring.pyi` for the texts."""
        texts += (b"",) * (len(BOUNDS) - len(texts))
        number = self._words[RECORDS] + 1
        encoded = [text if isinstance(text, bytes) else text.encode("utf-8", "replace") for text in texts]
        bounded = [text[:most] for text, most in zip(encoded, BOUNDS, strict=True)]
        cut = sum((len(text) > most) << n for n, (text, most) in enumerate(zip(encoded, BOUNDS, strict=True)))
        length = -(-(FIXED.size + sum(map(len, bounded))) // 8) * 8
        exchange_id = exchange_id or self.begun()
        fixed = FIXED.pack(length, EXCHANGE, cut, number, at, key_hash, body_bytes, exchange_id, connection_id, status,
                           minor, outcome, reason, retries, *map(len, bounded),
                           first_byte_s, total_s, origin_s, age_s, ttl_s, 0)  # fmt: skip
        record = bytearray(b"".join((fixed, *bounded)).ljust(length, b"\0"))
        record[CHECKSUM_AT : CHECKSUM_AT + 4] = checksum(bytes(record)).to_bytes(4, "little")
        self._append(number, record)

    def _append(self, number: int, record: bytearray) -> None:
        head = self._words[HEAD]
        room = PAGE_BYTES - head % PAGE_BYTES
        at = head if len(record) <= room else head + room
        end = at + len(record)
        self._words[RECORDS] = number
        self._words[RESERVED] = max(end, self._words[RESERVED])
        if at != head:
            PREFIX.pack_into(self._data, head % len(self._data), room, FILLER, 0)
        place = at % len(self._data)
        self._data[place : place + len(record)] = record
        self._words[HEAD] = end


class PlainWords:
    """A ring as its readers see it."""

    def __init__(self, mapping: memoryview) -> None:
        self._words = mapping[:HEADER_BYTES].cast("Q")
        self._data = mapping[HEADER_BYTES:]
        self.size = len(self._data)

    def reserved(self) -> int:
        """Return where the writer may be writing up to."""
        return self._words[RESERVED]

    def head(self) -> int:
        """Return where whole records end."""
        return self._words[HEAD]

    def records(self) -> int:
        """Return how many records were ever begun."""
        return self._words[RECORDS]

    def copied(self, start: int, end: int) -> bytes | None:
        """Return the bytes from `start` to `end`, which lie in one page; None if they were overrun meanwhile."""
        place = start % self.size
        copy = bytes(self._data[place : place + end - start])
        return copy if start + self.size >= self._words[RESERVED] else None
