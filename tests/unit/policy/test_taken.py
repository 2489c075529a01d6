"""The table of what earlier rules took finds what going through all of them would find."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from test_facts import FORMULAS

from accel.policy.logic import Every, Formula, implies
from accel.policy.nodes import Place
from accel.policy.taken import Gone, Taken


@given(st.lists(FORMULAS, max_size=6), st.lists(FORMULAS, max_size=3), st.lists(FORMULAS, min_size=1, max_size=2))
def test_the_table_finds_the_first_that_takes_all(
    around: list[Formula], inside: list[Formula], where: list[Formula]
) -> None:
    outer = Gone()
    inner = Gone(outer)
    taken = [Taken(formula, Place("x", line, 1)) for line, formula in enumerate([*around, *inside], 1)]
    for one in taken:
        (outer if one.place.line <= len(around) else inner).add(one)

    expected = next((one for one in taken if implies(Every(tuple(where)), one.what)), None)

    assert inner.taker(tuple(where)) == expected
