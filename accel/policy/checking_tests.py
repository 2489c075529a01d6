"""Whether a policy's own tests can be run as they are written. Owns the messages about them.

What they expect is compared by whoever runs them; here is only what is wrong before anything runs.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address

from accel.http.fields import is_token
from accel.policy import document, nodes
from accel.policy.checking_statements import DEFAULT_POOL
from accel.policy.findings import Findings


def check_test(test: document.Test, pools: Collection[str], findings: Findings) -> None:
    """Note what is wrong with a test."""
    if not any(isinstance(step, document.Ask) for step in test.steps):
        findings.problem(test.place, "this test asks nothing", 'write a request: get "/" -> miss')
    for step in test.steps:
        if isinstance(step, document.Ask | document.OriginSays):
            _target(step.target, findings)
            _fields(step.fields, findings)
        if isinstance(step, document.Ask):
            _client(step.client, findings)
            for expectation in step.expectations:
                _expectation(expectation, pools, findings)


def _target(target: nodes.Text, findings: Findings) -> None:
    if not target.value.startswith("/") or " " in target.value or not target.value.isascii():
        hint = 'write the path as it is sent, such as "/list?page=2"'
        findings.problem(target.place, f"{target.value!r} is no target", hint)


def _fields(fields: tuple[tuple[str, nodes.Text], ...], findings: Findings) -> None:
    for name, value in fields:
        if not is_token(name.encode()):
            hint = 'name and value stand apart: accept "text/html"'
            findings.problem(value.place, f"{name!r} is no name of a field", hint)


def _client(client: nodes.Name | None, findings: Findings) -> None:
    try:
        if client is not None:
            ip_address(client.name)
    except ValueError:
        findings.problem(client.place, f"{client.name!r} is no address", "write from 192.0.2.1") if client else None


def _expectation(held: document.Expectation, pools: Collection[str], findings: Findings) -> None:
    if held.word == "pool" and held.name not in {*pools, DEFAULT_POOL}:
        otherwise = f"define it: pool {held.name} {{ servers 127.0.0.1:8001 }}"
        findings.unknown(held.place, "pool", held.name, {*pools, DEFAULT_POOL}, otherwise)
    elif held.word in ("header", "no header") and not is_token(held.name.encode()):
        findings.problem(held.place, f"{held.name!r} is no name of a field", 'write header "X-Shop" "a"')
