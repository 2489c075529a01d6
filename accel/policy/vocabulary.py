"""The words of the language: what a rule may read and say, of which type, in which phase. The one table of both.

The checker, the compiler, the manual and the editors' grammar read it. Owns no behaviour.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Phase(Enum):
    """When rules run."""

    REQUEST = "request"
    """A request was read: what becomes of it."""
    RESPONSE = "response"
    """An origin's head arrived for a fetch: on what terms it is stored."""
    DELIVER = "deliver"
    """An answer is about to be sent, from wherever it came."""
    ERROR = "error"
    """No origin gave a usable answer."""


class Type(Enum):
    """What an input is, and so what it may be compared with."""

    TEXT = "text"
    NUMBER = "number"
    STATUS = "status"
    DURATION = "duration"
    SIZE = "size"
    ADDRESS = "client address"
    NAMES = "names"
    """A set of names (of all cookies, of all parameters): true if any of them fits."""


@dataclass(frozen=True, slots=True)
class InputKind:
    """One thing that rules may read."""

    type: Type
    phases: frozenset[Phase]
    meaning: str
    argument: str = ""
    """What follows the dot; empty: nothing may."""


_ALWAYS = frozenset(Phase)
_WITH_RESPONSE = frozenset({Phase.RESPONSE, Phase.DELIVER})

INPUTS: dict[str, InputKind] = {
    "method": InputKind(Type.TEXT, _ALWAYS, "the method, upper case"),
    "host": InputKind(Type.TEXT, _ALWAYS, "Host in key form: lower case, no default port"),
    "path": InputKind(Type.TEXT, _ALWAYS, "the target up to `?`; escapes, `.` steps, doubled slashes resolved"),
    "url": InputKind(Type.TEXT, _ALWAYS, "the whole target, path and query"),
    "query": InputKind(Type.TEXT, _ALWAYS, "a parameter's first value, percent-decoded", "parameter"),
    "parameter": InputKind(Type.NAMES, _ALWAYS, "the names of all parameters"),
    "header": InputKind(Type.TEXT, _ALWAYS, "a field of the request", "field"),
    "cookie": InputKind(Type.TEXT, _ALWAYS, "a cookie's value; alone: the names of all cookies", "cookie"),
    "client": InputKind(Type.ADDRESS, _ALWAYS, "the address of whoever connected"),
    "split": InputKind(Type.TEXT, _ALWAYS, "the arm of a split that the request falls in", "split"),
    "status": InputKind(Type.STATUS, _WITH_RESPONSE | {Phase.ERROR}, "the status"),
    "type": InputKind(Type.TEXT, _WITH_RESPONSE, "the media type without parameters, lower case"),
    "size": InputKind(Type.SIZE, _WITH_RESPONSE, "the body's bytes, if its head says"),
    "response": InputKind(Type.TEXT, _WITH_RESPONSE, "a field of the response", "field"),
    "cache.status": InputKind(Type.TEXT, frozenset({Phase.DELIVER}), "hit, miss, stale, pass, synthetic or error"),
    "cache.age": InputKind(Type.DURATION, frozenset({Phase.DELIVER}), "its current age"),
    "cache.hits": InputKind(Type.NUMBER, frozenset({Phase.DELIVER}), "how often this worker has answered from it"),
    "cause": InputKind(Type.TEXT, frozenset({Phase.ERROR}), "unavailable, timeout or bad-response"),
}
"""By the words of a policy. `cookie` without an argument is of type NAMES."""

OPERATORS: dict[Type, frozenset[str]] = {
    Type.TEXT: frozenset({"==", "!=", "in", "under", "glob", "matches", "contains"}),
    Type.NUMBER: frozenset({"==", "!=", "<", "<=", ">", ">=", "in"}),
    Type.STATUS: frozenset({"==", "!=", "<", "<=", ">", ">=", "in"}),
    Type.DURATION: frozenset({"<", "<=", ">", ">="}),
    Type.SIZE: frozenset({"<", "<=", ">", ">="}),
    Type.ADDRESS: frozenset({"==", "!=", "in"}),
    Type.NAMES: frozenset({"glob", "in", "contains"}),
}
"""Which comparisons an input may stand in. `under` is for `path` and `url` alone."""

STATEMENTS: dict[str, frozenset[Phase]] = {
    "lookup": frozenset({Phase.REQUEST}),
    "pass": frozenset({Phase.REQUEST, Phase.RESPONSE}),
    "pipe": frozenset({Phase.REQUEST}),
    "deny": frozenset({Phase.REQUEST}),
    "purge": frozenset({Phase.REQUEST}),
    "redirect": frozenset({Phase.REQUEST, Phase.ERROR}),
    "synth": frozenset({Phase.REQUEST, Phase.ERROR}),
    "stale": frozenset({Phase.ERROR}),
    "pool": frozenset({Phase.REQUEST}),
    "retry": frozenset({Phase.ERROR}),
    "query": frozenset({Phase.REQUEST}),
    "cookies": frozenset({Phase.REQUEST}),
    "key": frozenset({Phase.REQUEST}),
    "host": frozenset({Phase.REQUEST}),
    "header": frozenset({Phase.REQUEST, Phase.RESPONSE, Phase.DELIVER}),
    "limit": frozenset({Phase.REQUEST}),
    "seal": frozenset({Phase.REQUEST}),
    "ttl": frozenset({Phase.RESPONSE}),
    "jitter": frozenset({Phase.RESPONSE}),
    "grace": frozenset({Phase.RESPONSE}),
    "if-error": frozenset({Phase.RESPONSE}),
    "keep": frozenset({Phase.RESPONSE}),
    "tags": frozenset({Phase.RESPONSE}),
    "pass-memory": frozenset({Phase.RESPONSE}),
    "override": frozenset({Phase.RESPONSE}),
}
"""Which phases a statement may stand in (`header`: set, add and unset)."""

VERDICTS = frozenset({"lookup", "pass", "pipe", "deny", "purge", "redirect", "synth", "stale", "retry"})
"""Statements that end their phase: nothing behind them in the same block can run."""

OVERRIDES: dict[str, str] = {
    "set-cookie": "store without the response's Set-Cookie",
    "private": "store though Cache-Control says private",
    "no-store": "store though Cache-Control says no-store",
    "authorization": "store though the request carried credentials",
}
"""What of the safety floor a rule may lift, with its reason."""

POOL_SETTINGS: dict[str, str] = {
    "servers": "HOST:PORT[-PORT][*WEIGHT], unix:PATH",
    "backup": "HOST:PORT, unix:PATH: asked when no server is up",
    "balance": "round-robin, least-conn or two-choices",
    "probe": "GET PATH every TIME timeout TIME rise N fall N slow-start TIME",
    "limit": "N per server, queue N for TIME",
    "retry": "at most N%",
    "timeout": "connect TIME, first-byte TIME, between-bytes TIME, whole TIME",
    "keep-alive": "N for TIME",
    "host": '"NAME", the Host that the origins get',
}

PURGE_SETTINGS: dict[str, str] = {
    "allow": "ACL, NETWORK: who may purge",
    "methods": "PURGE, BAN, SOFTPURGE: those that are taken",
    "mode": "hard or soft",
}

ALWAYS_THERE = frozenset({"method", "path", "url", "status", "cache.status", "cause"})
"""Inputs that no request, or no answer, lacks."""

VALUES: dict[str, frozenset[str]] = {
    "cache.status": frozenset({"hit", "miss", "stale", "pass", "synthetic", "error"}),
    "cause": frozenset({"unavailable", "timeout", "bad-response"}),
}
"""Inputs that have one of a few values."""

REDIRECTS = frozenset({301, 302, 303, 307, 308})
"""Statuses that send a client elsewhere (RFC 9110 §15.4)."""

ELSEWHERE: dict[str, str] = {
    "uri": "url",
    "request_uri": "url",
    "req.url": "url",
    "ip": "client",
    "remote_addr": "client",
    "client.ip": "client",
    "args": "query",
    "arg": "query",
    "param": "query",
    "http": "header",
    "req.http": "header",
    "beresp.http": "response",
    "resp.http": "response",
    "beresp.status": "status",
    "content-type": "type",
    "content_type": "type",
    "content-length": "size",
    "cookies": "cookie",
    "headers": "header",
    "req.method": "method",
    "verb": "method",
    "domain": "host",
    "country": "header",
    "user-agent": "header",
    "hits": "cache.hits",
    "age": "cache.age",
}
"""What inputs are called in other programs and in a hurry, by what they are called here: for hints."""

PRESETS: dict[str, str] = {
    "tracking-params": "the list of query parameters that only count campaigns and clicks",
    "analytics-cookies": "the list of cookies that only scripts in the browser read",
    "static-assets": "what is a static file by its name, and how long fingerprinted ones are kept",
    "wordpress": "a blog or shop of WordPress: who is known, what is private, what is shared",
    "django": "a Django site: sessions, messages, forms, static files, the admin",
    "api": "an API with JSON answers: what is keyed, who is passed, short lifetimes",
}
"""What is shipped in `presets/`."""
