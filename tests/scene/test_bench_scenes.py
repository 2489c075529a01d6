"""The benches run: each work and each piece once, every answer judged, no time asserted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.scene
BENCH = Path(__file__).parents[1] / "bench"


def run(script: str) -> str:
    """Run a bench's smoke form; return what it says at its end."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", str(BENCH / script), "--smoke"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_every_server_that_is_installed_answers_rightly_side_by_side() -> None:
    assert "all answers were right" in run("side_by_side.py")


def test_every_record_of_a_short_day_is_read_by_everybody() -> None:
    assert "every record was read" in run("fast_day.py")


def test_what_looking_costs_is_measured_while_everybody_looks() -> None:
    assert "observed" in run("observed.py").splitlines()


def test_every_piece_of_a_hit_runs_by_itself() -> None:
    assert "pieces ran" in run("micro.py")
