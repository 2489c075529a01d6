"""How the settings of `pool` and `purge` are written: a head and clauses, each a word with its values.

Owns the forms alone; what the values come to is `policy.checking_pools`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from accel.policy import nodes
from accel.policy.document import Setting, SettingValue
from accel.policy.findings import Findings
from accel.policy.nodes import Place
from accel.policy.problems import did_you_mean

Kind = type[nodes.Text] | type[nodes.Number] | type[nodes.Duration] | type[nodes.Percent] | type[nodes.Name]
Part = str | Kind
"""A word that must stand there, or what kind of value."""


@dataclass(frozen=True, slots=True)
class Form:
    """What follows a setting's word: the head, then clauses in any order, each once at most."""

    head: tuple[Part, ...] = ()
    clauses: Mapping[str, tuple[Part, ...]] = field(default_factory=dict)
    repeated: Kind | None = None
    """Instead of both: any number of these, at least one."""


@dataclass(slots=True)
class Filled:
    """The values of one setting."""

    values: list[SettingValue]
    """Of the head, or the repeated ones."""
    clauses: dict[str, list[SettingValue]]

    def seconds(self, clause: str, default: float) -> float:
        """Return a clause's time."""
        found = self.clauses.get(clause, ())
        return next((value.seconds for value in found if isinstance(value, nodes.Duration)), default)

    def count(self, clause: str, default: int) -> int:
        """Return a clause's number."""
        found = self.clauses.get(clause, ())
        return next((value.value for value in found if isinstance(value, nodes.Number)), default)


def fill(setting: Setting, form: Form, usage: str, findings: Findings) -> Filled | None:
    """Return a setting's values by its form; None, and a problem, if it is written otherwise."""
    reader = _Reader(setting)
    try:
        return reader.repeated(form.repeated) if form.repeated is not None else reader.filled(form)
    except _Misfit as misfit:
        findings.problem(misfit.place, misfit.what, f"it goes: {setting.word} {usage}")
        return None


def by_word(
    settings: Sequence[Setting], usages: Mapping[str, str], owner: str, findings: Findings
) -> dict[str, Setting]:
    """Return settings by their words; unknown and repeated ones are problems."""
    found: dict[str, Setting] = {}
    for setting in settings:
        if setting.word not in usages:
            findings.problem(
                setting.place, f"{owner} has no setting {setting.word}", did_you_mean(setting.word, usages)
            )
        elif setting.word in found:
            findings.again(setting.place, f"{setting.word} is set", found[setting.word].place, "write it once")
        else:
            found[setting.word] = setting
    return found


def shown(value: SettingValue) -> str:
    """Return a value as it was written, or near it."""
    match value:
        case nodes.Text():
            return repr(value.value)
        case nodes.Number():
            return str(value.value)
        case nodes.Duration():
            return f"{value.seconds:g}s"
        case nodes.Percent():
            return f"{value.value}%"
        case nodes.Size():
            return f"{value.bytes} bytes"
        case nodes.Name():
            return value.name


class _Misfit(Exception):
    """A setting is not written as it should be."""

    def __init__(self, place: Place, what: str) -> None:
        super().__init__(what)
        self.place = place
        self.what = what


class _Reader:
    """Goes through one setting's values."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._left = list(setting.values)

    def repeated(self, kind: Kind) -> Filled:
        if not self._left:
            raise _Misfit(self._setting.place, f"{self._setting.word} needs a value")
        for value in self._left:
            if not isinstance(value, kind):
                raise self._stray(value)
        return Filled(self._left, {})

    def filled(self, form: Form) -> Filled:
        values = self._take(form.head)
        clauses: dict[str, list[SettingValue]] = {}
        while self._left:
            word = self._left.pop(0)
            if not isinstance(word, nodes.Name) or word.name not in form.clauses:
                raise self._stray(word)
            if word.name in clauses:
                raise _Misfit(word.place, f"{word.name} stands here twice")
            clauses[word.name] = self._take(form.clauses[word.name])
        if not form.head and not clauses:
            raise _Misfit(self._setting.place, f"{self._setting.word} needs a value")
        return Filled(values, clauses)

    def _take(self, parts: Sequence[Part]) -> list[SettingValue]:
        """Return the next values, which must fit `parts`, without the fixed words."""
        taken: list[SettingValue] = []
        for part in parts:
            if not self._left:
                last = self._setting.values[-1].place if self._setting.values else self._setting.place
                raise _Misfit(last, f"{self._setting.word} ends too early")
            value = self._left.pop(0)
            if not isinstance(part, str) and isinstance(value, part):
                taken.append(value)
            elif not (isinstance(value, nodes.Name) and value.name == part):
                raise self._stray(value)
        return taken

    def _stray(self, value: SettingValue) -> _Misfit:
        return _Misfit(value.place, f"{shown(value)} does not fit here in {self._setting.word}")
