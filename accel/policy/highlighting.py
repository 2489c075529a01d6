"""A TextMate grammar for editors, made of the vocabulary, so that a new word is highlighted where it is added.

`policies/accel.tmLanguage.json` is its output: `python -m accel.policy.highlighting > policies/accel.tmLanguage.json`.
Owns colours, so to say; a grammar for editors is looser than the language's own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from accel.policy.vocabulary import INPUTS, OVERRIDES, POOL_SETTINGS, PURGE_SETTINGS, STATEMENTS, VERDICTS, Phase

_PARTS = ("policy", "site", "use", "pool", "acl", "list", "def", "split", "purge", "test")
_CONTROL = ("when", "else")
_LOGIC = ("and", "or", "not", "exists", "in", "under", "glob", "matches", "contains")
_SUPPORT = (
    "drop", "keep", "sort", "none", "canonical", "set", "add", "unset", "per", "burst", "from", "by", "origin",
    "heuristic", "reason", "every", "timeout", "rise", "fall", "slow-start", "for", "queue", "server", "at", "most",
    "connect", "first-byte", "between-bytes", "whole", "round-robin", "least-conn", "two-choices", "hard", "soft",
)  # fmt: skip
_STEPS = ("get", "head", "post", "put", "patch", "delete", "options", "after", "fails", "works", "saw")
_OUTCOMES = ("hit", "miss", "stale", "pass", "synthetic", "error")


def _words(words: Iterable[str]) -> str:
    """Return the expression of any of these as a whole word; `-` and `.` are parts of words."""
    longest_first = sorted(set(words), key=lambda word: (-len(word), word))
    return rf"(?<![\w.@-])(?:{'|'.join(map(re.escape, longest_first))})(?![\w-])"


def textmate() -> dict[str, object]:
    """Return the grammar."""
    statements = set(STATEMENTS) - VERDICTS
    matches = {
        "comment.line.number-sign.accel": r"#.*$",
        "entity.name.function.accel": r"(?<=\bdef )\s*[\w-]+|(?<=\bpool )\s*[\w-]+(?=\s*\{)|(?<=\bacl )\s*[\w-]+",
        "variable.other.list.accel": r"@[\w.-]+",
        "variable.language.accel": rf"{_words(INPUTS)}(?:\.[\w-]+|\.\"[^\"\n]*\")*",
        "constant.numeric.accel": r"(?<![\w.-])\d+(?:\.\d+)?(?:ms|[smhdwy]|[KMG]|%|/[smh])?(?:\.\.\d+)?(?![\w.:/-])",
        "constant.other.address.accel": r"\bunix:[^\s,;{}]+|(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?:[:/][\d-]+)?(?:\*\d+)?",
        "keyword.operator.accel": r"==|!=|<=|>=|->|[<>=+]",
        "keyword.operator.logical.accel": _words(_LOGIC),
        "keyword.control.accel": _words(_CONTROL),
        "keyword.control.verdict.accel": _words(VERDICTS | {"retry"}),
        "storage.type.phase.accel": rf"{_words(phase.value for phase in Phase)}(?=\s*\{{)",
        "storage.type.accel": rf"(?:^|(?<=;))\s*{_words(_PARTS)}",
        "keyword.other.statement.accel": _words(statements | set(OVERRIDES)),
        "support.type.setting.accel": _words({*POOL_SETTINGS, *PURGE_SETTINGS, *_SUPPORT}),
        "support.function.test.accel": _words({*_STEPS, *_OUTCOMES}),
    }
    order = ("comment", "storage", "entity", "keyword.control", "variable", "constant", "keyword", "support")
    ranked = sorted(matches, key=lambda scope: next(at for at, start in enumerate(order) if scope.startswith(start)))
    return {
        "$schema": "https://raw.githubusercontent.com/martinring/tmlanguage/master/tmlanguage.json",
        "name": "accel policy",
        "scopeName": "source.accel-policy",
        "fileTypes": ["policy"],
        "patterns": [{"include": "#string"}, *({"name": scope, "match": matches[scope]} for scope in ranked)],
        "repository": {"string": _string()},
    }


def _string() -> dict[str, object]:
    return {
        "name": "string.quoted.double.accel",
        "begin": '"',
        "end": '"|$',
        "patterns": [
            {"name": "constant.character.escape.accel", "match": r"\\[nt\"\\$]"},
            {"name": "variable.language.filled-in.accel", "match": r"\$\{[^}\n]*\}"},
            {"name": "invalid.illegal.accel", "match": r"\\."},
        ],
    }


if __name__ == "__main__":
    print(json.dumps(textmate(), indent=2))
