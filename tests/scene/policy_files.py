"""Policies on disk for scenes: written as a deployment writes them, and put into force."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from accel_process import Accel


class Policies:
    """A directory of policies."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()

    def write(self, name: str, text: str) -> Path:
        """Replace one file at once."""
        path = self.directory / f"{name}.policy"
        draft = path.with_suffix(".draft")
        draft.write_text(f"policy 1\n{text}\n")
        return draft.replace(path)


def reload(accel: Accel, **body: Any) -> Any:
    """Reload; fails unless that is done, everywhere."""
    generation = accel.admin("GET", "/facts")["generation"]
    done = accel.admin("POST", "/reload", body)
    assert accel.admin("GET", "/facts")["generation"] == generation + 1
    return done


def accelctl(accel: Accel, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `accelctl` against an accel."""
    program = "from accel.ctl import main; main()"
    command = [sys.executable, "-c", program, "--admin", f"unix:{accel.admin_path}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def accelctl_json(accel: Accel, *arguments: str) -> Any:
    """Return what `accelctl … --json` prints."""
    ran = accelctl(accel, *arguments, "--json")
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)
