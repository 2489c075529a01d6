"""`accelctl check`, `test` and `fmt`: policy files judged, tested and set on the spot; they ask no running accel.

Owns the commands and what they print. Exit codes: 0 all is well, 1 something is to be mended, 2 wrong usage.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from accel.policy.checked import Checked
    from accel.policy.loader import Loaded
    from accel.policy.testing import TestOutcome

    _Outcomes = Sequence[tuple[Checked, Sequence[TestOutcome]]]

PATH = click.Path(exists=True, path_type=Path)

# The language (and with it lark and RE2) is imported when a command needs it: `accelctl health` runs every few seconds.


@click.command()
@click.argument("path", metavar="FILE|DIR", type=PATH)
@click.option("--reads", is_flag=True, help="Show what the rules of each phase read.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs and editors.")
def check(path: Path, reads: bool, as_json: bool) -> None:
    """Judge policy files: every problem, with its place.

    Exit with 0 if all will do, with 1 if not.
    """
    from accel.server.policies import load_path

    try:
        loaded = load_path(path)
    except OSError as error:
        raise click.UsageError(f"{path}: {error.strerror}") from None
    if as_json:
        click.echo(json.dumps(_facts(loaded), indent=1))
    else:
        _show(loaded, reads)
    sys.exit(1 if loaded.refused else 0)


@click.command()
@click.argument("path", metavar="FILE|DIR", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def test(path: Path, as_json: bool) -> None:
    """Run the tests that stand in policy files.

    No accel need run, no socket is opened, and no test waits.

    A test that fails shows what was expected, what came, and the rule that decided. Exit with 0 if all hold, with 1
    if one does not or a file will not do.
    """
    from accel.policy.compile import compiled
    from accel.policy.testing import run_tests
    from accel.server.policies import load_path

    try:
        loaded = load_path(path)
    except OSError as error:
        raise click.UsageError(f"{path}: {error.strerror}") from None
    outcomes = [(policy, run_tests(compiled(policy))) for policy in loaded.policies]
    if as_json:
        click.echo(json.dumps(_test_facts(loaded, outcomes), indent=1))
    else:
        _show_tests(loaded, outcomes)
    are_passed = all(outcome.is_passed for _, each in outcomes for outcome in each)
    sys.exit(0 if are_passed and not loaded.refused else 1)


@click.command()
@click.argument("paths", metavar="FILE...", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
@click.option("--check", "only_check", is_flag=True, help="Change nothing; exit with 1 if a file would change.")
def fmt(paths: tuple[str, ...], only_check: bool) -> None:
    """Set policy files in their canonical form, in place. Comments and lines stay.

    A file that does not parse is left alone, and its problems are shown.
    """
    are_fine = [_set(Path(path), only_check) for path in paths]
    sys.exit(0 if all(are_fine) else 1)


def _show(loaded: Loaded, reads: bool) -> None:
    for error in loaded.refused.values():
        click.echo(f"{error}\n", err=True)
    for policy in loaded.policies:
        hosts = ", ".join(policy.hosts) or "every other host"
        click.echo(f"{policy.file}: fine, for {hosts}")
        if reads:
            for phase, inputs in policy.reads.items():
                click.echo(f"  {phase.value:<9}{', '.join(sorted(inputs)) or '-'}")
    if loaded.refused:
        count = sum(len(error.problems) for error in loaded.refused.values())
        files = len(loaded.refused)
        click.echo(f"{count} problem{'s' * (count > 1)} in {files} file{'s' * (files > 1)}", err=True)


def _show_tests(loaded: Loaded, outcomes: _Outcomes) -> None:
    from accel.policy.testing import shown

    for error in loaded.refused.values():
        click.echo(f"{error}\n", err=True)
    for policy, each in outcomes:
        failed = [outcome for outcome in each if not outcome.is_passed]
        for outcome in failed:
            click.echo(shown(outcome, policy.lines))
        click.echo(f"{policy.file}: {len(each)} test{'s' * (len(each) != 1)}, {len(failed)} failed")


def _test_facts(loaded: Loaded, outcomes: _Outcomes) -> dict[str, object]:
    tests = [
        {
            "file": policy.file,
            "line": outcome.place.line,
            "test": outcome.name,
            "passed": outcome.is_passed,
            "mismatches": [mismatch.facts() for mismatch in outcome.mismatches],
        }
        for policy, each in outcomes
        for outcome in each
    ]
    return {"tests": tests, "refused": sorted(loaded.refused)}


def _facts(loaded: Loaded) -> dict[str, object]:
    """Return what was found as JSON values; places count from 1, and `length` is in characters."""
    good = [
        {
            "file": policy.file,
            "hosts": policy.hosts,
            "reads": {phase.value: sorted(inputs) for phase, inputs in policy.reads.items()},
        }
        for policy in loaded.policies
    ]
    problems = [problem.facts() for error in loaded.refused.values() for problem in error.problems]
    return {"policies": good, "refused": sorted(loaded.refused), "problems": problems}


def _set(path: Path, only_check: bool) -> bool:
    """Set one file; return whether all is well with it."""
    from accel.policy.formatting import formatted
    from accel.policy.parser import parse
    from accel.policy.problems import PolicyError
    from accel.server.policies import read_text

    try:
        text = read_text(path)
        parse(text, str(path))
    except (OSError, ValueError) as error:
        click.echo(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}", err=True)
        return False
    except PolicyError as error:
        click.echo(str(error), err=True)
        return False
    canonical = formatted(text)
    if canonical == text:
        return True
    click.echo(f"{path}: {'would change' if only_check else 'set'}")
    if not only_check:
        _replace(path, canonical)
    return not only_check


def _replace(path: Path, text: str) -> None:
    """Write a file anew, whole or not at all, with the mode that it had."""
    real = path.resolve()
    descriptor, name = tempfile.mkstemp(dir=real.parent, prefix=f".{real.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            os.fchmod(file.fileno(), real.stat().st_mode & 0o7777)
        Path(name).replace(real)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
