"""A checked policy as something that decides: its phases compiled once, before the workers are forked.

Owns the way from a request to a decision: run the rules, then shape the request by what they set. Invariants: pure
(no clock, no randomness: what differs comes in as an argument); whatever rules say, only GET and HEAD are looked up,
and only addresses that may purge do.

What a verdict makes of the edits: a lookup gets them all. What is passed or piped goes as it came, for its one
client: host and header edits hold for it, while query, cookies, key and seal are about what may be shared. A purge
gets those of them that make the URL: `query` and `host`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from accel.caching.freshness import Terms
from accel.caching.tags import together
from accel.config import CachingOptions, Network
from accel.http.cache_status import Forward
from accel.http.message import Fields, Request, Response
from accel.http.request_parser import PURGING
from accel.policy import nodes
from accel.policy.checked import Checked
from accel.policy.checking_statements import DEFAULT_POOL
from accel.policy.codegen import Functions
from accel.policy.decision import DeliverDecision, ErrorDecision, RequestDecision, ResponseDecision, Rule
from accel.policy.dependence import looks_up_alike
from accel.policy.edits import edited_target, sealed, shaped
from accel.policy.lifetimes import granted
from accel.policy.matching import Networks
from accel.policy.reads import each_statement
from accel.policy.rulings import Draft, Ruling
from accel.policy.runtime import DeliverView, ErrorView, ResponseView, View
from accel.policy.verdict import Action
from accel.policy.vocabulary import Phase

_LOOKUP = Ruling(Action.LOOKUP)
_METHOD = Ruling(Action.PASS, "method", Forward.METHOD)
_PIPE = Ruling(Action.PIPE, "upgrade")
_PURGE_DENIED = Ruling(Action.DENY, "purge from an address that may not", status=403)
_NO_SUCH_METHOD = Ruling(Action.DENY, "a method that `purge` does not name", status=405)
_FORWARDED_PURGE = Ruling(Action.DENY, "purge that another proxy forwarded", status=403)
_FORWARDING_FIELDS = (b"x-forwarded-for", b"forwarded", b"via")
_UNCHANGED = DeliverDecision()
_UNDECIDED = ErrorDecision()


class CompiledPolicy:
    """The rules of one file."""

    def __init__(self, checked: Checked, caching: CachingOptions, purge_from: Sequence[Network]) -> None:
        self.checked = checked
        self.site = 0
        """The number that its requests are counted under; whoever counts gives it."""
        self._caching = caching
        plan = checked.purge
        self._purgers = Networks(purge_from if plan.allow is None else plan.allow)
        self._purge_methods = frozenset(method.encode() for method in plan.methods)
        self._pools = pool_names(checked)
        functions = Functions(checked)
        self._rules = {phase: functions.phase(phase) for phase in Phase}
        self._request = self._rules[Phase.REQUEST]

    def pool(self, name: str) -> str:
        """Return what a pool that a decision names is called among those of all files."""
        return self._pools[name]

    @property
    def has_deliver(self) -> bool:
        """Whether any rule is about answers on their way out."""
        return self._rules[Phase.DELIVER] is not None

    @property
    def has_response(self) -> bool:
        """Whether any rule is about what origins answer."""
        return self._rules[Phase.RESPONSE] is not None

    @cached_property
    def edits_cookies(self) -> bool:
        """Whether any rule takes cookies out of requests."""
        return any(isinstance(rule, nodes.Cookies) for rule in each_statement(self.checked.phases[Phase.REQUEST]))

    @cached_property
    def looks_up_alike(self) -> bool:
        """Whether requests that differ in nothing but path and query are decided alike, and go on as they came."""
        return looks_up_alike(self.checked)

    @cached_property
    def explaining(self) -> CompiledPolicy:
        """The same rules, whose decisions list in `matched` every rule that held."""
        made = CompiledPolicy(self.checked, self._caching, ())
        made._purgers = self._purgers
        functions = Functions(self.checked, is_explaining=True)
        made._rules = {phase: functions.phase(phase) for phase in Phase}
        made._request = made._rules[Phase.REQUEST]
        return made

    # Requests.

    def request(self, request: Request, client_ip: str) -> RequestDecision:
        """Decide what becomes of a request; `client_ip` is empty for a unix socket."""
        method = request.method
        if method in PURGING:
            return self._purge(request, client_ip)
        view, draft = View(request, client_ip), Draft()
        ruling = self._request(view, draft) if self._request is not None else None
        if ruling is None:
            ruling = _by_method(request)
        if ruling.action is Action.LOOKUP:
            ruling = _lookup(ruling, request, draft)
        elif ruling.action is Action.PURGE and (refusal := self._purge_refusal(view)) is not None:
            ruling = refusal
        is_sealed = draft.is_sealed and ruling.action is Action.LOOKUP
        return RequestDecision(
            ruling.action,
            self._asked(request, draft, ruling.action),
            client_ip,
            ruling.why,
            ruling.forward,
            ruling.status,
            ruling.answer,
            draft.pool,
            draft.limits,
            is_sealed,
            self.checked.purge.is_soft,
            ruling.rule,
            _each_once(draft),
        )

    def _asked(self, request: Request, draft: Draft, action: Action) -> Request:
        """Return the request as the key and the origin see it."""
        if action is Action.DENY:
            return request
        host = request.host if draft.host is None else draft.host
        if action is not Action.LOOKUP and action is not Action.PURGE:
            return shaped(request, request.target, host, (), draft.edits, ())
        target = request.target
        if draft.query or draft.is_sorted:
            target = edited_target(target, draft.query, draft.is_sorted)
        if action is Action.PURGE:
            return shaped(request, target, host, (), (), ())
        if draft.is_sealed:
            pool = draft.pool.encode()
            return sealed(request, target, host, draft.cookies, draft.edits, draft.keyed, draft.shown, pool)
        return shaped(request, target, host, draft.cookies, draft.edits, draft.keyed)

    def _purge(self, request: Request, client_ip: str) -> RequestDecision:
        """Decide a purge; its key is that of a GET for the same target."""
        view, draft = View(replace(request, method=b"GET"), client_ip), Draft()
        refusal = self._purge_refusal(view) if request.method in self._purge_methods else _NO_SUCH_METHOD
        if refusal is not None:
            return RequestDecision(refusal.action, request, client_ip, refusal.why, status=refusal.status)
        if self._request is not None:
            self._request(view, draft)
        is_soft = self.checked.purge.is_soft or request.method == b"SOFTPURGE"
        asked = self._asked(request, draft, Action.PURGE)
        return RequestDecision(Action.PURGE, asked, client_ip, "purge", is_soft=is_soft, matched=_each_once(draft))

    def may_purge(self, request: Request, client_ip: str) -> bool:
        """Whether a request comes from whom the operator trusts to purge, and to see why things are as they are."""
        return self._purge_refusal(View(request, client_ip)) is None

    def keyed_as(self, host: bytes, target: bytes) -> tuple[bytes, bytes]:
        """Return the host and target under which a stranger's GET is stored: what others share, whoever asks now."""
        request, draft = Request(b"GET", target, host, host), Draft()
        if self._request is not None:
            self._request(View(request, ""), draft)
        asked = self._asked(request, draft, Action.PURGE)
        return asked.host, asked.target

    def _purge_refusal(self, view: View) -> Ruling | None:
        if any(view.header(name) is not None for name in _FORWARDING_FIELDS):
            # The peer is a proxy and speaks for somebody whom we cannot see.
            return _FORWARDED_PURGE
        return None if self._purgers.hold(view.client) else _PURGE_DENIED

    # The other phases.

    def response(
        self, decision: RequestDecision, request: Request, response: Response, terms: Terms, now: float
    ) -> ResponseDecision:
        """Decide on what terms a response that arrived at `now`, and states `terms`, is stored."""
        rules = self._rules[Phase.RESPONSE]
        if rules is None:
            return ResponseDecision(terms)
        view, draft = ResponseView(request, decision.client_ip, response), Draft()
        ruling: Ruling | None = rules(view, draft)
        deciding = draft.ttl.rule if draft.ttl is not None else None
        return ResponseDecision(
            terms=granted(draft, terms, decision.asked, response, self._caching, now),
            pass_why=None if ruling is None else ruling.why,
            overrides=tuple({override.what: override for override in draft.overrides}.values()),
            edits=draft.edits,
            tags=together(draft.tags),
            pass_memory_s=draft.pass_memory_s,
            rule=deciding if ruling is None else ruling.rule,
            matched=_each_once(draft),
        )

    def deliver(
        self,
        request: Request,
        client_ip: str,
        status: int,
        fields: Fields,
        cache_status: bytes,
        age_s: float | None = None,
        hits: int = 0,
    ) -> DeliverDecision:
        """Decide on the fields of an answer; `cache_status` is its outcome's word."""
        rules = self._rules[Phase.DELIVER]
        if rules is None:
            return _UNCHANGED
        draft = Draft()
        rules(DeliverView(request, client_ip, status, fields, (cache_status, age_s, hits)), draft)
        return DeliverDecision(draft.edits, _each_once(draft)) if draft.edits or draft.matched else _UNCHANGED

    def error(self, request: Request, client_ip: str, status: int, cause: bytes) -> ErrorDecision:
        """Decide what a client gets that no origin answered; `status` is what it would get without rules."""
        rules = self._rules[Phase.ERROR]
        if rules is None:
            return _UNDECIDED
        draft = Draft()
        decided: ErrorDecision = rules(ErrorView(request, client_ip, status, cause), draft) or _UNDECIDED
        return replace(decided, matched=_each_once(draft)) if draft.matched else decided


def compiled(
    checked: Checked, caching: CachingOptions | None = None, purge_from: Sequence[Network] = ()
) -> CompiledPolicy:
    """Return a file's rules, ready to decide; `purge_from` may purge where the file does not say who."""
    return CompiledPolicy(checked, caching or CachingOptions(), purge_from)


def pool_names(checked: Checked) -> dict[str, str]:
    """Return, for each name that a decision may give a pool, one that no other file's pool has.

    "" is the file's first pool, or the command line's; that is called "" among all of them.
    """
    own = {name: f"{checked.file}:{name}" for name in checked.pools}
    return {DEFAULT_POOL: "", "": next(iter(own.values()), ""), **own}


def _each_once(draft: Draft) -> tuple[Rule, ...]:
    return tuple(dict.fromkeys(draft.matched)) if draft.matched else ()


def _by_method(request: Request) -> Ruling:
    """Return what becomes of a request that no rule has ruled on."""
    if request.method == b"GET" or request.method == b"HEAD":
        return _PIPE if request.upgrade else _LOOKUP
    return _METHOD


def _lookup(ruling: Ruling, request: Request, draft: Draft) -> Ruling:
    """Return a lookup, or why the request cannot be looked up."""
    if request.method != b"GET" and request.method != b"HEAD":
        return replace(_METHOD, rule=ruling.rule)
    if not draft.is_sealed:
        return ruling
    if request.body_length:
        return replace(ruling, action=Action.PASS, why="a body is no part of the key, and the rules seal")
    if b"authorization" in request.fields and b"authorization" not in draft.shown:
        return replace(ruling, action=Action.PASS, why="credentials are no part of the key, and the rules seal")
    if b"if-match" in request.fields or b"if-unmodified-since" in request.fields:
        # The origin's to judge (RFC 9110 §13.2.1), and the seal would hide it.
        return replace(ruling, action=Action.PASS, why="a precondition, and the rules seal", forward=Forward.REQUEST)
    return ruling
