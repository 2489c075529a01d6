"""One request, and later its response, as the rules read it: each part parsed when it is first read, and once.

Owns the reading of paths, parameters, cookies and addresses for the rules; changes nothing. Invariant: it shows the
original request, whatever the rules have said so far, and every reading takes time linear in the request.

Compiled rules (see `policy.codegen`) read these attributes by name; what is missing is None.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar
from urllib.parse import unquote_to_bytes

from accel.http.fields import OWS
from accel.http.message import Fields, Request, Response
from accel.policy import matching

if TYPE_CHECKING:
    from typing import Any

_T = TypeVar("_T")
_UNRESERVED = re.compile(rb"%(2[DdEe]|3[0-9]|4[1-9A-Fa-f]|5[0-9AaFf]|6[1-9A-Fa-f]|7[0-9AaEe])")
_SLASHES = re.compile(rb"//+")


class _Once(Generic[_T]):
    """An attribute computed when it is first read; what it gave then lies in the instance and hides it."""

    def __init__(self, compute: Callable[[Any], _T]) -> None:
        self._compute = compute
        self._name = compute.__name__
        self.__doc__ = compute.__doc__

    def __get__(self, instance: Any, owner: type) -> _T:
        value = self._compute(instance)
        instance.__dict__[self._name] = value
        return value


class View:
    """A request as rules of any phase read it."""

    def __init__(self, request: Request, client_ip: str) -> None:
        self.request = request
        self.client_ip = client_ip
        self.method = request.method
        self.url = request.target
        path, _, self.query = request.target.partition(b"?")
        self.path = plain_path(path) if b"%" in path or b"//" in path or b"/." in path else path
        self.host = request.host or None
        self.header = request.fields.get

    @_Once
    def known(self) -> dict[str, bool]:
        """What was found for the definitions that are asked for more than once."""
        return {}

    @_Once
    def parameters(self) -> dict[bytes, bytes]:
        """Each parameter's first value, name and value percent-decoded."""
        found: dict[bytes, bytes] = {}
        query = self.query
        if not query:
            return found
        is_coded = b"%" in query or b"+" in query
        for piece in query.split(b"&"):
            name, _, value = piece.partition(b"=")
            if is_coded:
                name, value = decoded(name), decoded(value)
            if piece:
                found.setdefault(name, value)
        return found

    @_Once
    def cookies(self) -> dict[bytes, bytes]:
        """Each cookie's first value."""
        found: dict[bytes, bytes] = {}
        value = self.header(b"cookie")
        for pair in cookie_pairs(value) if value is not None else ():
            name, _, content = pair.partition(b"=")
            found.setdefault(name.rstrip(OWS), content.lstrip(OWS))
        return found

    @_Once
    def client(self) -> matching.Client | None:
        """Whoever connected, as numbers."""
        return matching.client(self.client_ip)

    def sent_parameter(self, name: bytes) -> bytes | None:
        """Return a parameter's first value as it was sent."""
        for piece in self.query.split(b"&"):
            if piece and decoded(piece.partition(b"=")[0]) == name:
                return piece.partition(b"=")[2]
        return None


class ResponseView(View):
    """A request and what an origin answered."""

    def __init__(self, request: Request, client_ip: str, response: Response) -> None:
        super().__init__(request, client_ip)
        self.status = response.status
        self.response = response.fields.get
        self.size = response.body_length if response.body_length >= 0 else None

    @_Once
    def media_type(self) -> bytes | None:
        """The response's media type."""
        return media_type(self.response(b"content-type"))


class DeliverView(View):
    """A request and the answer that it is about to get."""

    def __init__(
        self, request: Request, client_ip: str, status: int, fields: Fields, cache: tuple[bytes, float | None, int]
    ) -> None:
        """`cache` is the outcome's word, the answer's age in seconds, and how often it was used."""
        super().__init__(request, client_ip)
        self.status = status
        self.response = fields.get
        self.cache_status, self.cache_age, self.cache_hits = cache

    @_Once
    def size(self) -> int | None:
        """The body's bytes, if the head says."""
        length = self.response(b"content-length") or b""
        return int(length) if length.isdigit() and len(length) < 20 else None

    @_Once
    def media_type(self) -> bytes | None:
        """The answer's media type."""
        return media_type(self.response(b"content-type"))


class ErrorView(View):
    """A request that no origin answered usably."""

    def __init__(self, request: Request, client_ip: str, status: int, cause: bytes) -> None:
        super().__init__(request, client_ip)
        self.status, self.cause = status, cause


def plain_path(path: bytes) -> bytes:
    """Return a path as an application is likely to read it, so that no rule is got round by spelling it otherwise.

    Escapes of letters, digits, `-`, `.`, `_` and `~` are decoded (RFC 3986 §6.2.2.2), `.` and `..` taken as steps
    (§5.2.4), slashes in a row taken as one. Only rules read it so: key and origin get what the client sent.
    """
    path = _SLASHES.sub(b"/", _UNRESERVED.sub(lambda found: bytes.fromhex(found[1].decode()), path))
    if b"/." not in path:
        return path
    steps: list[bytes] = []
    for step in path.split(b"/")[1:]:
        if step == b"..":
            del steps[-1:]
        elif step != b".":
            steps.append(step)
    ends_open = path.endswith((b"/.", b"/.."))
    return b"/" + b"/".join(steps) + (b"/" if ends_open and steps else b"")


def decoded(value: bytes) -> bytes:
    """Return a part of a query as an application reads it: `+` is a space, `%41` an `A`."""
    if b"+" in value:
        value = value.replace(b"+", b" ")
    return unquote_to_bytes(value) if b"%" in value else value


def cookie_pairs(value: bytes) -> list[bytes]:
    """Return a Cookie field's pairs, exactly as they were sent between the semicolons (RFC 6265 §4.2.1)."""
    return [pair for part in value.split(b";") if (pair := part.strip(OWS))]


def cookie_name(pair: bytes) -> bytes:
    """Return the name of a pair."""
    return pair.partition(b"=")[0].rstrip(OWS)


def media_type(value: bytes | None) -> bytes | None:
    """Return a Content-Type's media type without parameters, lower case."""
    return None if value is None else value.partition(b";")[0].strip(OWS).lower()
