"""Where the parts of the checker note what is wrong, so that a file's problems are all told at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from accel.policy.nodes import Place
from accel.policy.problems import Problem, did_you_mean


@dataclass(slots=True)
class Findings:
    """The problems of one file."""

    sources: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The lines of each file."""
    problems: list[Problem] = field(default_factory=list)
    doubtful: set[Place] = field(default_factory=set)
    """Comparisons of which something is wrong: nothing more is concluded from them."""

    def problem(self, place: Place, what: str, hint: str = "") -> None:
        """Note one."""
        self.problems.append(Problem(place, what, hint))

    def written(self, place: Place) -> str:
        """Return what stands at a place, as it was written."""
        lines = self.sources.get(place.file, ())
        return lines[place.line - 1][place.column - 1 :][: place.length] if place.line <= len(lines) else ""

    def unknown(self, place: Place, kind: str, word: str, known: Iterable[str], otherwise: str) -> None:
        """Note a name that nothing has; `otherwise` is the hint where there is none to choose from."""
        self.problem(place, f"there is no {kind} {word}", did_you_mean(word, known) or otherwise)

    def again(self, place: Place, what: str, first: Place, hint: str) -> None:
        """Note something that was said before."""
        where = f"in line {first.line}" if first.file == place.file else f"in {first.file}"
        self.problem(place, f"{what} {where} already", hint)
