"""How often each `override` let something past the safety floor: by file, what is lifted and reason, over all workers.

Owns which slot of the scoreboard's `overrides` an override is counted in. A worker adds to its own row alone, so no
use is lost or counted twice whoever is killed when; `overridden` is the sum of all slots and cannot differ from it.

Invariant: a slot, once given, means the same override as long as the program lives. So a reload needs no moment at
which all workers switch: an exchange that began under the old rules counts where it always did, a rule that moved to
another line or comes back by a rollback counts on. The price: what left the rules keeps its slot, and those that come
when none is left are counted together in the last one, which is logged. A new program (USR2) begins anew.

A worker is not sent names (a reason may be long), but the slots of its files' overrides in the order of
`policy.overrides.by_name`, which is the same on both sides since the files are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from accel.policy.checked import Checked
from accel.policy.decision import Override, OverrideName
from accel.policy.overrides import by_name
from accel.server.journal import note
from accel.server.scoreboard import OVERRIDE_SLOTS

OTHERS = OVERRIDE_SLOTS - 1
"""The slot of all that have none of their own."""

Facts = dict[str, object]


class OverrideSlots:
    """Every override that was ever in force, and its slot. The arbiter's."""

    def __init__(self) -> None:
        self._slots: dict[OverrideName, int] = {}
        """Slots are given in this order."""
        self._without: set[OverrideName] = set()

    def take(self, policies: Iterable[Checked]) -> None:
        """Give slots to those overrides of rules that come into force that have none yet."""
        found = [name for name in by_name(policies) if name not in self._slots]
        room = OTHERS - len(self._slots)
        self._slots |= {name: len(self._slots) + place for place, name in enumerate(found[:room])}
        without = set(found[room:])
        if without - self._without:
            note("override-slots-full", counted_together=len(without), own_slots=OTHERS)
        self._without = without

    def of(self, policies: Iterable[Checked]) -> tuple[int, ...]:
        """Return the slots of the overrides of these rules, in their order."""
        return tuple(self._slots.get(name, OTHERS) for name in by_name(policies))

    def uses(self, sums: Sequence[int]) -> dict[OverrideName, int]:
        """Return how often each was used that has a slot of its own; `sums` are the slots'."""
        return {name: sums[slot] for name, slot in self._slots.items()}

    def facts(self, policies: Iterable[Checked], sums: Sequence[int]) -> Facts:
        """Return what `accelctl overrides` shows; those in force are of `policies`."""
        in_force, uses = by_name(policies), self.uses(sums)
        names = [*in_force, *(name for name in uses if name not in in_force and uses[name])]
        return {
            "total": sum(sums),
            "others": sums[OTHERS],
            "overrides": [_facts(name, in_force.get(name, ()), uses.get(name)) for name in names],
        }


class OverrideRow:
    """One worker's uses. Serves `proxy.service.OverrideUses`."""

    def __init__(self, words: memoryview) -> None:
        """`words` are the worker's own row; it is their one writer."""
        self._words = words
        self._slots: dict[OverrideName, int] = {}

    def know(self, policies: Iterable[Checked], slots: Sequence[int]) -> None:
        """Learn the slots that `OverrideSlots.of` gave for these rules; those of earlier rules are kept.

        A fetch may be decided by the rules of before, or be a refresh that had to wait for its turn since then.
        """
        given = zip(by_name(policies), slots, strict=True)
        self._slots |= {name: slot for name, slot in given if slot != OTHERS}

    def used(self, override: Override) -> None:
        """See `OverrideUses`."""
        self._words[self._slots.get(override.name, OTHERS)] += 1


def _facts(name: OverrideName, rules: Sequence[Override], uses: int | None) -> Facts:
    return {
        "what": name.what,
        "reason": name.reason,
        "file": name.file,
        "lines": [override.rule.line for override in rules],
        "uses": uses,
        "is_in_force": bool(rules),
    }
