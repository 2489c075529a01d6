"""One request and its answer: which way it takes, and what is known about it when it has ended.

The way: `start` asks the policy, and a hit is answered in the same call, without a task or an await. Everything that
waits for an origin runs as one task, in `proxy.forward`. Invariants: every exchange settles exactly once (counted and
logged); after the first byte of an answer nothing is retried and an error cuts the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from math import isnan, nan
from typing import TYPE_CHECKING, TypeVarTuple, assert_never

from accel.caching.reuse import Reuse, judge, only_if_cached
from accel.caching.storing import is_shareable
from accel.errors import ClientGone, OriginError, RequestError
from accel.http.cache_status import Forward
from accel.http.fields import format_date
from accel.http.message import Fields, Request
from accel.origin.attempt import Begun
from accel.policy.decision import Answer, Edit, LimitCheck, RequestDecision
from accel.policy.verdict import Action
from accel.proxy import asides, deliver, forward, recovery, synth, telling
from accel.proxy.asking import Asking
from accel.proxy.contents import Entry, Found
from accel.proxy.outcome import Outcome
from accel.proxy.streaming import RequestBody
from accel.stats.counters import index

if TYPE_CHECKING:
    from accel.proxy.connection import ClientConnection
    from accel.proxy.fill import Fill
    from accel.proxy.service import Service

_ABORTS, _EXPECTATIONS = index("client_aborts"), index("expectation_refused")
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_Rest = TypeVarTuple("_Rest")
_UNREADABLE = Request(method=b"-", target=b"-")
"""Stands in the log for a request that could not be read."""


class Exchange:
    """One request of a connection."""

    __slots__ = (
        "_asides",
        "_refusal",
        "_task",
        "asked_at",
        "asking",
        "backend",
        "begun",
        "body",
        "body_bytes",
        "client_ip",
        "connection",
        "first_byte_at",
        "found",
        "has_asked_again",
        "head_sent",
        "id",
        "is_settled",
        "keep",
        "outcome",
        "reason",
        "request",
        "retries",
        "served",
        "service",
        "signature",
        "site",
        "started_at",
        "status",
    )

    def __init__(
        self, connection: ClientConnection, service: Service, request: Request, flow: Callable[[bool], None]
    ) -> None:
        self.connection = connection
        self.service = service
        self.request = request
        self.id = 0 if service.log is None else service.log.begun()
        self.client_ip = connection.client_ip
        self.body: RequestBody | None = None
        if request.body_length:
            self.body = RequestBody(request.body_length, service.limits.window_bytes, flow)
        self.started_at = service.now()
        self.outcome = Outcome.ERROR
        self.status = self.site = 0
        self.body_bytes = 0
        self.backend = ""
        self.first_byte_at = nan
        self.asked_at = nan
        """When it was forwarded, or began to wait for another's fetch."""
        self.reason: Forward | None = None
        """Why it was forwarded."""
        self.retries = 0
        self.begun: Begun | None = None
        """What a relay has begun of its fetch, until that goes on with it."""
        self.served: Entry | None = None
        """What is stored, or is being stored, that the answer is made of."""
        self.head_sent = False
        self.keep = False
        self.signature: bytes | None = None
        """What the hot path made of the request, to remember a hit by."""
        self.asking: Asking
        """Set when the request's turn comes; never for one that could not be read."""
        self._asides: asides.Asides | None = None
        self.found: Found | None = None
        self.has_asked_again = False
        """Whether a rule has sent it to another pool."""
        self._refusal: RequestError | None = None
        self.is_settled = False
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def refused(cls, connection: ClientConnection, service: Service, error: RequestError) -> Exchange:
        """Return the exchange that answers a message that could not be read as a request."""
        exchange = cls(connection, service, _UNREADABLE, lambda may_read: None)
        exchange._refusal = error
        return exchange

    # What the connection says.

    def start(self) -> None:
        """Take up the request: its turn has come."""
        if self._refusal is not None:
            self.fail(self._refusal.status)
            return
        policy = self.service.policies.of(self.request.host)
        self.site = policy.site
        self.asking = Asking(policy, self.request, policy.request(self.request, self.client_ip))
        self._asides = asides.asked(self)
        expectation = self.request.fields.get(b"expect")
        if expectation is not None and not self._meet(expectation):
            self.service.counters[_EXPECTATIONS] += 1
            self.fail(417)
            return
        self._take(self.asking.decision)

    def go_on(self, found: Found, fill: Fill) -> None:
        """Answer from a fetch for the cache that a relay has begun."""
        self.found, self.reason = found, found.missing
        self._go(Outcome.MISS, forward.resumed, found, fill, found.missing)
        assert self._task is not None
        self._task.add_done_callback(lambda done: fill.release(self))  # one that is cancelled early never begins

    def go_on_alone(self, found: Found) -> None:
        """Fetch what a mark says is not stored, as a relay has begun to."""
        self._go(Outcome.MISS, forward.missed, found, found.missing)

    def body_received(self, data: bytes) -> None:
        """A piece of the body arrived."""
        if self.body is not None and not self.is_settled:
            self.body.feed(data)

    def body_ended(self) -> None:
        """The body is complete."""
        if self.body is not None:
            self.body.end()

    def body_failed(self, error: RequestError) -> None:
        """The body will not be completed; whoever reads it will say so."""
        if self.body is not None:
            self.body.fail(error)

    def client_gone(self) -> None:
        """The connection is lost."""
        if self.is_settled:
            return
        self.service.counters[_ABORTS] += 1
        if self._task is not None:
            self._task.cancel()
        self._settle()

    # The ways.

    def _take(self, decision: RequestDecision) -> None:
        if self.request.upgrade and decision.action is not Action.PIPE:
            self.request.keep_alive = False  # an Upgrade may be ignored, but what came behind it was not read as HTTP
        if decision.limits and self._is_limited(decision.limits):
            return
        match decision.action:
            case Action.LOOKUP:
                self._look_up()
            case Action.PASS:
                self.reason = decision.forward
                self._go(Outcome.PASS, forward.passed, decision.forward)
            case Action.PIPE:
                self.reason = Forward.BYPASS
                self._go(Outcome.PASS, forward.piped)
            case Action.PURGE:
                self._go(Outcome.SYNTHETIC, forward.purged)
            case Action.DENY:
                self.answer_ruled(decision.answer, decision.status)
            case _:
                assert_never(decision.action)

    def _is_limited(self, limits: tuple[LimitCheck, ...]) -> bool:
        """Count the request against its limits; True: one of them was exceeded, and that is answered."""
        now = self.service.now()  # not when it came: it may have waited long behind others of its connection
        for limit in limits:
            if not self.service.limiter.admits(limit, now):
                wait_s = self.service.limiter.retry_after_s(limit, now)
                self.answer_ruled(limit.otherwise, limit.status, wait_s)
                return True
        return False

    def _look_up(self) -> None:
        if b"if-match" in self.request.fields or b"if-unmodified-since" in self.request.fields:
            self.reason = Forward.REQUEST
            self._go(Outcome.PASS, forward.passed, Forward.REQUEST)  # the origin's to judge (RFC 9110 §13.2.1)
            return
        now = self.service.now()
        found = self.found = self.service.cache.find(self.asking.asked, now)
        if found.entry is None:
            self._miss(found, found.missing)
            return
        if b"authorization" in self.request.fields and not is_shareable(found.entry.stored):
            self._miss(found, Forward.REQUEST)
            return
        entry, caching = found.entry, self.service.caching
        judgement = judge(entry.stored, self.request.fields, now, caching, entry.is_soft_purged)
        match judgement.reuse:
            case Reuse.FRESH:
                self._hit(found, Outcome.HIT, now)
            case Reuse.STALE_SERVE:
                self._hit(found, Outcome.STALE, now)
                self.service.refreshing.ask(self.asking.plain(), found)
            case Reuse.VALIDATE:
                self._miss(found, judgement.forward or Forward.STALE)
            case _:
                assert_never(judgement.reuse)

    def _hit(self, found: Found, outcome: Outcome, now: float) -> None:
        assert found.entry is not None and found.record is not None
        self.outcome, self.served = outcome, found.entry
        deliver.send_hit(self, found.entry, found.record, now)
        if self.signature and outcome is Outcome.HIT and self.service.hot is not None:
            self.service.hot.learn(self.signature, self, found)
        self.finish()

    def _miss(self, found: Found, reason: Forward) -> None:
        self.reason = reason
        if only_if_cached(self.request.fields):
            self.answer(synth.only_if_cached(self.date()), Outcome.ERROR)
        else:
            self._go(Outcome.MISS, forward.missed, found, reason)

    def _go(
        self, outcome: Outcome, way: Callable[[Exchange, *_Rest], Coroutine[None, None, None]], *rest: *_Rest
    ) -> None:
        self.outcome = outcome
        if self.reason is not None and isnan(self.asked_at):
            self.asked_at = self.service.now()
        self._task = asyncio.get_running_loop().create_task(self._run(way, *rest))

    async def _run(self, way: Callable[[Exchange, *_Rest], Coroutine[None, None, None]], *rest: *_Rest) -> None:
        try:
            await way(self, *rest)
        except (ClientGone, RequestError, OriginError) as error:
            error.__traceback__ = None  # its frames hold us, and a fill or a connection holds it: a circle otherwise
            if self._asks_again(error):
                await self._run(way, *rest)
        except Exception:
            # A defect of ours: this exchange ends at once, the loop's handler counts and reports it.
            self.fail(500)
            raise

    def _asks_again(self, error: ClientGone | RequestError | OriginError) -> bool:
        match error:
            case ClientGone():
                self.client_gone()
            case OriginError():
                return recovery.asks_again(self, error)
            case _:
                self.fail(error.status)
        return False

    # What a way does with its answer.

    def date(self) -> bytes:
        """Return the present as a Date value."""
        return format_date(self.service.now())

    def decide_keep(self) -> bytes:
        """Decide whether the connection stays open and return the Connection line that says so, or none."""
        body_ended = self.body is None or self.body.ended
        self.keep = self.connection.may_keep(self.request, body_ended)
        if not self.keep:
            return b"Connection: close\r\n"
        return b"" if self.request.minor else b"Connection: keep-alive\r\n"

    def sent_head(self, status: int, body_bytes: int = 0) -> None:
        """Note that an answer's head went out, with so many bytes of body."""
        self.head_sent = True
        self.first_byte_at = self.service.now()
        self.status = status
        self.body_bytes += body_bytes

    def answer(self, answer: synth.Answer, outcome: Outcome) -> None:
        """Send an answer of our own and finish."""
        self.outcome = outcome
        status, lines, body = answer
        deliver.send_synthetic(self, status, lines, body)
        self.finish()

    def answer_ruled(self, answer: Answer | None, status: int, wait_s: int = 0) -> None:
        """Send what a rule wrote, or the built-in page of a status."""
        ready = synth.error(status, self.date()) if answer is None else synth.written(answer, self.date())
        if wait_s:
            ready[1].append((b"retry-after", b"%d" % wait_s))
        self.answer(ready, Outcome.SYNTHETIC)

    @property
    def may_be_edited(self) -> bool:
        """Whether anything may change an answer's fields on their way out."""
        return self._refusal is None and (self.asking.policy.has_deliver or self._asides is not None)

    def edits(self, status: int, fields: Fields, age_s: float | None = None, hits: int = 0) -> tuple[Edit, ...]:
        """Return what the rules change of an answer's fields before it goes out."""
        if not self.may_be_edited:
            return ()
        edits: tuple[Edit, ...] = ()
        if self.asking.policy.has_deliver:
            word = self.outcome.word.encode()
            edits = self.asking.policy.deliver(self.request, self.client_ip, status, fields, word, age_s, hits).edits
        return edits if self._asides is None else (*edits, *asides.edits(self._asides, self))

    def fail(self, status: int) -> None:
        """Answer with an error, or cut the connection if an answer has begun."""
        if self.is_settled:
            return
        if self.head_sent:
            self._settle()
            self.connection.cut(self)
            return
        if self._refusal is not None or status in _CLIENT_FAULTS:
            self.request.keep_alive = False
        self.answer(synth.error(status, self.date()), Outcome.ERROR)

    def finish(self) -> None:
        """The whole answer is written."""
        if self.is_settled:
            return
        self._settle()
        if self.body is not None:
            self.body.discard()
        self.connection.finished(self, self.keep)

    def end_tunnel(self) -> None:
        """The tunnel that this exchange became has ended."""
        if not self.is_settled:
            self._settle()
        self.connection.connection_lost(None)

    @property
    def rule(self) -> str:
        """The rule that decided on the request, as `file:line`; empty: none did."""
        asking: Asking | None = getattr(self, "asking", None)  # its turn may never have come
        decided = None if asking is None else asking.decision.rule
        return "" if decided is None else decided.text

    @property
    def is_head(self) -> bool:
        """Whether the answer has no body because HEAD was asked."""
        return self.request.method == b"HEAD"

    def take_begun(self) -> Begun | None:
        """Hand what was begun of the fetch to who goes on with it."""
        begun, self.begun = self.begun, None
        return begun

    def _settle(self) -> None:
        self.is_settled = True
        if self.begun is not None:
            self.begun.close()
            self.begun = None
        self._task = None  # a cancelled task's frames hold us, and what they were writing: a circle otherwise
        telling.settled(self)

    def _meet(self, expectation: bytes) -> bool:
        """Arrange for 100 Continue when the body is first read; False for an expectation that nobody can meet."""
        if self.request.minor == 0:
            return True  # RFC 9110 §10.1.1: ignored in HTTP/1.0
        if expectation.lower() != b"100-continue":
            return False
        if self.body is not None:
            self.body.on_first_read = self._continue
        return True

    def _continue(self) -> None:
        if self.body is not None and not self.body.has_begun:
            self.connection.write(_CONTINUE)


_CLIENT_FAULTS = frozenset({400, 408, 413, 414, 417, 431})
"""Errors after which the client's next bytes cannot be trusted to begin a request."""
