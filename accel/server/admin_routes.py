"""What an operator may ask of the arbiter: the `Control` that answers, and the table of routes onto it.

Knows JSON values, no socket and no HTTP but statuses. All about workers and memory comes through `Control`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from accel.config import Limits
from accel.errors import RequestError
from accel.http.message import Line, Request
from accel.http.request_parser import RequestParser

Facts = dict[str, object]

MOST_URLS = 1000
"""URLs in one purge."""
LIMITS = Limits(body_bytes=4 * 1024 * 1024)


class Control(Protocol):
    """What the arbiter lets an operator see and do."""

    def facts(self) -> Facts:
        """Return name, version, pid, since, listeners, configuration generation, and upgrade.

        That has phase, other_pid and failure (`server.upgrade`).
        """
        ...

    def counters(self) -> dict[str, int]:
        """Return every counter of `stats.counters`, summed over the workers."""
        ...

    def workers(self) -> list[Facts]:
        """Return number, pid, state, age_s, connections, requests, heartbeat_age_s, restarts of each.

        State is starting, accepting or leaving.
        """
        ...

    def backends(self) -> list[Facts]:
        """Return address, weight, state (up, down, draining), in_flight, requests, failures, why, ramp."""
        ...

    async def purge(self, host: bytes, target: bytes) -> Facts:
        """Drop a URL in every worker; return url, dropped, workers, answered, ms."""
        ...

    def set_drain(self, backend: str, draining: bool) -> bool:
        """Take a backend out of rotation or give it back; False if there is no such backend."""
        ...

    def reload(self) -> Facts:
        """Read the configuration again; return ok, and error where it was refused."""
        ...

    def upgrade(self) -> Facts:
        """Start a successor on the same sockets and store; return ok and its pid, or error."""
        ...

    def retire_old(self) -> Facts:
        """End the program that this one replaced, gracefully; return ok and its pid, or error."""
        ...

    def store(self) -> Facts:
        """Return the store's kind and, of a shared one, segments by state, bytes, pins, records."""
        ...

    async def check_store(self) -> Facts:
        """Walk the whole shared store and return what was counted and what is wrong with it (faults)."""
        ...


class Refused(Exception):
    """An admin request that will not be done, with the status, and fields, that say so."""

    def __init__(self, status: int, why: str, lines: tuple[Line, ...] = ()) -> None:
        super().__init__(why)
        self.status = status
        self.lines = lines


Answer = tuple[int, object]
Handler = Callable[[Control, Any], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Route:
    """One thing that can be asked for."""

    method: bytes
    path: bytes
    meaning: str
    handler: Handler


async def _index(control: Control, body: Any) -> Answer:
    return 200, {f"{route.method.decode()} {route.path.decode()}": route.meaning for route in ROUTES}


async def _facts(control: Control, body: Any) -> Answer:
    return 200, control.facts()


async def _stat(control: Control, body: Any) -> Answer:
    return 200, control.counters()


async def _workers(control: Control, body: Any) -> Answer:
    return 200, control.workers()


async def _backends(control: Control, body: Any) -> Answer:
    return 200, control.backends()


async def _alive(control: Control, body: Any) -> Answer:
    if not any(worker["state"] == "accepting" for worker in control.workers()):
        raise Refused(503, "no worker accepts connections")
    return 200, {"ok": True}


async def _ready(control: Control, body: Any) -> Answer:
    if not any(backend["state"] == "up" for backend in control.backends()):
        raise Refused(503, "no backend is up")
    return await _alive(control, body)


async def _purge(control: Control, body: Any) -> Answer:
    urls = body.get("urls")
    if not isinstance(urls, list) or not urls or not all(isinstance(url, str) for url in urls):
        raise Refused(400, 'write {"urls": ["http://host/path"]}')
    if len(urls) > MOST_URLS:
        raise Refused(413, f"at most {MOST_URLS} URLs at once")
    places = [_place(url) for url in urls]
    return 200, {"receipts": [await control.purge(host, target) for host, target in places]}


def _place(url: str) -> tuple[bytes, bytes]:
    """Return a URL's host in key form and its target, read exactly as a request for it would be."""
    url = url.partition("#")[0]
    if not url.lower().startswith(("http://", "https://")):
        path = url if url.startswith("/") else "/path"
        raise Refused(400, f"write the whole URL, such as http://host{path}")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise Refused(400, f"not a URL as it is sent: {url!a}; percent-encode what is not ASCII")
    reader = _TargetReader()
    try:
        RequestParser(reader, LIMITS).feed(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % url.encode())
    except RequestError as error:
        raise Refused(400, f"{url}: {error.why}") from None
    return reader.host, reader.target


class _TargetReader:
    """Keeps what the strict parser understood of a URL (`RequestSink`)."""

    host = target = b""

    def request_begun(self, request: Request) -> None:
        self.host, self.target = request.host, request.target

    def body_received(self, data: bytes) -> None:
        pass

    def request_ended(self) -> None:
        pass


async def _drain(control: Control, body: Any) -> Answer:
    return _set_drain(control, body, True)


async def _undrain(control: Control, body: Any) -> Answer:
    return _set_drain(control, body, False)


def _set_drain(control: Control, body: Any, draining: bool) -> Answer:
    backend = body.get("backend")
    if not isinstance(backend, str):
        raise Refused(400, 'write {"backend": "127.0.0.1:8001"}')
    if not control.set_drain(backend, draining):
        known = ", ".join(str(row["address"]) for row in control.backends())
        raise Refused(404, f"there is no backend {backend}; there is {known}")
    return 200, {"ok": True, "backend": backend, "draining": draining}


async def _reload(control: Control, body: Any) -> Answer:
    outcome = control.reload()
    return (200 if outcome.get("ok") else 422), outcome


async def _upgrade(control: Control, body: Any) -> Answer:
    outcome = control.upgrade()
    return (202 if outcome.get("ok") else 409), outcome


async def _retire_old(control: Control, body: Any) -> Answer:
    outcome = control.retire_old()
    return (202 if outcome.get("ok") else 409), outcome


async def _store(control: Control, body: Any) -> Answer:
    return 200, control.store()


async def _check_store(control: Control, body: Any) -> Answer:
    return 200, await control.check_store()


ROUTES = (
    Route(b"GET", b"/", "this list", _index),
    Route(b"GET", b"/healthz", "200 while a worker accepts connections, else 503", _alive),
    Route(b"GET", b"/readyz", "200 while a backend is up, too", _ready),
    Route(b"GET", b"/facts", "name, version, process, listeners", _facts),
    Route(b"GET", b"/stat", "every counter, summed over the workers", _stat),
    Route(b"GET", b"/workers", "the worker processes", _workers),
    Route(b"GET", b"/backends", "the origins, their state and load", _backends),
    Route(b"GET", b"/store", "the shared store: segments, bytes, pins", _store),
    Route(b"GET", b"/store/check", "walk all of the shared store and prove it", _check_store),
    Route(b"POST", b"/purge", 'drop {"urls": [...]} in every worker', _purge),
    Route(b"POST", b"/drain", 'take {"backend": ...} out of rotation', _drain),
    Route(b"POST", b"/undrain", 'give {"backend": ...} back', _undrain),
    Route(b"POST", b"/reload", "read the configuration again", _reload),
    Route(b"POST", b"/upgrade", "start the program anew on the same sockets and store", _upgrade),
    Route(b"POST", b"/retire-old", "end the program that this one replaced", _retire_old),
)
BY_PATH: dict[bytes, dict[bytes, Route]] = {}
for _route in ROUTES:
    BY_PATH.setdefault(_route.path, {})[_route.method] = _route
