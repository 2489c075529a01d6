"""The policies in force, those that were before them, and what is wrong with those that would not do.

Owns versions; judges with the language's own means (`policy.loader`, `policy.testing`). Runs in the arbiter alone.
Invariants: a file's rules are in force only after it was checked, its tests passed and it was compiled; a file that
will not do is never in force, and in a directory its last good version stays while the others go on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from accel.addresses import is_own
from accel.config import Config
from accel.errors import PolicyRefused
from accel.policy.checked import Checked
from accel.policy.compile import CompiledPolicy, compiled
from accel.policy.problems import PolicyError
from accel.policy.sites import Sites
from accel.policy.testing import TestOutcome, run_tests, shown
from accel.server.policies import load_path
from accel.server.policy_parcel import MOST_BYTES, packed, sites_of

MOST_VERSIONS = 5
"""Earlier versions that are kept to return to."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is wrong with one file."""

    file: str
    text: str
    """All of it, lines with carets."""
    problems: tuple[str, ...]
    """A line each."""
    is_default: bool = False
    """It names no host, so every other host would have been its."""


@dataclass(frozen=True, slots=True)
class Live:
    """One file in force."""

    policy: CompiledPolicy
    since_at: float
    """When these very rules came into force."""

    @property
    def checked(self) -> Checked:
        """The file."""
        return self.policy.checked


@dataclass(frozen=True, slots=True)
class Version:
    """What was in force from one change to the next."""

    number: int
    since_at: float
    files: tuple[Live, ...] = ()
    refused: tuple[Refusal, ...] = ()
    """Files that were not taken when it was read."""
    parcel: bytes = b""

    @property
    def policies(self) -> tuple[Checked, ...]:
        """The files."""
        return tuple(live.checked for live in self.files)

    def sites(self, config: Config) -> Sites:
        """Return the rules by host."""
        return sites_of([live.policy for live in self.files], config)


class Versions:
    """Every version that is or may again be in force; none of its methods changes what workers do."""

    def __init__(self) -> None:
        self.current = Version(0, 0.0, parcel=packed(()))
        self.earlier: deque[Version] = deque(maxlen=MOST_VERSIONS)
        """The one before the current last."""
        self._newest = 0

    def read(self, config: Config, now: float, is_strict: bool = False) -> Version:
        """Return what the files on disk come to, a new version only if they differ. Raises PolicyRefused.

        `is_strict`: no file may be wrong, not even one of several sites.
        """
        good, refused = _judged(config)
        kept = {live.checked.file: live for live in self.current.files}
        stays = [_again(kept[one.file], config) for one in refused if one.file in kept]
        lives = [_live(policy, kept.get(policy.checked.file), now) for policy in good] + stays
        is_directory = config.policy_path is not None and Path(config.policy_path).is_dir()
        is_start = self._newest == 0
        is_needed = is_strict or not is_directory or (is_start and any(one.is_default for one in refused))
        if refused and (is_needed or not lives):
            raise PolicyRefused("\n\n".join(one.text for one in refused), _lines(refused))
        lives.sort(key=lambda live: live.checked.file)
        return self._version(config, lives, tuple(refused), now)

    def before(self, config: Config) -> Version:
        """Return the version before the current one. Raises PolicyRefused if none is kept."""
        if not self.earlier:
            raise PolicyRefused("no earlier version of the policy is kept", ())
        earlier = self.earlier[-1]
        files = tuple(_again(live, config) for live in earlier.files)
        return Version(earlier.number, earlier.since_at, files, earlier.refused, earlier.parcel)

    def adopt(self, version: Version) -> None:
        """Have a version in force that `read` or `before` gave; the one that a rollback leaves is forgotten."""
        if version.number > self._newest and self._newest:
            self.earlier.append(self.current)
        elif self.earlier and version.number == self.earlier[-1].number:
            self.earlier.pop()
        self.current = version
        self._newest = max(self._newest, version.number)

    def _version(self, config: Config, lives: list[Live], refused: tuple[Refusal, ...], now: float) -> Version:
        policies = tuple(live.checked for live in lives)
        if not config.origin.backends and not any(policy.pools for policy in policies):
            raise PolicyRefused("no origin: write a pool into a policy, or give --backend", ())
        if self._newest and policies == self.current.policies:
            current = self.current
            return Version(current.number, current.since_at, tuple(lives), refused, current.parcel)
        parcel = packed(policies)
        if len(parcel) > MOST_BYTES:
            what = f"the policies take {len(parcel):,} bytes packed, {MOST_BYTES:,} is the most: write fewer rules"
            raise PolicyRefused(what, (what,))
        return Version(self._newest + 1, now, tuple(lives), refused, parcel)


def _judged(config: Config) -> tuple[list[CompiledPolicy], list[Refusal]]:
    """Return the files on disk that will do, and what is wrong with the others."""
    if config.policy_path is None:
        return [], []
    try:
        loaded = load_path(Path(config.policy_path))
    except OSError as error:
        what = f"{config.policy_path}: {error.strerror}"
        raise PolicyRefused(what, (what,)) from None
    good: list[CompiledPolicy] = []
    refused = [_of_error(file, error) for file, error in loaded.refused.items()]
    for checked in loaded.policies:
        policy = compiled(checked, config.caching, config.purge_from)
        refusal = _refusal(policy, config)
        if refusal is None:
            good.append(policy)
        else:
            refused.append(refusal)
    return good, refused


def _refusal(policy: CompiledPolicy, config: Config) -> Refusal | None:
    """Return what is wrong with a file that is well written."""
    checked = policy.checked
    failed = [outcome for outcome in run_tests(policy, config.caching) if not outcome.is_passed]
    texts = [shown(outcome, checked.lines) for outcome in failed]
    problems = [line for outcome in failed for line in _failures(outcome)]
    for plan in checked.pools.values():
        for one in (*plan.origin.backends, *plan.backups):
            if is_own(one.address, config.server.listen):
                problems.append(f"{plan.place}: accel itself listens at {one.address}, a server of pool {plan.name}")
                texts.append(problems[-1])
    if not problems:
        return None
    return Refusal(checked.file, "\n".join(texts), tuple(problems), not checked.hosts)


def _failures(outcome: TestOutcome) -> Iterator[str]:
    for mismatch in outcome.mismatches:
        what = f"expected {mismatch.expected}, got {mismatch.got}"
        yield f"{mismatch.place}: the test {outcome.name!r} fails: {what}"


def _of_error(file: str, error: PolicyError) -> Refusal:
    problems = tuple(f"{problem.place}: {problem.what}" for problem in error.problems)
    lines = error.sources.get(file, ())
    return Refusal(file, str(error), problems, not any(line.split()[:1] == ["site"] for line in lines))


def _live(policy: CompiledPolicy, before: Live | None, now: float) -> Live:
    is_same = before is not None and before.checked == policy.checked
    return Live(policy, before.since_at if before is not None and is_same else now)


def _again(live: Live, config: Config) -> Live:
    """Return a file that stays or returns, under the configuration in force."""
    return Live(compiled(live.checked, config.caching, config.purge_from), live.since_at)


def _lines(refused: Iterable[Refusal]) -> tuple[str, ...]:
    return tuple(line for one in refused for line in one.problems)
