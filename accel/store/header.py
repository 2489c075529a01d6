"""The header of an arena, as Python writes and reads it: geometry, secret, epoch, and which programs use it.

Knows the first page and nothing behind it. Invariant: the words that the checksum covers change only while nobody else
uses the map: when it is made, and at a warm start.

Which file is gone on with. One whose magic, version, fingerprint, checksum and plan are this program's; its lock says
that every process that used it is dead. Then either
- the machine has not gone down since (`lives` has this boot's mark, or 0): memory and file are the same pages, so what
  there is, is what a kill leaves; or
- it has, and each program had ended before and written everything (`lives` is 0): the same, by way of the disk; or
- it went down under a program: its pages reached the disk in any order, so an invalidation may be missing whose record
  is there. Begun anew: what was purged may never come back.
"""

from __future__ import annotations

import mmap
import os
import secrets
import struct
import time
import zlib
from dataclasses import asdict
from pathlib import Path

from accel.store import layout
from accel.store._shared import keyed_hash

_AT = {field.name: 8 * number for number, field in enumerate(layout.HEADER)}
_CHECKED_BYTES = 8 * layout.CHECKED_WORDS
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_LIVES = ("lives_0", "lives_1")


def write_new(mapping: mmap.mmap, plan: layout.Plan) -> None:
    """Begin a map whose other bytes are all zero."""
    values = asdict(plan) | {
        "magic": layout.MAGIC,
        "version": layout.VERSION,
        "fingerprint": layout.FINGERPRINT,
        "secret_low": secrets.randbits(64),
        "secret_high": secrets.randbits(64),
        "made_at_ns": time.time_ns(),
        "epoch": 1,
        "sequence": 1,
    }
    words = [values.get(field.name, 0) for field in layout.HEADER]
    mapping[: len(words) * 8] = struct.pack(f"={len(words)}Q", *words)
    _seal(mapping)


def begin_epoch(mapping: mmap.mmap) -> None:
    """Note a warm start, on the disk too before anybody writes a record: what has this epoch was written since."""
    _write(mapping, "epoch", _read(mapping, "epoch") + 1)
    _seal(mapping)
    mapping.flush(0, layout.PAGE_BYTES)


def why_unfit(first: bytes, plan: layout.Plan) -> str:
    """Return why the map that begins with these bytes cannot be used by this program as it was started; "": it can."""
    if len(first) < 8 * len(layout.HEADER):
        return "it is no store"
    found = dict(zip(_AT, struct.unpack_from(f"={len(_AT)}Q", first), strict=True))
    if found["magic"] != layout.MAGIC:
        return "it is no store"
    if found["version"] != layout.VERSION:
        return f"its layout is version {found['version']}, this program's {layout.VERSION}"
    if found["fingerprint"] != layout.FINGERPRINT:
        return "it was made by another build of accel"
    if found["checksum"] != keyed_hash(0, 0, first[:_CHECKED_BYTES]):
        return "its header is damaged"
    if any(found[name] != value for name, value in asdict(plan).items()):
        return "it was made for another --memory"
    return ""


def has_lost_pages(first: bytes) -> bool:
    """Whether the machine went down under a program that used the map: then its pages are of different ages."""
    lives = [struct.unpack_from("=Q", first, _AT[name])[0] for name in _LIVES]
    return any(boot not in (0, _boot()) for boot in lives)


def enter(mapping: mmap.mmap, side: int) -> None:
    """The program of this side begins to use the map."""
    _write(mapping, _LIVES[side], _boot())


def leave_for(mapping: mmap.mmap, side: int) -> None:
    """The other program, of this side, is gone, however it ended; we write all of a file when we end."""
    _write(mapping, _LIVES[side], 0)


def leave(mapping: mmap.mmap, side: int) -> None:
    """The program of this side has ended; the last one sees to it that all of a file is on the disk."""
    if _read(mapping, _LIVES[1 - side]) == 0:
        mapping.flush()
    _write(mapping, _LIVES[side], 0)
    mapping.flush(0, layout.PAGE_BYTES)


def secret(mapping: mmap.mmap) -> bytes:
    """Return the secret that keys and names are hashed with."""
    return mapping[_AT["secret_low"] : _AT["secret_high"] + 8]


def read(fd: int) -> bytes:
    """Return the first page of a file."""
    return os.pread(fd, layout.PAGE_BYTES, 0)


def _seal(mapping: mmap.mmap) -> None:
    _write(mapping, "checksum", keyed_hash(0, 0, mapping[:_CHECKED_BYTES]))


def _read(mapping: mmap.mmap, name: str) -> int:
    return int(struct.unpack_from("=Q", mapping, _AT[name])[0])


def _write(mapping: mmap.mmap, name: str, value: int) -> None:
    struct.pack_into("=Q", mapping, _AT[name], value)


def _boot() -> int:
    """Return a number that this start of the machine has, and no other; 1 where the machine does not tell."""
    try:
        return zlib.crc32(_BOOT_ID.read_bytes()) | 1
    except OSError:
        return 1
