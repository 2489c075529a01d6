r"""Texts with `${input}` in them: redirects, synthetic bodies, header values, tags.

Owns the form alone: which inputs there are is `policy.vocabulary`'s, what they hold is the compiler's. A text comes
here as the parser left it: `\$` still with its backslash, all other escapes done.
"""

from __future__ import annotations

import re
from dataclasses import replace

from accel.policy.nodes import Input, Place, Text

Piece = str | Input

_PIECE = re.compile(r"\\\$|\$\{([^{}\n]*)\}")
_TWO_PARTS = frozenset({"cache"})
"""Inputs whose part behind the dot belongs to the name."""


def pieces(text: Text) -> tuple[Piece, ...]:
    r"""Return constant texts and inputs, in order; none of the texts is empty, and `\$` in them is `$`."""
    found: list[Piece] = []
    constant, position = "", 0
    for match in _PIECE.finditer(text.value):
        constant += text.value[position : match.start()]
        position = match.end()
        if match[1] is None:
            constant += "$"
            continue
        found += [constant] if constant else []
        found.append(as_input(match[1].strip(), _place_of(text, match[0])))
        constant = ""
    constant += text.value[position:]
    return (*found, constant) if constant else tuple(found)


def plain(text: Text) -> str:
    r"""Return a text in which nothing is filled in: `\$` is `$`."""
    return text.value.replace("\\$", "$")


def as_input(words: str, place: Place) -> Input:
    """Return the input that `cookie.name`, `header."odd name"` or `cache.age` means."""
    first, dot, rest = words.partition(".")
    if first in _TWO_PARTS and dot:
        return Input(words, "", place)
    return Input(first, rest.strip('"'), place)


def _place_of(text: Text, words: str) -> Place:
    """Return where the piece stands; exact as long as no escape comes before it in the text."""
    return replace(text.place, column=text.place.column + 1 + max(0, text.value.find(words)), length=len(words))
