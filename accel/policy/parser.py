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
from accel.policy.hints import BEGINNING, NO_BRACE, hint_for
from accel.policy.lines import DEEPEST, END, StatementEnds, TooDeep
from accel.policy.nodes import Place
from accel.policy.problems import PolicyError, Problem, did_you_mean
from accel.policy.vocabulary import STATEMENTS

_MOST_PROBLEMS = 20
"""Syntax errors shown of one file: what follows so many says nothing new."""
MOST_BYTES = 4 * 1024 * 1024
"""A larger file is a mistake: somebody's log, somebody's list."""
_LINE_TOO_EARLY = "the line ends too early"
_ENDS_TOO_EARLY = "the file ends too early"
_PAIRED = re.compile(r'"(?:[^"\\\n]|\\.)*"|#[^\n]*')
_BRACE = re.compile(r"[{}]")
_WORD_AT_END = re.compile(r"[A-Za-z][A-Za-z-]*$")
_QUOTED = re.compile(r'"(?:[^"\\\n]|\\.)*"?|#[^\n]*')


def parse(text: str, file: str) -> Policy:
    """Return a policy file's nodes; `file` is its name in messages. Raises PolicyError."""
    lines = tuple(line.rstrip("\r") for line in text.split("\n"))
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
        except TooDeep as error:
            place = Place(file, error.token.line or 1, error.token.column or 1, len(error.token))
            hint = "give parts of it names: def NAME = …"
            problems.append(Problem(place, f"this stands over {DEEPEST} brackets deep", hint))
            return None
        except UnexpectedInput as error:
            problem = _problem(error, text, file)
        if problem.place.line in seen:
            return None
        seen.add(problem.place.line)
        problems.append(problem)
        if problem.what == _ENDS_TOO_EARLY:
            return None
        text = _with_brace_moved(text, problem) or _without_line(text, problem)
    return None


@lru_cache(maxsize=1)
def _grammar() -> Lark:
    grammar = files(__package__).joinpath("grammar.lark").read_text()
    return Lark(grammar, parser="lalr", lexer="contextual", postlex=StatementEnds(), maybe_placeholders=False,
                propagate_positions=True)  # fmt: skip


def _problem(error: UnexpectedInput, text: str, file: str) -> Problem:
    line, column = max(1, error.line), max(1, error.column)
    if isinstance(error, UnexpectedToken) and error.token.type == "$END":
        return _early_end(text, file)
    if _has_odd_quotes(text, line):
        hint = r"a text stands between two, in one line; a quote inside is written \""
        return Problem(Place(file, line, column), "the quotes in this line do not pair up", hint)
    before = text.split("\n")[line - 1][: column - 1]
    if isinstance(error, UnexpectedToken) and (word := _torn_word(before, str(error.token))):
        place = Place(file, line, column - len(word) + len(error.token), len(word))
        return Problem(place, f"{word!r} does not fit here", did_you_mean(word, STATEMENTS))
    if isinstance(error, UnexpectedToken):
        expected, found = set(error.accepts or error.expected), str(error.token)
        what = _LINE_TOO_EARLY if error.token.type == END else f"{found!r} does not fit here"
        return Problem(Place(file, line, column, len(error.token)), what, hint_for(found, expected, before))
    assert isinstance(error, UnexpectedCharacters)
    at = error.pos_in_stream or 0
    hint = hint_for(text[at : at + 1], set(error.allowed), before)
    return Problem(Place(file, line, column), f"{text[at : at + 1]!r} does not fit here", hint)


def _torn_word(before: str, found: str) -> str:
    """Return the whole of a word whose beginning is a word of the language, as `pass` is of `passs`; else nothing."""
    begun = _WORD_AT_END.search(before)
    return begun[0] + found if begun is not None and found[:1].isalnum() else ""


def _early_end(text: str, file: str) -> Problem:
    """Return what is missing at the end: the `}` of the innermost block that is still open, or the file's beginning."""
    lines, opened = text.split("\n"), list[int]()
    for number, line in enumerate(lines, 1):
        for brace in _BRACE.findall(_QUOTED.sub("", line)):
            if brace == "{":
                opened.append(number)
            elif opened:
                opened.pop()
    hint = f"the `{{` in line {opened[-1]} has no `}}`" if opened else BEGINNING
    return Problem(Place(file, max(1, text.rstrip().count("\n") + 1), 1), _ENDS_TOO_EARLY, hint)


def _has_odd_quotes(text: str, number: int) -> bool:
    lines = text.split("\n")
    return number <= len(lines) and '"' in _PAIRED.sub("", lines[number - 1])


def _with_brace_moved(text: str, problem: Problem) -> str:
    """Return the text with the next line's `{` in the line that lacks it; empty if that is not what is wrong."""
    lines, number = text.split("\n"), problem.place.line
    if problem.what != _LINE_TOO_EARLY or number >= len(lines) or not lines[number].lstrip().startswith("{"):
        return ""
    lines[number - 1] += " {"
    lines[number] = lines[number].replace("{", " ", 1)
    return "\n".join(lines)


def _without_line(text: str, problem: Problem) -> str:
    """Return the text with one line blanked but for its braces, so that the others keep their places and depth."""
    lines, number = text.split("\n"), problem.place.line
    line = _QUOTED.sub("", lines[number - 1]) if number <= len(lines) else ""
    opened, closed = line.count("{"), line.count("}")
    opened += problem.hint == NO_BRACE and opened < closed
    if number <= len(lines):
        lines[number - 1] = "when method exists {" * max(0, opened - closed) + "}" * max(0, closed - opened)
    return "\n".join(lines)
