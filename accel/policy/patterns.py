"""Globs and regular expressions of rules, as google-re2 runs them: in time linear in the text, on bytes as sent.

Owns the one way in which both are built, so that what the checker accepts is what the compiler runs. A glob knows `*`
(any run, slashes too) and `?` (one character) and stands for the whole value; a regular expression is unanchored.
"""

from __future__ import annotations

from typing import Protocol

import re2

_OPTIONS = re2.Options()
_OPTIONS.log_errors = False
_OPTIONS.encoding = re2.Options.Encoding.LATIN1
_OPTIONS.never_capture = True
_OPTIONS.max_mem = 1 << 20
"""Of one expression; a program that needs more is refused when it is built, not when it runs."""
_WILD = {"*": "(?s:.*)", "?": "(?s:.)"}


class Regex(Protocol):
    """A compiled expression."""

    def search(self, text: bytes) -> object | None:
        """Return a match anywhere in `text`, or None."""
        ...


def regex(text: str) -> Regex:
    """Return a regular expression to search bytes with. Raises ValueError that says what is wrong."""
    try:
        compiled: Regex = re2.compile(text.encode(), options=_OPTIONS)
        return compiled
    except re2.error as error:
        said = error.args[0] if error.args else b""
        raise ValueError(said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)) from None


def glob_regex(pattern: str) -> str:
    """Return the regular expression of one glob, anchored at both ends."""
    return r"\A" + "".join(_WILD.get(character) or re2.escape(character) for character in pattern) + r"\z"


def is_glob(pattern: str) -> bool:
    """Whether a pattern has wildcards at all."""
    return "*" in pattern or "?" in pattern
