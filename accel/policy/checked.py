"""A policy file that will do, as `policy.check` hands it to the compiler, to the tests and to the server.

Owns the shapes and nothing else. Invariant: every name in it is defined in it, every statement stands in a phase that
it fits, every value is of the type that its place asks for; so whoever reads it needs no error path of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from accel.config import BackendConfig, Network, OriginOptions, ProbeOptions
from accel.policy import document, nodes
from accel.policy.vocabulary import Phase


@dataclass(frozen=True, slots=True)
class PoolPlan:
    """One `pool`: what its settings say, and the program's defaults for the rest."""

    name: str
    origin: OriginOptions
    probe: ProbeOptions
    backups: tuple[BackendConfig, ...]
    """Asked when no server is up."""
    host: str
    """The Host that the origins get; empty: the request's own."""
    place: nodes.Place


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """One `split`: which arm a value of `by` falls in."""

    name: str
    by: nodes.Input
    arms: tuple[tuple[str, int], ...]
    """Name and percent, 100 together; a missing value gives the first."""


@dataclass(frozen=True, slots=True)
class PurgePlan:
    """`purge { … }`: who may drop what is stored, how."""

    allow: tuple[Network, ...] | None = None
    """None: the file does not say, the command line's --purge-from does."""
    methods: frozenset[str] = frozenset({"PURGE"})
    is_soft: bool = False
    """A soft purge leaves the response for stale answers and validation."""


@dataclass(frozen=True, slots=True)
class Checked:
    """One file, checked."""

    file: str
    hosts: tuple[str, ...]
    """Of `site`, in key form; empty: every host that no other file names. `*.example.org` is any host below it."""
    pools: dict[str, PoolPlan]
    acls: dict[str, tuple[Network, ...]]
    lists: dict[str, tuple[str, ...]]
    splits: dict[str, SplitPlan]
    defs: dict[str, nodes.Condition]
    phases: dict[Phase, tuple[nodes.Statement, ...]]
    """Every phase has its entry; the presets' statements come first, in the order of `use`, then the file's own."""
    purge: PurgePlan
    is_sealed: bool
    """A `seal` stands somewhere in it."""
    texts: dict[str, bytes]
    """What `synth … from "FILE"` answers with, by FILE as written."""
    tests: tuple[document.Test, ...]
    reads: dict[Phase, frozenset[str]]
    """What each phase reads of the request and the response, as `str(Input)`: `cookie.sessionid`, `path`. Names of
    fields are lower case, a split stands for what it splits by; edits of query and cookies read `parameter`, `cookie`.
    """
    lines: tuple[str, ...] = field(default=(), repr=False)
