"""Giving up root: workers run as `--user` and `--group`, the arbiter stays what it was started as."""

from __future__ import annotations

import grp
import os
import pwd

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
