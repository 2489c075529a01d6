"""What an operator may write: durations, sizes, counts, names. Each parser turns text into one value.

Knows no option and no source. A parser raises ValueError whose message says what would do; whoever called
knows the option and adds its name. Each kind also writes its value back as text, for help and `--check`.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from accel.config import MOST_WORKERS

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|)", re.ASCII)
_SIZE = re.compile(r"(\d+)([kmgt]?)(?:i?b)?", re.ASCII | re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,47}")

_SECONDS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_TRUTHS = dict.fromkeys(("true", "yes", "on", "1"), True) | dict.fromkeys(("false", "no", "off", "0"), False)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}

LONGEST_S = 366 * 86400.0


@dataclass(frozen=True, slots=True)
class Kind:
    """How one sort of value is named in help, read, and written back."""

    metavar: str
    parse: Callable[[str], Any]
    show: Callable[[Any], str] = str


def duration(text: str) -> float:
    """Return the seconds of `500ms`, `10s`, `2m` or a bare number of seconds."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("write a time such as 500ms, 10s or 2m")
    seconds = float(match[1]) * _SECONDS[match[2]]
    if seconds > LONGEST_S:
        raise ValueError("the longest time is 366d")
    return seconds


def positive_duration(text: str) -> float:
    """Return a duration above zero."""
    seconds = duration(text)
    if seconds <= 0:
        raise ValueError("write a time above zero, such as 500ms, 10s or 2m")
    return seconds


def show_duration(seconds: float) -> str:
    """Return the shortest exact text of a duration."""
    if seconds and seconds < 1:
        return f"{seconds * 1000:g}ms"
    for unit in ("d", "h", "m"):
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{seconds / _SECONDS[unit]:g}{unit}"
    return f"{seconds:g}s"


def size(text: str) -> int:
    """Return the bytes of `8k`, `256m`, `2G` (powers of 1024) or a bare number of bytes."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError("write a size such as 4096, 64k, 256m or 2g")
    return int(match[1]) << 10 * _POWERS[match[2].lower()]


def show_size(count: int) -> str:
    """Return the shortest exact text of a size."""
    for unit in ("t", "g", "m", "k"):
        scale = 1 << 10 * _POWERS[unit]
        if count and count % scale == 0:
            return f"{count // scale}{unit}"
    return str(count)


def at_least(least: int, parse: Callable[[str], int], show: Callable[[int], str] = str) -> Callable[[str], int]:
    """Return `parse` with a lower bound."""

    def bounded(text: str) -> int:
        number = parse(text)
        if number < least:
            unit = f"; {text} without a unit is bytes" if show is show_size and text.isdigit() else ""
            raise ValueError(f"the least is {show(least)}{unit}")
        return number

    return bounded


def zero_or(parse: Callable[[str], int]) -> Callable[[str], int]:
    """Return `parse` that takes 0, too."""
    return lambda text: 0 if text == "0" else parse(text)


def whole_number(text: str) -> int:
    """Return a number of 0 or more."""
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise ValueError("write a whole number")
    return int(text)


def share(text: str) -> float:
    """Return a fraction from `0.2` or `20%`."""
    number = text.removesuffix("%")
    try:
        fraction = float(number) / (100 if number != text else 1)
    except ValueError:
        fraction = -1.0
    if not 0 <= fraction <= 1:
        raise ValueError("write a share between 0 and 1, such as 0.2 or 20%")
    return fraction


def truth(text: str) -> bool:
    """Return what `true`, `yes`, `on`, `1` and their opposites mean."""
    if text.lower() not in _TRUTHS:
        raise ValueError("write true or false")
    return _TRUTHS[text.lower()]


def worker_count(text: str) -> int:
    """Return a number of processes; `auto` is one for each core this process may use, as far as there are rows."""
    if text == "auto":
        return min(len(os.sched_getaffinity(0)), MOST_WORKERS)
    count = whole_number(text) if text.isdigit() else 0
    if not 1 <= count <= MOST_WORKERS:
        raise ValueError(f"write a number from 1 to {MOST_WORKERS}, or auto for one a core")
    return count


def instance_name(text: str) -> str:
    """Return a name that is safe in a file name and a process title."""
    if not _NAME.fullmatch(text):
        raise ValueError("use at most 48 letters, digits, '.', '_' and '-', such as shop-1")
    return text


def file_path(text: str) -> str:
    """Return a path; it may not be empty."""
    if not text or "\0" in text:
        raise ValueError("write the path of a file")
    return text


def user_name(text: str) -> str:
    """Return the name or number of a user that this machine knows."""
    try:
        return text if text.isdigit() else pwd.getpwnam(text).pw_name
    except KeyError:
        raise ValueError("there is no such user on this machine; 'getent passwd' lists them") from None


def group_name(text: str) -> str:
    """Return the name or number of a group that this machine knows."""
    try:
        return text if text.isdigit() else grp.getgrnam(text).gr_name
    except KeyError:
        raise ValueError("there is no such group on this machine; 'getent group' lists them") from None


def probe_path(text: str) -> str:
    """Return the path that health probes ask for."""
    if not text.startswith("/") or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("write a path that starts with '/', such as /healthz")
    return text


def one_of(choices: type[Enum]) -> Kind:
    """Return the kind whose texts are an enum's values."""
    words = [str(choice.value) for choice in choices]

    def parse(text: str) -> Enum:
        if text not in words:
            raise ValueError(f"write {', '.join(words[:-1])} or {words[-1]}")
        return choices(text)

    return Kind("|".join(words), parse, lambda choice: str(choice.value))


def or_word(word: str, kind: Kind) -> Kind:
    """Return `kind` with one more text, `none` or `auto`, that means None."""

    def parse(text: str) -> Any:
        if text == word:
            return None
        try:
            return kind.parse(text)
        except ValueError as error:
            raise ValueError(f"{error}, or {word}") from None

    return Kind(f"{kind.metavar}|{word}", parse, lambda value: word if value is None else kind.show(value))
