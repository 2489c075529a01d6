"""Policies on disk: one file, or a directory with one file a site. Owns reading; judges nothing (`policy.loader`).

Runs in the arbiter, before the fork and at a reload, and in `accelctl`. Only plain files of bounded size are read, so
that neither a pipe nor a device can hold the program up.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from accel.policy.loader import Loaded, load
from accel.policy.parser import MOST_BYTES

SUFFIX = ".policy"


def load_path(path: Path) -> Loaded:
    """Return the policies of a file or of a directory's `*.policy`. Raises OSError if there is no such path."""
    files = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]
    if not files:
        raise FileNotFoundError(2, f"there is no *{SUFFIX} in this directory", str(path))
    if not path.is_dir():
        path.stat()
    return load({str(file): _policy_text(file) for file in files}, read_beside)


def read_beside(policy_file: str, name: str) -> str:
    """Return a text that a policy names, by its path from the policy's own directory."""
    return read_text(Path(policy_file).parent / name)


def read_text(path: Path) -> str:
    """Return a file's text. Raises OSError, or ValueError if it is no plain file, too large, or not UTF-8."""
    # Without O_NONBLOCK opening a pipe would wait for somebody who writes to it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is not a plain file")
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(MOST_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(content) > MOST_BYTES:
        raise ValueError(f"it is larger than {MOST_BYTES >> 20} MiB")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"it is not UTF-8 (line {line})") from None


def _policy_text(path: Path) -> str | ValueError:
    try:
        return read_text(path)
    except OSError as error:
        return ValueError(f"this file cannot be read: {error.strerror}")
    except ValueError as error:
        return ValueError(f"this file cannot be read: {error}")
