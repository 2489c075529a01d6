"""Texts that are filled in."""

from __future__ import annotations

import pytest

from accel.policy.nodes import Input, Place, Text
from accel.policy.templates import as_input, pieces, plain

PLACE = Place("x.policy", 3, 10, 20)


def shown(value: str) -> list[str]:
    """Return the pieces of a text, inputs in brackets."""
    return [f"[{piece}]" if isinstance(piece, Input) else piece for piece in pieces(Text(value, PLACE))]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", []),
        ("plain", ["plain"]),
        ("${path}", ["[path]"]),
        ("https://${host}${url}", ["https://", "[host]", "[url]"]),
        ("a${header.x-a}b", ["a", "[header.x-a]", "b"]),
        ("${cache.age}s", ["[cache.age]", "s"]),
        ("costs 5\\$", ["costs 5$"]),
        ("\\${path}", ["${path}"]),
        ("$5 and {a}", ["$5 and {a}"]),
    ],
)
def test_a_text_is_constants_and_inputs(value: str, expected: list[str]) -> None:
    assert shown(value) == expected


def test_an_input_knows_where_it_stands() -> None:
    (_, found) = pieces(Text("ab${path}", PLACE))

    assert isinstance(found, Input)
    assert (found.place.column, found.place.length) == (13, 7)


def test_where_nothing_is_filled_in_a_dollar_is_a_dollar() -> None:
    assert plain(Text("5\\$ ${path}", PLACE)) == "5$ ${path}"


def test_an_odd_name_stands_in_quotes() -> None:
    assert as_input('cookie."a b"', PLACE) == Input("cookie", "a b", PLACE)
