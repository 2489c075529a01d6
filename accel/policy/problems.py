"""What is wrong with a policy file, and how it is shown: the line, a caret, and a hint.

Owns the form of messages; finds nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from accel.errors import AccelError
from accel.policy.nodes import Place


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong."""

    place: Place
    what: str
    """A sentence without a full stop: what is wrong."""
    hint: str = ""
    """How to mend it, where that is known."""

    def facts(self) -> dict[str, object]:
        """Return it as JSON values, for editors."""
        place = self.place
        return {
            "file": place.file,
            "line": place.line,
            "column": place.column,
            "length": place.length,
            "message": self.what,
            "hint": self.hint,
        }


class PolicyError(AccelError):
    """A policy that will not do: every problem that was found."""

    def __init__(self, problems: Iterable[Problem], sources: Mapping[str, Sequence[str]]) -> None:
        """`sources` are the lines of the files that the problems are in."""
        self.problems = sorted(set(problems))
        self.sources = sources
        super().__init__(f"{self.problems[0].place}: {self.problems[0].what}")

    def __str__(self) -> str:
        return "\n".join(shown(problem, self.sources.get(problem.place.file, ())) for problem in self.problems)


def shown(problem: Problem, lines: Sequence[str]) -> str:
    """Return a problem as an operator reads it: place, what, the line with a caret under it, the hint."""
    place = problem.place
    parts = [f"{place}: {problem.what}"]
    if 0 < place.line <= len(lines):
        line = lines[place.line - 1]
        lead = "".join("\t" if character == "\t" else " " for character in line[: place.column - 1])
        parts += [f"    {line}", f"    {lead}{'^' * max(1, min(place.length, len(line) - place.column + 1))}"]
    if problem.hint:
        parts.append(f"    hint: {problem.hint}")
    return "\n".join(parts)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a hint that names the nearest known word, or all of them if there are few; else nothing."""
    words = sorted(known)
    near = get_close_matches(word, words, n=1, cutoff=0.65)
    if near:
        return f"did you mean {near[0]}?"
    if not 0 < len(words) <= 24:
        return ""
    return f"there is only {words[0]}" if len(words) == 1 else f"there are {', '.join(words[:-1])} and {words[-1]}"
