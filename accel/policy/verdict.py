"""The policy's phases and their verdicts: what every policy, built in or written by an operator, answers.

Owns the vocabulary; decides nothing. Invariant: a verdict depends only on the request (and response) it is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from accel.caching.freshness import Terms
from accel.http.cache_status import Forward
from accel.http.message import Request, Response


class Action(Enum):
    """What becomes of a request."""

    LOOKUP = "answer from the store, or fetch and store"
    PASS = "forward; neither look up nor store"
    PIPE = "forward, and let the protocol change if the origin agrees"
    PURGE = "drop what is stored for the target"
    DENY = "answer with a status of our own"


@dataclass(frozen=True, slots=True)
class RequestVerdict:
    """The `request` phase's answer."""

    action: Action
    why: str = ""
    """For the log and for operators."""
    forward: Forward = Forward.BYPASS
    """The reason for a PASS in the words of RFC 9211."""
    status: int = 403
    """What a DENY answers."""


class Policy(Protocol):
    """One set of rules, pure: the same question always gets the same answer."""

    def request(self, request: Request, client_ip: str) -> RequestVerdict:
        """Decide what becomes of a request; `client_ip` is empty for a unix socket."""
        ...

    def response(self, request: Request, response: Response, terms: Terms) -> Terms:
        """Return the terms on which a response may be reused, given those that it states itself."""
        ...
