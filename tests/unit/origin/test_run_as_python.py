"""What is compiled where there is a compiler also runs as it stands: a connection's tests without it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

AS_PYTHON = """
import sys
from importlib.util import spec_from_file_location
from pathlib import Path

import pytest

class Sources:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.startswith("accel.origin."):
            return spec_from_file_location(name, Path(path[0], name.rpartition(".")[2] + ".py"))

sys.meta_path.insert(0, Sources)
from accel.origin import attempt, balancer, fetch, pool, queue, timed, wire
for module in (attempt, balancer, fetch, pool, queue, timed, wire):
    assert module.__file__.endswith(".py"), module
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-k", "uvloop", sys.argv[1]]))
"""


def test_a_connection_that_is_not_compiled_is_the_same() -> None:
    tests = Path(__file__).with_name("test_connection.py")
    run = subprocess.run([sys.executable, "-c", AS_PYTHON, str(tests)], capture_output=True, text=True, timeout=120)

    assert run.returncode == 0, run.stdout + run.stderr
