"""The application that gunicorn serves in the scenes; every answer says which port and which turn it came from."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Environ = dict[str, Any]
Answer = tuple[str, list[tuple[str, str]], Iterable[bytes]]

_serial = itertools.count(1)


def application(environ: Environ, start_response: Callable[..., object]) -> Iterable[bytes]:
    """Serve one request (PEP 3333)."""
    page = PAGES.get(environ["PATH_INFO"].split("/")[1], missing)
    status, lines, body = page(environ)
    served = f"{os.getpid()}-{next(_serial)}"
    start_response(status, [*lines, ("X-Origin", str(environ["SERVER_PORT"])), ("X-Served", served)])
    return body


def cached(environ: Environ) -> Answer:
    return sized(b"cached for a minute", ("Cache-Control", "max-age=60"))


def uncached(environ: Environ) -> Answer:
    return sized(b"never stored", ("Cache-Control", "no-store"))


def echo(environ: Environ) -> Answer:
    """Answer with the body that came."""
    source = environ["wsgi.input"]
    length = environ.get("CONTENT_LENGTH")
    body = source.read(int(length)) if length else source.read()
    return sized(body, ("Cache-Control", "no-store"), ("X-Method", environ["REQUEST_METHOD"]))


def counted(environ: Environ) -> Answer:
    """Answer with the length of the body that came, however long it was."""
    source, total = environ["wsgi.input"], 0
    while data := source.read(65536):
        total += len(data)
    return sized(str(total).encode(), ("Cache-Control", "no-store"))


def stream(environ: Environ) -> Answer:
    """Answer in pieces of unknown number: chunked in HTTP/1.1."""

    def pieces() -> Iterator[bytes]:
        for number in range(100):
            yield b"piece %03d\n" % number

    return "200 OK", [("Cache-Control", "no-store")], pieces()


def fields(environ: Environ) -> Answer:
    """Answer with the request's fields as the application saw them."""
    seen = sorted(f"{name}: {value}" for name, value in environ.items() if name.startswith("HTTP_"))
    return sized("\n".join(seen).encode(), ("Cache-Control", "no-store"))


def missing(environ: Environ) -> Answer:
    _, lines, body = sized(b"nothing here", ("Cache-Control", "max-age=60"))
    return "404 Not Found", lines, body


def sized(body: bytes, *lines: tuple[str, str]) -> Answer:
    return "200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body))), *lines], [body]


PAGES: dict[str, Callable[[Environ], Answer]] = {
    "cached": cached,
    "uncached": uncached,
    "echo": echo,
    "counted": counted,
    "stream": stream,
    "fields": fields,
}
