"""Giving up root: workers run as `--user` and `--group`, the arbiter stays what it was started as.

Invariant: nothing that the workers' user may have put somewhere is opened, followed or given away with root's rights.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat

from accel.config import LogOptions, ServerOptions
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


def prepare_log(log: LogOptions, server: ServerOptions) -> None:
    """Make the access log and give it to the user that the workers run as. Raises StartError."""
    path = log.path
    if path is None or path == "-":
        return
    try:
        make_log(path, *ids(server.user, server.group))
    except OSError as error:
        raise StartError(f"--access-log: cannot write {path}: {error.strerror}") from error


def make_log(path: str, uid: int | None, gid: int | None) -> None:
    """Make the file at `path` if it is missing and give it to the workers' ids; raises OSError.

    Its directory may be theirs: a link is left for the workers to follow with their own rights, and only a plain file
    with no second name changes its owner.
    """
    if uid is None and gid is None:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644))
        return
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link, or a pipe that nobody reads yet
            return
        raise
    try:
        found = os.fstat(fd)
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
            os.fchown(fd, -1 if uid is None else uid, -1 if gid is None else gid)
    finally:
        os.close(fd)
