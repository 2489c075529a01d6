"""Several programs of one accel, as an upgrade in place makes them: found by the admin, told what to do by signal.

Owns no process: the first is an `Accel`, the others are its children and end with its process group. Invariant: a
program is named by its arbiter's process id, and the admin says which one is in charge.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from accel_process import Accel, StartAccel
from children import SOON_S, eventually, is_alive
from fault_origin import FaultOrigin, gated, reply

NEVER_STORED = "Cache-Control: no-store"


def with_pages(fault: FaultOrigin) -> FaultOrigin:
    """Give an origin a page that may be stored, one that may not, and one that waits for its gate."""
    fault.on("/page", reply(b"page", "Cache-Control: max-age=600"))
    fault.on("/passed", reply(b"passed", NEVER_STORED))
    fault.on("/slow", gated(reply(b"whole", NEVER_STORED)))
    return fault


def with_file(start_accel: StartAccel, origin: FaultOrigin, path: Path, *flags: str) -> Accel:
    """Start an accel that reads `path`, which a test changes later."""
    path.write_text("")
    return start_accel([origin.backend], "--config", str(path), *flags)


def facts(accel: Accel) -> dict[str, Any]:
    """Return what the program in charge says of itself."""
    value = accel.admin("GET", "/facts")
    assert isinstance(value, dict)
    return value


def in_charge(accel: Accel) -> int:
    """Return the process id of the program that answers the admin."""
    pid = facts(accel)["pid"]
    assert isinstance(pid, int)
    return pid


def upgrade(accel: Accel) -> int:
    """Send USR2 to the program in charge; return the process id of the next one when that is in charge."""
    old = in_charge(accel)
    os.kill(old, signal.SIGUSR2)
    eventually(f"another is in charge:\n{accel.log}", lambda: in_charge(accel) != old)
    return in_charge(accel)


def begin_upgrade(accel: Accel) -> int:
    """Send USR2 to the program in charge; return the process id of the one that it starts, ready or not."""
    pid = in_charge(accel)
    seen = len(accel.log)
    os.kill(pid, signal.SIGUSR2)
    eventually("an upgrade has begun", lambda: " upgrade-started pid=" in accel.log[seen:])
    return int(accel.log[seen:].partition(" upgrade-started pid=")[2].split()[0])


def retire(accel: Accel, pid: int) -> None:
    """Send QUIT to an old program, and wait until every process of it is gone."""
    os.kill(pid, signal.SIGQUIT)
    wait_alone(accel)
    eventually(f"{pid} has ended", lambda: not is_alive(pid))


def wait_alone(accel: Accel) -> None:
    """Wait until one program is left."""
    eventually(f"one is left:\n{accel.log}", lambda: facts(accel)["upgrade"]["phase"] == "alone")


def wait_in_charge(accel: Accel, pid: int) -> None:
    """Wait until a program is in charge."""
    eventually(f"{pid} is in charge:\n{accel.log}", lambda: in_charge(accel) == pid)


def title(pid: int) -> str:
    """Return what a process is called in the list of processes."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0 ").decode()


def stop(accel: Accel) -> None:
    """Stop the program in charge, a successor, and check that nothing went wrong in its life."""
    assert accel.admin("GET", "/store/check")["faults"] == [], accel.log
    assert accel.admin("GET", "/stat")["callback_failures"] == 0, accel.log
    pid = in_charge(accel)
    os.kill(pid, signal.SIGTERM)
    eventually(f"{pid} has ended", lambda: not is_alive(pid), SOON_S)
    accel.check_log()
