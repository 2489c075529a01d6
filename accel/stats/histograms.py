"""How long answers took and how large they were: histograms in shared memory, one row a worker.

```
 row         3 kinds x 3 measures
 each        sum, then 304 buckets: a word each
```

A bucket holds whole microseconds (or bytes) that agree in their four highest bits: eight buckets for each power of two,
so a value is known to 1/8 of itself at most, its bucket's middle to 1/16 (6 %). The scale ends at 2^40 (1 TiB, twelve
days); what is more counts there.

Invariant: as with counters each word has one writer, only ever grows, and outlives its worker. The number of values is
the sum of the buckets, so a kill leaves no count that does not add up; `sum` may lack the value that was being added.

What is measured, by both paths: from the request's head (or, on the hot path, from the read that brought it) to the
answer's head, and to its last byte, as they go to the kernel or to the connection's buffer. Answers of accel's own,
answers that were never begun and tunnels are not measured.

Sources: G. Tene, HdrHistogram; Prometheus' naming practices for what `metrics` makes of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

KINDS = ("hit", "miss", "pass")
MEASURES = ("first_byte_us", "total_us", "body_bytes")
SUB_BITS = 3
SCALE_BITS = 40
BUCKETS = (SCALE_BITS - SUB_BITS + 1) << SUB_BITS
HISTOGRAM_WORDS = 1 + BUCKETS
KIND_WORDS = HISTOGRAM_WORDS * len(MEASURES)
ROW_WORDS = KIND_WORDS * len(KINDS)
_MOST = (1 << SCALE_BITS) - 1

HistogramWords = memoryview
"""`ROW_WORDS` unsigned 64-bit words (format `Q`)."""


def private_row() -> HistogramWords:
    """Return a row of zeros that is not shared: for tests and tools."""
    return memoryview(bytearray(8 * ROW_WORDS)).cast("Q")


def record(row: HistogramWords, kind: int, first_byte_s: float, total_s: float, body_bytes: int) -> None:
    """Count one answer; `kind` is a place in KINDS. A clock that was set back makes it 0."""
    at = kind * KIND_WORDS
    for value in (int(first_byte_s * 1e6), int(total_s * 1e6), body_bytes):
        if not 0 <= value <= _MOST:
            value = 0 if value < 0 else _MOST
        shift = value.bit_length() - SUB_BITS - 1  # `bucket_of`, without a call
        row[at + 1 + (value if shift <= 0 else (shift << SUB_BITS) + (value >> shift))] += 1
        row[at] += value
        at += HISTOGRAM_WORDS


def bucket_of(value: int) -> int:
    """Return the bucket of a value that is on the scale."""
    shift = max(0, value.bit_length() - SUB_BITS - 1)
    return (shift << SUB_BITS) + (value >> shift)


def lowest(bucket: int) -> int:
    """Return the least value of a bucket; of one behind the last, the first that is off the scale."""
    shift = max(0, (bucket >> SUB_BITS) - 1)
    return (bucket - (shift << SUB_BITS)) << shift


@dataclass(frozen=True, slots=True)
class Histogram:
    """The values of one kind and measure."""

    counts: tuple[int, ...]
    """By bucket."""
    sum: int

    @property
    def count(self) -> int:
        """How many values there are."""
        return sum(self.counts)

    def since(self, before: Histogram) -> Histogram:
        """Return what came after an earlier reading."""
        pairs = zip(self.counts, before.counts, strict=True)
        return Histogram(tuple(now - then for now, then in pairs), self.sum - before.sum)

    def quantile(self, share: float) -> float:
        """Return the value that `share` of all are not above, to 6 %; 0 if there are none."""
        rank, seen = share * self.count, 0
        for bucket, count in enumerate(self.counts):
            seen += count
            if count and seen >= rank:
                return (lowest(bucket) + lowest(bucket + 1) - 1) / 2
        return 0.0

    def below(self, bounds: Sequence[int]) -> list[int]:
        """Return how many values are below each of some rising bounds, which are least values of buckets."""
        sums, seen, bucket = [], 0, 0
        for bound in bounds:
            while bucket < BUCKETS and lowest(bucket) < bound:
                seen += self.counts[bucket]
                bucket += 1
            sums.append(seen)
        return sums


Histograms = dict[str, dict[str, Histogram]]
"""By measure, by kind."""


def read(rows: Sequence[HistogramWords]) -> Histograms:
    """Return all histograms over some rows."""
    return {
        measure: {kind: _read(rows, at * KIND_WORDS + place * HISTOGRAM_WORDS) for at, kind in enumerate(KINDS)}
        for place, measure in enumerate(MEASURES)
    }


def _read(rows: Sequence[HistogramWords], at: int) -> Histogram:
    words = [row[at : at + HISTOGRAM_WORDS].tolist() for row in rows]
    total, *counts = map(sum, zip(*words, strict=True)) if words else [0] * HISTOGRAM_WORDS
    return Histogram(tuple(counts), total)


def packed(histograms: Histograms) -> dict[str, dict[str, dict[str, object]]]:
    """Return them as JSON: buckets that hold something as pairs of number and count."""
    return {
        measure: {
            kind: {"sum": one.sum, "buckets": [[at, count] for at, count in enumerate(one.counts) if count]}
            for kind, one in kinds.items()
        }
        for measure, kinds in histograms.items()
    }


def unpacked(packed: dict[str, dict[str, dict[str, object]]]) -> Histograms:
    """Return what `packed` was made of."""
    return {measure: {kind: _unpacked(one) for kind, one in kinds.items()} for measure, kinds in packed.items()}


def _unpacked(one: dict[str, object]) -> Histogram:
    counts = [0] * BUCKETS
    pairs, total = one["buckets"], one["sum"]
    assert isinstance(pairs, list) and isinstance(total, int)
    for at, count in pairs:
        counts[at] = count
    return Histogram(tuple(counts), total)
