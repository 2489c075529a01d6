"""Giving up root: workers run as `--user` and `--group`, the arbiter stays what it was started as.

Invariant: nothing that the workers' user may have put somewhere is opened, followed or given away with root's rights.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from accel.config import ServerOptions
from accel.errors import StartError


def ids(user: str | None, group: str | None) -> tuple[int | None, int | None]:
    """Return uid and gid of names or numbers, None for each that is not given; a user brings its own group.

    Raises StartError if there is no such user or group.
    """
    uid = gid = None
    if user is not None:
        try:
            entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
        except KeyError:
            raise StartError(f"--user: there is no user {user!r} on this machine") from None
        uid, gid = entry.pw_uid, entry.pw_gid
    if group is not None:
        try:
            gid = grp.getgrgid(int(group)).gr_gid if group.isdigit() else grp.getgrnam(group).gr_gid
        except KeyError:
            raise StartError(f"--group: there is no group {group!r} on this machine") from None
    return uid, gid


def drop_privileges(user: str | None, group: str | None) -> None:
    """Become `user` and `group` for good; nothing is done for what is None. Raises OSError without the right to."""
    uid, gid = ids(user, group)
    if gid is not None:
        os.setgid(gid)
        if uid is not None:
            os.initgroups(pwd.getpwuid(uid).pw_name, gid)
        else:
            os.setgroups([gid])
    if uid is not None:
        os.setuid(uid)


@contextmanager
def acting_as(server: ServerOptions) -> Iterator[None]:
    """Have the rights of `--user` and `--group` for a moment: what is opened is what they may open. Raises OSError."""
    uid, gid = ids(server.user, server.group)
    ours = os.geteuid(), os.getegid(), os.getgroups()
    try:
        if gid is not None:
            os.setgroups([gid] if uid is None else os.getgrouplist(pwd.getpwuid(uid).pw_name, gid))
            os.setegid(gid)
        if uid is not None:
            os.seteuid(uid)
        yield
    finally:
        if uid is not None:
            os.seteuid(ours[0])
        if gid is not None:
            os.setegid(ours[1])
            os.setgroups(ours[2])


def prepare_log(path: str | None, server: ServerOptions) -> None:
    """Make the access log and give it to the user that the workers run as. Raises StartError."""
    if path is None or path == "-":
        return
    try:
        make_log(path, *ids(server.user, server.group))
    except OSError as error:
        raise StartError(f"--access-log: cannot write {path}: {error.strerror}") from error


def make_log(path: str, uid: int | None, gid: int | None) -> None:
    """Make the file at `path` if it is missing and give it to the workers' ids; raises OSError.

    Its directory may be theirs: a link is left to be followed with their rights, and only a plain file with no second
    name changes its owner. Nothing waits for who is to read a pipe.
    """
    nofollow = 0 if uid is None and gid is None else os.O_NOFOLLOW
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | nofollow, 0o644)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link, or a pipe that nobody reads yet
            return
        raise
    try:
        found = os.fstat(fd)
        if nofollow and stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
            os.fchown(fd, -1 if uid is None else uid, -1 if gid is None else gid)
    finally:
        os.close(fd)
