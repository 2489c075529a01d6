"""What becomes of an exchange that no origin answered usably.

Owns the choice between what is stored, another pool, a page of the rules' and an error. Invariant: nothing is asked
again of which a byte was answered, or which may have been acted on and may not be sent twice (RFC 9110 §9.2.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from accel.errors import ConnectFailed, NoBackend, OriginError
from accel.http.cache_status import Forward
from accel.origin.attempt import IDEMPOTENT
from accel.policy.decision import Recovery
from accel.proxy import forward

if TYPE_CHECKING:
    from accel.proxy.exchange import Exchange


def asks_again(exchange: Exchange, error: OriginError) -> bool:
    """Do what the rules say, else answer with an error; True: the exchange is to go its way once more."""
    if exchange.head_sent or exchange.is_settled:
        exchange.fail(error.status)
        return False
    ruled = exchange.asking.error(error.status, error.cause)
    match ruled.recovery:
        case Recovery.STALE if _served_stale(exchange, error):
            pass
        case Recovery.RETRY if _may_ask(exchange, ruled.pool, error):
            exchange.asking, exchange.has_asked_again = exchange.asking.of_pool(ruled.pool), True
            exchange.retries += 1
            return True
        case Recovery.ANSWER:
            exchange.answer_ruled(ruled.answer, error.status)
        case _:
            exchange.fail(error.status)
    return False


def _served_stale(exchange: Exchange, error: OriginError) -> bool:
    found = exchange.found
    return found is not None and forward.served_stale(exchange, found, Forward.STALE, error.status, is_demanded=True)


def _may_ask(exchange: Exchange, pool: str, error: OriginError) -> bool:
    """Whether another pool may be asked: once, with a body that nobody has read, and, if the first may have acted on
    it, only what may be sent twice.
    """
    if exchange.has_asked_again or exchange.asking.pool == exchange.asking.policy.pool(pool):
        return False
    was_sent = not isinstance(error, (ConnectFailed, NoBackend))
    is_unread = exchange.body is None or not exchange.body.was_read
    return is_unread and (exchange.request.method in IDEMPOTENT or not was_sent)
