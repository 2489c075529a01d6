"""The hot path: a decision made once is replayed for every request that is equal in all that it depends on.

Owns what may be learned from the general path, and when it is forgotten; what is done with it is compiled (`_hot.pyx`).
Knows no socket. Invariant: whatever is replayed is, byte for byte, what the general path would have answered at that
moment; a request about which there is any doubt is left to it, untouched.

A decision depends on what the policy reads (`policy.dependence`: the rules are pure), on the fields that stored
responses vary on, on the few that HTTP itself gives meaning, and on what is stored. So:

 signature   method, target, Host as it was sent, and the values of the fields that matter (`FieldTable`, one a policy):
             what the rules read of the request, what a stored response's Vary named, If-None-Match, If-Modified-Since.
             Requests with anything of GENERAL are never replayed. All other fields are ignored.
 entry       (`Replay`) where the response was found, its number there, its terms, the cells of its key and tags, the
             head as the rules edited it. It is given only while all of that is so:
               it is fresh                                  (RFC 9111 §4.2; stale answers are the general path's)
               its slot says what it said, its record is the one: replaced, evicted, moved, purged are all another value
               so does the slot of the list that names it among variants
               no invalidation came that covers it: its world is the world, or its words were looked at again
 learned     by the general path after a fresh hit, for the signature that the hot path had just made of that request
 forgotten   when rules, configuration or the set of fields that matter change; when others need the room

Attack. Who writes what it reads? The store's words and the invalidation table, by the same protocols as everybody
(`store.layout`, `store.numbers`): the world is loaded before the words, the segment pinned before the slot is believed.
What if the request behind a signature is another than the one that is learned? The connection hands a signature to the
first exchange that begins in the same call, and no other takes one. Two names that hash to one place are compared in
full. What does a kill leave? A pin, which the arbiter takes back as any other. A client that reads nothing? Only what
its socket takes at once is sent here; the rest is the transport's, and from then on the general path waits.
"""

from __future__ import annotations

import weakref
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, cast

from accel.caching.key import EXTRA
from accel.policy.compile import CompiledPolicy
from accel.policy.dependence import dependence
from accel.proxy import deliver
from accel.proxy._hot import NEW_HOST, FieldTable, Replayer
from accel.proxy.telling import key_hash
from accel.stats._ring import RingWriter
from accel.stats.counters import SITE_WORDS

if TYPE_CHECKING:
    from accel.policy.dependence import Dependence
    from accel.proxy.contents import Entry, Found, Variants
    from accel.proxy.exchange import Exchange
    from accel.proxy.service import Service
    from accel.store._shared import Glance, SharedRecord
    from accel.store.shared import SharedStore

ENTRIES = 32 * 1024
"""Answers that a worker remembers, at some 800 bytes each."""
MOST_FIELDS = 512
"""Fields that may matter under one policy; a response that varies on more of them is not replayed."""

GENERAL = frozenset(
    b"accel-explain accel-timing authorization cache-control content-length expect if-match if-range"
    b" if-unmodified-since pragma proxy-connection range te trailer transfer-encoding upgrade".split()
)
"""Requests with one of these are never replayed: each can change what the answer is, or how it is framed, in ways of
its own (llhttp reads Proxy-Connection as Connection)."""
_UNKEYABLE = frozenset({b"connection", b"close"})
"""What cannot be keyed for a Vary: whether `close` counts as there depends on Connection (`http.fields.hop_by_hop`)."""
MOST_COOKIES, MOST_PREFIXES = 512, 32
"""Names of cookies, and their beginnings, that may matter; where it is more than a table has room for, all do."""
LONGEST_NAME = 40
"""Bytes of a field's name that a table has room for."""
LONGEST_LIFETIME_S = 1e12
"""Beyond, seconds are no number that the compiled side writes."""
KEYED = (b"if-none-match", b"if-modified-since")
"""What browsers ask again with: a 304 for one value of them is a 304 for the next request with it."""

_ELSEWHERE = frozenset({"method", "host", "path", "url", "query", "parameter"}) | frozenset(
    {"status", "type", "size", "response", "cache.status"}
)
"""Inputs that are in every signature, or the same for all answers of one kind from one response."""


class Hot:
    """One worker's memory of decisions."""

    def __init__(self, replayer: Replayer, store: SharedStore) -> None:
        self.replayer, self._store = replayer, store
        self._matters: dict[CompiledPolicy, _Matters | None] = {}
        self._service: Service | None = None
        self._is_stopped = False

    def __len__(self) -> int:
        return len(self.replayer)

    def use(self, service: Service) -> None:
        """Forget what was decided under another configuration, and learn under this one."""
        self.replayer.forget()
        self.replayer.bound(service.limits)
        can_tell = service.log is None or isinstance(service.log, RingWriter)
        self.replayer.tell(service.log if isinstance(service.log, RingWriter) else None)
        self.replayer.is_on = can_tell and not self._is_stopped
        self._matters, self._service = {}, service

    def stop(self) -> None:
        """Leave everything to the general path: connections are to close with their next answer."""
        self._is_stopped, self.replayer.is_on = True, False

    def learn(self, signature: bytes, exchange: Exchange, found: Found) -> None:
        """Remember a fresh hit that was just given to the request with this signature."""
        matters = self._known(signature, exchange)
        if matters is not None:
            self._learn(signature, exchange, found, matters)

    def may_learn(self, signature: bytes, exchange: Exchange) -> bool:
        """Whether requests with this signature are decided alike; if its host was new, the next ones will have one."""
        return self._known(signature, exchange) is not None

    def glance(self, record: SharedRecord) -> Glance | None:
        """Return what to remember of a record to find it again in a few loads; None if it is gone."""
        return self._store.glance(record)

    def _known(self, signature: bytes, exchange: Exchange) -> _Matters | None:
        if exchange.service is not self._service:
            return None  # it began under rules that are not in force any more
        policy = exchange.asking.policy
        if policy not in self._matters:
            self._matters[policy] = _matters(policy)
        matters = self._matters[policy]
        if signature == NEW_HOST:
            self.replayer.govern(exchange.request.authority, None if matters is None else matters.table())
            return None
        return None if exchange.asking.decision.limits else matters

    def _learn(self, signature: bytes, exchange: Exchange, found: Found, matters: _Matters) -> None:
        assert found.entry is not None and found.record is not None
        entry, asked = found.entry, exchange.asking.asked
        if not entry.stored.terms.lifetime_s < LONGEST_LIFETIME_S:
            return
        listed = listing = None
        if found.key != found.primary:
            listed = exchange.service.cache.listed(asked, found)
            if listed is None or not self._covers(matters, listed.names):
                return
            listing = self._store.glance(cast("SharedRecord", listed.record))
        glance = self._store.glance(cast("SharedRecord", found.record))
        if glance is None or (listed is not None and listing is None):
            return  # replaced a moment ago
        head, is_not_modified = deliver.repeated_head(exchange, entry, found.record)
        variants, values = (None, b"") if listed is None else (listed.variants, listed.values)
        note = partial(_note, weakref.ref(entry), variants, values)
        rule, tags = exchange.rule.encode(errors="replace"), b" ".join(entry.stored.tags)
        told = (exchange.request.host, rule, tags, key_hash(found.primary))
        with suppress(ValueError):  # more tags than a replay has room for
            self.replayer.keep(signature, glance, listing, head, entry, is_not_modified, told, note)

    def _covers(self, matters: _Matters, names: tuple[bytes, ...]) -> bool:
        """Whether all that a response varies on is in the signature; if not, it will be from now on."""
        missing = set(names) - matters.covered - GENERAL - {EXTRA}
        if missing and matters.add(missing):
            self.replayer.forget()
        return not missing


class _Matters:
    """What the decisions under one policy depend on, beside method, host and target."""

    def __init__(self, keyed: set[bytes], keys_client: bool, rules: Dependence, site: int) -> None:
        self._keyed, self._keys_client, self._rules, self._site = keyed, keys_client, rules, site
        self._are_kept_keyed = rules.is_sealed
        """Whether the cookies matter that rules keep; others do not, as long as the rules never leave them in."""
        self._table: FieldTable | None = None
        self._edition = 0
        if rules.is_sealed:
            self._key_kept()

    @property
    def covered(self) -> set[bytes]:
        """Return the fields of which all that can matter is in the signature."""
        return self._keyed | ({b"cookie"} if self._are_kept_keyed else set())

    def add(self, names: set[bytes]) -> bool:
        """Let some fields matter from now on; False if there is no room for them, or they cannot be keyed."""
        is_long = any(len(name) > LONGEST_NAME for name in names)
        if is_long or len(self._keyed) + len(names) > MOST_FIELDS or not names.isdisjoint(_UNKEYABLE):
            return False
        if b"cookie" in names:
            self._key_kept()
        self._keyed |= names - {b"cookie"}
        self._table = None
        self._edition += 1
        return True

    def table(self) -> FieldTable | None:
        """Return the fields' classes; None if more matters than a table has room for."""
        if self._table is None:
            with suppress(ValueError):
                self._table = self._made()
        return self._table

    def _key_kept(self) -> None:
        """What is left of cookies matters from now on: those that rules keep, or any if they may leave others."""
        self._are_kept_keyed = True
        if self._rules.kept is None:
            self._keyed.add(b"cookie")

    def _made(self) -> FieldTable:
        read, kept = self._rules.cookies, self._rules.kept if self._are_kept_keyed else None
        parts = [read] if kept is None else [read, kept]
        names = tuple(sorted({name for part in parts for name in part.exact}))
        starts = tuple({start for part in parts for start in part.prefixes})
        is_simple = not any(part.suffixes or part.others for part in parts)
        is_short = len(names) <= MOST_COOKIES and len(starts) <= MOST_PREFIXES
        is_short &= all(0 < len(name) <= LONGEST_NAME for name in names)
        rest = self._keys_client, self._site * SITE_WORDS, self._edition % 256
        if b"cookie" not in self._keyed and is_simple and is_short:
            return FieldTable(GENERAL, tuple(sorted(self._keyed)), names, starts, *rest)
        return FieldTable(GENERAL, tuple(sorted(self._keyed | {b"cookie"})), (), (), *rest)


def _matters(policy: CompiledPolicy) -> _Matters | None:
    """Return what a policy's decisions depend on; None if they differ from one hit to the next."""
    rules = dependence(policy.checked)
    keyed, keys_client = set(KEYED), False
    if rules.is_sealed:
        keyed.add(b"accept-encoding")  # joins the key
    for read in rules.reads:
        name, _, argument = read.partition(".")
        if name == "header":
            keyed.add(argument.encode())
        elif name == "client":
            keys_client = True
        elif name not in _ELSEWHERE and read not in _ELSEWHERE:
            return None
    return _Matters(keyed - GENERAL, keys_client, rules, policy.site)


def _note(entry: weakref.ref[Entry], variants: Variants | None, values: bytes, count: int) -> None:
    """Keep the general path's books: how often a response was used, and which variants lately.

    Holds no record: that would pin a segment for as long as anything is remembered.
    """
    found = entry()
    if found is not None:
        found.hits += count
    if variants is not None:
        variants.used(values)
