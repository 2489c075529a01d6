"""What whoever wrote a line probably meant, where the grammar knows only what it expected: hints for syntax errors.

Owns the words of other languages and the habits that come with them; knows no meaning of a rule.
"""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet

from accel.policy.lines import END
from accel.policy.problems import did_you_mean
from accel.policy.vocabulary import STATEMENTS, Phase

BEGINNING = "a policy file begins with the line `policy 1`"
NO_BRACE = "a block in braces must follow: { … }"
TERMINALS = {
    END: "the end of the line or `;`",
    "$END": "the end of the file",
    "ATOM": "a word or value",
    "STRING": 'a text in quotes ("…")',
    "LISTNAME": "a list (@name)",
    "OPERATOR": "a comparison (== != < > in under glob matches contains)",
    "ARROW": "`->`",
    "LBRACE": "`{`",
    "RBRACE": "`}`",
    "LPAR": "`(`",
    "RPAR": "`)`",
    "COMMA": "`,`",
    "EQUAL": "`=`",
    "PLUS": "`+`",
}
"""What a terminal is called in a message; the others are the words that they are."""
_HABITS = {
    "if": "write `when`",
    "elif": "write `else when`",
    "elsif": "write `else when`",
    "elseif": "write `else when`",
    "unless": "write `when not`",
    "return": 'write the verdict alone: `lookup`, `pass "why"`, `deny`',
    "startswith": 'write under "/a/", or glob "/a*"',
    "starts_with": 'write under "/a/", or glob "/a*"',
    "endswith": 'write glob "*.css"',
    "ends_with": 'write glob "*.css"',
    "like": 'write glob "*.css"',
    "is": "write ==, or exists",
    "equals": "write ==",
    "eq": "write ==",
    "~": "write `matches` for an expression, `glob` for a pattern",
    "&": "write `and`",
    "|": "write `or`",
    "!": "write `not`",
    "'": 'texts stand in double quotes: "…"',
    "=~": "write `matches`",
    "include": "there is no include: a directory holds one file a site, and `use` brings presets",
    "import": "there is no import: a directory holds one file a site, and `use` brings presets",
    "cache": "write `ttl 10m`",
    "drop": "write query drop NAME, or cookies drop NAME",
    "remove": 'write unset header "NAME", or cookies drop NAME',
    "reject": "write deny",
    "block": "write deny",
    "forbid": "write deny",
    "backend": "write pool NAME",
    "upstream": "write pool NAME",
    "proxy_pass": "write pool NAME",
    "allow": "who may purge stands in a block: purge { allow … }",
    "servers": "servers stand in a pool: pool app { servers … }",
}
"""Words that have another name here."""
_UNIT = re.compile(r"ms|[smhdwy%KMG]")
_UNIT_NAMES = re.compile(r"(?:sec|min|hour|hr|day|week|year)[a-z]*")
_WORD = re.compile(r"[A-Za-z_][\w.-]*")
_BEFORE = (
    (re.compile(r"\[$"), "a field is written header.NAME, an odd name header.\"NAME\""),
    (re.compile(r"\bredirect\s+$"), 'the status comes first: redirect 301 "/path"'),
    (re.compile(r"\bhost\s+$"), 'write host canonical "NAME"'),
    (re.compile(r"\bunset\s+$"), 'write unset header "NAME", or cookies drop NAME'),
    (re.compile(r"\blimit\b.*\belse\s+$"), 'write else deny 429, or else synth 429 "slow down"'),
    (re.compile(r"^\s*(?:expect|assert|then)\s+$"), 'what is expected stands behind the request: get "/" -> hit'),
)  # fmt: skip
"""What stands before the place, and what it tells."""


def hint_for(found: str, expected: AbstractSet[str], before: str) -> str:
    """Return a hint: `found` is what does not fit, `expected` the terminals that would, `before` the line up to it."""
    words = {terminal.lower().replace("_", "-") for terminal in expected if terminal not in TERMINALS}
    if "phase" in words:
        words = words - {"phase"} | {phase.value for phase in Phase}
    if words == {"policy"}:
        return BEGINNING
    by_place = next((hint for pattern, hint in _BEFORE if pattern.search(before)), "")
    near = did_you_mean(found, words) if words else ""
    if not by_place and found not in _HABITS and near.startswith("did you mean"):
        return near
    return by_place or _by_word(found, expected) or _expectation(found, expected, words)


def _by_word(found: str, expected: AbstractSet[str]) -> str:
    if found == "=":
        return "equality is written ==" if "OPERATOR" in expected else "write the value behind its word, without ="
    if found in ("and", "or") and END not in expected and "LBRACE" not in expected:
        return f"a condition goes on in the next line after an `{found}` at the end of this one"
    if _UNIT.fullmatch(found):
        return f"a number and its unit stand together: 10{found}"
    if _UNIT_NAMES.fullmatch(found):
        return f"a number and its unit stand together: 10{found[0]}"
    if found == "," and "AND" in expected:
        return "several values stand in parentheses: (…, …)"
    if found == "{" and "LBRACE" not in expected:
        return "write def NAME = CONDITION" if expected == {"EQUAL"} else "no block begins here"
    return _HABITS.get(found.lower(), "")


def _expectation(found: str, expected: AbstractSet[str], words: AbstractSet[str]) -> str:
    """Return what the grammar takes, as shortly as it tells something."""
    if expected <= {"STRING"}:
        return f'it must stand in quotes: "{found}"' if found.strip() else "a text in quotes must follow"
    if found.startswith('"') and "ATOM" in expected and "STRING" not in expected:
        return f"it stands without quotes: {found.strip(chr(34))}"
    if {"when", "lookup"} <= words:
        return "here begins a statement, such as when, pass, query or ttl; policies/README.md has them all"
    if "LBRACE" in expected and found in STATEMENTS:
        return NO_BRACE
    if END in expected and found in STATEMENTS:
        return "a `;` or a line end must stand before it"
    if END in expected and "COMMA" in expected and _WORD.match(found):
        return "a `,` must stand before it, or the line end"
    if "LBRACE" in expected and not found.strip():
        goes_on = "; a condition goes on behind `and` or `or`" if "AND" in expected else ""
        return f"its block begins in the same line: {{ … }}{goes_on}"
    if "LBRACE" in expected and "OPERATOR" not in expected:
        return NO_BRACE
    others = sorted(TERMINALS[terminal] for terminal in expected if terminal in TERMINALS)
    return f"here may stand {', '.join([*(f'`{word}`' for word in sorted(words)), *others])}"
