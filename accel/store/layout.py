"""The shared store's memory map, version 2: what lies where, who writes it, and what a kill leaves.

Owns every offset, width and constant of the map. The compiled side reads them from a C header made of this module
(`c_header`), so there is one source; `FINGERPRINT` lets each side refuse another's map. Knows no process.

```
 header     4 KiB, one page      geometry, secret, epoch (checksummed); the segments' sequence; who uses it
 rows       64 bytes a worker    its running number, what it evicted, moved, refused
 segments   32 bytes each        the segment word, its place in the FIFO order, how far it is filled, since when
 pins       [row][segment] u32   how often that process holds that segment
 index      [bucket][8] u64      slots: where the record of a key lies; a bucket is one cache line
 ghosts     u32 each             fingerprints of what lately left the probation segments (a hint, never a proof)
 numbers    see `numbers`        what was invalidated, and when: as old as the records that it covers
 data       segment x size       64 bytes left empty, then records end to end up to `fill`
```
```
 slot          tag 30 | segment 16 | offset 18 in units of 16 bytes        0: empty (no record lies at offset 0)
 reference     generation 30 | segment 16 | offset 18                      where a piece of a long body lies
 segment word  generation 40 | owner row 16 | kind 4 | state 4
 used          epoch 24 | count 8
 record        64 bytes (see RECORD), key, meta, then the body; for a long body its identity, then references to its
               pieces. All pieces of a body have its identity for a number: a reference that leads to a piece of
               another body, however it came to that, is found out
```
Rows. Two programs may use one map at once, the old and the new one of an upgrade: side 0 and side 1, `row_count` rows
each, side 0's first; behind them two rows of pins alone, with which each arbiter looks. A worker raises its side's
`rows_used` before its first pin, so whoever looks for pins reads the rows in use and not all 256.

Who writes each word
--------------------
- header: the arbiter, before it forks, and a warm start; `sequence` by fetch-and-add; `rows_used` by compare-and-swap
  upwards, to 0 by the other side's arbiter when that program is dead; `lives` by that side's arbiter, or by the other
  when it is dead.
- rows, pins: the worker of that row alone, and an arbiter once that worker is dead (`forget`).
- segment word: by compare-and-swap, and only along these arrows:
    FREE -> OPEN(w)        whoever needs space; w alone writes this segment's order, fill and bytes from here on
    OPEN(w) -> SEALED      w when it is full; the arbiter when w is dead
    SEALED -> CLAIMED(w)   whoever needs space: w walks it and empties it. Still readable
    CLAIMED(w) -> LIMBO    w: nothing points to it any more
    CLAIMED(w) -> SEALED   the arbiter when w is dead; the next walk begins anew and finds done what was done
    LIMBO -> FREE          anyone who finds no pin on it; the generation goes up by one
- slots, references: by compare-and-swap; numbers: see there.
- ghosts, a record's `used`: anybody, plain stores; a lost one costs a little hit ratio, or a checksum computed twice.
- everything else under `fill`: nobody, ever. A record is immutable.

Writing. A record's bytes go above `fill`, where nobody looks; then `fill` moves over them (release); then one
compare-and-swap puts the slot. All of it happens in one call, so no segment stays open for a slow origin: what a
writer has not made a record of yet waits in the worker's own memory, at most an eighth of a segment a writer and
`writer_bytes` a worker. A body longer than that eighth goes in pieces, each a record that no slot points to; the
parent, written at commit, refers to them with their segments' generations. Till then the writer's pins hold these.

Showing. What has come of a long body may be read before it is whole: its writer puts a parent of the pieces so far
under another key, as often as it likes; each is an ordinary record that says how long it is, and never changes. A walk
does not look for such parents (it finds a parent by its pieces' key), and need not: as long as the writer goes on its
own pins keep every piece where it is. Later the shown record is taken out by whoever put it, or, where that was killed,
found with a piece gone and taken out by whoever finds it.

Reading. Load the slot; pin its segment (own word, += 1); full fence; load the slot again. If it is unchanged the
bytes stay for as long as the pin stays: a slot only ever points into a segment that is not yet LIMBO, the reclaimer
takes the slots out before LIMBO and looks at the pins after a fence after that, so one of the two sees the other
(Dekker's argument, as in hazard pointers). If it changed, try again: somebody else got on with something. A
reference is checked by its generation and by the segment's state instead, since a copy of it may outlive the move.
Nobody waits for anybody: a process stopped anywhere holds what it pinned, its two open segments and the one that it
was emptying, and the others go round them.

Reclaiming. Oldest sealed segment that nobody pins, of the kind that has more than its share. Each record that is
still pointed to is either copied on (its slot, or its parent's reference, swapped to the new place) or dropped (its
slot swapped to 0). A long body goes or stays as a whole: its parent decides. Two movers, or a mover and a freshening,
may meet at one parent: each looks again after its swap and mends what the other could not see. Who reads before the
mending finds a piece gone, takes that body out and misses: a fetch too many, counted (`broken`).

A walk goes in slices, to hold nobody up: a write does so many units of it (WALK_UNITS), its worker's next one goes on,
and spare segments bridge the time: the dearest put of 60,000 took 0.8 ms of CPU, and with whole segments at once 1.5.
In between the segment stays CLAIMED and readable; only w knows how far it came. Who else wants space empties the next
oldest: if w never writes again, one segment is held back. What was gone over stays so: a write points into an open
segment, or one pinned since it was, and a parent copied before a piece moved is settled however long a walk rests.

Two puts of one key at once may each find an empty slot. Both look again after their swap and keep the lower slot;
reading takes the lower one too. What a kill leaves of that is a twin that the next put or remove of the key takes out.

What a kill -9 leaves
---------------------
 while its bytes are written      bytes above `fill`: nobody sees them, the segment is sealed by the arbiter
 before its slot is put           a whole record that nothing points to: dead space, goes with the segment
 between slot and looking again   perhaps a twin, as above
 between pieces and parent        dead space, as above
 in a walk, or between slices     records moved, dropped, or not yet: CLAIMED -> SEALED, and the next walk goes on
 between copy and swap            a copy that nothing points to: dead space
 between two references' mending  a reference whose generation no longer matches: that body is a miss, never wrong
 after LIMBO                      LIMBO belongs to nobody: the next who needs space frees it
 after FREE -> OPEN               an open segment whose old `fill` covers records of an older generation: a walk
                                  stops at the first record whose generation is not the segment's
 holding pins                     they stand until the arbiter has seen the death and calls `forget`

Two programs
------------
The new program maps what the old one made, if version, fingerprint, checksum and plan are its own, and takes the other
side; all that is said above of processes holds between the two as within one. Neither writes the header's checksummed
words. Each arbiter forgets its own dead. When every process of the other is dead, the one that stays forgets that side
whole, and the next successor takes it. A successor that fails to start may have held something: the next one begins by
forgetting its own side, where nobody lives then.

A file
------
The map is allocated when it is made or opened (`backing`), so a full machine is an error at the start and no SIGBUS
later. Which file is gone on with and which begun anew stands in `header`. Nothing should be wrong in one that is gone
on with, and it is not believed all the same, for a disk, or a hand, may have changed it:
- before there is a worker (`_warm.pxi`) every slot and reference is proven to lead to a well-formed record that the
  walk of its segment will find, or emptied. So nothing leads out of the map, whatever the file holds.
- bytes are verified when they are first used. `used` carries the epoch in which the checksum was known to be right:
  that of writing, or of a reader who compared it, a long body's pieces with it. Each warm start begins the next epoch,
  on the disk before anything is written in it. A wrong checksum empties the slot, is a miss, and is counted (`torn`).
  A copy made by a walk keeps its epoch, so what nobody verified stays so. 24 bits of epoch are 16 million restarts.
Not verified are ghosts, `used` and order, which change what stays and not what is true, and the numbers: a bit flipped
there may bring back what was purged, as in any memory.

Every place between two writes that matters has a name in `Step`, and a watcher may be called there: the tests let
other workers act at each of them, and kill the process at each of them (tests/unit/store/test_shared_steps.py).

Sizes. A slot for each 512 bytes, a ghost for each two slots, two numbers for each 4 KiB: 2.5 % of the map. Segments of
a 512th of it, 64 KiB to 1 MiB, larger only where 65,536 would not do.

Sources: Segcache (NSDI 21: segments, one eviction for many objects), S3-FIFO (SOSP 23: probation, ghosts, reinsertion),
hazard pointers (Michael 2004), SipHash (Aumasson, Bernstein 2012), Pelikan's and memcached's notes on slab pinning.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from enum import IntEnum

from accel.errors import ConfigError
from accel.store import numbers

MAGIC = 0x01_65_72_6F_74_73_6C_61
VERSION = 2
PAGE_BYTES = 4096
LINE_BYTES = 64

OFFSET_BITS, SEGMENT_BITS, UNIT_BITS = 18, 16, 4
"""An offset counts units of 16 bytes, so a segment may have 4 MiB."""
PLACE_BITS = OFFSET_BITS + SEGMENT_BITS
"""Above these a slot carries 30 bits of the key's hash, a reference 30 bits of the generation."""
STATE_BITS, KIND_BITS, OWNER_BITS = 4, 4, 16
BUCKET_SLOTS = 8
FIRST_RECORD = LINE_BYTES
"""Where a segment's first record lies: never at 0, so that no slot is 0."""


class State(IntEnum):
    """What may be done with a segment."""

    FREE = 0  # empty; anybody may open it
    OPEN = 1  # its owner appends; readable
    SEALED = 2  # full; readable, may be claimed
    CLAIMED = 3  # its owner empties it; readable
    LIMBO = 4  # nothing points to it; free once nobody pins it


class Kind(IntEnum):
    """Which of the two queues of S3-FIFO a segment is in."""

    PROBATION = 0  # what came lately
    MAIN = 1  # what was used while on probation, or came back soon


class Shape(IntEnum):
    """What a record is."""

    WHOLE = 1  # key, meta and body
    PARENT = 2  # key, meta and references to the pieces of the body
    PIECE = 3  # a part of a body: no key, no meta


class Step(IntEnum):
    """Where a process may be stopped or killed between two of its writes: tests do so at each of them."""

    LOOKED = 1  # a slot is loaded, nothing is pinned yet
    PINNED = 2  # what it pointed to then is pinned, the slot not loaded again yet
    PIECES_PINNED = 3  # references are loaded and pinned, their generations not compared yet
    WRITTEN = 4  # a record's bytes lie above `fill`
    COUNTED = 5  # `fill` is moved over them
    CHOSEN = 6  # the slot to put, replace or empty is known, not swapped yet
    PUBLISHED = 7  # the slot is put, twins not looked for yet
    OPENED = 8  # a segment is taken, its `fill` still its former owner's
    CLAIMED = 9  # a segment is claimed, nothing in it moved
    COPIED = 10  # a record or piece is copied on, nothing points to the copy
    SWAPPED = 11  # the slot points to the copy, its references not compared with the old ones
    EMPTIED = 12  # nothing points into the claimed segment any more
    UNPOINTED = 13  # it is in LIMBO, its pins not looked at
    REFERRED = 14  # a reference is loaded, what it leads to not pinned yet
    PAUSED = 15  # a claimed segment is left half emptied, until our next write


SIDES = 2
"""Programs that may use one arena at once: the old one and the new one of an upgrade, each with rows of its own."""
EPOCH_SHIFT = 8
"""Where in a record's `used` the epoch begins in which its checksum was last known to be right."""
EPOCH_MASK = (1 << 24) - 1
PROBATION_SHARE = 10
"""Segments on probation are at most this part of all (S3-FIFO: a tenth)."""
PROMOTE_AT = 1
"""Uses after which a record on probation moves to the main segments (S3-FIFO: two; see tests/bench/hit_ratio.py)."""
USED_MOST = 3
"""`used` counts no further: a record survives at most so many walks without being used again."""
SPARE_SEGMENTS, SEGMENTS_A_SPARE = 2, 256
"""Free segments kept, and one more for so many: for a walk's copies, and for writes while it is under way."""
WALK_UNITS, WRITTEN_A_UNIT, COPIED_A_UNIT, SEGMENTS_A_UNIT = 512, 64, 256, 32
"""Units that a write spends on walks, and one more for so many bytes of its own. A unit is a record gone over, so many
bytes copied, or so many segments looked at for the next to claim: some 0.15 us."""
URGENT_WALKS = 8
"""Without a free segment a write spends so many times that; then it is not stored."""
LARGEST_SHARE = 8
"""A body over a segment's eighth goes in pieces; a body over the map's eighth is not stored."""
LEAST_PIECE_BYTES = 4096
"""The rest of a segment below this is left empty rather than given a piece of a body."""
ATTEMPTS = 64
"""Lost compare-and-swaps after which an operation gives up: each means that another process got on."""

_SLOT_BYTES = 512
_SLOTS_A_GHOST = 2
_SEGMENTS_WANTED = 512
_SEGMENT_LEAST, _SEGMENT_USUAL, _SEGMENT_MOST = 64 * 1024, 1024 * 1024, 1 << (OFFSET_BITS + UNIT_BITS)
_SEGMENTS_LEAST = 8


@dataclass(frozen=True, slots=True)
class Field:
    """One word of a structure."""

    name: str
    bits: int
    meaning: str


HEADER = (
    Field("magic", 64, "this is a map of ours"),
    Field("version", 64, "of the map"),
    Field("fingerprint", 64, "of this module's tables"),
    Field("size", 64, "bytes of the whole map"),
    Field("row_count", 64, "workers that one program has room for"),
    Field("segment_count", 64, "segments"),
    Field("segment_bytes", 64, "a power of two"),
    Field("bucket_count", 64, "of the index"),
    Field("ghost_count", 64, "of the ghost table"),
    Field("rows_at", 64, "offset of the rows"),
    Field("segments_at", 64, "offset of the segment table"),
    Field("pins_at", 64, "offset of the pins"),
    Field("index_at", 64, "offset of the index"),
    Field("ghosts_at", 64, "offset of the ghosts"),
    Field("data_at", 64, "offset of the first segment's bytes"),
    Field("pins_stride", 64, "words of one row of pins, a whole number of cache lines"),
    Field("numbers_at", 64, "offset of the invalidation numbers"),
    Field("number_cells", 64, "cells of their table, a power of two"),
    Field("secret_low", 64, "of the keyed hash"),
    Field("secret_high", 64, "of the keyed hash"),
    Field("made_at_ns", 64, "wall time"),
    Field("epoch", 64, "1 when made, one more with each warm start"),
    Field("checksum", 64, "of the words above: a header that was not written whole is no header"),
    Field("reserved", 64, "fills the cache line"),
    Field("sequence", 64, "the order in which segments were opened; by fetch-and-add"),
    Field("rows_used_0", 64, "rows of side 0 that may hold pins: the highest in use and one"),
    Field("rows_used_1", 64, "the same of side 1"),
    Field("lives_0", 64, "hash of the boot in which side 0 began; 0: it ended, everything written"),
    Field("lives_1", 64, "the same of side 1"),
)
CHECKED_WORDS = [field.name for field in HEADER].index("checksum")
"""How many words of the header its checksum covers."""
ROW = (
    Field("numbered", 64, "records written: with the row it numbers a record for good"),
    Field("evicted", 64, "records dropped to make room"),
    Field("moved", 64, "records copied on by a walk"),
    Field("walked", 64, "segments walked"),
    Field("refused", 64, "records that found no room"),
    Field("returned", 64, "records that a ghost sent to the main segments at once"),
    Field("broken", 64, "long bodies found without one of their pieces"),
    Field("torn", 64, "records whose checksum was wrong when they were first used after a warm start"),
)
SEGMENT = (
    Field("word", 64, "generation, owner, kind, state"),
    Field("order", 64, "its turn in the FIFO order"),
    Field("fill", 64, "bytes up to which there are records"),
    Field("opened_at_ns", 64, "wall time"),
)
RECORD = (
    Field("size", 32, "bytes of the record with this header, a multiple of 16"),
    Field("used", 32, "8 bits: uses since it was written, up to USED_MOST; 24: the epoch of its checksum"),
    Field("generation", 64, "of the segment that it was written into"),
    Field("checksum", 64, "of all that follows, without the references"),
    Field("hash", 64, "of the key (of its parent's key for a piece)"),
    Field("number", 64, "never given twice; a copy keeps it. All pieces of one body have one: its identity"),
    Field("key_length", 32, "bytes"),
    Field("meta_length", 32, "bytes"),
    Field("body_length", 64, "bytes of the whole body; of the piece for a piece"),
    Field("pieces", 32, "how many, for a parent; which one, for a piece"),
    Field("shape", 32, "Shape"),
)
CHECKED_FROM = 24
"""Where the checksummed part of a record begins."""

STRUCTURES = {"header": HEADER, "row": ROW, "segment": SEGMENT, "record": RECORD}
_MEMBERS = (member for choices in (State, Kind, Shape, Step) for member in choices)
CONSTANTS = {
    name: int(value)
    for name, value in globals().items()
    if name.isupper() and not name.startswith("_") and isinstance(value, int) and name not in ("MAGIC", "VERSION")
} | {f"{type(member).__name__}_{member.name}".upper(): int(member) for member in _MEMBERS}
FINGERPRINT = zlib.crc32(repr((VERSION, sorted(CONSTANTS.items()), STRUCTURES, numbers.SHAPE)).encode())
"""Of everything that the compiled side was built with."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Where everything of one map lies; the header's numbers."""

    size: int
    row_count: int
    segment_count: int
    segment_bytes: int
    bucket_count: int
    ghost_count: int
    rows_at: int
    segments_at: int
    pins_at: int
    index_at: int
    ghosts_at: int
    data_at: int
    pins_stride: int
    numbers_at: int
    number_cells: int


def plan(memory_bytes: int, row_count: int, segment_bytes: int | None = None) -> Plan:
    """Return the map that fits into `memory_bytes`; ConfigError when that is too little.

    `segment_bytes`, a power of two, is chosen by the size unless a test wants small ones.
    """
    size = segment_bytes or _segment_bytes(memory_bytes)
    count = min(memory_bytes // size, 1 << SEGMENT_BITS)
    while count >= _SEGMENTS_LEAST:
        made = _plan(memory_bytes, row_count, size, count)
        if made.size <= memory_bytes:
            return made
        count -= 1
    least = -(-_plan(memory_bytes, row_count, size, _SEGMENTS_LEAST).size // (1 << 20))
    raise ConfigError("memory", memory_bytes, f"a shared store for {row_count} workers takes at least {least} MiB")


def _segment_bytes(memory_bytes: int) -> int:
    wanted = 1 << max(0, memory_bytes // _SEGMENTS_WANTED).bit_length()
    usual = max(_SEGMENT_LEAST, min(wanted, _SEGMENT_USUAL))
    while memory_bytes // usual > 1 << SEGMENT_BITS and usual < _SEGMENT_MOST:
        usual *= 2
    return usual


def _plan(memory_bytes: int, row_count: int, segment_bytes: int, segment_count: int) -> Plan:
    buckets = max(1, memory_bytes // (_SLOT_BYTES * BUCKET_SLOTS))
    ghosts = buckets * BUCKET_SLOTS // _SLOTS_A_GHOST
    cells = numbers.cell_count(memory_bytes)
    stride = _up(segment_count * 4, LINE_BYTES) // 4
    rows_at = PAGE_BYTES
    segments_at = rows_at + SIDES * row_count * structure_bytes("row")
    pins_at = _up(segments_at + segment_count * structure_bytes("segment"), LINE_BYTES)
    index_at = pins_at + SIDES * (row_count + 1) * stride * 4
    ghosts_at = index_at + buckets * BUCKET_SLOTS * 8
    numbers_at = _up(ghosts_at + ghosts * 4, PAGE_BYTES)
    data_at = _up(numbers_at + numbers.table_bytes(cells), PAGE_BYTES)
    return Plan(
        size=data_at + segment_count * segment_bytes,
        row_count=row_count,
        segment_count=segment_count,
        segment_bytes=segment_bytes,
        bucket_count=buckets,
        ghost_count=ghosts,
        rows_at=rows_at,
        segments_at=segments_at,
        pins_at=pins_at,
        index_at=index_at,
        ghosts_at=ghosts_at,
        data_at=data_at,
        pins_stride=stride,
        numbers_at=numbers_at,
        number_cells=cells,
    )


def structure_bytes(name: str) -> int:
    """Return the size of one of STRUCTURES."""
    return sum(word_bytes(field) for field in STRUCTURES[name])


def word_bytes(field: Field) -> int:
    """Return the size of one word of a structure."""
    return 4 if field.bits <= 32 else 8


def _up(count: int, unit: int) -> int:
    return -(-count // unit) * unit
