"""What one program gives to the next when it is upgraded in place: the command that starts it, and open descriptors.

Owns the form in which that travels: one environment variable, JSON, and the descriptors that it names. Knows no step
of an upgrade (`upgrade`) and opens nothing. Invariant: the variable leaves the environment where it is read, so nobody
but the process that was started with it takes these descriptors for its own.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import asdict, dataclass
from pathlib import Path

from accel.errors import StartError

VARIABLE = "ACCEL_HANDOVER"
FORM = 1
"""Of the JSON: a program of another form cannot take over, and says so."""
_NOT_FOR_THE_NEXT = frozenset({VARIABLE, "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"})


@dataclass(frozen=True, slots=True)
class Command:
    """What starts this program once more, as it was started."""

    arguments: tuple[str, ...]
    """The interpreter first."""
    directory: str
    environment: Mapping[str, str]

    @classmethod
    def of_this_process(cls) -> Command:
        """Return how this process was started; to be called before anything changes directory or environment."""
        environment = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_THE_NEXT}
        return cls(tuple(sys.orig_argv), _directory(environment), environment)


def _directory(environment: Mapping[str, str]) -> str:
    """Return where this process works, by the shell's name for it: a deployment may turn a link to the next release."""
    here, named = Path.cwd(), environment.get("PWD", "")
    return named if named and Path(named).is_absolute() and Path(named).resolve() == here else str(here)


@dataclass(frozen=True, slots=True)
class Handed:
    """One listening socket on its way."""

    fd: int
    asked: tuple[str, int, str] | None
    """Host, port and path of the option that it was bound for; None if systemd passed it."""
    row: int = 0
    """With --reuseport, the worker row whose own it is; 0 for what all share."""


@dataclass(frozen=True, slots=True)
class HandedArena:
    """The live store on its way."""

    fd: int
    side: int
    """The half of the rows that the giver has: the taker has the other one."""


@dataclass(frozen=True, slots=True)
class HandedBackend:
    """A backend that is out of rotation."""

    label: str
    is_drained: bool
    """An operator said so."""
    down_why: str | None
    """Probes or fetches failed, the last one so; None: it is well."""


@dataclass(frozen=True, slots=True)
class Handover:
    """Everything that a successor is given; descriptors are those of both processes."""

    pid: int
    """The giver's."""
    talk_fd: int
    """A socket between the two arbiters (`upgrade`)."""
    lifeline: tuple[int, int]
    """The taker's: read and write end."""
    others_lifeline: int
    """Read end of the giver's."""
    sockets: tuple[Handed, ...]
    admin: tuple[Handed, ...]
    arena: HandedArena | None
    """None for private stores."""
    backends: tuple[HandedBackend, ...]
    """Those that are out of rotation: the taker need not learn it from failures of its own."""
    limits_fd: int | None = None
    """What rate limits are counted in; None if the giver has none, or is a version that hands over none."""

    def descriptors(self) -> Iterator[int]:
        """Yield every descriptor that the taker must inherit."""
        yield from (self.talk_fd, *self.lifeline, self.others_lifeline)
        yield from (handed.fd for handed in (*self.sockets, *self.admin))
        if self.arena is not None:
            yield self.arena.fd
        if self.limits_fd is not None:
            yield self.limits_fd

    def text(self) -> str:
        """Return the variable's value."""
        return json.dumps({"form": FORM, **asdict(self)})


def take(environ: MutableMapping[str, str]) -> Handover | None:
    """Take what a predecessor handed over out of `environ`; None if there is none. Raises StartError."""
    text = environ.pop(VARIABLE, None)
    return None if text is None else _read(text)


def _read(text: str) -> Handover:
    try:
        value = json.loads(text)
        if value.pop("form") != FORM:
            raise ValueError("another form")
        arena = value.pop("arena")
        return Handover(
            sockets=tuple(map(_handed, value.pop("sockets"))),
            admin=tuple(map(_handed, value.pop("admin"))),
            lifeline=tuple(value.pop("lifeline")),
            backends=tuple(HandedBackend(**backend) for backend in value.pop("backends")),
            arena=arena and HandedArena(**arena),
            **value,
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        mend = "stop the running program and start this one"
        raise StartError(f"the running program's way to hand over is not ours ({error}): {mend}") from None


def _handed(value: Mapping[str, object]) -> Handed:
    fd, asked, row = value["fd"], value["asked"], value["row"]
    if not isinstance(fd, int) or not isinstance(row, int):
        raise ValueError("a socket is not given by number")
    return Handed(fd, tuple(asked) if isinstance(asked, list) else None, row)
