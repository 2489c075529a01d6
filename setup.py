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
AS_THEY_STAND = (
    *(f"accel.origin.{name}" for name in ("timed", "wire", "balancer", "queue", "pool", "attempt", "fetch")),
    *("accel.store.flights", "accel.proxy.flights", "accel.proxy.patience", "accel.server.scoreboard"),
)
"""Python that is compiled with the types of the .pxd beside it, and runs without."""
FLAGS = os.environ.get("ACCEL_EXTENSION_FLAGS", "").split()
"""For both compiler and linker: `-fsanitize=address -g`, say."""

PROXY_PARTS = ("accel/proxy/_*.px[di]", "accel/*/*.pxd")


class BuildExtension(build_ext):
    """Compiles with the constants of the memory map written out first; generated C stays under build/."""

    def initialize_options(self) -> None:
        """Ask Cython to leave no C beside the sources, and use all cores."""
        super().initialize_options()
        self.parallel = True
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


def extension(name: str, *depends: str) -> Extension:
    """Return the extension made of one .pyx, or .py; `depends` are patterns of what it includes."""
    path = name.replace(".", "/")
    found = [file for pattern in depends for file in sorted(ROOT.glob(pattern))]
    return Extension(
        name,
        [f"{path}.py" if (ROOT / f"{path}.py").exists() else f"{path}.pyx"],
        include_dirs=[str(LAYOUT.parent)],
        depends=[file.relative_to(ROOT).as_posix() for file in found],
        extra_compile_args=FLAGS,
        extra_link_args=FLAGS,
        optional=os.environ.get("ACCEL_REQUIRE_EXTENSION") != "1",
    )


setup(
    ext_modules=[
        *[extension(name, "accel/*/*.pxd") for name in AS_THEY_STAND],
        extension("accel.store._shared", "accel/store/layout.py", "accel/store/_*.pxi"),
        extension("accel.store._flights"),
        extension("accel.store._numbers"),
        extension("accel.stats._ring", "accel/stats/_ring.pxd"),
        extension("accel.stats._lines"),
        extension("accel.net._sockets", "accel/net/_*.px[di]"),
        extension("accel.proxy._hot", *PROXY_PARTS),
        extension("accel.proxy._relay", *PROXY_PARTS),
    ],
    cmdclass={"build_ext": BuildExtension},
)
