"""The command accel as a person meets it: help, checks, refusals, exit codes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result

from accel import __version__
from accel.cli import main
from accel.config import Config
from accel.errors import StartError
from accel.option_table import BY_NAME, Group


@pytest.fixture
def accel(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Return a function that runs the command in a terminal of 100 columns with no variables of ours."""
    monkeypatch.setenv("COLUMNS", "100")
    for option in BY_NAME.values():
        monkeypatch.delenv(option.variable, raising=False)
    return lambda *arguments: CliRunner().invoke(main, arguments, prog_name="accel")


@pytest.fixture
def arbiter(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return a stand-in for the arbiter that notes what it was given."""
    module: Any = ModuleType("accel.server.arbiter")
    module.given = []
    module.run = lambda *given: module.given.append(given) or 0
    monkeypatch.setitem(sys.modules, "accel.server.arbiter", module)
    monkeypatch.setattr("accel.server.arbiter", module, raising=False)
    return module


def test_help_has_every_option_under_a_heading_within_100_columns(accel: Callable[..., Result]) -> None:
    result = accel("--help")

    assert result.exit_code == 0
    assert all(len(line) <= 100 for line in result.output.splitlines())
    assert all(f"{group.value}:" in result.output for group in Group)
    assert all(f"--{name} " in result.output or f"--[no-]{name} " in result.output for name in BY_NAME)


def test_help_shows_defaults_as_they_are_written(accel: Callable[..., Result]) -> None:
    output = accel("--help").output

    assert "[256m]" in output
    assert "[round-robin]" in output
    assert "None" not in output


def test_version(accel: Callable[..., Result]) -> None:
    assert accel("--version").output == f"accel {__version__}\n"


def test_the_package_runs_as_the_command_does() -> None:
    command = [sys.executable, "-m", "accel", "--version"]

    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == f"accel {__version__}\n"


def test_reading_options_loads_nothing_of_the_server_that_runs() -> None:
    program = "import sys, accel.cli; print({'uvloop', 'accel.proxy', 'accel.server.arbiter'} & set(sys.modules))"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "set()\n"


def test_check_says_what_is_configured_and_starts_nothing(accel: Callable[..., Result]) -> None:
    result = accel("--check", "-b", "127.0.0.1:8001-8002", "-m", "64m", "--probe", "/up")

    assert result.exit_code == 0
    assert result.output.startswith("configuration is good\n")
    assert "127.0.0.1:8001, 127.0.0.1:8002" in result.output
    assert "64m" in result.output
    assert "/up" in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give at least one origin"),
        (("-b", "h:80", "-w", "x"), "--workers: 'x' will not do: write a number from 1 to 128"),
        (("-b", "h:80", "--check", "-w", "x"), "--workers: 'x' will not do"),
        (("--bakend", "h:80"), "Did you mean '--backend'?"),
        (("127.0.0.1:8001",), "origins are given as --backend HOST:PORT"),
        (("-b",), "requires an argument"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_says_what_to_do(
    accel: Callable[..., Result], arguments: tuple[str, ...], said: str
) -> None:
    result = accel(*arguments)

    assert result.exit_code == 2
    assert said in result.output


def test_the_arbiter_gets_the_configuration_and_a_way_to_read_it_again(
    accel: Callable[..., Result], arbiter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = accel("-b", "h:80", "--no-heuristic")
    config, reread, command = arbiter.given[0]
    monkeypatch.setenv("ACCEL_MEMORY", "32m")

    assert result.exit_code == 0
    assert isinstance(config, Config)
    assert (config.memory_bytes, reread().memory_bytes) == (256 << 20, 32 << 20)
    assert command.arguments == tuple(sys.orig_argv)


def test_a_failed_start_is_exit_code_1(accel: Callable[..., Result], arbiter: Any) -> None:
    def run(config: Config, reread: object, command: object) -> int:
        raise StartError("cannot listen on :80: it is in use by nginx (process 7)")

    arbiter.run = run

    result = accel("-b", "h:81", "-l", ":80")

    assert result.exit_code == 1
    assert "in use by nginx" in result.output


def test_the_exit_code_is_the_arbiters(accel: Callable[..., Result], arbiter: Any) -> None:
    arbiter.run = lambda config, reread, command: 1

    assert accel("-b", "h:80").exit_code == 1


def test_the_demo_listens_on_loopback_before_its_own_origins(accel: Callable[..., Result], arbiter: Any) -> None:
    result = accel("--demo")
    config = arbiter.given[0][0]

    assert result.exit_code == 0
    assert len(config.origin.backends) == 8
    assert {address.host for address in config.server.listen} == {"127.0.0.1"}
    assert f"curl -i http://{config.server.listen[0]}/cached" in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-b", "a:1", "-l", "8080"), "127.0.0.1:8080; :8080 stands for all addresses"),
        (("-b", "a:1", "-m", "256"), "the least is 1m; 256 without a unit is bytes"),
        (("-b", "a:1", "--demo"), "it brings origins of its own: leave out --backend, or --demo"),
    ],
)
def test_a_usual_mistake_is_told_how_to_mend(
    accel: Callable[..., Result], arguments: tuple[str, ...], said: str
) -> None:
    result = accel(*arguments)

    assert result.exit_code == 2
    assert said in result.output
