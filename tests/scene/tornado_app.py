"""The Tornado origin of the scenes: a WebSocket echo, a streamed page, one that may be stored, and a small API.

Run as `python tornado_app.py PORT`.
"""

from __future__ import annotations

import asyncio
import itertools
import sys

from tornado import web, websocket


class Echo(websocket.WebSocketHandler):
    """Sends back what it gets."""

    def on_message(self, message: str | bytes) -> None:
        self.write_message(message, binary=isinstance(message, bytes))


class Cached(web.RequestHandler):
    """A page with an entity tag of Tornado's making."""

    def get(self) -> None:
        self.set_header("Cache-Control", "max-age=60")
        self.write("cached for a minute")


class Kept(web.RequestHandler):
    """A page that is fresh for a second, and may be served for longer while this process is down."""

    def get(self) -> None:
        self.set_header("Cache-Control", "max-age=1, stale-if-error=60")
        self.write("kept")


class Revalidated(web.RequestHandler):
    """A page that must be validated each time; Tornado answers 304 to its entity tag."""

    def get(self) -> None:
        self.set_header("Cache-Control", "no-cache")
        self.write("the same each time")


class Prices(web.RequestHandler):
    """An answer of an API that says nothing of caching, in one of two formats; X-Served counts its turns."""

    turns = itertools.count()

    def get(self) -> None:
        self.set_header("X-Served", str(next(self.turns)))
        self.set_header("Surrogate-Key", "prices")
        if self.request.headers.get("Accept") == "text/csv":
            self.set_header("Content-Type", "text/csv")
            self.write("hat,17")
        else:
            self.write({"hat": 17, "who": self.request.headers.get("Authorization", "")})


class Stream(web.RequestHandler):
    """A chunked page."""

    async def get(self) -> None:
        self.set_header("Cache-Control", "no-store")
        for number in range(100):
            self.write(f"piece {number:03}\n")
            await self.flush()


async def main(port: int) -> None:
    """Serve for ever."""
    pages = {"/echo": Echo, "/cached": Cached, "/kept": Kept, "/revalidated": Revalidated, "/stream": Stream}
    pages["/v1/prices"] = Prices
    web.Application(list(pages.items())).listen(port, "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
