"""What an admin request may come to: a value for JSON, a document, what the server makes itself, or a refusal."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from accel.http.message import Line


class Refused(Exception):
    """An admin request that will not be done, with the status, and fields, that say so."""

    def __init__(self, status: int, why: str, lines: tuple[Line, ...] = ()) -> None:
        super().__init__(why)
        self.status = status
        self.lines = lines


@dataclass(frozen=True, slots=True)
class Document:
    """An answer that is not JSON."""

    content_type: str
    body: bytes
    lines: tuple[Line, ...] = ()
    """Further fields."""


class Own(Enum):
    """An answer that the server makes itself."""

    PAGE = "the status page"
    EVENTS = "a snapshot each second, for as long as somebody reads"


Answer = tuple[int, object]
"""Status and what is said: a value for JSON, a Document, or an Own."""
