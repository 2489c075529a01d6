"""Builds the compiled part. Everything else about the package stands in pyproject.toml.

A failed compile leaves a package that works without it (one cache a worker instead of a shared one) and says so;
with ACCEL_REQUIRE_EXTENSION=1 it fails the installation instead: for images and CI.
"""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
LAYOUT = ROOT / "build" / "layout" / "_layout.h"
FLAGS = os.environ.get("ACCEL_EXTENSION_FLAGS", "").split()
"""For both compiler and linker: `-fsanitize=address -g`, say."""


class BuildExtension(build_ext):
    """Compiles with the constants of the memory map written out first; generated C stays under build/."""

    def initialize_options(self) -> None:
        """Ask Cython to leave no C beside the sources."""
        super().initialize_options()
        self.cython_c_in_temp = True

    def run(self) -> None:
        """Build every extension."""
        write_layout()
        super().run()


def write_layout() -> None:
    """Write the memory map's constants where the C compiler finds them; untouched if they are the same."""
    sys.path.insert(0, str(ROOT))
    from accel.store.c_header import c_header

    LAYOUT.parent.mkdir(parents=True, exist_ok=True)
    if not LAYOUT.exists() or LAYOUT.read_text() != c_header():
        LAYOUT.write_text(c_header())


shared_store = Extension(
    "accel.store._shared",
    ["accel/store/_shared.pyx"],
    include_dirs=[str(LAYOUT.parent)],
    depends=[
        "accel/store/layout.py",
        *(path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("accel/store/_*.pxi"))),
    ],
    extra_compile_args=FLAGS,
    extra_link_args=FLAGS,
    optional=os.environ.get("ACCEL_REQUIRE_EXTENSION") != "1",
)

shared_flights = Extension(
    "accel.store._flights",
    ["accel/store/_flights.pyx"],
    extra_compile_args=FLAGS,
    extra_link_args=FLAGS,
    optional=os.environ.get("ACCEL_REQUIRE_EXTENSION") != "1",
)

shared_numbers = Extension(
    "accel.store._numbers",
    ["accel/store/_numbers.pyx"],
    extra_compile_args=FLAGS,
    extra_link_args=FLAGS,
    optional=os.environ.get("ACCEL_REQUIRE_EXTENSION") != "1",
)

log_lines = Extension(
    "accel.stats._lines",
    ["accel/stats/_lines.pyx"],
    extra_compile_args=FLAGS,
    extra_link_args=FLAGS,
    optional=os.environ.get("ACCEL_REQUIRE_EXTENSION") != "1",
)

log_ring = Extension(
    "accel.stats._ring",
    ["accel/stats/_ring.pyx"],
    depends=["accel/stats/_ring.pxd"],
    extra_compile_args=FLAGS,
    extra_link_args=FLAGS,
    optional=os.environ.get("ACCEL_REQUIRE_EXTENSION") != "1",
)

hot_path = Extension(
    "accel.proxy._hot",
    ["accel/proxy/_hot.pyx"],
    depends=[path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("accel/proxy/_*.pxi"))],
    extra_compile_args=FLAGS,
    extra_link_args=FLAGS,
    optional=os.environ.get("ACCEL_REQUIRE_EXTENSION") != "1",
)

setup(
    ext_modules=[shared_store, shared_flights, shared_numbers, log_ring, log_lines, hot_path],
    cmdclass={"build_ext": BuildExtension},
)
