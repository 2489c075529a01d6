"""Where statements end: turns line ends and `;` into one `_END` token where a statement may end, and drops the rest.

Runs between lark's lexer and its parser (a `postlex`). A statement goes on after a comma, an opening bracket, an
operator, `and`, `or`, `not`, `->`, and anywhere inside parentheses or a set. It looks back and never ahead: the
contextual lexer reads the next token by what the parser has taken so far. An `else` behind a `}` gets an end before
it, so that it may stand in the same line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lark import Token

END = "_END"
_GOES_ON_AFTER = frozenset({END, "COMMA", "LBRACE", "LPAR", "EQUAL", "AND", "OR", "NOT", "OPERATOR", "ARROW"})


DEEPEST = 32
"""So many brackets may stand within one another, and so many `not` in a row."""


class TooDeep(Exception):
    """Brackets within brackets, beyond what anybody reads."""

    def __init__(self, token: Token) -> None:
        super().__init__(str(token))
        self.token = token


class StatementEnds:
    """Serves as lark's postlex."""

    always_accept = (END, "ELSE")

    def process(self, stream: Iterable[Token]) -> Iterator[Token]:
        """Yield the tokens that the grammar sees."""
        are_sets: list[bool] = []
        last, nots = END, 0
        for token in stream:
            nots = nots + 1 if token.type == "NOT" else 0
            if len(are_sets) > DEEPEST or nots > DEEPEST:
                raise TooDeep(token)
            if token.type == END:
                if (are_sets and are_sets[-1]) or last in _GOES_ON_AFTER:
                    continue
            elif token.type == "ELSE" and last == "RBRACE":
                yield Token.new_borrow_pos(END, ";", token)
            elif token.type in ("LBRACE", "LPAR"):
                are_sets.append(token.type == "LPAR" or last == "OPERATOR")
            elif token.type in ("RBRACE", "RPAR") and are_sets:
                are_sets.pop()
            last = token.type
            yield token
