"""Which fields rules may edit, and why not the others: framing is the engine's, and some have a statement of their own.

RFC 9110 §7.6.1 (what belongs to one connection), RFC 9111 §4 (what a cache states itself).
"""

from __future__ import annotations

from accel.http.fields import HOP_BY_HOP, is_token
from accel.policy import nodes
from accel.policy.findings import Findings
from accel.policy.templates import plain
from accel.policy.vocabulary import Phase

_CONNECTION = dict.fromkeys(
    (name.decode() for name in HOP_BY_HOP | {b"content-length"}), "it belongs to the connection, and accel writes it"
)
_CONDITIONS = dict.fromkeys(
    ("if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "range"),
    "the cache asks origins with conditions of its own; it can only be unset",
)
_LIFETIME = dict.fromkeys(
    ("cache-control", "cdn-cache-control", "expires", "pragma"),
    "say `ttl`, `grace` or `pass` here; what clients are told is edited in deliver",
)
_STATED = dict.fromkeys(("age", "date"), "the cache states it")
_BODY = dict.fromkeys(("content-encoding", "content-range"), "it describes the body, which rules do not change")

_KEPT: dict[Phase, dict[str, str]] = {
    Phase.REQUEST: {
        "host": 'write host canonical "NAME", or host "NAME" in the pool',
        "cookie": "write cookies keep NAME, or cookies drop NAME",
        "accept-encoding": "accel brings it into one form, so that few variants are stored",
    },
    Phase.RESPONSE: {
        "set-cookie": 'write override set-cookie drop reason "…", or unset it in deliver',
        "vary": "write key + header.NAME in request, so that responses differ by it",
        **_LIFETIME,
        **_STATED,
        **_BODY,
    },
    Phase.DELIVER: {**_STATED, **_BODY},
    Phase.ERROR: {},
}
"""Fields that no rule of a phase edits, with what does it instead."""


def check_field(name: nodes.Text, mode: str, phase: Phase, findings: Findings) -> None:
    """Note why a field may not be edited: `set`, `add` or `unset`."""
    text = plain(name)
    hint = _CONNECTION.get(text.lower()) or _KEPT[phase].get(text.lower())
    if not is_token(text.encode()):
        is_line = ":" in text
        hint = 'name and value stand apart: "X-Shop" "a"' if is_line else "a name is letters, digits and `-`"
        findings.problem(name.place, f"{text!r} is no name of a field", hint)
    elif hint is not None:
        findings.problem(name.place, f"{text} cannot be edited in {phase.value} rules", hint)
    elif mode != "unset" and phase is Phase.REQUEST and text.lower() in _CONDITIONS:
        findings.problem(name.place, f"{text} cannot be {mode} in request rules", _CONDITIONS[text.lower()])


def check_field_name(name: nodes.Text, findings: Findings) -> None:
    """Note a text that is no name of a field."""
    if not is_token(plain(name).encode()):
        findings.problem(name.place, f"{plain(name)!r} is no name of a field", "a name is letters, digits and `-`")
