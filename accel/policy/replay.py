"""What a policy would have done with the requests of an access log: one cache, simulated over its records.

Owns the simulation and what it assumes. Pure: records come in order, each with its time. What rules decide, what is
stored, for how long, and whether it may answer is for the compiled rules and `caching` to say, as in the daemon.

What a log does not hold is assumed, and whoever shows an estimate says so (`unseen`): of a request there are method,
host, target, client, Referer and User-Agent, other fields and cookies are missing; the origin's part is
`policy.replay_origin`; a fetch takes no time, so nothing is joined; the store holds what was used last.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import Enum
from math import inf
from typing import Any, NamedTuple

from accel.caching.freshness import terms
from accel.caching.key import primary_key
from accel.caching.reuse import Reuse, judge, may_serve_on_error
from accel.caching.stored import Stored
from accel.caching.storing import Storing, decide
from accel.config import CachingOptions
from accel.errors import RequestError
from accel.http.message import Fields, Request, Response
from accel.http.request_parser import normal_host
from accel.policy.checked import Checked
from accel.policy.compile import CompiledPolicy
from accel.policy.decision import RequestDecision, ResponseDecision
from accel.policy.rates import OwnBuckets
from accel.policy.replay_origin import Assumed, AssumedOrigin, Visit
from accel.policy.verdict import Action
from accel.policy.vocabulary import Phase

PolicyOf = Callable[[bytes], CompiledPolicy]
"""Returns the rules for a host."""


class Way(Enum):
    """What became of a request."""

    HIT = "hit"
    """Answered from the store, fresh."""
    STALE = "stale"
    """Answered from the store, stale."""
    MISS = "miss"
    """Fetched and stored."""
    UNSTORED = "not stored"
    """Fetched; the answer may not be stored, whatever the rules say."""
    PASS = "pass"
    """Forwarded, or not stored, because the rules or the method said so."""
    ANSWERED = "answered"
    """Answered by the rules themselves: a redirect, a page, a limit, a purge."""


CACHED = frozenset({Way.HIT, Way.STALE, Way.MISS})
"""The ways of what is stored."""
SERVED = frozenset({Way.HIT, Way.STALE})
"""The ways of what comes from the store."""


class Outcome(NamedTuple):
    """What became of one request, and which rule said so."""

    way: Way
    why: str
    rule: str
    """`file:line`; empty: no rule, but the language's own default."""
    fetches: int = 0
    """Requests to the origin: 0 or 1."""
    fetched_bytes: int = 0


def unseen(policies: Iterable[Checked]) -> tuple[str, ...]:
    """Return what rules of these files read that no log holds, sorted."""
    read = {name for checked in policies for phase in _SIMULATED for name in checked.reads[phase]}
    return tuple(sorted(name for name in read if name.partition(".")[0] not in _LOGGED and name not in _LOGGED_FIELDS))


_SIMULATED = (Phase.REQUEST, Phase.RESPONSE)
_LOGGED = frozenset({"method", "host", "path", "url", "query", "parameter", "client", "status", "size", "type"})
_LOGGED_FIELDS = frozenset({"header.referer", "header.user-agent"})
_FAILURES = frozenset({500, 502, 503, 504})
_ALIKE = frozenset({Action.LOOKUP, Action.PASS, Action.PIPE})
"""What is decided by nothing but what rules read. Who may purge is asked beside them."""
_MOST_PLANS = 100_000
_RECORD_BYTES = 200
"""What a stored response takes beside its body and its key."""
_NO_FIELDS = Fields()


class _Site(NamedTuple):
    """The rules of a host, and which parts of a record they tell requests apart by."""

    host: bytes
    """In key form."""
    policy: CompiledPolicy
    by_client: bool
    by_referer: bool
    by_user_agent: bool


@dataclass(slots=True)
class _Plan:
    """What the rules decide of all requests that are alike to them."""

    policy: CompiledPolicy
    request: Request
    decision: RequestDecision
    key: bytes
    outcome: Outcome | None
    """Of whatever is not looked up: it is always the same, but for the bytes."""


@dataclass(slots=True)
class _Kept:
    """A stored response."""

    stored: Stored
    body_bytes: int
    hit: Outcome
    stale: Outcome


class Replay:
    """One set of rules with one cache, before an origin that answers as the log says."""

    def __init__(self, policy_of: PolicyOf, assumed: Assumed) -> None:
        self._policy_of = policy_of
        self._host = assumed.host
        self._origin = AssumedOrigin(assumed)
        most = None if assumed.memory_bytes == inf else int(assumed.memory_bytes / 8)
        self._caching = CachingOptions(max_body_bytes=most)
        self._sites: dict[bytes, _Site] = {}
        self._plans: dict[tuple[object, ...], _Plan] = {}
        self._buckets = OwnBuckets()
        self._shelf = _Shelf(assumed.memory_bytes)

    def take(self, visit: Visit) -> Outcome:
        """Take one request from its start to its answer."""
        plan = self._plan_of(visit)
        for check in plan.decision.limits:
            if not self._buckets.admits(check, int(visit.at * 1e6)):
                return Outcome(Way.ANSWERED, "limit", str(check.rule))
        if plan.outcome is None:
            return self._look_up(visit, plan)
        if plan.outcome.way is Way.PASS:
            return plan.outcome._replace(fetches=1, fetched_bytes=visit.body_bytes)
        if plan.decision.action is Action.PURGE:
            self._shelf.drop(plan.key)
        return plan.outcome

    # What the rules say.

    def _plan_of(self, visit: Visit) -> _Plan:
        site = self._sites.get(visit.host) or self._site(visit.host)
        key = (
            site.host,
            visit.target,
            visit.method,
            site.by_client and visit.client,
            site.by_referer and visit.referer,
            site.by_user_agent and visit.user_agent,
        )
        plan = self._plans.get(key)
        if plan is None:
            plan = self._planned(visit, site.host, site.policy)
            if plan.decision.action in _ALIKE:
                _bound(self._plans)
                self._plans[key] = plan
        return plan

    def _site(self, logged: bytes) -> _Site:
        host = _key_form(logged or self._host)
        policy = self._policy_of(host)
        reads = frozenset().union(*(policy.checked.reads[phase] for phase in _SIMULATED))
        site = _Site(host, policy, "client" in reads, "header.referer" in reads, "header.user-agent" in reads)
        _bound(self._sites)
        self._sites[logged] = site
        return site

    def _planned(self, visit: Visit, host: bytes, policy: CompiledPolicy) -> _Plan:
        said = ((b"referer", visit.referer), (b"user-agent", visit.user_agent))
        fields = Fields([line for line in said if line[1]])
        request = Request(visit.method, visit.target, authority=host, host=host, fields=fields)
        decision = policy.request(request, "" if visit.client == "-" else visit.client)
        asked = decision.asked
        key = b"%b\0%b" % (primary_key(asked.host, asked.target), asked.key_extra)
        return _Plan(policy, request, decision, key, _without_lookup(decision))

    # What the cache does.

    def _look_up(self, visit: Visit, plan: _Plan) -> Outcome:
        kept = self._shelf.get(plan.key)
        if kept is not None:
            reuse = judge(kept.stored, _NO_FIELDS, visit.at, self._caching).reuse
            if reuse is Reuse.FRESH:
                return kept.hit
            if reuse is Reuse.STALE_SERVE:
                refreshed = self._fetched(visit, plan, kept, is_get=True)
                return kept.stale._replace(fetches=1, fetched_bytes=refreshed.fetched_bytes)
        return self._fetched(visit, plan, kept, is_get=visit.method == b"GET")

    def _fetched(self, visit: Visit, plan: _Plan, kept: _Kept | None, is_get: bool) -> Outcome:
        """Fetch for the cache, and store what may be stored."""
        response = self._origin.answer(visit, None if kept is None else kept.body_bytes)
        fetched_bytes = response.body_length if is_get else 0
        if kept is not None and response.status in _FAILURES and self._may_stand_in(kept, visit.at):
            return kept.stale._replace(fetches=1, fetched_bytes=fetched_bytes)
        request = plan.request if is_get == (plan.request.method == b"GET") else replace(plan.request, method=b"GET")
        stated = terms(response, self._caching, visit.at)
        ruled = plan.policy.response(plan.decision, request, response, stated, visit.at)
        rule = str(ruled.rule or plan.decision.rule or "")
        if ruled.pass_why is not None:
            return Outcome(Way.PASS, ruled.pass_why, rule, 1, fetched_bytes)
        storing = decide(request, response, ruled.terms, self._caching, ruled.lifted)
        if storing is not Storing.STORE:
            return Outcome(Way.UNSTORED, storing.value, rule, 1, fetched_bytes)
        self._put(visit, plan, response, ruled, rule)
        return Outcome(Way.MISS, "", rule, 1, fetched_bytes)

    def _put(self, visit: Visit, plan: _Plan, response: Response, ruled: ResponseDecision, rule: str) -> None:
        stored = Stored(response.status, b"", response.fields, visit.at, visit.at, 0.0, ruled.terms, 0)
        hit, stale = Outcome(Way.HIT, "", rule), Outcome(Way.STALE, "", rule)
        self._shelf.put(plan.key, _Kept(stored, response.body_length, hit, stale))

    def _may_stand_in(self, kept: _Kept, now: float) -> bool:
        return may_serve_on_error(kept.stored, _NO_FIELDS, now, self._caching)


class _Shelf:
    """Stored responses by key, the least lately used first to go."""

    def __init__(self, most_bytes: float) -> None:
        self._left = most_bytes
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()

    def get(self, key: bytes) -> _Kept | None:
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
        return kept

    def put(self, key: bytes, kept: _Kept) -> None:
        self.drop(key)
        self._kept[key] = kept
        self._left -= _size(key, kept)
        while self._left < 0:
            self._left += _size(*self._kept.popitem(last=False))

    def drop(self, key: bytes) -> None:
        old = self._kept.pop(key, None)
        if old is not None:
            self._left += _size(key, old)


def _key_form(host: bytes) -> bytes:
    try:
        return normal_host(host)
    except RequestError:
        return b""


def _bound(memory: dict[Any, Any]) -> None:
    """Let a memory begin anew when it is full; what it held is found again."""
    if len(memory) >= _MOST_PLANS:
        memory.clear()


def _size(key: bytes, kept: _Kept) -> int:
    return kept.body_bytes + len(key) + _RECORD_BYTES


def _without_lookup(decision: RequestDecision) -> Outcome | None:
    rule = str(decision.rule or "")
    match decision.action:
        case Action.LOOKUP:
            return None
        case Action.PASS | Action.PIPE:
            return Outcome(Way.PASS, decision.why, rule)
        case Action.PURGE:
            return Outcome(Way.ANSWERED, "purge", rule)
        case _:
            status = decision.status if decision.answer is None else decision.answer.status
            return Outcome(Way.ANSWERED, f"{status} {decision.why}".rstrip(), rule)
