"""Random texts and mutated policies: a policy, or the language's own error with its places, and nothing else.

What passes is also formatted, compiled and formatted again. `ACCEL_FUZZ_TEXTS` says how many texts of each kind.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from placeless import placeless

from accel.config import CachingOptions
from accel.policy.check import check
from accel.policy.compile import compiled
from accel.policy.formatting import formatted
from accel.policy.parser import parse
from accel.policy.problems import PolicyError
from accel.policy.shipped import preset
from accel.policy.vocabulary import ELSEWHERE, INPUTS, OVERRIDES, POOL_SETTINGS, PRESETS, STATEMENTS

TEXTS = int(os.environ.get("ACCEL_FUZZ_TEXTS", "400"))
UNIT = Path(__file__).parent.parent / "unit" / "policy"
PRESET_FILES = Path(str(files("accel.policy"))) / "presets"
SEEDS = [
    path.read_text("utf-8")
    for folder in (UNIT / "examples", UNIT / "broken", PRESET_FILES)
    for path in sorted(folder.glob("*.policy"))
]
WORDS = [
    *INPUTS, *STATEMENTS, *ELSEWHERE, *OVERRIDES, *POOL_SETTINGS, *(f'"{name}"' for name in PRESETS),
    "policy 1", "site", "use", "pool", "acl", "list", "def", "split", "purge", "request", "response", "deliver",
    "error", "test", "when", "else", "and", "or", "not", "exists", "in", "under", "glob", "matches", "contains",
    "==", "!=", "<", "<=", ">", ">=", "=", "+", "->", ",", ";", "{", "}", "(", ")", "\n", "\n", "#", '"', "\\", "$",
    '"/a/"', '"*.css"', '"${path}"', '"${"', '"(a|b"', "@bots", "@tracking-params", "10.0.0.0/8", "::1", "200",
    "500..599", "30s", "10m", "64K", "20/s", "10%", "none", "sort", "a", "b", "cookie.a", 'header."x"', "200*",
    "cookie.", "header.x-a", "split.a", "é", "\x00", "\t", "\u2028", "1e9", "-1", "999999999999", "GET", "get",
]  # fmt: skip
_PIECE = re.compile(r'"[^"\n]*"|[^\s,;{}()]+|[,;{}()]|\s+')


def read(name: str) -> str:
    """Return what any file holds."""
    return "*bot*\n/a/\n# no\n(\n"


def take(text: str) -> None:
    """Put a text through everything that a policy goes through."""
    try:
        policy = parse(text, "x.policy")
    except PolicyError as error:
        show(error)
        return
    once = formatted(text)
    assert placeless(parse(once, "x.policy")) == placeless(policy)
    assert formatted(once) == once
    try:
        compiled(check(policy, preset, read), CachingOptions())
    except PolicyError as error:
        show(error)


def show(error: PolicyError) -> None:
    """Show an error as an operator sees it; each problem has a place in the file."""
    assert str(error)
    assert all(problem.place.line >= 1 and problem.place.column >= 1 for problem in error.problems)


def mutated(text: str, dice: random.Random) -> str:
    """Return a text with some of its pieces changed."""
    pieces = _PIECE.findall(text)
    for _ in range(dice.randint(1, 6)):
        at = dice.randrange(len(pieces) + 1)
        match dice.randrange(6):
            case 0:
                del pieces[at : at + dice.randint(1, 4)]
            case 1:
                pieces.insert(at, dice.choice(WORDS))
            case 2:
                pieces[at : at + 1] = [dice.choice(WORDS)]
            case 3:
                pieces[at:at] = pieces[at : at + dice.randint(1, 30)]
            case 4:
                other = _PIECE.findall(dice.choice(SEEDS))
                start = dice.randrange(len(other))
                pieces[at:at] = other[start : start + dice.randint(1, 20)]
            case _:
                pieces[at : at + 1] = ["".join(dice.sample(piece, len(piece))) for piece in pieces[at : at + 1]]
        pieces = pieces or ["policy 1"]
    return "".join(pieces)


def random_texts(dice: random.Random) -> Iterator[str]:
    """Yield texts of the language's words in no order, and of any characters."""
    while True:
        count = dice.randint(0, 60)
        yield "policy 1\n" + " ".join(dice.choice(WORDS) for _ in range(count))
        yield "policy 1\nrequest {\n" + "\n".join(" ".join(dice.choices(WORDS, k=4)) for _ in range(count // 4)) + "\n}"
        yield "".join(chr(dice.choice((dice.randrange(128), dice.randrange(0xD800)))) for _ in range(count))


@pytest.mark.parametrize("seed", range(4))
def test_a_mutated_policy_is_a_policy_or_an_error_of_the_language(seed: int) -> None:
    dice = random.Random(seed)

    for _ in range(TEXTS // 4):
        take(mutated(dice.choice(SEEDS), dice))


@pytest.mark.parametrize("seed", range(4))
def test_a_random_text_is_a_policy_or_an_error_of_the_language(seed: int) -> None:
    texts = random_texts(random.Random(seed))

    for _ in range(TEXTS // 4):
        take(next(texts))
