"""`accelctl log`: the exchanges of all workers in the order in which they ended, as they are or as they come.

Owns the reading of pieces and their merging; what is in them is `stats.records`, how they are shown `ctl_log_views`.
Filters here, and reads the rings themselves where it may map them, so that who looks costs accel nothing; else the
arbiter copies them for it. Invariant: memory does not grow with what is read: of each worker a
piece is held at a time, and of `--limit` as many records as it says. What was overrun is counted by the records' own
numbers.
"""

from __future__ import annotations

import base64
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from heapq import merge
from typing import TYPE_CHECKING, Any, Protocol

import click

from accel import ctl_log_views, values
from accel.ctl_types import Parsed
from accel.stats.mapped_ring import mapped
from accel.stats.records import LogRecord, records_of
from accel.stats.ring import RingReader

if TYPE_CHECKING:
    from accel.policy.filtering import Test

POLL_S = 0.25
_SET_BACK_S = 5.0
"""A record that ended so long after now was written before the clock was set back: it waits for nothing."""
_FORMATS = {"combined": ctl_log_views.combined, "json": ctl_log_views.as_json, "long": ctl_log_views.long}
_TIME = Parsed(values.Kind("TIME", values.positive_duration))


class Daemon(Protocol):
    """The accel that is asked."""

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Return the JSON answer to a GET, or to a POST of `body`."""
        ...


@dataclass(slots=True)
class Place:
    """How far one worker's records were read."""

    offset: int
    ring: RingReader | None
    """None: the arbiter is asked for its bytes."""
    number: int = 0
    """Of the next record; 0: of whichever comes."""
    held: deque[LogRecord] = field(default_factory=deque)
    """Read, and not yielded yet."""


class Reader:
    """Reads all workers' records, on and on."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._pid, self._now = 0, 0.0
        self._places: dict[int, Place] = {}
        self.lost = 0
        """Records that were overrun before they were read."""

    def skip(self) -> None:
        """Begin with what comes from now on."""
        for row, facts in self._rows().items():
            self._places[row] = self._place(facts, facts["head"], facts["records"] + 1)

    def new(self) -> Iterator[LogRecord]:
        """Yield what has come, in the order in which the exchanges ended."""
        rows = self._rows()
        each = [self._row(row, facts) for row, facts in rows.items()]
        return merge(*each, key=_ended_at)

    def _place(self, facts: dict[str, Any], offset: int, number: int = 0) -> Place:
        return Place(offset, mapped(self._pid, facts["name"]), number)

    def _rows(self) -> dict[int, dict[str, Any]]:
        answer = self._daemon.ask("/log")
        if not answer["rows"]:
            raise click.ClickException("this accel keeps no log: --log-memory is 0")
        if self._pid not in (0, answer["pid"]):
            self._places = {}  # a new program has taken over
        self._pid, self._now = answer["pid"], answer["now"]
        return {int(row): facts for row, facts in answer["rows"].items()}

    def _row(self, row: int, facts: dict[str, Any]) -> Iterator[LogRecord]:
        """Yield a worker's records up to the moment when it was asked: others' from after it come later, too."""
        if row not in self._places:
            self._places[row] = self._place(facts, facts["oldest"])
        place = self._places[row]
        while True:
            while place.held:
                if self._now < _ended_at(place.held[0]) < self._now + _SET_BACK_S:
                    return
                yield place.held.popleft()
            if place.offset >= facts["head"] or not self._fill(row, place):
                return

    def _fill(self, row: int, place: Place) -> bool:
        """Read a worker's next piece; whether there is one."""
        chunk, end = self._piece(row, place)
        if end == place.offset:
            return False
        place.offset = end
        for record in records_of(chunk):
            if place.number:
                self.lost += max(0, record.number - place.number)
            place.number = record.number + 1
            record.worker = row + 1
            place.held.append(record)
        return True

    def _piece(self, row: int, place: Place) -> tuple[bytes, int]:
        """Return some records, and where the next begin; the same place: there are none, or another program answers."""
        if place.ring is not None:
            return place.ring.read(place.offset)
        piece = self._daemon.ask("/log", {"row": row, "from": place.offset})
        if piece["pid"] != self._pid:
            return b"", place.offset
        return base64.b64decode(piece["records"]), piece["next"]


def _ended_at(record: LogRecord) -> float:
    return record.at + record.duration_s


@click.command()
@click.option("-q", "--query", metavar="CONDITION", help="Only those that it is true of, as in a policy's `when`.")
@click.option("--format", "form", type=click.Choice(list(_FORMATS)), default="combined", show_default=True,
              help="How one is written; long: the way it took.")  # fmt: skip
@click.option("--since", type=_TIME, help="Only those that ended within this time.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the last N.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until Ctrl-C; alone: begin with that.")
@click.option("--sample", type=click.IntRange(1), metavar="N", default=1, help="Only one of N.")
@click.pass_obj
def log(
    daemon: Daemon, query: str | None, form: str, since: float | None, limit: int | None, follow: bool, sample: int
) -> None:
    """Show what was asked and answered, in all workers, or as it is.

    As far back as accel's --log-memory reaches, in the order in which the exchanges ended.

    For instance: accelctl log -q 'status >= 500 and time.first_byte > 200ms' --format long

    A condition may read: status, method, host, url, path, client, outcome (or cache), reason, backend, rule,
    time.first_byte, time.total, time.origin, bytes, age, ttl, retries, tags, referer, user-agent, asked, varies, key,
    id, connection, worker. Of the last four and of `varies` --format long shows what to write.
    """
    wanted = _wanted(query, None if since is None else time.time() - since, sample)
    show, reader = _FORMATS[form], Reader(daemon)
    if follow and since is None and limit is None:
        reader.skip()
    with suppress(KeyboardInterrupt, BrokenPipeError):
        _print(_last(filter(wanted, reader.new()), limit), show)
        said = _say_lost(reader.lost, 0)
        while follow:
            time.sleep(POLL_S)
            _print(filter(wanted, reader.new()), show)
            said = _say_lost(reader.lost, said)


def _wanted(query: str | None, since_at: float | None, sample: int) -> Callable[[LogRecord], bool]:
    """Return the test of what is to be shown."""
    fits: Test = _condition(query) if query is not None else lambda one: True

    def is_wanted(one: LogRecord) -> bool:
        if one.number % sample or (since_at is not None and _ended_at(one) < since_at):
            return False
        return fits(one)

    return is_wanted


def _condition(query: str) -> Test:
    # The language, and with it lark and RE2, is imported only where a filter needs it.
    from accel.ctl_log_words import WORDS
    from accel.policy.filtering import condition
    from accel.policy.problems import PolicyError

    try:
        return condition(query, WORDS, "-q")
    except PolicyError as error:
        raise click.UsageError(f"this condition will not do\n{error}") from None


def _last(found: Iterable[LogRecord], limit: int | None) -> Iterable[LogRecord]:
    return found if limit is None else deque(found, maxlen=limit)


def _print(found: Iterable[LogRecord], show: ctl_log_views.Format) -> None:
    for one in found:
        sys.stdout.write(show(one))
    sys.stdout.flush()


def _say_lost(lost: int, said: int) -> int:
    if lost > said:
        click.echo(f"{lost:,} records were overrun before they were read: see --log-memory", err=True)
    return lost
