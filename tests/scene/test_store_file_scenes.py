"""accel --store DIR: what was stored is there after a restart, whatever ended the one before."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from accel_process import Accel, StartAccel
from fault_origin import FaultOrigin, reply
from http_clients import ask

pytestmark = pytest.mark.scene
LONG = bytes(range(256)) * 4096


def kill(accel: Accel) -> None:
    """Kill arbiter and workers, all at once."""
    accel.child.send_to_group(signal.SIGKILL)
    accel.child.end()


End = Callable[[Accel], None]
ENDS = pytest.mark.parametrize("end", [Accel.stop, kill], ids=["stopped", "killed"])


@ENDS
def test_what_was_stored_is_a_hit_after_a_restart(
    start_accel: StartAccel, fault: FaultOrigin, tmp_path: Path, end: End
) -> None:
    fault.on("/page", reply(b"page", "Cache-Control: max-age=600", "Age: 100"))
    fault.on("/long", reply(LONG, "Cache-Control: max-age=600"))
    flags = ("--store", str(tmp_path / "store"), "--memory", "16m")
    before = start_accel([fault.backend], *flags)
    assert " store-cold why=" in before.log
    for target in ("/page", "/long"):
        ask(before, target)
    end(before)

    after = start_accel([fault.backend], *flags, workers=3)
    page, long = ask(after, "/page"), ask(after, "/long")

    assert " store-warm records=2 dropped=0 " in after.log
    assert page.is_hit and page.body == b"page" and int(page.fields["age"]) >= 100
    assert long.is_hit and long.body == LONG
    assert len(fault.asked("/page")) == len(fault.asked("/long")) == 1
    assert after.admin("GET", "/store")["epoch"] == 2


@ENDS
def test_a_purge_holds_after_a_restart(start_accel: StartAccel, fault: FaultOrigin, tmp_path: Path, end: End) -> None:
    fault.on("/page", reply(b"page", "Cache-Control: max-age=600"))
    flags = ("--store", str(tmp_path / "store"), "--memory", "16m")
    before = start_accel([fault.backend], *flags)
    ask(before, "/page")
    ask(before, "/page", "PURGE")
    end(before)

    after = start_accel([fault.backend], *flags)

    assert not ask(after, "/page").is_hit
    assert len(fault.asked("/page")) == 2


def test_another_memory_begins_the_file_anew_and_says_so(
    start_accel: StartAccel, fault: FaultOrigin, tmp_path: Path
) -> None:
    fault.on("/page", reply(b"page", "Cache-Control: max-age=600"))
    before = start_accel([fault.backend], "--store", str(tmp_path), "--memory", "16m")
    ask(before, "/page")
    before.stop()

    after = start_accel([fault.backend], "--store", str(tmp_path), "--memory", "24m")

    assert " store-cold why='it was made for another --memory'" in after.log
    assert not ask(after, "/page").is_hit


def test_a_file_that_another_accel_has_is_refused_and_says_who_has_it(
    start_accel: StartAccel, fault: FaultOrigin, tmp_path: Path
) -> None:
    accel = start_accel([fault.backend], "--store", str(tmp_path), "--memory", "16m")
    command = [*("-m", "accel", "--name", "scene", "-b", fault.backend, "-l", "127.0.0.1:0"),
               *("--admin", f"unix:{tmp_path / 'admin'}", "--store", str(tmp_path))]  # fmt: skip
    second = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=10, check=False)

    assert second.returncode == 1 and "Traceback" not in second.stderr
    assert f"{tmp_path}/accel-scene.store is in use by " in second.stderr
    assert any(f"(process {pid})" in second.stderr for pid in (accel.child.pid, *accel.worker_pids()))
