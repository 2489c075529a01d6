"""The origin in the replay of an access log: what it answers to a fetch, as far as the log says, and what is assumed.

Invariant: it answers as the log says, with 200 and the whole where that has a part or a 304, since accel sends no
client's condition or range on with a fetch. It sets no cookie, varies on nothing and gives no validator.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Protocol

from accel.caching.freshness import HEURISTIC_STATUSES
from accel.http.message import Fields, Response


class Visit(Protocol):
    """One record of a log."""

    at: float
    client: str
    method: bytes
    host: bytes
    target: bytes
    status: int
    body_bytes: int
    outcome: str
    """hit, stale, miss …, if the log says."""
    referer: bytes
    user_agent: bytes


@dataclass(frozen=True, slots=True)
class Assumed:
    """What is supposed where the log is silent."""

    host: bytes = b""
    """Of records without one."""
    origin_ttl_s: float | None = None
    """The max-age that the origin gives to what may be kept without one; None: it gives none."""
    media_type: bytes = b"text/html"
    """Where the path has no extension that says."""
    memory_bytes: float = inf
    """What the store holds."""


_PARTS = frozenset({206, 304, 416})
"""Statuses that answer a client's condition or range."""


class AssumedOrigin:
    """An origin that answers as the log says."""

    def __init__(self, assumed: Assumed) -> None:
        self._assumed = assumed
        self._heads: dict[tuple[bytes, bool], Fields] = {}

    def answer(self, visit: Visit, known_bytes: int | None) -> Response:
        """Return the head that a fetch is answered with; `known_bytes`: of the last whole answer, if there was one."""
        is_part = visit.status in _PARTS
        status = 200 if is_part else visit.status
        is_whole = visit.method == b"GET" and not is_part
        body_bytes = visit.body_bytes if is_whole or known_bytes is None else known_bytes
        is_lasting = self._assumed.origin_ttl_s is not None and status in HEURISTIC_STATUSES
        head = _media_type(visit.target, self._assumed.media_type), is_lasting
        fields = self._heads.get(head)
        if fields is None:
            fields = self._heads[head] = self._fields(*head)
        return Response(status, fields=fields, body_length=body_bytes)

    def _fields(self, media_type: bytes, is_lasting: bool) -> Fields:
        fields = Fields([(b"content-type", media_type)])
        if is_lasting:
            fields.add(b"cache-control", b"max-age=%d" % (self._assumed.origin_ttl_s or 0))
        return fields


def _media_type(target: bytes, otherwise: bytes) -> bytes:
    """Return the media type that a target's extension stands for."""
    name = target.partition(b"?")[0].rpartition(b"/")[2]
    return _TYPES.get(name.rpartition(b".")[2].lower(), otherwise) if b"." in name else otherwise


_TYPES = {
    b"avif": b"image/avif",
    b"bmp": b"image/bmp",
    b"css": b"text/css",
    b"csv": b"text/csv",
    b"gif": b"image/gif",
    b"gz": b"application/gzip",
    b"htm": b"text/html",
    b"html": b"text/html",
    b"ico": b"image/x-icon",
    b"jpeg": b"image/jpeg",
    b"jpg": b"image/jpeg",
    b"js": b"text/javascript",
    b"json": b"application/json",
    b"map": b"application/json",
    b"mjs": b"text/javascript",
    b"mp3": b"audio/mpeg",
    b"mp4": b"video/mp4",
    b"ogg": b"audio/ogg",
    b"pdf": b"application/pdf",
    b"png": b"image/png",
    b"rss": b"application/rss+xml",
    b"svg": b"image/svg+xml",
    b"ts": b"video/mp2t",
    b"ttf": b"font/ttf",
    b"txt": b"text/plain",
    b"wasm": b"application/wasm",
    b"webm": b"video/webm",
    b"webmanifest": b"application/manifest+json",
    b"webp": b"image/webp",
    b"woff": b"font/woff",
    b"woff2": b"font/woff2",
    b"xml": b"application/xml",
    b"zip": b"application/zip",
}
