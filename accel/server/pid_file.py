"""The file that tells an operator, or a script, the arbiter's process id; two of them while two programs live.

Invariant: `PATH` holds the id of the program in charge, `PATH.oldbin` (Unicorn's word) that of the one it replaces,
and a program removes what holds its own id only.
"""

from __future__ import annotations

import os
from pathlib import Path

from accel.errors import StartError
from accel.server.journal import note


class PidFile:
    """The file of one program; does nothing where none is wanted."""

    def __init__(self, path: str | None) -> None:
        self._path = None if path is None else Path(path)

    def write(self) -> None:
        """Say that this process is in charge. Raises StartError."""
        if self._path is None:
            return
        try:
            self._path.write_text(f"{os.getpid()}\n")
        except OSError as error:
            raise StartError(f"--pid: cannot write {self._path}: {error.strerror}") from error
        self._forget(self._old, os.getpid())

    def step_aside(self) -> None:
        """Say that this process is the old one; its successor writes its own id over ours in a moment."""
        if self._path is None:
            return
        try:
            self._old.write_text(f"{os.getpid()}\n")
        except OSError as error:
            note("pid-file-failed", path=self._old, why=error.strerror)

    def forget_old(self, pid: int) -> None:
        """Remove what the old program `pid`, which is dead, may have left."""
        if self._path is not None:
            self._forget(self._old, pid)

    def remove(self) -> None:
        """Remove what says that this process lives."""
        if self._path is not None:
            self._forget(self._path, os.getpid())
            self._forget(self._old, os.getpid())

    @property
    def _old(self) -> Path:
        return Path(f"{self._path}.oldbin")

    @staticmethod
    def _forget(path: Path, pid: int) -> None:
        try:
            if path.read_text().strip() == str(pid):
                path.unlink()
        except (OSError, ValueError):  # gone already, or not ours
            return
