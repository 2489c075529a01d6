"""What a client that may purge asks to be told beside its answer: why it is as it is, and what took how long.

`Accel-Explain: 1` asks for the first, `Accel-Timing: 1` for `Server-Timing` (W3C), which browsers show. Such a request
is never replayed (`proxy.hot`), so its times are those of the general path. Nothing is done for any other request but
two look-ups.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING

from accel.policy.decision import Edit, EditMode
from accel.proxy import explain

if TYPE_CHECKING:
    from accel.proxy.exchange import Exchange

TIMING = b"accel-timing"
_SERVER_TIMING = (b"server-timing",)


@dataclass(frozen=True, slots=True)
class Asides:
    """What is to be told."""

    explanation: bytes
    is_timed: bool


def asked(exchange: Exchange) -> Asides | None:
    """Return what is to be told; None for nothing, or whom it is not for."""
    request, service = exchange.request, exchange.service
    if request.fields.get(explain.FIELD) is None and request.fields.get(TIMING) is None:
        return None
    explanation = explain.field(service, request, exchange.client_ip)
    is_timed = request.fields.get(TIMING) == b"1" and exchange.asking.policy.may_purge(request, exchange.client_ip)
    return Asides(explanation, is_timed) if explanation or is_timed else None


def edits(asides: Asides, exchange: Exchange) -> tuple[Edit, ...]:
    """Return the edits that put it into an answer whose head is about to go out."""
    said = (explain.edit(asides.explanation),) if asides.explanation else ()
    return (*said, Edit(EditMode.ADD, _SERVER_TIMING, timing(exchange))) if asides.is_timed else said


def timing(exchange: Exchange) -> bytes:
    """Return what happened until now, in milliseconds: the origin's part, and all of it.

    `origin` is from when one was asked, or another's fetch was waited for, until now.
    """
    now = exchange.service.now()
    parts = [f'cache;desc="{exchange.outcome.word}"']
    if not isnan(exchange.asked_at):
        by = f';desc="{exchange.backend}"' if exchange.backend else ""
        parts.append(f"origin{by};dur={_ms(now - exchange.asked_at)}")
    parts.append(f"total;dur={_ms(now - exchange.started_at)}")
    return ", ".join(parts).encode("ascii", "replace")


def _ms(seconds: float) -> str:
    return f"{max(0.0, seconds) * 1000:.3f}"
