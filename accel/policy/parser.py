"""From a policy's text to its nodes. Owns every message about syntax.

Knows no meaning: whether a name exists, a phase fits or a rule can be reached is `policy.check`'s. Invariant: text
of any kind gives a `Policy` or a `PolicyError` that lists every problem found, and nothing else.
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.resources import files

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from accel.policy.building import Builder
from accel.policy.document import Policy
from accel.policy.lines import END, StatementEnds
from accel.policy.nodes import Place
from accel.policy.problems import PolicyError, Problem, did_you_mean
from accel.policy.vocabulary import Phase

_MOST_PROBLEMS = 20
"""Syntax errors shown of one file: what follows so many says nothing new."""
MOST_BYTES = 4 * 1024 * 1024
"""A larger file is a mistake: somebody's log, somebody's list."""
_TERMINALS = {
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
_ENDS_TOO_EARLY = "the file ends too early"
_QUOTED = re.compile(r'"(?:[^"\\\n]|\\.)*"?|#[^\n]*')


def parse(text: str, file: str) -> Policy:
    """Return a policy file's nodes; `file` is its name in messages. Raises PolicyError."""
    lines = tuple(text.splitlines())
    problems: list[Problem] = []
    builder = Builder(file, lines)
    tree = _parsed(text, file, problems)
    policy = builder.policy(tree) if tree is not None else None
    problems += builder.problems
    if problems or policy is None:
        raise PolicyError(problems, {file: lines})
    return policy


def _parsed(text: str, file: str, problems: list[Problem]) -> Tree[Token] | None:
    """Return the tree of the text without the lines that are wrong; each of them adds a problem."""
    if len(text) > MOST_BYTES:
        problems.append(Problem(Place(file, 1, 1), f"a policy of over {MOST_BYTES >> 20} MiB is none"))
        return None
    seen: set[int] = set()
    for _ in range(_MOST_PROBLEMS):
        try:
            return _grammar().parse(text + "\n")
        except UnexpectedInput as error:
            problem = _problem(error, text, file)
        if problem.place.line in seen:
            return None
        seen.add(problem.place.line)
        problems.append(problem)
        if problem.what == _ENDS_TOO_EARLY:
            return None
        text = _without_line(text, problem.place.line)
    return None


@lru_cache(maxsize=1)
def _grammar() -> Lark:
    grammar = files(__package__).joinpath("grammar.lark").read_text()
    return Lark(grammar, parser="lalr", lexer="contextual", postlex=StatementEnds(), maybe_placeholders=False)


def _problem(error: UnexpectedInput, text: str, file: str) -> Problem:
    line, column = max(1, error.line), max(1, error.column)
    if isinstance(error, UnexpectedToken) and error.token.type == "$END":
        last = text.rstrip().count("\n") + 1
        return Problem(Place(file, last, 1), _ENDS_TOO_EARLY, "a `}` is missing, or the rest of a line")
    if isinstance(error, UnexpectedToken):
        expected = set(error.accepts or error.expected)
        shown = "the line ends too early" if error.token.type == END else f"{str(error.token)!r} does not fit here"
        return Problem(Place(file, line, column, len(error.token)), shown, _expectation(expected, str(error.token)))
    assert isinstance(error, UnexpectedCharacters)
    return _odd_character(error, text, Place(file, line, column))


def _odd_character(error: UnexpectedCharacters, text: str, place: Place) -> Problem:
    character = text[error.pos_in_stream or 0] if (error.pos_in_stream or 0) < len(text) else ""
    if character == '"':
        return Problem(place, "this text has no closing quote", r"write \" for a quote inside, and keep it on one line")
    hints = {"'": 'texts stand in double quotes: "…"', "&": "write `and`", "|": "write `or`", "!": "write `not`"}
    return Problem(
        place, f"{character!r} does not fit here", hints.get(character, _expectation(set(error.allowed), ""))
    )


def _expectation(expected: set[str], found: str) -> str:
    """Return a hint of what would fit: the word that was probably meant, else all that the grammar takes here."""
    words = {terminal.lower().replace("_", "-") for terminal in expected if terminal not in _TERMINALS}
    if "phase" in words:
        words = words - {"phase"} | {phase.value for phase in Phase}
    if found == "=" and "OPERATOR" in expected:
        return "equality is written =="
    near = did_you_mean(found, words) if words else ""
    if near.startswith("did you mean"):
        return near
    others = sorted(_TERMINALS[terminal] for terminal in expected if terminal in _TERMINALS)
    return f"here may stand {', '.join([*sorted(words), *others])}"


def _without_line(text: str, number: int) -> str:
    """Return the text with one line blanked but for its braces, so that the others keep their places and depth."""
    lines = text.split("\n")
    line = _QUOTED.sub("", lines[number - 1]) if number <= len(lines) else ""
    opened, closed = line.count("{"), line.count("}")
    if number <= len(lines):
        lines[number - 1] = "when method exists {" * max(0, opened - closed) + "}" * max(0, closed - opened)
    return "\n".join(lines)
