"""The canonical form of a policy file: one space between words, two for each block, comments kept where they are.

Works on tokens of its own, not on the grammar's tree, so that nothing is lost. Lines stay lines: where a statement ends
is the writer's choice, how it is set is not. Of neighbours that are alike the middle stands in one column: the braces
of rules in one line, the values of a pool, what a test expects. Invariants, for a text that parses: what comes out
means what went in, and formatting it again changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import groupby, takewhile

_TOKEN = re.compile(
    r'(?P<comment>#[^\n]*)|(?P<end>\r?\n)|(?P<string>"(?:[^"\\\n]|\\.)*")|(?P<mark>->|[=!<>]=|[<>=+,;{}()])'
    r'|(?P<word>@[A-Za-z0-9_.-]+|[A-Za-z0-9_:/.*\[](?:[^\s,;{}()"#<>=!@]|(?<=\.)"[^"\n]*")*)'
)
"""As grammar.lark has them."""
_INDENT = "  "
_MARKS = frozenset({",", "(", "{", "=", "->", "==", "!=", "<=", "<", ">=", ">"})
_COMPARISONS = frozenset({"==", "!=", "<=", "<", ">=", ">", "in", "under", "glob", "matches", "contains"})
_GOES_ON = (_MARKS - {"{"}) | _COMPARISONS | {"and", "or", "not", "+"}
"""Behind these a statement goes on in the next line."""
_OF_VALUES = frozenset({"acl", "list", "split"})
"""What these have in braces are values and no statements."""


_WIDEST = 60
"""A column does not lie farther right: longer lines stay as they are."""


@dataclass(frozen=True, slots=True)
class _Line:
    """One line, and where it may be parted so that its second half stands in a column with its neighbours'."""

    left: str
    right: str = ""
    column: str = ""
    """Lines in a row with the same one are set alike; empty: this one is not."""


class _Bracket(Enum):
    """What a bracket holds."""

    STATEMENTS = "a phase's, a when's, a pool's or a test's block"
    VALUES = "the members of an acl, a list or a split: in braces, or one a line"
    OPERAND = "what something is compared with, or a condition in parentheses"


def formatted(text: str) -> str:
    """Return the canonical form of a text that parses."""
    writer = _Writer()
    for line in _lines(text):
        writer.line(line)
    return writer.text()


def _lines(text: str) -> Iterator[list[str]]:
    """Yield each line's tokens; a comment is the last of its line."""
    line: list[str] = []
    for match in _TOKEN.finditer(text):
        if match.lastgroup == "end":
            yield line
            line = []
        else:
            line.append(match[0].rstrip() if match.lastgroup == "comment" else match[0])
    yield line


class _Writer:
    """Writes line by line, and knows which brackets are open."""

    def __init__(self) -> None:
        self._out: list[_Line] = []
        self._open: list[_Bracket] = []
        self._item = ""
        """The word that the part of the file began with."""
        self._last = ""
        """The last token that is no comment."""
        self._is_gap_due = False
        self._is_block_new = False
        """The line before ended with a bracket that it opened."""

    def text(self) -> str:
        """Return all that was written."""
        groups = groupby(self._out, lambda line: line.column)
        return "".join(f"{line}\n" for column, lines in groups for line in _aligned(column, list(lines)))

    def line(self, tokens: Sequence[str]) -> None:
        """Write one line; of several empty ones one stays, and none at a block's ends."""
        closing = sum(token != ";" for token in takewhile(("}", ")", ";").__contains__, tokens))
        hang, opened = self._hang(tokens), len(self._open)
        indent = _INDENT * (max(0, opened - closing) + hang)
        parts = self._joined(tokens)
        if not parts:
            self._is_gap_due = self._is_gap_due or not tokens
            return
        if self._is_gap_due and self._out and not self._is_block_new and not closing:
            self._out.append(_Line(""))
        is_whole = not hang and opened == len(self._open) and self._last not in _GOES_ON
        column, at = self._column([part.strip() for part in parts]) if is_whole else ("", 0)
        left, right = "".join(parts[:at]), "".join(parts[at:])
        self._out.append(_Line(indent + left, right, f"{column} {indent}") if column else _Line(indent + right))
        self._is_gap_due = False
        self._is_block_new = tokens[-1] in ("{", "(")

    def _hang(self, tokens: Sequence[str]) -> int:
        """Return 1 if the line goes on with a statement of the line before, else 0."""
        is_new = not tokens or tokens[0].startswith("#") or self._bracket in (_Bracket.VALUES, _Bracket.OPERAND)
        return 0 if is_new else int(self._last in _GOES_ON)

    def _column(self, parts: Sequence[str]) -> tuple[str, int]:
        """Return what kind of column a whole line has and which part begins it; none: an empty text."""
        if parts[0] == "when" and parts[-1] != "{":
            at = next((at for at, part in enumerate(parts) if self._is_body(parts, at)), 0)
            return ("rule", at) if at else ("", 0)
        if parts[0] == "def" and not self._open:
            return "definition", parts.index("=")
        if self._open and self._item == "pool" and len(parts) > 1:
            return "setting", 1
        if self._open and self._item == "test" and parts[0] != "origin" and "->" in parts:
            return "expectation", parts.index("->")
        return "", 0

    def _is_body(self, parts: Sequence[str], at: int) -> bool:
        return parts[at] == "{" and parts[at - 1] not in _COMPARISONS

    def _joined(self, tokens: Sequence[str]) -> list[str]:
        """Return the line's tokens, each with the space before it."""
        parts: list[str] = []
        for index, token in enumerate(tokens):
            if token == ";" and self._is_idle(parts, tokens[index + 1 :]):
                continue
            parts.append(self._space(token, is_first=not parts) + token)
            self._take(token)
        if not self._open and self._last not in _GOES_ON:
            self._item = ""
        return parts

    def _is_idle(self, before: Sequence[str], after: Sequence[str]) -> bool:
        """Whether a `;` ends nothing that the line's end or a bracket does not end."""
        following = next((token for token in after if token != ";"), "#")
        is_last = following.startswith("#") or following == "}"
        return is_last or not before or self._last in _MARKS or self._last == ";" or self._bracket is _Bracket.OPERAND

    def _space(self, token: str, *, is_first: bool) -> str:
        if is_first:
            return ""
        if token.startswith("#"):
            return "  "
        if token in (",", ";", ")") or self._last == "(":
            return ""
        is_tight = self._bracket is _Bracket.OPERAND and (token == "}" or self._last == "{")
        return "" if is_tight else " "

    @property
    def _bracket(self) -> _Bracket | None:
        """The innermost bracket that is open."""
        return self._open[-1] if self._open else None

    def _take(self, token: str) -> None:
        """Keep track of what is open."""
        if token.startswith("#"):
            return
        if not self._open and not self._item:
            self._item = token
        if token == "(" or (token == "{" and self._last in _COMPARISONS):
            self._open.append(_Bracket.OPERAND)
        elif token == "{":
            is_values = not self._open and self._item in _OF_VALUES
            self._open.append(_Bracket.VALUES if is_values else _Bracket.STATEMENTS)
        elif token in ("}", ")") and self._open:
            self._open.pop()
        self._last = token


def _aligned(column: str, lines: Sequence[_Line]) -> Iterator[str]:
    """Yield neighbouring lines as texts, their second halves in one column."""
    widths = [len(line.left) for line in lines if len(line.left) <= _WIDEST]
    width = max(widths, default=0) if column else 0
    for line in lines:
        yield line.left + " " * max(0, width - len(line.left)) + line.right
