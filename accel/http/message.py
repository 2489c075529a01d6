"""A request and a response as values: what the parser yields, what the rules read, what the writer writes.

Invariant: field names are lower case, values carry no surrounding space or tab (RFC 9110 §5.5), and nothing in a
message has meaning only to one connection except `connection`, which `http.fields.hop_by_hop` reads before the rest
goes on (RFC 9110 §7.6.1).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

Line = tuple[bytes, bytes]

CHUNKED = -1
"""A body length that means: chunked, length unknown (RFC 9112 §7.1)."""
UNTIL_CLOSE = -2
"""A body length that means: the response ends where the connection does (RFC 9112 §6.3, rule 8)."""


class Fields:
    """Field lines in the order received; names lower case. Look-ups see repeated lines combined (RFC 9110 §5.3)."""

    __slots__ = ("_index", "lines")

    def __init__(self, lines: Iterable[Line] = ()) -> None:
        self.lines: list[Line] = list(lines)
        self._index: dict[bytes, bytes] | None = None

    def get(self, name: bytes) -> bytes | None:
        """Return the combined value of `name` (lower case), or None if the field is absent."""
        index = self._index
        if index is None:
            index = self._index = self._combined()
        return index.get(name)

    def __contains__(self, name: bytes) -> bool:
        return self.get(name) is not None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fields) and self.lines == other.lines

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Fields({self.lines!r})"

    def all(self, name: bytes) -> list[bytes]:
        """Return every line's value of `name`, uncombined (Set-Cookie is a list of lines, not one list)."""
        return [value for n, value in self.lines if n == name]

    def add(self, name: bytes, value: bytes) -> None:
        """Append one line."""
        self.lines.append((name, value))
        self._index = None

    def set(self, name: bytes, value: bytes) -> None:
        """Replace every line of `name` by one."""
        self.remove((name,))
        self.add(name, value)

    def remove(self, names: Iterable[bytes]) -> None:
        """Drop every line whose name is in `names`."""
        drop = frozenset(names)
        self.lines = [line for line in self.lines if line[0] not in drop]
        self._index = None

    def without(self, names: Iterable[bytes]) -> Fields:
        """Return a copy that lacks every line whose name is in `names`."""
        drop = names if isinstance(names, frozenset | set) else frozenset(names)
        return Fields([line for line in self.lines if line[0] not in drop])

    def _combined(self) -> dict[bytes, bytes]:
        index = dict(self.lines)
        if len(index) == len(self.lines):
            return index
        index = {}
        for name, value in self.lines:
            if name not in index:
                index[name] = value
            else:
                index[name] += (b"; " if name == b"cookie" else b", ") + value
        return index


@dataclass(slots=True)
class Request:
    """One request as the proxy understood it."""

    method: bytes
    """Upper case, as sent: `b"GET"`."""
    target: bytes
    """Origin form: path and query, exact bytes; `b"*"` for OPTIONS."""
    authority: bytes = b""
    """What Host said (or an absolute-form target's authority)."""
    host: bytes = b""
    """`authority` in key form: lower case, without default port and trailing dot; what the origin gets as Host."""
    minor: int = 1
    """HTTP/1.minor: 0 or 1."""
    fields: Fields = field(default_factory=Fields)
    """All fields except Host."""
    body_length: int = 0
    """Bytes of the body: 0 none, or `CHUNKED`."""
    keep_alive: bool = True
    """Whether the client wants the connection kept (RFC 9112 §9.3)."""
    upgrade: bytes = b""
    """The protocol an Upgrade asked for, lower case, if Connection named it."""
    key_extra: bytes = b""
    """What tells it from others beside host and target, put together by the rules: see `caching.key`."""


@dataclass(slots=True)
class Response:
    """One response's head; its body travels beside it."""

    status: int
    reason: bytes = b""
    fields: Fields = field(default_factory=Fields)
    minor: int = 1
    body_length: int = 0
    """Bytes of the body, `CHUNKED` or `UNTIL_CLOSE`."""
    keep_alive: bool = False
    """Whether the origin leaves its connection open after this response."""
