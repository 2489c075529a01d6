"""A request as it goes through the proxy: what was asked, by which rules, and what these decided.

Owns nothing but the three together. Invariant: all phases of one request are decided by the rules that were in force
for its host when it began, whatever is reloaded meanwhile.
"""

from __future__ import annotations

from dataclasses import replace

from accel.caching.freshness import Terms
from accel.http.message import Request, Response
from accel.policy.compile import CompiledPolicy
from accel.policy.decision import ErrorDecision, RequestDecision, ResponseDecision


class Asking:
    """One request and its decision."""

    __slots__ = ("decision", "policy", "request")

    def __init__(self, policy: CompiledPolicy, request: Request, decision: RequestDecision) -> None:
        self.policy = policy
        self.request = request
        """As the client sent it: for conditions, ranges and the log."""
        self.decision = decision

    @property
    def asked(self) -> Request:
        """As the key and the origin see it."""
        return self.decision.asked

    @property
    def pool(self) -> str:
        """Which pool is asked, by its name among those of all files."""
        return self.policy.pool(self.decision.pool)

    @property
    def shown_ip(self) -> str:
        """The client's address as far as the origin may know it: under seal it is no part of the key."""
        return "" if self.decision.is_sealed else self.decision.client_ip

    def plain(self) -> Asking:
        """Return the plain GET of the same: whatever was asked, only what answers that can be stored."""
        asked = replace(self.asked, method=b"GET", body_length=0)
        return Asking(self.policy, self.request, replace(self.decision, asked=asked))

    def of_pool(self, pool: str) -> Asking:
        """Return the same, asked of another pool."""
        return Asking(self.policy, self.request, replace(self.decision, pool=pool))

    def response(self, head: Response, terms: Terms, now: float) -> ResponseDecision:
        """Decide on a response."""
        return self.policy.response(self.decision, self.request, head, terms, now)

    def error(self, status: int, cause: bytes) -> ErrorDecision:
        """Decide what the client gets that no origin answered."""
        return self.policy.error(self.request, self.decision.client_ip, status, cause)
