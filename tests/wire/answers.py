"""Responses as a strict client reads them: only what is framed whole counts as whole."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

_HEAD = re.compile(rb"HTTP/1\.1 (\d{3}) ([^\r\n]*)\r\n((?:[^\r\n]+\r\n)*)\r\n")
_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+): ([^\r\n]*)\r\n")
_CHUNK = re.compile(rb"([0-9a-f]+)\r\n")


@dataclass
class Answer:
    """One response."""

    status: int
    reason: bytes
    lines: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Names in lower case."""
    body: bytes = b""
    is_whole: bool = True
    """Whether the body ended as its framing announced."""

    def __getitem__(self, name: str) -> str:
        """Return the field's one value; fails unless there is exactly one line of it."""
        (value,) = self.all(name)
        return value

    def __contains__(self, name: str) -> bool:
        return bool(self.all(name))

    def all(self, name: str) -> list[str]:
        """Return the values of a field, line by line."""
        return [value.decode("latin-1") for key, value in self.lines if key == name.lower().encode()]

    @property
    def cache_status(self) -> list[str]:
        """The parameters of our member of Cache-Status, which is the last one."""
        name, *parameters = self.all("cache-status")[-1].split("; ")
        assert name == "accel"
        return parameters


def read_answers(data: bytes, methods: Sequence[bytes], has_ended: bool) -> Iterator[Answer]:
    """Read responses to requests with these methods; `has_ended`: the connection did, cleanly."""
    asked = iter(methods)
    while data:
        answer, data = _read_head(data)
        if answer.status == 100:
            yield answer
            continue
        data = _read_body(answer, data, next(asked, b"GET"), has_ended)
        yield answer
        if answer.status == 101:
            return  # what follows is not HTTP


def _read_head(data: bytes) -> tuple[Answer, bytes]:
    head = _HEAD.match(data)
    assert head is not None, f"no response head: {data[:200]!r}"
    lines = [(name.lower(), value) for name, value in _LINE.findall(head[3])]
    assert len(lines) == head[3].count(b"\r\n")
    return Answer(int(head[1]), head[2], lines), data[head.end() :]


def _read_body(answer: Answer, data: bytes, method: bytes, has_ended: bool) -> bytes:
    """Fill in the body by RFC 9112 §6.3 and return what follows it."""
    if method == b"HEAD" or answer.status in (101, 204, 304):
        return data
    assert not ("content-length" in answer and "transfer-encoding" in answer)
    if "transfer-encoding" in answer:
        assert answer["transfer-encoding"] == "chunked"
        return _read_chunks(answer, data)
    if "content-length" in answer:
        length = int(answer["content-length"])
        answer.body, answer.is_whole = data[:length], len(data) >= length
        return data[length:]
    assert answer["connection"] == "close", "a body without a length that does not end with the connection"
    answer.body, answer.is_whole = data, has_ended
    return b""


def _read_chunks(answer: Answer, data: bytes) -> bytes:
    while (size_line := _CHUNK.match(data)) is not None:
        size, data = int(size_line[1], 16), data[size_line.end() :]
        if not size:
            assert data.startswith(b"\r\n")
            return data[2:]
        answer.body += data[:size]
        if len(data) < size + 2:
            break
        assert data[size : size + 2] == b"\r\n"
        data = data[size + 2 :]
    answer.is_whole = False
    return b""
