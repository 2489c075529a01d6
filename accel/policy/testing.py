"""A policy's own tests: each runs in a rehearsal of its own, and every step that went otherwise than said is told.

Owns what the words of tests mean (`-> hit`, `origin saw cookie "a=1"`) and how a failure is shown: expected, got, and
the rule that decided, with its line. Pure: it takes milliseconds, and the same file gives the same outcomes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import assert_never

from accel.config import CachingOptions
from accel.http.message import Fields, Request
from accel.policy import document, nodes
from accel.policy.compile import CompiledPolicy
from accel.policy.decision import Rule
from accel.policy.nodes import Place
from accel.policy.rehearsal import Rehearsal, Said, Seen

_BEGIN_AT = 1_700_000_000.0
_OUTCOMES = frozenset({"hit", "miss", "stale", "pass", "synthetic", "error"})
_STRANGER = "192.0.2.1"
"""Who asks where a test does not say: an address that no acl holds by accident (RFC 5737)."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One thing that a step's answer was not."""

    place: Place
    """Of the expectation."""
    expected: str
    got: str
    rule: Rule | None
    """Which rule decided; None: no rule did, the language's default stood."""

    def facts(self) -> dict[str, object]:
        """Return it as JSON values."""
        rule = None if self.rule is None else str(self.rule)
        return {"at": str(self.place), "expected": self.expected, "got": self.got, "rule": rule}


@dataclass(frozen=True, slots=True)
class TestOutcome:
    """What came of one test."""

    __test__ = False

    name: str
    place: Place
    mismatches: tuple[Mismatch, ...] = ()

    @property
    def is_passed(self) -> bool:
        """Whether everything was as expected."""
        return not self.mismatches


def run_tests(policy: CompiledPolicy, options: CachingOptions | None = None) -> list[TestOutcome]:
    """Run the tests in a policy's file."""
    caching = options or CachingOptions()
    return [
        TestOutcome(test.name.value, test.place, tuple(_run(test, policy, caching))) for test in policy.checked.tests
    ]


def shown(outcome: TestOutcome, lines: tuple[str, ...]) -> str:
    """Return a test's outcome as an operator reads it; `lines` are the file's."""
    if outcome.is_passed:
        return f"ok    {outcome.name}"
    parts = [f"FAIL  {outcome.name}"]
    for mismatch in outcome.mismatches:
        place = mismatch.place
        line = lines[place.line - 1].strip() if place.line <= len(lines) else ""
        rule = f"decided by {mismatch.rule}" if mismatch.rule is not None else "no rule decided"
        parts += [
            f"      {place.file}:{place.line}: {line}",
            f"        expected  {mismatch.expected}",
            f"        got       {mismatch.got}",
            f"        {rule}{_text_of(mismatch.rule, place.file, lines)}",
        ]
    return "\n".join(parts)


def _text_of(rule: Rule | None, file: str, lines: tuple[str, ...]) -> str:
    is_here = rule is not None and rule.file == file and rule.line <= len(lines)
    return f": {lines[rule.line - 1].strip()}" if rule is not None and is_here else ""


def _run(test: document.Test, policy: CompiledPolicy, caching: CachingOptions) -> Iterator[Mismatch]:
    rehearsal = Rehearsal(policy, caching, _BEGIN_AT)
    for step in test.steps:
        match step:
            case document.OriginSays():
                body = step.body.value.encode() if step.body is not None else b""
                said = Said(step.status.value, _fields(step.fields), body)
                rehearsal.says(step.method.name.encode(), step.target.value.encode(), said)
            case document.Fails():
                rehearsal.is_failing = step.is_failing
            case document.After():
                rehearsal.now += step.duration.seconds
            case document.Ask():
                seen = rehearsal.ask(_request(step, policy), step.client.name if step.client else _STRANGER)
                yield from _mismatches(step, seen, policy)
            case _:
                assert_never(step)


def _request(step: document.Ask, policy: CompiledPolicy) -> Request:
    fields = _fields(step.fields)
    named = [host for host in policy.checked.hosts if not host.startswith("*")]
    host = (fields.get(b"host") or (named[0] if named else "localhost").encode()).lower()
    upgrade = fields.get(b"upgrade") or b""
    fields = fields.without({b"host"})
    return Request(step.method.encode(), step.target.value.encode(), host, host, fields=fields, upgrade=upgrade.lower())


def _fields(pairs: tuple[tuple[str, nodes.Text], ...]) -> Fields:
    return Fields([(name.lower().encode(), value.value.encode()) for name, value in pairs])


# What is held against what was expected.


def _mismatches(step: document.Ask, seen: Seen, policy: CompiledPolicy) -> Iterator[Mismatch]:
    for held in step.expectations:
        judged = _outcome if held.word in _OUTCOMES else _JUDGES[held.word]
        expected, got = judged(held, seen, policy)
        if expected != got:
            yield Mismatch(held.place, expected, got, seen.rule)


_Judged = tuple[str, str]


def _outcome(held: document.Expectation, seen: Seen, policy: CompiledPolicy) -> _Judged:
    expected, got = held.word, seen.outcome
    if isinstance(held.value, nodes.Text):
        expected, got = f'{expected} "{held.value.value}"', f'{got} "{seen.why}"'
    elif expected != got:
        got += f' "{seen.why}"' if seen.why else ""
        got += f" (the answer is not stored: {seen.storing})" if seen.storing not in ("", "store") else ""
    return expected, got


def _status(held: document.Expectation, seen: Seen, policy: CompiledPolicy) -> _Judged:
    assert isinstance(held.value, nodes.Number)
    return f"status {held.value.value}", f"status {seen.status}"


def _field(held: document.Expectation, seen: Seen, policy: CompiledPolicy) -> _Judged:
    value = seen.fields.get(held.name.lower().encode())
    if isinstance(held.value, nodes.Text):
        return f'header "{held.name}" "{held.value.value}"', _shown_field(held.name, value)
    return f'header "{held.name}"', f'header "{held.name}"' if value is not None else _shown_field(held.name, value)


def _no_field(held: document.Expectation, seen: Seen, policy: CompiledPolicy) -> _Judged:
    value = seen.fields.get(held.name.lower().encode())
    return f'no header "{held.name}"', _shown_field(held.name, value)


def _shown_field(name: str, value: bytes | None) -> str:
    return f'no header "{name}"' if value is None else f'header "{name}" "{value.decode("utf-8", "replace")}"'


def _body(held: document.Expectation, seen: Seen, policy: CompiledPolicy) -> _Judged:
    return f'body "{_value(held)}"', f'body "{seen.body.decode("utf-8", "replace")}"'


def _pool(held: document.Expectation, seen: Seen, policy: CompiledPolicy) -> _Judged:
    first = next(iter(policy.checked.pools), "default")
    return f"pool {held.name or _value(held)}", f"pool {seen.pool or first}"


def _redirect(held: document.Expectation, seen: Seen, policy: CompiledPolicy) -> _Judged:
    location = seen.fields.get(b"location")
    got = "no redirect" if location is None else f'redirect "{location.decode("utf-8", "replace")}"'
    return f'redirect "{_value(held)}"', got


def _saw(held: document.Expectation, seen: Seen, policy: CompiledPolicy) -> _Judged:
    expected = f'origin saw {held.name} "{_value(held)}"' if held.value is not None else f"origin saw {held.name}"
    if not seen.asked:
        return expected, "the origin was not asked"
    value = _part(seen.asked[-1], held.name)
    if value is None:
        return expected, f"origin saw no {held.name}"
    return expected, f'origin saw {held.name} "{value}"' if held.value is not None else f"origin saw {held.name}"


def _saw_no(held: document.Expectation, seen: Seen, policy: CompiledPolicy) -> _Judged:
    name = held.name or _value(held)
    value = _part(seen.asked[-1], name) if seen.asked else None
    got = f"origin saw no {name}" if value is None else f'origin saw {name} "{value}"'
    return f"origin saw no {name}", got


def _no_fetch(held: document.Expectation, seen: Seen, policy: CompiledPolicy) -> _Judged:
    asked = [f"{request.method.decode()} {request.target.decode()}" for request in seen.asked]
    return "no fetch", f"the origin was asked: {', '.join(asked)}" if asked else "no fetch"


def _part(request: Request, name: str) -> str | None:
    """Return a part of what the origin saw: a field, or the method, host, path, url or query."""
    path, question, query = request.target.partition(b"?")
    parts = {"method": request.method, "host": request.host, "path": path, "url": request.target}
    if name == "query":
        value = query if question else None
    else:
        value = parts.get(name.lower()) or request.fields.get(name.lower().encode())
    return None if value is None else value.decode("utf-8", "replace")


def _value(held: document.Expectation) -> str:
    return held.value.value if isinstance(held.value, nodes.Text) else ""


_JUDGES: dict[str, Callable[[document.Expectation, Seen, CompiledPolicy], _Judged]] = {
    "status": _status,
    "header": _field,
    "no header": _no_field,
    "body": _body,
    "pool": _pool,
    "redirect": _redirect,
    "origin saw": _saw,
    "origin saw no": _saw_no,
    "no fetch": _no_fetch,
}
