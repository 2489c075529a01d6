"""The command `accel`: reads its options, says what is wrong with them, and hands them to the arbiter.

Exit codes: 0 a clean stop, 1 a failed start, 2 wrong usage. The arbiter and what it needs are imported when
they are run, so help, `--version` and `--check` answer at once and anywhere.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click

from accel import __version__, completion, options
from accel.config import Config
from accel.errors import ConfigError, PolicyRefused, StartError
from accel.option_table import BY_NAME, FLAG, OPTIONS, Option
from accel.values import Kind

EXAMPLES = """\
  accel --backend 127.0.0.1:8001-8008            eight origins, cached, on port 8080
  accel -b app1:80*2,app2:80 -l :80 -m 1g        weights, port 80, a store of 1 GiB
  accel --config accel.toml --check              say whether a configuration is good
  accel --demo                                   see it work: its own origins, on loopback
"""
SOURCES = """\
Every option is also a variable (ACCEL_HEAD_TIMEOUT=5s) and a key of the file (head-timeout = "5s").
The command line wins over a variable, a variable over the file.
Times: 500ms, 10s, 2m. Sizes: 64k, 256m, 2g. Lists: by commas, or the option again.
Signals: TERM stops when exchanges have ended, INT at once; HUP reads the configuration again,
USR1 opens the access log again, USR2 starts the program anew on the same sockets and store.
Once it runs: accelctl --help. Completion by TAB: accelctl completion --help.
Exit codes: 0 a clean stop, 1 a failed start, 2 wrong usage.
"""
FIRST_FACTS = ("backend", "balance", "listen", "workers", "memory", "admin")
FLAG_COLUMNS = 28
"""Width of the help's first column; a longer flag has a line of its own."""


class WrongOption(click.ClickException):
    """An option's value that will not do."""

    exit_code = 2


class GroupedCommand(click.Command):
    """A command whose help has our headings, and which says what a stray argument probably was."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options group by group."""
        with formatter.section("Examples"):
            formatter.write(EXAMPLES)
        for group, members in OPTIONS.items():
            with formatter.section(group.value):
                formatter.write_dl([_help_row(option) for option in members], FLAG_COLUMNS)
        ours = {_parameter(option) for members in OPTIONS.values() for option in members}
        rest = [param for param in self.get_params(ctx) if param.name not in ours]
        rows = [row for param in rest if (row := param.get_help_record(ctx))]
        with formatter.section("This command"):
            formatter.write_dl([(flag.ljust(FLAG_COLUMNS), text) for flag, text in rows], FLAG_COLUMNS)
        formatter.write(f"\n{SOURCES}")

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as click does, but for stray arguments."""
        ctx.allow_extra_args = True
        stray = super().parse_args(ctx, args)
        if stray and not ctx.resilient_parsing:
            hint = "every value belongs to an option; origins are given as --backend HOST:PORT"
            raise click.UsageError(f"{' '.join(stray)!r} stands alone: {hint}", ctx)
        return stray


def _parameter(option: Option) -> str:
    return option.name.replace("-", "_")


def _help_row(option: Option) -> tuple[str, str]:
    short = f"-{option.short}, " if option.short else ""
    flag = f"--[no-]{option.name}" if option.kind is FLAG else f"--{option.name} {option.kind.metavar}"
    default = "" if option.kind is FLAG else option.shown_default()
    return (short + flag).ljust(FLAG_COLUMNS), option.help + (f" [{default}]" if default else "")


def _click_option(option: Option) -> click.Option:
    names = [_parameter(option), *([f"-{option.short}"] if option.short else ())]
    if option.kind is FLAG:
        return click.Option([*names, f"--{option.name}/--no-{option.name}"], default=None)
    complete = completion.of_kind(option.kind)
    return click.Option([*names, f"--{option.name}"], multiple=option.many, type=str, shell_complete=complete)


def _actions() -> list[click.Parameter]:
    return [
        click.Option(["config", "-c", "--config"], metavar="FILE", help="Read options from a TOML file.",
                     shell_complete=completion.of_kind(Kind("FILE", str))),
        click.Option(["--check"], is_flag=True, help="Say whether the configuration is good, and stop."),
        click.Option(["--demo"], is_flag=True, help="Start eight small origins and an accel before them."),
    ]


def run(check: bool, demo: bool, **parameters: Any) -> None:
    """Do what the command line says; the process ends here with its exit code."""
    flags = {name.replace("_", "-"): value for name, value in parameters.items()}
    try:
        if demo:
            sys.exit(_run_demo(flags))
        config, reread = _loaded(flags)
        sys.exit(_say_good(config) if check else _serve(config, reread, may_upgrade=True))
    except ConfigError as error:
        raise WrongOption(f"{error}\nTry 'accel --help' for every option.") from None
    except PolicyRefused as error:
        raise WrongOption(f"--policy will not do\n{error}") from None
    except StartError as error:
        raise click.ClickException(str(error)) from None


def _loaded(flags: dict[str, Any]) -> tuple[Config, Callable[[], Config]]:
    def reread() -> Config:
        return options.load(flags, os.environ)

    return reread(), reread


def _serve(config: Config, reread: Callable[[], Config], may_upgrade: bool) -> int:
    from accel.server import arbiter
    from accel.server.handover import Command

    return arbiter.run(config, reread, Command.of_this_process() if may_upgrade else None)


def _run_demo(flags: dict[str, Any]) -> int:
    from accel.server import demo

    if flags["backend"]:
        raise ConfigError("--demo", None, "it brings origins of its own: leave out --backend, or --demo")
    with demo.origins() as ports:
        flags["backend"] = tuple(f"127.0.0.1:{port}" for port in ports)
        flags["listen"] = flags["listen"] or (demo.free_address(),)
        config, reread = _loaded(flags)
        click.echo(demo.what_to_try(config.server.listen[0], ports, config.server.name))
        return _serve(config, reread, may_upgrade=False)  # a second demo would have origins of its own


def _say_good(config: Config) -> int:
    from accel.server.policy_versions import Versions

    Versions().read(config, 0.0, is_strict=True)
    click.echo("configuration is good")
    for word, fact in _facts(config):
        click.echo(f"  {word:<10}{fact}")
    return 0


def _facts(config: Config) -> Iterator[tuple[str, str]]:
    """Yield the options an operator looks for first, then every other one that is not as it comes."""
    for name in FIRST_FACTS:
        yield name, BY_NAME[name].shown(config)
    for name, option in BY_NAME.items():
        if name not in FIRST_FACTS and option.shown(config) != option.shown_default():
            yield name, option.shown(config)


main = GroupedCommand(
    "accel",
    callback=run,
    params=[
        *(_click_option(option) for members in OPTIONS.values() for option in members),
        *_actions(),
    ],
    help="A caching HTTP accelerator before a pool of origins.",
    options_metavar="--backend HOST:PORT [OPTIONS]",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
main = click.version_option(__version__, message="accel %(version)s")(main)
