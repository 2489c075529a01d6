"""Who has what: reads /proc to say which process holds an address or a file that we wanted. Only for messages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from accel.config import Address

_LISTEN = "0A"
"""TCP_LISTEN in the fourth column of /proc/net/tcp (proc(5))."""


def holder(address: Address) -> str:
    """Return `nginx (process 812)`, or words for a process that this user may not look at."""
    inodes = _unix_inodes(address.path) if address.path else _tcp_inodes(address.port)
    return _holder_of({f"socket:[{inode}]" for inode in inodes})


def holder_of_file(path: Path) -> str:
    """Return who has a file open, in the same words."""
    return _holder_of({str(path.resolve())})


def _holder_of(targets: set[str]) -> str:
    for process in Path("/proc").glob("[0-9]*"):
        if _holds(process, targets):
            return f"{_name(process)} (process {process.name})"
    return "another process"


def _tcp_inodes(port: int) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for columns in _rows(table):
            if columns[3] == _LISTEN and int(columns[1].rpartition(":")[2], 16) == port:
                yield columns[9]


def _unix_inodes(path: str) -> Iterator[str]:
    return (columns[6] for columns in _rows("/proc/net/unix") if columns[7:] == [path])


def _rows(table: str) -> list[list[str]]:
    try:
        return [line.split() for line in Path(table).read_text().splitlines()[1:]]
    except OSError:
        return []


def _holds(process: Path, targets: set[str]) -> bool:
    """Whether a descriptor of the process is one of these, as /proc/PID/fd shows them (proc(5))."""
    try:
        return any(str(fd.readlink()) in targets for fd in (process / "fd").iterdir())
    except OSError:
        return False


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "a process"
