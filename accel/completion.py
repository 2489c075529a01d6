"""What a shell completes of our two commands, beyond the names of options and commands, which click knows.

Runs in a command that the shell starts at each TAB: it says nothing but words, and whatever fails is no word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from accel.values import Kind

PROGRAMS = ("accel", "accelctl")
SHELLS = ("bash", "zsh", "fish")
_FILES = {"PATH": "file", "FILE": "file", "FILE|DIR": "file", "DIR": "dir"}
Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def of_kind(kind: Kind) -> Completer:
    """Return what completes an option's value: a path, or one of the words that its metavar names."""
    names = kind.metavar.removesuffix("|none")
    if names in _FILES:
        return lambda ctx, param, begun: [CompletionItem(begun, type=_FILES[names])]
    return of_words(lambda ctx: [word for word in kind.metavar.split("|") if word and word.islower()])


def of_words(words: Callable[[click.Context], Iterable[str]]) -> Completer:
    """Return what completes one of these words; they are asked for when they are needed."""

    def complete(ctx: click.Context, param: click.Parameter, begun: str) -> list[CompletionItem]:
        return [CompletionItem(word) for word in words(ctx) if word.startswith(begun)]

    return complete


def script(shell: str, commands: Iterable[Any]) -> str:
    """Return what a shell must read to complete both programs; `commands` are theirs, in the order of PROGRAMS."""
    completion = get_completion_class(shell)
    assert completion is not None
    parts = zip(PROGRAMS, commands, strict=True)
    return "\n".join(completion(command, {}, name, f"_{name.upper()}_COMPLETE").source() for name, command in parts)
