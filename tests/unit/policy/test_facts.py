"""What comparisons say about one another is certain: tried against every value of a small world."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from accel.policy.facts import Fact, excludes, fact, implies, opposite
from accel.policy.logic import Every, Formula, No, Present, Some, contradiction, is_always, negated
from accel.policy.logic import excludes as formulas_exclude
from accel.policy.logic import implies as formula_implies

PATHS = ["/" + "".join(letters) for count in range(5) for letters in product("ab/", repeat=count)]
NUMBERS = [float(number) / 2 for number in range(-2, 10)]
STATUSES = range(100, 600)

_PATH = st.text("ab/", max_size=3).map("/".__add__)
_GLOB = st.text("ab/*?", min_size=1, max_size=4)
_TEXT_FACTS = st.one_of(
    st.builds(lambda values: fact("path", "in", tuple(values)), st.lists(_PATH, min_size=1, max_size=3)),
    st.builds(lambda values: fact("path", "under", tuple(values)), st.lists(_PATH, min_size=1, max_size=2)),
    st.builds(lambda values: fact("path", "glob", tuple(values)), st.lists(_GLOB, min_size=1, max_size=2)),
    st.builds(lambda value: fact("path", "!=", (value,)), _PATH),
    st.builds(lambda value: fact("path", "contains", (value,)), st.text("ab/", min_size=1, max_size=2)),
    st.builds(lambda value: fact("path", "matches", (value,)), st.sampled_from(["^/a", "b$", "a.b", "[ab]/"])),
)
_NUMBER_FACTS = st.builds(
    lambda operator, value: fact("size", operator, (value,)),
    st.sampled_from(["<", "<=", ">", ">=", "==", "!="]),
    st.sampled_from([0, 1, 2, 3]),
)
_STATUS_FACTS = st.builds(
    lambda operator, value: fact("status", operator, (value,)),
    st.sampled_from(["<", "<=", ">", ">=", "==", "!="]),
    st.sampled_from([100, 200, 404, 599]),
)


def world_of(of: Fact) -> list[object]:
    """Return every value that the subject may have here."""
    worlds: dict[str, list[object]] = {"path": [*PATHS], "size": [*NUMBERS], "status": [*STATUSES]}
    return worlds[of.subject]


@given(st.one_of(*(st.tuples(kind, kind) for kind in (_TEXT_FACTS, _NUMBER_FACTS, _STATUS_FACTS))))
def test_what_is_said_to_follow_follows(pair: tuple[Fact, Fact]) -> None:
    a, b = pair
    values = world_of(a)

    if implies(a, b):
        assert all(b.holds(value) for value in values if a.holds(value))  # type: ignore[arg-type]
    if excludes(a, b):
        assert not any(a.holds(value) and b.holds(value) for value in values)  # type: ignore[arg-type]


@given(st.one_of(_TEXT_FACTS, _NUMBER_FACTS, _STATUS_FACTS))
def test_an_opposite_holds_where_the_fact_does_not(of: Fact) -> None:
    other = opposite(of)
    assume(other is not None)

    assert other is not None
    assert all(of.holds(value) is not other.holds(value) for value in world_of(of))  # type: ignore[arg-type]


World = dict[str, str]
"""Values by subject; what is missing is not there."""
WORLDS: list[World] = [
    {"path": path} | ({"cookie.a": cookie} if cookie is not None else {})
    for path in PATHS[:60]
    for cookie in (None, "", "x", "y")
]
_LEAVES = st.one_of(
    _TEXT_FACTS,
    st.just(Present("cookie.a")),
    st.builds(lambda value: fact("cookie.a", "==", (value,)), st.sampled_from(["", "x"])),
    st.builds(lambda value: fact("cookie.a", "!=", (value,)), st.sampled_from(["", "x"])),
)
FORMULAS: st.SearchStrategy[Formula] = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.builds(lambda parts: Every(tuple(parts)), st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda parts: Some(tuple(parts)), st.lists(inner, min_size=1, max_size=3)),
        st.builds(negated, inner),
    ),
    max_leaves=6,
)


def is_true(formula: Formula, world: World) -> bool:
    """Return what a formula is in a world, by the language's rules: what is missing makes a comparison false."""
    match formula:
        case Fact():
            return formula.subject in world and formula.holds(world[formula.subject])
        case Present():
            return formula.subject in world
        case No():
            return not is_true(formula.part, world)
        case Every():
            return all(is_true(part, world) for part in formula.parts)
        case Some():
            return any(is_true(part, world) for part in formula.parts)
    raise AssertionError(formula)


@given(FORMULAS, FORMULAS)
def test_what_formulas_are_said_to_imply_holds_in_every_world(a: Formula, b: Formula) -> None:
    if formula_implies(a, b):
        assert all(is_true(b, world) for world in WORLDS if is_true(a, world))
    if formulas_exclude(a, b):
        assert not any(is_true(a, world) and is_true(b, world) for world in WORLDS)
    if contradiction((a, b)):
        assert not any(is_true(a, world) and is_true(b, world) for world in WORLDS)
    if is_always(a):
        assert all(is_true(a, world) for world in WORLDS)


@given(FORMULAS)
def test_what_is_negated_is_true_where_it_was_not(formula: Formula) -> None:
    assert all(is_true(negated(formula), world) is not is_true(formula, world) for world in WORLDS)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (fact("path", "under", ("/a/b/",)), fact("path", "under", ("/a",))),
        (fact("path", "under", ("/a/b",)), fact("path", "glob", ("/a/*",))),
        (fact("path", "glob", ("/a/*.css",)), fact("path", "glob", ("*.css",))),
        (fact("status", "in", (404, 410)), fact("status", ">=", (400,))),
        (fact("size", ">", (10,)), fact("size", ">=", (10,))),
        (fact("cookie", "glob", ("wp_*",), is_set=True), fact("cookie", "glob", ("w*",), is_set=True)),
    ],
)
def test_what_plainly_follows_is_seen(a: Fact, b: Fact) -> None:
    assert implies(a, b)
    assert not implies(b, a)
