"""The editors' grammar: it is what the vocabulary makes it, and gives words their colours."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from accel.policy.highlighting import textmate
from accel.policy.vocabulary import INPUTS, POOL_SETTINGS, STATEMENTS, VERDICTS

FILE = Path(__file__).parents[3] / "policies" / "accel.tmLanguage.json"
GRAMMAR: Any = textmate()


def scopes(line: str) -> dict[str, str]:
    """Return each highlighted piece of a line with its scope: at each place the first pattern that matches counts."""
    found: dict[str, str] = {}
    patterns = [("string", r'"(?:\\.|[^"\\])*"')]
    patterns += [(part["name"], part["match"]) for part in GRAMMAR["patterns"] if "match" in part]
    position = 0
    while position < len(line):
        for scope, pattern in patterns:
            match = re.compile(pattern).match(line, position)
            if match is not None and match[0].strip():
                found[match[0].strip()] = scope.removesuffix(".accel")
                position = match.end()
                break
        else:
            position += 1
    return found


def test_the_file_is_what_the_vocabulary_makes_it() -> None:
    assert json.loads(FILE.read_text("utf-8")) == GRAMMAR


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            'when path under "/a/" and not cookie.sid exists { pass "why" }  # so',
            {
                "when": "keyword.control", "path": "variable.language", "under": "keyword.operator.logical",
                '"/a/"': "string", "and": "keyword.operator.logical", "not": "keyword.operator.logical",
                "cookie.sid": "variable.language", "exists": "keyword.operator.logical",
                "pass": "keyword.control.verdict", '"why"': "string", "# so": "comment.line.number-sign",
            },
        ),
        ("ttl origin else 60s", {"ttl": "keyword.other.statement", "else": "keyword.control"}),
        ("grace 60s", {"grace": "keyword.other.statement", "60s": "constant.numeric"}),
        ("response { grace 1d }", {"response": "storage.type.phase", "grace": "keyword.other.statement"}),
        ("  servers 127.0.0.1:8001-8008", {"servers": "support.type.setting"}),
        ("query drop @tracking-params, sort", {"@tracking-params": "variable.other.list"}),
        ("pool app { balance least-conn }", {"pool": "storage.type", "app": "entity.name.function"}),
        ("status in 500..599", {"500..599": "constant.numeric"}),
        ("my-path passed lookups", {}),
    ],
)  # fmt: skip
def test_words_have_their_scopes(line: str, expected: dict[str, str]) -> None:
    found = scopes(line)

    assert {piece: found.get(piece) for piece in expected} == expected
    assert expected or not found


@pytest.mark.parametrize("word", sorted({*INPUTS, *STATEMENTS, *VERDICTS, *POOL_SETTINGS}))
def test_every_word_of_the_vocabulary_is_highlighted(word: str) -> None:
    assert word in scopes(f" {word} ")
