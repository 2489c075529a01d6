"""An origin whose every body follows from its URL and Accept-Language, so that any client can check every byte.

    python tests/scene/checked_origin.py PORT [FRESH_S ...]

`/item/N` has 100 B to 4 MiB, most of it little; every second has a strong ETag, every third varies by Accept-Language,
every fifth comes in chunks, all may be stored for a while. `/stored/MS/NAME` answers after so many ms and may be
stored, `/own/MS/NAME` may not; either closes instead of answering if NAME has `failing` in it. `/asked` says how many
items were asked for, `/arrivals/…` when each request for such a page came.
"""

from __future__ import annotations

import asyncio
import functools
import json
import random
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar
from urllib.request import urlopen

import httptools
import uvloop
from children import Child, answers, eventually, free_ports

PART_BYTES, PARTS_AT_ONCE, PAUSE_S = 50_000, 4, 0.004
"""How a body comes: the longest ones take 80 ms."""
NO_STORE = "Cache-Control: no-store"
LANGUAGES = ("de", "en", "fr")
FRESH_S = (3, 30, 300)
"""How long items may be stored, by their number, unless the command says otherwise."""
SIZES = ((70, 100, 4_000), (25, 4_000, 100_000), (5, 100_000, 4 << 20))
"""Weight, least and most bytes."""
PATTERN = random.Random(4).randbytes(5 << 20)


def varies(item: int) -> bool:
    """Whether the answer depends on Accept-Language."""
    return item % 3 == 0


def is_tagged(item: int) -> bool:
    """Whether the answer has a strong entity tag."""
    return item % 2 == 0


@functools.cache
def size_of(item: int) -> int:
    """Return an item's length in bytes."""
    chance = random.Random(item)
    [(_, least, most)] = chance.choices(SIZES, [weight for weight, _, _ in SIZES])
    return int(least * (most / least) ** chance.random())


def body_of(item: int, language: str) -> bytes:
    """Return the only right body."""
    stamp = b"item %d in %s\n" % (item, language.encode() if varies(item) else b"any")
    start = item * 7919 % 500_000
    return stamp + PATTERN[start : start + size_of(item)]


class Talk(asyncio.Protocol):
    """One connection from accel."""

    asked = 0
    arrivals: ClassVar[defaultdict[bytes, list[float]]] = defaultdict(list)
    fresh_s: Sequence[int] = FRESH_S

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)
        self._language, self._target = "", b""

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._target = url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"accept-language":
            self._language = value.decode()

    def on_message_complete(self) -> None:
        _, kind, rest = self._target.split(b"/", 2) if self._target.count(b"/") > 1 else (b"", self._target[1:], b"")
        match kind:
            case b"asked":
                self._answer(b"%d" % Talk.asked, NO_STORE, False)
            case b"arrivals":
                self._answer(json.dumps(Talk.arrivals[rest]).encode(), NO_STORE, False)
            case b"item":
                self._give_item(int(rest))
            case b"stored" | b"own":
                Talk.arrivals[self._target[1:]].append(time.monotonic())
                delay_s = int(rest.partition(b"/")[0]) / 1000
                asyncio.get_running_loop().call_later(delay_s, self._give_timed, kind, rest)
            case _:
                self._answer(b"warm", NO_STORE, False)

    def _give_item(self, item: int) -> None:
        Talk.asked += 1
        lines = f"Cache-Control: max-age={Talk.fresh_s[item % len(Talk.fresh_s)]}"
        lines += "\r\nVary: Accept-Language" if varies(item) else ""
        lines += f'\r\nETag: "{item}-{self._language if varies(item) else "any"}"' if is_tagged(item) else ""
        self._answer(body_of(item, self._language), lines, item % 5 == 0)

    def _give_timed(self, kind: bytes, rest: bytes) -> None:
        if b"failing" in rest:
            self._transport.abort()  # type: ignore[attr-defined]
        else:
            self._answer(rest, "Cache-Control: max-age=60" if kind == b"stored" else NO_STORE, False)

    def _answer(self, body: bytes, lines: str, is_chunked: bool) -> None:
        framing = "Transfer-Encoding: chunked" if is_chunked else f"Content-Length: {len(body)}"
        parts = [body[at : at + PART_BYTES] for at in range(0, len(body), PART_BYTES)]
        if is_chunked:
            parts = [b"%x\r\n%b\r\n" % (len(part), part) for part in parts] + [b"0\r\n\r\n"]
        self._send([f"HTTP/1.1 200 OK\r\n{lines}\r\n{framing}\r\n\r\n".encode(), *parts])

    def _send(self, parts: list[bytes]) -> None:
        """Send a few parts, and the rest a little later: so a long body is under way for a while."""
        self._transport.write(b"".join(parts[:PARTS_AT_ONCE]))  # type: ignore[attr-defined]
        if parts[PARTS_AT_ONCE:] and not self._transport.is_closing():
            asyncio.get_running_loop().call_later(PAUSE_S, self._send, parts[PARTS_AT_ONCE:])


class CheckedOrigin:
    """The origin as a process."""

    def __init__(self, directory: Path, fresh_s: Sequence[int] = FRESH_S) -> None:
        [self.port] = free_ports(1)
        command = [sys.executable, __file__, str(self.port), *map(str, fresh_s)]
        self.child = Child(command, directory / "checked-origin.log")
        eventually("the checked origin", lambda: answers(self.port))

    @property
    def backend(self) -> str:
        """The address for `--backend`."""
        return f"127.0.0.1:{self.port}"

    @property
    def asked(self) -> int:
        """How many items it was asked for."""
        with urlopen(f"http://{self.backend}/asked") as answer:
            return int(answer.read())

    def arrivals(self, target: str) -> list[float]:
        """Return when (monotonic) each request for a timed page came."""
        with urlopen(f"http://{self.backend}/arrivals{target}") as answer:
            return list(json.loads(answer.read()))

    def end(self) -> None:
        """End it."""
        self.child.end()


async def serve(port: int) -> None:
    """Serve for ever."""
    server = await asyncio.get_running_loop().create_server(Talk, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    Talk.fresh_s = [int(text) for text in sys.argv[2:]] or FRESH_S
    uvloop.run(serve(int(sys.argv[1])))
