"""Imports go one way (DESIGN.md, folders): each layer may know those below it and nothing else of accel."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import accel

ROOT = Path(accel.__file__).parent
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))

MAY_IMPORT: dict[str, frozenset[str]] = {
    "accel": frozenset(),
    "errors": frozenset(),
    "net": frozenset(),
    "config": frozenset(),
    "stats": frozenset(),
    "http": frozenset({"errors", "config"}),
    "caching": frozenset({"errors", "config", "http"}),
    "policy": frozenset({"errors", "config", "http", "caching", "values", "addresses"}),
    "store": frozenset({"errors"}),
    "origin": frozenset({"errors", "config", "http", "stats", "net"}),
    "proxy": frozenset({"errors", "net", "config", "http", "caching", "policy", "store", "origin", "stats"}),
    "server": frozenset(
        {"accel", "errors", "config", "addresses", "http", "caching", "policy", "store", "origin", "stats", "net"}
        | {"proxy"}
    ),
    "values": frozenset({"errors", "config"}),
    "addresses": frozenset({"errors", "config"}),
    "option_table": frozenset({"errors", "config", "values", "addresses"}),
    "options": frozenset({"accel", "errors", "config", "addresses", "option_table", "server"}),
    "cli": frozenset({"accel", "completion", "errors", "config", "options", "option_table", "server", "values"}),
    "ctl": frozenset(
        {"accel", "config", "values", "addresses", "server"}
        | {"ctl_views", "ctl_numbers", "ctl_policy", "ctl_rules", "ctl_replay", "ctl_types", "ctl_log", "ctl_top"}
        | {"ctl_profile", "cli", "completion"}
    ),
    "ctl_log": frozenset({"ctl_log_views", "ctl_log_words", "ctl_types", "policy", "stats", "values"}),
    "ctl_log_views": frozenset({"stats"}),
    "ctl_log_words": frozenset({"policy", "stats"}),
    "ctl_numbers": frozenset({"ctl_number_views", "ctl_views", "stats"}),
    "ctl_number_views": frozenset({"ctl_views", "stats"}),
    "ctl_top": frozenset({"ctl_log", "ctl_views", "stats"}),
    "completion": frozenset({"values"}),
    "flame": frozenset(),
    "ctl_profile": frozenset({"ctl_views", "flame"}),
    "ctl_policy": frozenset({"policy", "server"}),
    "ctl_replay": frozenset({"config", "ctl_replay_views", "ctl_types", "policy", "server", "stats", "values"}),
    "ctl_replay_views": frozenset({"ctl_views", "values"}),
    "ctl_types": frozenset({"values"}),
    "ctl_rules": frozenset({"values"}),
    "ctl_views": frozenset({"values"}),
    "__main__": frozenset({"cli"}),
}
"""For each layer (a package, or a module of the top folder) those that it may import besides itself."""

PURE = frozenset({"http", "caching", "policy"})
OUTSIDE_WORLD = frozenset({"asyncio", "socket", "time", "os", "select", "random", "threading", "uvloop"})
"""What a pure layer may not touch: it reads no clock, socket, environment or random source."""


def layer_of(path: str) -> str:
    """Return the layer of a file: `http/fields.py` -> `http`, `cli.py` -> `cli`, `__init__.py` -> `accel`."""
    first = path.partition("/")[0].removesuffix(".py")
    return "accel" if first == "__init__" else first


def imported(path: str) -> Iterator[str]:
    """Yield every module that the file imports, anywhere in it, by its full dotted name."""
    for node in ast.walk(ast.parse((ROOT / path).read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative imports hide which layer is meant"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from names if node.module == "accel" else [str(node.module)]


def imported_layers(path: str) -> set[str]:
    """Return the layers of accel that the file imports; a name of the top package itself is `accel`."""
    layers = set()
    for name in imported(path):
        top, _, rest = name.partition(".")
        if top == "accel":
            layer = rest.partition(".")[0]
            layers.add(layer if layer in MAY_IMPORT else "accel")
    return layers


def test_every_layer_of_the_package_is_declared_here() -> None:
    assert {layer_of(path) for path in MODULES} == set(MAY_IMPORT)


@pytest.mark.parametrize("path", MODULES)
def test_a_module_imports_only_from_layers_below_it(path: str) -> None:
    layer = layer_of(path)

    assert imported_layers(path) - {layer} <= MAY_IMPORT[layer]


@pytest.mark.parametrize("path", [path for path in MODULES if layer_of(path) in PURE])
def test_a_pure_layer_touches_nothing_of_the_outside_world(path: str) -> None:
    assert {name.partition(".")[0] for name in imported(path)}.isdisjoint(OUTSIDE_WORLD)


def test_the_arrows_go_one_way() -> None:
    placed: set[str] = set()
    while ready := {layer for layer, below in MAY_IMPORT.items() if layer not in placed and below <= placed}:
        placed |= ready

    assert placed == set(MAY_IMPORT)
