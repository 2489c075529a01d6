"""Relays: a forward whose way was decided before is carried from socket to socket by compiled code.

The hot path's counterpart for what is not stored. Owns which forwards may be learned, and the way back to the general
path; what is done with them is compiled (`_relay.pyx`). Invariant: origin and client get, byte for byte, what the
general path would have sent them, and whatever is not plain is the general path's, which goes on where the relay was.

 pass        where requests with one signature (`proxy.hot`) go: what the rules passed, and what a hit-for-miss mark
             says is not stored. It is learned when the general path has passed such a response on, and stands as long
             as the configuration, and its mark: found in its slot, not expired, no invalidation since it was read.
 request     one whole head in one read, no body. Its lines go on as `origin_view` has them.
 response    its head whole in one read and plain (HTTP/1.1, a body of known length, no longer than a window, so that
             nobody has to be waited for). If a mark is what the plan stands on, the fields that forbid to store it are
             judged, each combination once; one that may be stored is left to the general path.
 look-up     under rules that ask nothing of the target there is one plan for all of them: what is not stored, and is
             not being fetched, is claimed on all workers, fetched, and stored when it is here whole, if the fields
             that say so are of a plain kind (seconds, no Vary). Its client waits for that a moment, not longer.
             Whoever wants the same meanwhile makes a `Fill` of it, and joins that.

Leaving: a relay is an exchange of which only the fetch has begun. So it becomes an `Exchange` that starts as any other
and, when it comes to its fetch, goes on with what was begun (`origin.fetch.Begun`): a place on a backend, the
connection that carries it with all that has come, or the connection's failure, which is retried and counted there.

Attack. What if the exchange is decided in another way than the plan was? It is answered so; what was begun and nobody
took is closed when it settles. The client leaves: the fetch is given up, and counted as an exchange's. The origin
stalls: its connection's deadlines end it. A reload: what began goes on under the old configuration, as exchanges do.
An origin that answers before it is asked, or more than it said: the connection finds a stray byte, and is not used
again. A look-up's response that breaks off at once is an error for its client, where the general path would have sent a
part. An invalidation comes before it is stored: the world has moved, and the general path sees to it. A kill leaves a
claim, as a fill's, and no pin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from accel.caching import tags
from accel.caching.freshness import LifetimeSource, governing, terms
from accel.caching.key import primary_key
from accel.caching.stored import Stored, encode
from accel.caching.storing import Storing, decide
from accel.http.cache_status import Forward
from accel.http.message import Fields, Line, Request, Response
from accel.http.request_parser import RequestParser
from accel.http.response_parser import ResponseParser
from accel.http.writer import field_lines
from accel.origin.attempt import Begun
from accel.origin.fetch import Origin
from accel.policy.verdict import Action
from accel.proxy._relay import Carrier, Keeping, Plan
from accel.proxy.asking import Asking
from accel.proxy.contents import Found
from accel.proxy.exchange import Exchange
from accel.proxy.fill import Fill, shared_fill
from accel.proxy.origin_view import CONDITIONS
from accel.proxy.telling import key_hash
from accel.stats._ring import RingWriter

if TYPE_CHECKING:
    from collections.abc import Callable

    from accel.policy.compile import CompiledPolicy
    from accel.proxy._relay import Relay
    from accel.proxy.hot import Hot
    from accel.proxy.service import Claim, Service
    from accel.stats.counters import CounterRow
    from accel.stats.histograms import HistogramWords
    from accel.store._shared import SharedRecord
    from accel.store.shared import SharedStore

ENTRIES = 16 * 1024
"""Plans that a worker remembers, at some 500 bytes each."""
_LASTING = frozenset(
    {Storing.STATUS, Storing.RANGE, Storing.NO_STORE, Storing.PRIVATE, Storing.SET_COOKIE, Storing.VARY_STAR}
)
"""Outcomes that follow from the status and from fields that every response is judged by, whatever else it says."""
_IN_SECONDS = frozenset({LifetimeSource.CDN_CACHE_CONTROL, LifetimeSource.S_MAXAGE, LifetimeSource.MAX_AGE})
_MORE_THOUGHT = (b"age", b"content-range", b"expires", b"set-cookie", b"set-cookie2", b"vary", *tags.FIELDS)
"""Fields of which more than the presence matters to what is stored, or where."""
_WINDOW_BYTES = 64 * 1024
_BAD_GATEWAY = 502


class Relays:
    """One worker's memory of forwards."""

    def __init__(
        self,
        hot: Hot,
        store: SharedStore,
        words: memoryview,
        counters: CounterRow,
        histograms: HistogramWords,
        wall: Callable[[], float] | None = None,
    ) -> None:
        """`words`: the table of `store.numbers`; `wall`: a clock in place of the machine's."""
        self._hot = hot
        self.carrier = Carrier(self, store, words, counters, histograms, wall, ENTRIES)

    def __len__(self) -> int:
        return len(self.carrier)

    def use(self, service: Service) -> None:
        """Forget what was decided under another configuration, and learn under this one."""
        self.carrier.forget()
        self.carrier.bound(service.limits)
        self.carrier.tell_to(service.log if isinstance(service.log, RingWriter) else None)
        can_tell = service.log is None or isinstance(service.log, RingWriter)
        self.carrier.is_on = can_tell and service.limits.requests_per_connection is None

    def learn(self, signature: bytes, exchange: Exchange) -> None:
        """Remember where a request was forwarded whose response has just been passed on as it was."""
        plan = self._plan(signature, exchange)
        if plan is not None and (exchange.asking.decision.action is Action.PASS or self._rests_on_mark(plan, exchange)):
            self.carrier.keep(signature, plan)

    def learn_lookup(self, signature: bytes, exchange: Exchange) -> None:
        """Remember how a request was fetched for the cache, if the target had no part in that."""
        policy, found, fields = exchange.asking.policy, exchange.found, exchange.request.fields
        if not _is_same_for_all_targets(policy) or found is None or exchange.reason is not Forward.URI_MISS:
            return
        if exchange.request.method != b"GET" or any(name in fields for name in CONDITIONS):
            return
        plan = self._plan(signature, exchange)
        if plan is not None:
            most_bytes = exchange.service.caching.max_body_bytes
            plan.look_up(_WINDOW_BYTES if most_bytes is None else min(most_bytes, _WINDOW_BYTES))
            self.carrier.keep_lookup(signature, plan)

    def _plan(self, signature: bytes, exchange: Exchange) -> Plan | None:
        """Return where an exchange's request went; None if the next one like it may go another way, or is edited."""
        asking = exchange.asking
        if not self._hot.may_learn(signature, exchange) or asking.asked is not exchange.request:
            return None
        if asking.decision.action is Action.LOOKUP and asking.policy.edits_cookies:
            return None  # the next one may have others
        origin = exchange.service.origin(asking.pool)
        if exchange.may_be_edited or exchange.retries or not isinstance(origin, Origin) or not origin.is_plain:
            return None
        host = asking.asked.host
        before = b" HTTP/1.1\r\n" + field_lines([(b"host", origin.host or host)])
        behind: list[Line] = [(b"x-forwarded-proto", b"http")]
        if host:
            behind.append((b"x-forwarded-host", host))
        return Plan(exchange, origin, before, field_lines(behind) + b"\r\n", not asking.decision.is_sealed)

    def _rests_on_mark(self, plan: Plan, exchange: Exchange) -> bool:
        """Let a plan stand as long as the mark that a request found; False if it is about more than that."""
        found, policy, world = exchange.found, exchange.asking.policy, self.carrier.world()
        if exchange.asking.decision.action is not Action.LOOKUP or policy.has_response:
            return False
        if found is None or not found.is_marked or found.key != found.primary:
            return False
        marked = exchange.service.cache.marked(found)
        glance = None if marked is None else self._hot.glance(cast("SharedRecord", marked[0]))
        if marked is None or glance is None:
            return False  # gone since
        plan.rest_on(glance, marked[1].until_at, world, key_hash(found.primary))
        return True

    # What the compiled side asks.

    def may_pass_on(self, plan: Plan, status: int, lines: list[Line]) -> bool:
        """Whether no response like this is ever stored; `lines` are all of its fields."""
        caching, head = plan.service.caching, Response(status, b"", Fields(lines))
        return decide(Request(b"GET", b"/"), head, terms(head, caching, plan.service.now()), caching) in _LASTING

    def keeping(self, plan: Plan, status: int, lines: list[Line]) -> Keeping | bool:
        """Return how a response like this is stored; False: that is to be decided by more than its fields' presence.

        So it is only where it says in seconds how long it is fresh, and what is stored is all of it.
        """
        caching, head = plan.service.caching, Response(status, b"", Fields(lines))
        if any(name in head.fields for name in _MORE_THOUGHT):
            return False
        stated, directives = terms(head, caching, plan.service.now()), governing(head.fields)
        is_stored = decide(Request(b"GET", b"/"), head, stated, caching) is Storing.STORE
        is_in_parts = directives.field_names(b"private") or directives.field_names(b"no-cache")
        is_plain = not stated.no_cache and stated.source in _IN_SECONDS  # without, validators decide too
        if not is_stored or is_in_parts or not is_plain:
            return False
        form = encode(Stored(status, b"", Fields(), 0.0, 0.0, 0.0, stated, 0))
        return Keeping(form, stated.lifetime_s)

    def reread(self, relay: Relay) -> Request:
        """Return what was asked."""
        sink = _Sink()
        RequestParser(sink, relay.service.limits).feed(relay.data)
        return sink.request

    def hand_over(self, relay: Relay, data: bytes) -> None:
        """Let the general path go on; `data` is what came of the response."""
        if relay.key is not None:
            self.fill_of(relay, data)
            return
        exchange = self._decided(relay)
        exchange.begun = self._left(relay, data)
        self._replace(relay, exchange)
        if exchange.found is None:
            exchange.start()
        else:
            exchange.go_on_alone(exchange.found)  # whatever became of the mark: it was found when this began

    def fill_of(self, relay: Relay, data: bytes) -> Fill:
        """Return the fill that a fetch for the cache becomes, with its exchange as the leader; `data` as above."""
        assert relay.key is not None
        exchange, service, found = self._decided(relay), relay.service, Found(relay.key, relay.key)
        fill = shared_fill(service, exchange.asking, found, exchange, self._left(relay, data))
        claim = self._replace(relay, exchange)
        service.flights.begin(found, fill, claim)
        exchange.go_on(found, fill)
        return fill

    def _left(self, relay: Relay, data: bytes) -> Begun:
        """Return what a relay leaves to a fetch."""
        if relay.conn is not None:
            relay.begun.began_at, relay.begun.number = relay.started_at, relay.number
            relay.begun.parser = ResponseParser(b"HEAD" if relay.is_head else b"GET", b"", relay.service.limits)
            relay.conn.hand_over(relay, relay.begun.parser, data)
        return relay.begun

    def failed(self, relay: Relay) -> None:
        """The exchange with the origin has failed."""
        if not relay.head_sent:
            self.hand_over(relay, b"")
            return
        exchange = self._decided(relay)
        self._replace(relay, exchange)
        exchange.fail(_BAD_GATEWAY)

    def client_gone(self, relay: Relay) -> None:
        """Nobody waits for the response any more."""
        exchange, claim = self._decided(relay), relay.leave()
        if claim is not None:
            claim.release()
        relay.conn.abandon(relay)
        exchange.client_gone()

    def _replace(self, relay: Relay, exchange: Exchange) -> Claim | None:
        claim = relay.leave()
        relay.connection.replace(relay, exchange)
        return claim

    def _exchange(self, relay: Relay) -> Exchange:
        exchange = Exchange(relay.connection, relay.service, self.reread(relay), lambda may_read: None)
        exchange.started_at, exchange.id = relay.started_at, relay.id
        return exchange

    def _decided(self, relay: Relay) -> Exchange:
        """Return an exchange that is where the relay is, to be ended."""
        exchange = self._exchange(relay)
        policy, request = relay.plan.policy, exchange.request
        exchange.asking = Asking(policy, request, policy.request(request, exchange.client_ip))
        exchange.site, exchange.outcome, exchange.reason = policy.site, relay.outcome, relay.plan.reason
        exchange.asked_at = relay.started_at
        if exchange.asking.decision.action is Action.LOOKUP:
            key = primary_key(request.host, request.target)
            exchange.found = Found(key, key, is_marked=relay.key is None)
        if relay.head_sent:
            exchange.head_sent, exchange.status, exchange.backend = True, relay.status, relay.backend
            exchange.first_byte_at, exchange.body_bytes = relay.first_byte_at, relay.body_bytes
        return exchange


def _is_same_for_all_targets(policy: CompiledPolicy) -> bool:
    """Whether every look-up under these rules is made, and its response stored, as any other's."""
    return policy.looks_up_alike and not policy.has_response


class _Sink:
    """Takes the one request that a relay was made of."""

    request: Request

    def request_begun(self, request: Request) -> None:
        """Keep it."""
        self.request = request

    def body_received(self, data: bytes) -> None:
        """There is none."""

    def request_ended(self) -> None:
        """It has no body."""
