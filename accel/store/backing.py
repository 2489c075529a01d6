"""Where shared bytes lie, the arena's above all: in memory that has no name, or in a file that outlives the program.

Owns making, locking and allocating; knows nothing of what the bytes mean. Invariant: every page is there before anybody
maps it, so a full machine is an error at the start and no SIGBUS later. A file's lock belongs to its open description,
which the arbiter and all its workers share: it is free when the last of them is dead, and not before.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path

from accel.errors import StartError


class InUse(StartError):
    """Another process has the file, and with it the store."""


def anonymous(size: int, what: str = "store", mend: str = "lower --memory") -> int:
    """Return a memfd of `size` bytes of zeros, whose size nobody can change. Raises StartError, which says `mend`."""
    fd = os.memfd_create(f"accel-{what}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        allocate(fd, size, mend, what)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    except StartError:
        os.close(fd)
        raise
    return fd


def locked(path: Path) -> int:
    """Return a file that nobody else has, made if it is not there, with the directory (0700) that it lies in.

    Raises StartError, which is InUse where somebody else has the file.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        while (fd := _opened(path)) is None:
            pass  # the name went to another file meanwhile
    except OSError as error:
        raise StartError(f"--store: cannot use {path}: {error.strerror}") from error
    return fd


def beside(path: Path, size: int, mend: str) -> int:
    """Return a file of `size` zeros that nobody else has, to be put in the place of the one at `path`.

    Raises StartError, which says `mend`; the one at `path` is what it was then. What a killed program left is used.
    """
    place = _beside(path)
    fd = locked(place)
    try:
        os.truncate(fd, 0)
        allocate(fd, size, mend)
    except StartError:
        place.unlink()
        os.close(fd)
        raise
    return fd


def put_in_place(path: Path) -> None:
    """Give the name `path` to the file beside it; whoever has the old one keeps it, without. Raises StartError."""
    try:
        _beside(path).replace(path)
    except OSError as error:
        raise StartError(f"--store: cannot use {path}: {error.strerror}") from error


def allocate(fd: int, size: int, mend: str, what: str = "store") -> None:
    """Have every page of the first `size` bytes. Raises StartError, which says what would do."""
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as error:
        raise StartError(f"the {what}'s {size >> 20} MiB could not be had ({error.strerror}): {mend}") from error


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.next")


def _opened(path: Path) -> int | None:
    """Return the file, locked; None if the name leads to another one by now."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        _lock(fd, path)
        if os.path.samestat(os.fstat(fd), path.lstat()):
            return fd
    except FileNotFoundError:
        pass
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def _lock(fd: int, path: Path) -> None:
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise OSError(errno.EPERM, "not a file that only we can write")
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InUse(f"--store: {path} is in use") from error
