"""The single changes that could turn a request into a hit: one cookie, field, parameter or the method left out.

Owns the list; judges none of them (`proxy.explain`). Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice

from accel.http.message import Fields, Request
from accel.policy.runtime import cookie_name, cookie_pairs

MOST = 100
"""Changes that are tried: each costs a decision and a look into the store."""
_NOT_TRIED = frozenset(
    {b"host", b"cookie", b"accel-explain", b"accel-timing", b"content-length", b"transfer-encoding"}
)


@dataclass(frozen=True, slots=True)
class Change:
    """A request with one thing left out."""

    what: str
    request: Request


def changes(request: Request) -> Iterator[Change]:
    """Yield a request's changes, the likeliest first."""
    return islice(chain(_cookies(request), _fields(request), _parameters(request), _method(request)), MOST)


def _cookies(request: Request) -> Iterator[Change]:
    pairs = cookie_pairs(request.fields.get(b"cookie") or b"")
    names = list(dict.fromkeys(map(cookie_name, pairs)))
    for name in names:
        left = [pair for pair in pairs if cookie_name(pair) != name]
        yield Change(f"the cookie {_text(name)}", _with_cookies(request, left))
    if len(names) > 1:
        yield Change("the field Cookie", _with_cookies(request, []))


def _with_cookies(request: Request, pairs: list[bytes]) -> Request:
    lines = [line for line in request.fields.lines if line[0] != b"cookie"]
    return replace(request, fields=Fields([*lines, (b"cookie", b"; ".join(pairs))] if pairs else lines))


def _fields(request: Request) -> Iterator[Change]:
    names = dict.fromkeys(name for name, _ in request.fields.lines if name not in _NOT_TRIED)
    for name in names:
        changed = replace(request, fields=request.fields.without({name}))
        if name == b"upgrade":
            changed = replace(changed, upgrade=b"")
        yield Change(f"the field {_text(name).title()}", changed)


def _parameters(request: Request) -> Iterator[Change]:
    path, question, query = request.target.partition(b"?")
    pieces = query.split(b"&") if question else []
    for name in dict.fromkeys(piece.partition(b"=")[0] for piece in pieces):
        left = b"&".join(piece for piece in pieces if piece.partition(b"=")[0] != name)
        yield Change(f"the parameter {_text(name)}", replace(request, target=path + question + left if left else path))


def _method(request: Request) -> Iterator[Change]:
    if request.method not in (b"GET", b"HEAD"):
        yield Change(f"the method {_text(request.method)}", replace(request, method=b"GET", body_length=0))


def _text(value: bytes) -> str:
    return value.decode("latin-1")
