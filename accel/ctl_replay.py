"""`accelctl replay`: what a policy would have done with the requests of an access log; it asks no running accel.

Owns the command and the reading of logs. Exit codes: 0 done, 1 a policy that will not do or a log without a record,
2 wrong usage.
"""

from __future__ import annotations

import gzip
import io
import json
import sys
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from accel import values
from accel.ctl_types import Parsed

if TYPE_CHECKING:
    from accel.policy.checked import Checked
    from accel.policy.replay import Replay
    from accel.policy.replay_origin import Assumed
    from accel.policy.replay_tally import Tally

# The language (and with it lark and RE2) is imported when a command needs it: `accelctl health` runs every few seconds.

_BUILT_IN = "built-in"
_LOG = click.Path(exists=True, dir_okay=False, allow_dash=True)
_POLICY = click.Path(exists=True)
_TTL = Parsed(values.or_word("none", values.Kind("TIME", values.duration, values.show_duration)))
_SIZE = Parsed(values.or_word("none", values.Kind("SIZE", values.size, values.show_size)))
_GZIP = b"\x1f\x8b"
_LINES_A_STEP = 2000
"""How often the progress bar moves."""
_BAD_SHOWN = 3
_PLAIN_COLUMNS = 160
"""Width of tables that do not go to a terminal."""


@click.command()
@click.argument("logs", metavar="ACCESSLOG...", nargs=-1, required=True, type=_LOG)
@click.option("--policy", "new", metavar="FILE|DIR", type=_POLICY, required=True, help="The policy to try.")
@click.option("--against", "old", metavar="FILE|DIR|built-in", help="Another to compare it with.")
@click.option("--origin-ttl", metavar="TIME|none", type=_TTL, default="none", show_default=True,
              help="Assume that the origin gives this max-age to whatever may be cached.")  # fmt: skip
@click.option("--type", "media_type", metavar="TYPE", default="text/html", show_default=True,
              help="Assume this media type where the path has no known extension.")  # fmt: skip
@click.option("--host", metavar="HOST", default="", help="The host of lines that name none, as in most combined logs.")
@click.option("--memory", metavar="SIZE|none", type=_SIZE, default="256m", show_default=True,
              help="What the store holds.")  # fmt: skip
@click.option("--top", metavar="N", type=click.IntRange(0), default=10, show_default=True,
              help="How many URLs of each kind to list.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def replay(
    logs: Sequence[str],
    new: str,
    old: str | None,
    origin_ttl: float | None,
    media_type: str,
    host: str,
    memory: int | None,
    top: int,
    as_json: bool,
) -> None:
    """Estimate what a policy would have made of an access log.

    ACCESSLOG is in combined format (Apache, nginx, accel) or accel's JSON, plain or gzip; - is standard input; several
    are read in the order given. What the log does not hold is assumed, and the answer says what.
    """
    from accel import ctl_replay_views
    from accel.policy.replay import unseen
    from accel.policy.replay_origin import Assumed

    most = float("inf") if memory is None else float(memory)
    assumed = Assumed(host.encode(), origin_ttl, media_type.encode(), most)
    checked = _checked(new)
    tally, bad = _tallied(logs, _replay(checked, assumed), None if old is None else _old_replay(old, assumed))
    facts = tally.facts(top)
    if not facts["log"]["requests"]:
        raise click.ClickException(f"no line of {', '.join(logs)} is a record of a request{_bad_words(bad)}")
    facts["log"]["bad_lines"] = sum(bad.values())
    facts["log"]["bad_why"] = dict(bad)
    facts["assumed"] = {
        "origin_ttl_s": origin_ttl,
        "type": media_type,
        "host": host or None,
        "memory_bytes": memory,
        "missing": unseen(checked),
    }
    if as_json:
        click.echo(json.dumps(facts, indent=1))
    else:
        width = None if sys.stdout.isatty() else _PLAIN_COLUMNS
        Console(width=width, highlight=False, markup=False).print(ctl_replay_views.shown(facts))


# Policies.


def _checked(path: str) -> Sequence[Checked]:
    """Return the files of a path; say what is wrong with those that will not do, and leave."""
    from accel.server.policies import load_path

    try:
        loaded = load_path(Path(path))
    except OSError as error:
        raise click.UsageError(f"{path}: {error.strerror}") from None
    if loaded.refused:
        raise click.ClickException("\n\n".join(map(str, loaded.refused.values())))
    return loaded.policies


def _old_replay(path: str, assumed: Assumed) -> Replay:
    if path != _BUILT_IN and not Path(path).exists():
        mend = f"write a policy file, a directory of them, or {_BUILT_IN}"
        raise click.UsageError(f"--against: there is no {path}; {mend}")
    return _replay(() if path == _BUILT_IN else _checked(path), assumed)


def _replay(checked: Sequence[Checked], assumed: Assumed) -> Replay:
    from accel.config import LOOPBACK, CachingOptions
    from accel.policy.built_in import built_in
    from accel.policy.compile import compiled
    from accel.policy.replay import Replay
    from accel.policy.sites import Sites

    otherwise = built_in(CachingOptions(), LOOPBACK)
    return Replay(Sites([compiled(one, None, LOOPBACK) for one in checked], otherwise).of, assumed)


# Logs.


def _tallied(logs: Sequence[str], new: Replay, old: Replay | None) -> tuple[Tally, Counter[str]]:
    """Take every line of every log; return what it came to, and why how many lines were no records."""
    from accel.policy.replay_tally import Tally
    from accel.stats.log_reading import LogError, read_line

    tally, bad = Tally(new, old), Counter[str]()
    with _progress() as progress:
        for log in logs:
            for line in _lines(log, progress):
                try:
                    record = read_line(line)
                except LogError as error:
                    bad[str(error)] += 1
                else:
                    tally.take(record)
    return tally, bad


def _progress() -> Progress:
    """Return a bar on standard error, which shows itself on a terminal alone."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[lines]:,} lines"))
    console = Console(stderr=True)
    return Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal)


def _lines(log: str, progress: Progress) -> Iterator[bytes]:
    """Yield the lines of a log, and move the bar by what was read of the file."""
    is_file, count = log != "-", 0
    size = Path(log).stat().st_size or None if is_file else None
    task = progress.add_task(Path(log).name if is_file else "standard input", total=size, lines=0)
    try:
        with Path(log).open("rb") if is_file else nullcontext(sys.stdin.buffer) as raw:
            for count, line in enumerate(_opened(raw), 1):
                if count % _LINES_A_STEP == 0:
                    progress.update(task, completed=raw.tell() if size else None, lines=count)
                yield line
    except (OSError, EOFError, zlib.error) as error:
        raise click.ClickException(f"{log}: cannot be read beyond line {count}: {error}") from None


def _opened(raw: BinaryIO) -> io.BufferedReader:
    """Return a log's text, unpacked if it is gzip."""
    buffered = raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, raw))
    return io.BufferedReader(gzip.GzipFile(fileobj=buffered)) if buffered.peek(2)[:2] == _GZIP else buffered


def _bad_words(bad: Counter[str]) -> str:
    return "".join(f"\n{count:,} times: {why}" for why, count in bad.most_common(_BAD_SHOWN))
