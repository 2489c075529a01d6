"""Policies and requests for tests of what compiled rules decide."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from broken_files import missing, preset

from accel.caching.freshness import terms
from accel.config import CachingOptions
from accel.http.message import Fields, Request, Response
from accel.policy.check import check
from accel.policy.checked import Checked
from accel.policy.compile import CompiledPolicy, compiled
from accel.policy.decision import RequestDecision, ResponseDecision
from accel.policy.parser import parse
from accel.policy.vocabulary import Phase

NOW = 1_700_000_000.0
CACHING = CachingOptions()


@lru_cache(maxsize=16)
def checked(text: str) -> Checked:
    """Return a policy of this text, checked."""
    return check(parse(f"policy 1\n{text}\n", "x.policy"), preset, missing)


def made(text: str) -> CompiledPolicy:
    """Return a policy of this text, compiled."""
    return compiled(checked(text), CACHING)


def ruled(statements: str, head: str = "") -> CompiledPolicy:
    """Return a policy whose request phase is these statements."""
    return made(f"{head}\nrequest {{\n{statements}\n}}")


def get(target: str = "/", host: str = "h", method: str = "GET", **fields: str) -> Request:
    """Return a request; `x_device="a"` is the field X-Device."""
    lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
    return Request(method.encode(), target.encode(), host.encode(), host.encode(), fields=Fields(lines))


def decide(policy: CompiledPolicy, request: Request, client: str = "192.0.2.1") -> RequestDecision:
    """Return what becomes of a request; that it is explained otherwise is a failure."""
    decision, explained = policy.request(request, client), policy.explaining.request(request, client)
    assert replace(explained, matched=()) == decision
    return decision


def answered(statements: str, status: int = 200, head: str = "", **fields: str) -> ResponseDecision:
    """Return what response rules decide on a response to `GET /`."""
    policy = made(f"{head}\nresponse {{\n{statements}\n}}")
    lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
    response = Response(status, b"", Fields(lines), body_length=10)
    request = get()
    return policy.response(decide(policy, request), request, response, terms(response, CACHING, NOW), NOW)


def unjudged(head: str, request: str = "", response: str = "") -> Checked:
    """Return a policy whose statements nobody judged: what follows must hold for any that can be written."""
    parsed = parse(f"policy 1\nrequest {{\n{request}\n}}\nresponse {{\n{response}\n}}\n", "x.policy")
    bodies = {Phase(phase.word): phase.body for phase in parsed.phases}
    return replace(checked(head), phases={phase: bodies.get(phase, ()) for phase in Phase})
