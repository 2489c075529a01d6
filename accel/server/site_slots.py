"""Which slot of a worker's counters a site has, that is, a policy file, by its name without folders.

Invariant: a slot, once given, is the same file's as long as the program lives, so nothing is taken back at a reload and
what a file counted stays in the sums after it left. The price: when all slots were given, further files count together
with what no file governs, in slot 0, which is logged. A new program (USR2) begins anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from accel.policy.checked import Checked
from accel.policy.sites import Sites
from accel.server.journal import note
from accel.stats.counters import SITE_SLOTS

OTHERS = "other"
"""What slot 0 is called: requests that no file governs or that could not be read, and files without a slot."""


class SiteSlots:
    """Every file that was ever in force, and its slot. The arbiter's."""

    def __init__(self) -> None:
        self._slots: dict[str, int] = {}
        self._without: set[str] = set()

    def take(self, policies: Iterable[Checked]) -> None:
        """Give slots to the files that come into force and have none yet."""
        for name in map(_name, policies):
            if name in self._slots or name in self._without:
                continue
            if len(self._slots) + 1 < SITE_SLOTS:
                self._slots[name] = len(self._slots) + 1
            else:
                self._without.add(name)
                note("site-slots-full", counted_with_others=name, own_slots=SITE_SLOTS - 1)

    def of(self, policies: Iterable[Checked]) -> tuple[int, ...]:
        """Return the slots of these files, in their order."""
        return tuple(self._slots.get(name, 0) for name in map(_name, policies))

    def named(self) -> Iterator[tuple[str, int]]:
        """Yield name and slot of each site, the others' last."""
        yield from self._slots.items()
        yield OTHERS, 0


def _name(policy: Checked) -> str:
    return policy.file.rpartition("/")[2]


def number_sites(sites: Sites, slots: Sequence[int]) -> None:
    """Tell compiled files their slots, which are in the order of the files."""
    for policy, slot in zip(sites.policies, slots, strict=True):
        policy.site = slot
