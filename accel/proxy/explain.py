"""What would become of a request, and why, in plain facts: for `accelctl explain` and the field Accel-Explain.

Decides with the very rules and the very store that serve, and changes neither: nothing is fetched, no limit is counted.
Invariant: what it calls the outcome is what `proxy.exchange` would do with the request at this moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from accel.caching.freshness import current_age
from accel.caching.reuse import Reuse, judge, only_if_cached, remaining_s
from accel.caching.storing import is_shareable
from accel.http.message import Request, Response
from accel.policy.compile import CompiledPolicy
from accel.policy.decision import Edit, EditMode, RequestDecision
from accel.policy.edits import field_value, unframed
from accel.policy.verdict import Action
from accel.proxy.asking import Asking
from accel.proxy.contents import Entry, Found
from accel.proxy.nearest import changes
from accel.proxy.origin_view import origin_request
from accel.proxy.telling import key_hash

if TYPE_CHECKING:
    from accel.proxy.service import Service

Facts = dict[str, object]

FIELD = b"accel-explain"
"""Of a request: `1` asks for an explanation; of its answer: that."""
_MOST_BYTES = 4000
_REUSED = {Reuse.FRESH: "hit", Reuse.STALE_SERVE: "stale", Reuse.VALIDATE: "validate"}
_UNSENT = frozenset({Action.DENY, Action.PURGE})
"""Actions that no origin hears of."""
_RANKS = {"hit": 0, "stale": 1, "validate": 2, "miss": 3}
"""Outcomes of a look-up, the best first."""
_WITHOUT = {
    "hit": "a hit",
    "stale": "a stale answer, refreshed behind",
    "validate": "asked for at the origin, and stored",
    "miss": "looked up; nothing is stored for it yet",
}


@dataclass(frozen=True, slots=True)
class _Course:
    """What would become of one request."""

    decision: RequestDecision
    outcome: str
    found: Found | None = None


def explained(service: Service, request: Request, client_ip: str) -> Facts:
    """Return what would become of a request that came now, and why."""
    policy, now = service.policies.of(request.host), service.now()
    course = _course(service, policy.explaining, request, client_ip, now)
    decision, found = course.decision, course.found
    asking = Asking(policy, request, decision)
    is_stored = found is not None and found.entry is not None
    return {
        "request": {"method": _text(request.method), "host": _text(request.host), "target": _text(request.target)}
        | {"from": client_ip},
        "policy": policy.checked.file,
        "outcome": course.outcome,
        "verdict": decision.action.name.lower(),
        "why": decision.why,
        "rule": _rule(decision.rule),
        "status": decision.status if decision.action is Action.DENY else None,
        "matched": list(map(str, decision.matched)),
        "limits": [f"{limit.rate:g}/s burst {limit.burst} ({limit.rule})" for limit in decision.limits],
        "key": _key(decision, found),
        "origin_sees": [] if decision.action in _UNSENT else _origin_sees(asking, service.origin(asking.pool).host),
        "pool": asking.pool or "default",
        "stored": _stored(policy, asking, found, now) if is_stored else None,
        "is_marked": found is not None and found.is_marked,
        "nearest": _nearest(service, policy, request, client_ip, course, now),
    }


def field(service: Service, request: Request, client_ip: str) -> bytes:
    """Return the explanation as a field's value; empty for whom it is not for."""
    if request.fields.get(FIELD) != b"1":
        return b""
    if not service.policies.of(request.host).may_purge(request, client_ip):
        return b""
    return compact(explained(service, request, client_ip))


def edit(said: bytes) -> Edit:
    """Return the edit that puts an explanation into an answer."""
    return Edit(EditMode.SET, (FIELD,), said)


def compact(facts: Facts) -> bytes:
    """Return an explanation in one line."""
    key, stored = facts["key"], facts["stored"]
    assert isinstance(key, dict)
    parts: dict[str, object] = {name: facts[name] for name in ("outcome", "verdict", "why", "rule")}
    parts["matched"] = facts["matched"] and " ".join(facts["matched"])  # type: ignore[arg-type]
    parts |= {"key": key["host"] + key["target"], "joined": " ".join(key["joined"]), "pool": facts["pool"]}
    if isinstance(stored, dict):
        parts |= {"age": stored["age_s"], "remaining": stored["remaining_s"], "hits": stored["hits"]}
    parts |= {"marked": facts["is_marked"] or None, "nearest": facts["nearest"]}
    said = "; ".join(f"{name}={_quoted(value)}" for name, value in parts.items() if value or value == 0)
    return field_value(said.encode("ascii", "backslashreplace"))[:_MOST_BYTES]


def _quoted(value: object) -> str:
    return str(value) if isinstance(value, int) else '"' + str(value).replace('"', "'") + '"'


def _course(service: Service, policy: CompiledPolicy, request: Request, client_ip: str, now: float) -> _Course:
    """Follow a request as `Exchange` does, up to the point where something would be sent."""
    decision = policy.request(request, client_ip)
    if decision.action is not Action.LOOKUP:
        return _Course(decision, "answer" if decision.action is Action.DENY else decision.action.name.lower())
    if b"if-match" in request.fields or b"if-unmodified-since" in request.fields:
        return _Course(decision, "pass")
    found = service.cache.find(decision.asked, now)
    entry = found.entry
    if entry is None:
        outcome = "miss"
    elif b"authorization" in request.fields and not is_shareable(entry.stored):
        outcome = "validate"
    else:
        outcome = _REUSED[judge(entry.stored, request.fields, now, service.caching, entry.is_soft_purged).reuse]
    if _RANKS[outcome] > 1 and only_if_cached(request.fields):
        outcome = "answer"
    return _Course(decision, outcome, found)


def _key(decision: RequestDecision, found: Found | None) -> Facts:
    asked = decision.asked
    vary = None if found is None or found.entry is None else found.entry.stored.fields.get(b"vary")
    joined = [part.decode("utf-8", "replace") for part in unframed(asked.key_extra)]
    return {
        "host": _text(asked.host),
        "target": _text(asked.target),
        "joined": joined,
        "vary": None if vary is None else _text(vary),
        "hash": None if found is None else f"{key_hash(found.primary):016x}",
    }


def _origin_sees(asking: Asking, host: bytes) -> list[str]:
    """Return the request's lines as the origin would get them, framing left out; `host` is the pool's own."""
    sent = origin_request(asking.asked, asking.shown_ip, whole=asking.decision.action is Action.LOOKUP)
    lines = [f"{_text(sent.method)} {_text(sent.target)}"]
    fields = [(name, host or value if name == b"host" else value) for name, value in sent.fields.lines]
    return lines + [f"{_text(name).title()}: {_text(value)}" for name, value in fields]


def _stored(policy: CompiledPolicy, asking: Asking, found: Found | None, now: float) -> Facts:
    assert found is not None and found.entry is not None and found.record is not None
    entry: Entry = found.entry
    stored, terms = entry.stored, entry.stored.terms
    head = Response(stored.status, stored.reason, stored.fields)
    ruled = policy.explaining.response(asking.decision, asking.request, head, terms, now)
    return {
        "status": stored.status,
        "bytes": found.record.length,
        "age_s": round(current_age(stored, now), 1),
        "lifetime_s": terms.lifetime_s,
        "lifetime_from": terms.source.value,
        "remaining_s": remaining_s(stored, now),
        "grace_s": terms.grace_s,
        "if_error_s": terms.if_error_s,
        "tags": [tag.decode("utf-8", "replace") for tag in stored.tags],
        "hits": entry.hits,
        "is_soft_purged": entry.is_soft_purged,
        "matched": list(map(str, ruled.matched)),
    }


def _nearest(
    service: Service, policy: CompiledPolicy, request: Request, client_ip: str, course: _Course, now: float
) -> str | None:
    """Return the one smallest change of the request that would bring it nearest to a hit."""
    best, rank = None, _RANKS.get(course.outcome, 4)
    if rank <= 1:
        return None
    worst = 1 if course.decision.action is Action.LOOKUP else 3
    for change in changes(request):
        changed = _course(service, policy, change.request, client_ip, now)
        reached = _RANKS.get(changed.outcome, 4)
        if reached < rank and reached <= worst:
            best, rank = f"{change.what} {_blame(course)}: without it, {_WITHOUT[changed.outcome]}", reached
    return best


def _blame(course: _Course) -> str:
    decision = course.decision
    if decision.action is Action.LOOKUP:
        return "keeps it from what is stored"
    does = {Action.PASS: "pass it", Action.PIPE: "pipe it", Action.DENY: "answer it", Action.PURGE: "purge"}
    who = f"rule {decision.rule}" if decision.rule is not None else "accel"
    return f"makes {who} {does.get(decision.action, 'decide')}"


def _rule(rule: object) -> str | None:
    return None if rule is None else str(rule)


def _text(value: bytes) -> str:
    return value.decode("latin-1")
