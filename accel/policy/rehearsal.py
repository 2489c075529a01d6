"""A small cache for the tests of policies: one request at a time, a clock that is told, a scripted origin.

Owns the order of steps of an exchange, as the proxy does them, without sockets, processes or waiting. What is
decided, keyed, stored and reused is decided by the same modules as in the daemon: `caching` and the compiled rules.
Where the proxy refreshes behind a stale answer, this one does it at once, after the answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from accel.caching.freshness import current_age, terms
from accel.caching.invalidation import Purge, What, requested, targets
from accel.caching.key import primary_key
from accel.caching.reuse import Reuse, judge, may_serve_on_error, may_validate, only_if_cached
from accel.caching.storing import Storing, decide, is_shareable, stored_response
from accel.caching.tags import tags_of, together
from accel.caching.validation import conditional_fields, confirms, freshened
from accel.config import CachingOptions
from accel.http.fields import format_date, hop_by_hop
from accel.http.message import Fields, Request, Response
from accel.policy.compile import CompiledPolicy
from accel.policy.decision import Answer, Recovery, RequestDecision, ResponseDecision, Rule
from accel.policy.edits import FLOOR, FRAMING, edited_fields
from accel.policy.rates import OwnBuckets
from accel.policy.shelves import Kept, Shelves
from accel.policy.verdict import Action

_CONDITIONS = frozenset(
    {b"if-none-match", b"if-modified-since", b"if-match", b"if-unmodified-since", b"if-range", b"range"}
)
_FAILURES = frozenset({500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Said:
    """What the origin says to a request."""

    status: int
    fields: Fields
    body: bytes


@dataclass(slots=True)
class Seen:
    """What became of one request."""

    outcome: str
    """hit, miss, stale, pass, synthetic or error."""
    status: int
    fields: Fields
    body: bytes
    why: str = ""
    rule: Rule | None = None
    """Which rule decided."""
    pool: str = ""
    asked: list[Request] = field(default_factory=list)
    """What the origin got, in order."""
    storing: str = ""
    """Why what was fetched is not stored; `store` if it is."""


@dataclass(slots=True)
class _Fetched:
    """An origin's answer, and what was made of it."""

    said: Said
    decision: ResponseDecision | None = None
    storing: str = ""
    kept: Fields | None = None
    """The fields that were stored, which whoever waited for it gets; None: nothing was."""


class Rehearsal:
    """One cache in front of one scripted origin."""

    def __init__(self, policy: CompiledPolicy, caching: CachingOptions, now: float) -> None:
        self.now = now
        self.is_failing = False
        self._policy = policy
        self._caching = caching
        self._script: dict[tuple[bytes, bytes], Said] = {}
        self._shelves = Shelves()
        self._buckets = OwnBuckets()
        self._asked: list[Request] = []

    def says(self, method: bytes, target: bytes, said: Said) -> None:
        """From now on the origin says this; a target without a query stands for every query."""
        self._script[method, target] = said

    def ask(self, request: Request, client_ip: str) -> Seen:
        """Take one request from its start to its answer."""
        self._asked = []
        decision = self._policy.request(request, client_ip)
        seen = self._taken(request, decision)
        seen.rule = seen.rule or decision.rule
        seen.why = seen.why or decision.why
        seen.pool = decision.pool
        seen.asked = list(self._asked)
        age_s = _number(seen.fields.get(b"age"))
        delivered = self._policy.deliver(request, client_ip, seen.status, seen.fields, seen.outcome.encode(), age_s)
        seen.fields = edited_fields(seen.fields, delivered.edits, FRAMING)
        return seen

    def _taken(self, request: Request, decision: RequestDecision) -> Seen:
        for check in decision.limits:
            if not self._buckets.admits(check, int(self.now * 1e6)):
                refused = _answered(check.otherwise or Answer(check.status))
                refused.rule, refused.why = check.rule, "limit"
                return refused
        match decision.action:
            case Action.DENY:
                return _answered(decision.answer or Answer(decision.status))
            case Action.PURGE:
                return self._purged(request, decision)
            case Action.PASS | Action.PIPE:
                return self._passed(request, decision)
            case _:
                return self._looked_up(request, decision)

    # Ways.

    def _purged(self, request: Request, decision: RequestDecision) -> Seen:
        named = replace(request, host=decision.asked.host, target=decision.asked.target)
        try:
            purge = requested(named, decision.is_soft)
            count = self._shelves.invalidate(purge, self.now)
        except ValueError as error:
            return Seen("synthetic", 400, Fields(), str(error).encode())
        return Seen("synthetic", 404 if purge.what is What.URL and not count else 200, Fields(), b"")

    def _passed(self, request: Request, decision: RequestDecision) -> Seen:
        said = self._fetched(decision.asked)
        if said is None:
            return self._failed(request, decision, None)
        untrue = targets(decision.asked, Response(said.status, b"", said.fields))
        keyed = [self._policy.keyed_as(*target) for target in untrue]
        keys = tuple(primary_key(*target) for target in (*untrue, *keyed))
        self._shelves.invalidate(Purge(What.URL, keys), self.now)
        return Seen("pass", said.status, _sent_on(said.fields), said.body)

    def _looked_up(self, request: Request, decision: RequestDecision) -> Seen:
        if b"if-match" in request.fields or b"if-unmodified-since" in request.fields:
            return self._passed(request, decision)
        found = self._shelves.found(decision.asked)
        if found is not None and b"authorization" in request.fields and not is_shareable(found.stored):
            found = None
        if found is not None:
            reuse = judge(found.stored, request.fields, self.now, self._caching, found.is_soft_purged).reuse
            if reuse is not Reuse.VALIDATE:
                seen = self._from_store("hit" if reuse is Reuse.FRESH else "stale", found)
                if reuse is Reuse.STALE_SERVE:
                    self._shared_fetch(replace(request, method=b"GET"), decision, found)
                return seen
        if only_if_cached(request.fields):
            return Seen("error", 504, Fields(), b"", why="only-if-cached")
        return self._missed(request, decision, found)

    def _missed(self, request: Request, decision: RequestDecision, found: Kept | None) -> Seen:
        fetched = self._shared_fetch(request, decision, found)
        if fetched is None or (fetched.said.status in _FAILURES and self._may_stand_in(request, found)):
            return self._failed(request, decision, found)
        said = fetched.said
        seen = Seen("miss", said.status, _sent_on(said.fields), said.body, storing=fetched.storing)
        if fetched.decision is not None:
            seen.rule = fetched.decision.rule
            edited = edited_fields(seen.fields, fetched.decision.edits, FLOOR)
            seen.fields = edited if fetched.kept is None else fetched.kept
            if fetched.decision.pass_why is not None:
                seen.outcome, seen.why = "pass", fetched.decision.pass_why
        return seen

    def _failed(self, request: Request, decision: RequestDecision, found: Kept | None) -> Seen:
        error = self._policy.error(request, decision.client_ip, 503, b"unavailable")
        may_stand_in = self._may_stand_in(request, found)
        if error.recovery is Recovery.STALE and found is not None:
            may_stand_in = not (found.stored.terms.must_revalidate or found.stored.terms.no_cache)
        if found is not None and may_stand_in:
            return self._from_store("stale", found)
        if error.recovery is Recovery.ANSWER and error.answer is not None:
            answered = _answered(error.answer)
            answered.rule = error.rule
            return answered
        return Seen("error", 503, Fields(), b"", rule=error.rule)

    def _may_stand_in(self, request: Request, found: Kept | None) -> bool:
        return found is not None and may_serve_on_error(found.stored, request.fields, self.now, self._caching)

    def _from_store(self, outcome: str, found: Kept) -> Seen:
        stored = found.stored
        fields = Fields([*stored.fields.lines, (b"age", b"%d" % current_age(stored, self.now))])
        return Seen(outcome, stored.status, fields, found.body)

    # The origin.

    def _fetched(self, asked: Request, conditions: Fields | None = None) -> Said | None:
        """Return what the origin says, None if it fails; a validator that still holds makes it a 304."""
        dropped = hop_by_hop(asked.fields.get(b"connection"))
        lines = asked.fields.without(dropped).lines + (conditions.lines if conditions is not None else [])
        self._asked.append(replace(asked, fields=Fields(lines)))
        if self.is_failing:
            return None
        method = b"GET" if asked.method == b"HEAD" else asked.method
        path = asked.target.partition(b"?")[0]
        said = self._script.get((method, asked.target)) or self._script.get((method, path)) or Said(200, Fields(), b"")
        if conditions is not None and _holds(conditions, said.fields):
            return Said(304, Fields([*said.fields.lines, (b"date", format_date(self.now))]), b"")
        return said

    def _shared_fetch(
        self, request: Request, decision: RequestDecision, found: Kept | None
    ) -> _Fetched | None:
        """Fetch for the cache, validating what is stored if that may be; store what may be stored."""
        asked = replace(decision.asked, fields=decision.asked.fields.without(_CONDITIONS))
        is_kept = found is not None and may_validate(found.stored, self.now)
        conditions = Fields(conditional_fields(found.stored)) if found is not None and is_kept else None
        said = self._fetched(asked, conditions if conditions is not None and conditions.lines else None)
        if said is None:
            return None
        if said.status == 304 and found is not None:
            return self._freshened(request, decision, found, said)
        return self._stored(request, decision, said)

    def _freshened(
        self, request: Request, decision: RequestDecision, found: Kept, said: Said
    ) -> _Fetched:
        head = Response(304, b"", said.fields)
        if not confirms(found.stored, head):
            whole = self._fetched(decision.asked)
            assert whole is not None
            return self._stored(request, decision, whole)
        stored = freshened(found.stored, head, self.now, self.now, self._caching, 0)
        return self._stored(request, decision, Said(stored.status, stored.fields, found.body))

    def _stored(self, request: Request, decision: RequestDecision, said: Said) -> _Fetched:
        head = Response(said.status, b"", said.fields, body_length=len(said.body))
        stated = terms(head, self._caching, self.now)
        ruled = self._policy.response(decision, request, head, stated, self.now)
        if ruled.pass_why is not None:
            return _Fetched(said, ruled, f"pass: {ruled.pass_why}")
        storing = decide(request, head, ruled.terms, self._caching, ruled.lifted)
        if storing is Storing.STORE:
            edited = replace(head, fields=edited_fields(head.fields, ruled.edits, FLOOR))
            tags = together((*ruled.tags, *tags_of(head.fields)))
            stored = stored_response(edited, ruled.terms, self.now, self.now, 0, tags)
            self._shelves.put(decision.asked, stored, said.body)
            return _Fetched(said, ruled, storing.value, stored.fields)
        return _Fetched(said, ruled, storing.value)


def _answered(answer: Answer) -> Seen:
    return Seen("synthetic", answer.status, Fields(answer.lines), answer.body)


def _sent_on(fields: Fields) -> Fields:
    return fields.without(hop_by_hop(fields.get(b"connection")))


def _holds(conditions: Fields, said: Fields) -> bool:
    pairs = ((b"if-none-match", b"etag"), (b"if-modified-since", b"last-modified"))
    return any((value := conditions.get(asked)) is not None and value == said.get(given) for asked, given in pairs)


def _number(value: bytes | None) -> float | None:
    return float(value) if value is not None and value.isdigit() else None
