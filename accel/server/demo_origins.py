"""The demo's origins: one process, a few pages, each saying which port made it and when.

`demo` runs it as a program. Its arguments are the numbers of the listening sockets that it inherits; it ends
when its standard input does. It knows enough of HTTP/1.1 for accel and curl, and no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial

SLOW_S = 2.0
STREAM_PIECES = 5
HEAD_S = 60.0
"""An idle connection is kept this long: longer than accel's own --origin-idle-timeout."""


@dataclass(frozen=True, slots=True)
class Page:
    """One thing that the origins serve."""

    fields: str
    """Field lines of its own, without the last line's end."""
    body: Callable[[int], str]
    """Makes its text from the port that serves it."""
    meaning: str = ""
    """What it shows."""


def _stamp(port: int) -> str:
    return f"origin {port} made this at {time.strftime('%H:%M:%S')}.{time.time_ns() % 10**9:09}\n"


def _index(port: int) -> str:
    rows = "".join(f'<li><a href="{path}">{path}</a> {page.meaning}' for path, page in PAGES.items())
    return f"""\
<!doctype html><meta charset="utf-8"><title>accel demo</title>
<style>body {{ font: 16px system-ui; max-width: 40em; margin: 3em auto }} li {{ margin: .4em }}</style>
<h1>accel demo</h1><img src="/image.svg" alt="the origin that drew this"><p>{_stamp(port)}
<p>Reload this page and another origin makes it; reload a cached one and none is asked.
<ul>{rows}</ul>
"""


def _image(port: int) -> str:
    hue = port * 47 % 360
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" width="240" height="80" font-family="sans-serif" font-size="24">
<rect width="240" height="80" rx="12" fill="hsl({hue} 60% 45%)"/>
<text x="120" y="48" fill="#fff" text-anchor="middle">origin {port}</text></svg>
"""


TEXT = "Content-Type: text/plain; charset=utf-8\r\n"
PAGES = {
    "/": Page("Content-Type: text/html; charset=utf-8\r\nCache-Control: no-store", _index, "made anew each time"),
    "/cached": Page(TEXT + "Cache-Control: max-age=60", _stamp, "fresh for a minute"),
    "/uncached": Page(TEXT + "Cache-Control: no-store", _stamp, "never stored"),
    "/slow": Page(
        TEXT + "Cache-Control: max-age=10, stale-while-revalidate=30",
        _stamp,
        "takes two seconds, but only once: after ten it is refreshed behind your back",
    ),
    "/stream": Page(TEXT + "Cache-Control: no-store", _stamp, "five lines, one a second, as they are made"),
    "/vary": Page(
        TEXT + "Cache-Control: max-age=60\r\nVary: Accept-Encoding",
        _stamp,
        "stored once with gzip and once without",
    ),
    "/image.svg": Page("Content-Type: image/svg+xml\r\nCache-Control: max-age=300", _image, "fresh for five minutes"),
}
MISSING = Page(TEXT + "Cache-Control: no-store", lambda port: "nothing here; / lists what there is\n")


async def _talk(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer requests without bodies until the peer goes."""
    with contextlib.suppress(asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError, TimeoutError):
        while True:
            async with asyncio.timeout(HEAD_S):
                head = await reader.readuntil(b"\r\n\r\n")
            method, target, _ = head.decode("latin-1").split(" ", 2)
            async for piece in _response(port, method, target.partition("?")[0], head.lower()):
                writer.write(piece)
                await writer.drain()
            if method not in ("GET", "HEAD"):
                break
    writer.close()


async def _response(port: int, method: str, path: str, head: bytes) -> AsyncIterator[bytes]:
    """Yield the bytes of one response."""
    page = PAGES.get(path, MISSING)
    status = "200 OK" if path in PAGES else "404 Not Found"
    begin = f"HTTP/1.1 {status}\r\n{page.fields}\r\nX-Origin: {port}\r\nDate: {_date()}\r\n".encode()
    if path == "/slow":
        await asyncio.sleep(SLOW_S)
    if path == "/stream":
        async for piece in _pieces(port, begin, method):
            yield piece
        return
    body = page.body(port).encode()
    if path == "/vary" and b"gzip" in head:
        begin, body = begin + b"Content-Encoding: gzip\r\n", gzip.compress(body)
    begin += b"Content-Length: %d\r\n\r\n" % len(body)
    yield begin if method == "HEAD" else begin + body


async def _pieces(port: int, begin: bytes, method: str) -> AsyncIterator[bytes]:
    """Yield a chunked response, one line a second."""
    yield begin + b"Transfer-Encoding: chunked\r\n\r\n"
    if method == "HEAD":
        return
    for number in range(STREAM_PIECES):
        if number:
            await asyncio.sleep(1)
        line = _stamp(port).encode()
        yield b"%x\r\n%b\r\n" % (len(line), line)
    yield b"0\r\n\r\n"


def _date() -> str:
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())


async def _serve(numbers: list[str]) -> None:
    """Serve every passed socket until standard input ends: then nobody is left to finish anything for."""
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), os._exit, 0)
    for number in numbers:
        sock = socket.socket(fileno=int(number))
        await asyncio.start_server(partial(_talk, sock.getsockname()[1]), sock=sock)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1:]))
