"""Where statements end: turns line ends and `;` into one `_END` token where a statement may end, and drops the rest.

Runs between lark's lexer and its parser (a `postlex`). A statement goes on after a comma, an opening bracket, an
operator, `and`, `or`, `not`, `->`, and anywhere inside parentheses or a set. It looks back and never ahead: the
contextual lexer reads the next token by what the parser has taken so far.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lark import Token

END = "_END"
_GOES_ON_AFTER = frozenset({END, "COMMA", "LBRACE", "LPAR", "EQUAL", "AND", "OR", "NOT", "OPERATOR", "ARROW"})


class StatementEnds:
    """Serves as lark's postlex."""

    always_accept = (END,)

    def process(self, stream: Iterable[Token]) -> Iterator[Token]:
        """Yield the tokens that the grammar sees."""
        are_sets: list[bool] = []
        last = END
        for token in stream:
            if token.type == END:
                if (are_sets and are_sets[-1]) or last in _GOES_ON_AFTER:
                    continue
            elif token.type in ("LBRACE", "LPAR"):
                are_sets.append(token.type == "LPAR" or last == "OPERATOR")
            elif token.type in ("RBRACE", "RPAR") and are_sets:
                are_sets.pop()
            last = token.type
            yield token
