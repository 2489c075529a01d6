"""One fetch on behalf of the cache, and the requests that wait for it (request coalescing).

A `Fill` is a task of its own: it belongs to no client, so a client that leaves takes nothing from the others. Its
`ending` says how the wait for a head ended, and that alone decides what each waiting request does:

- STREAMING: the response is being stored; whoever it fits reads the growing body from its first byte.
- VALIDATED: the origin's 304 renewed what was stored; serve that.
- UNCACHEABLE: the response is for the request that led; the others fetch for themselves, all at once. A hit-for-miss
  mark keeps later ones from waiting at all.
- FAILED: no response came. Each waiter may try once more: the first to come leads, the rest wait for it, so nobody
  waits longer than two fetches.

What could go wrong, and what happens: the leader's client goes away before the head: the fetch is cancelled if nobody
else waits, else goes on (an uncacheable response that nobody claims is closed). It goes away later: the fetch fills
the cache, or, if it outgrew the store, ends with its last reader. A purge arrives meanwhile: requests that begin after
it do not join (`Flights.find` compares numbers), and `Cache.commit` drops the result. The origin stalls: its timeouts
end the fetch.

Other workers: while `claim` is held they wait for the end of a short body, and read a long one as it comes or wait a
little for its end (`proxy.showing` here, `proxy.joining` there). It is released as soon as they have nothing to wait
for: the response is not stored, or has outgrown the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING

from accel.caching.freshness import terms
from accel.caching.reuse import may_serve_on_error, may_validate
from accel.caching.stored import Stored
from accel.caching.storing import Storing, decide, needed, stored_response
from accel.caching.tags import tags_of, together
from accel.caching.validation import conditional_fields, confirms, freshened
from accel.errors import OriginError
from accel.http.message import Fields, Request, Response
from accel.origin.attempt import Begun, OriginRequest
from accel.origin.fetch import OriginResponse
from accel.policy.decision import Edit, EditMode, ResponseDecision
from accel.policy.edits import FLOOR, edited_fields
from accel.proxy.asking import Asking
from accel.proxy.cache import Filling
from accel.proxy.contents import Entry, Found
from accel.proxy.origin_view import CONDITIONS, origin_request
from accel.proxy.showing import Showing
from accel.proxy.streaming import SharedBody
from accel.store.store import Record

if TYPE_CHECKING:
    from accel.proxy.service import Claim, Service


_ERRORS = frozenset({500, 502, 503, 504})
"""What a stale response may stand in for (RFC 5861 §4)."""
_OF_THE_REQUEST = frozenset(
    {Storing.STORE, Storing.METHOD, Storing.RANGE, Storing.REQUEST_NO_STORE, Storing.AUTHORIZATION}
)
"""Outcomes that say nothing against the response itself: another request's answer may well be stored."""


class Ending(Enum):
    """How the wait for a response's head ended."""

    STREAMING = "the response is being stored"
    VALIDATED = "the stored response was found good"
    UNCACHEABLE = "the response is the leader's alone"
    FAILED = "no usable response came"


class Fill:
    """One fetch for the cache."""

    def __init__(
        self, service: Service, found: Found, asking: Asking, origin_request: OriginRequest, leader: object
    ) -> None:
        """`leader` is whoever may claim an uncacheable response; None for a refresh behind a stale hit."""
        self.is_shared = False
        """Whether it asks for the whole, as anybody may get it; else for what its one client asked."""
        self._claim: Claim | None = None
        self._service = service
        self._found = found
        self._asking = asking
        self._request = asking.asked
        self._origin_request = origin_request
        self._leader = leader
        self._response: OriginResponse | None = None
        self._waiters: set[asyncio.Future[None]] = set()
        self._is_abandoned = leader is None
        self._on_end: Callable[[Fill], None] = lambda fill: None
        begun = origin_request.begun
        self.number = service.cache.sequence() if begun is None or begun.number is None else begun.number
        self._ending: Ending | None = None
        self.body = SharedBody(service.limits.window_bytes)
        self.key = found.key
        self.entry: Entry | None = None
        self.length: int | None = None
        """Of the body, if its head said so."""
        self.record: Record | None = None
        self.is_passed = False
        """Whether a rule forbids to store what came."""
        self.error = OriginError("fetch was cancelled")
        self.status: int | None = None
        self.backend = ""
        self.retries = 0

    def start(self, on_end: Callable[[Fill], None]) -> None:
        """Begin; `on_end` is called once when no further request may join."""
        self._on_end = on_end
        self._task = asyncio.get_running_loop().create_task(self._run())

    def when_done(self, call: Callable[[asyncio.Task[None]], None]) -> None:
        """Call once when nothing more is read from the origin."""
        self._task.add_done_callback(call)

    def share(self, claim: Claim | None) -> None:
        """The request asks for the whole as anybody may get it; `claim` keeps other workers waiting for it."""
        self.is_shared = True
        self._claim = claim

    @property
    def request(self) -> Request:
        """What it was asked for."""
        return self._request

    @property
    def has_head(self) -> bool:
        """Whether `head` returns without waiting."""
        return self._ending is not None

    async def head(self) -> Ending:
        """Wait for the head; leaving the wait (cancellation) may end the fetch."""
        if self._ending is None:
            await self._wait()
        assert self._ending is not None
        return self._ending

    async def _wait(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)
            if self._ending is None and not self._waiters and self._leader is not None:
                self._task.cancel()

    def claim(self, claimant: object) -> OriginResponse | None:
        """Return the uncacheable response to the one who led, once; None to everybody else."""
        if claimant is not self._leader:
            return None
        response, self._response = self._response, None
        return response

    def release(self, claimant: object) -> None:
        """`claimant` goes: if it led and has not claimed its response, that is closed."""
        if claimant is not self._leader:
            return
        self._is_abandoned = True
        if self._response is not None:
            self._response.close()
            self._response = None

    def fits(self, request: Request) -> bool:
        """Whether the response that is being stored, or was validated, is the one for `request` too.

        It is not if an invalidation of its tags came since the fetch began: who joined after that must not get it.
        """
        cache = self._service.cache
        if self.entry is None or not cache.may_serve(self._found.primary, self.entry):
            return False
        return cache.find(request, self._service.now()).key == self.key

    async def _run(self) -> None:
        try:
            await self._fetch()
        except OriginError as error:
            self._fail(error)
        finally:
            self._on_end(self)
            self._settle(Ending.FAILED)
            self._release()
            self.body.fail(self.error)  # of no effect unless a defect or a cancellation left its readers waiting
            self.body.stop_retaining()
            del self._task  # one that was cancelled holds our frames, and what was to be renewed: a circle otherwise

    def _fail(self, error: OriginError) -> None:
        self.error = error
        error.__traceback__ = None  # its frames hold us
        self._settle(Ending.FAILED)

    def _settle(self, ending: Ending) -> None:
        if self._ending is not None:
            return
        self._ending = ending
        if ending is not Ending.STREAMING:
            self._release()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _release(self) -> None:
        """Let other workers look again; idempotent."""
        if self._claim is not None:
            self._claim.release()
            self._claim = None

    async def _fetch(self) -> None:
        begun = self._origin_request.begun
        request_at = self._service.now() if begun is None or begun.began_at is None else begun.began_at
        response = await self._service.origin(self._asking.pool).fetch(self._origin_request)
        response_at = self._service.now()
        self.status, self.backend, self.retries = response.head.status, response.backend, response.retries
        try:
            await self._use(response, request_at, response_at)
        except BaseException:
            response.close()
            raise

    async def _use(self, response: OriginResponse, request_at: float, response_at: float) -> None:
        entry = self._found.entry
        if response.head.status == 304 and entry is not None:
            response.close()
            if not self._is_validated(entry, response.head, request_at, response_at):
                await self._fetch_unconditionally()
        elif response.head.status in _ERRORS and self._may_stay_stale(response_at):
            response.close()
            self._fail(OriginError(f"origin answered {response.head.status} to a validation"))
        else:
            await self._store_or_hand_over(response, request_at, response_at)

    async def _fetch_unconditionally(self) -> None:
        """The 304 did not make what is stored usable (RFC 9111 §4.3.3, §4.3.4): ask for the whole."""
        self._origin_request.fields = self._origin_request.fields.without(CONDITIONS)
        self._found = self._found.without_entry()
        await self._fetch()

    def _may_stay_stale(self, now: float) -> bool:
        entry = self._found.entry
        if entry is None:
            return False
        return may_serve_on_error(entry.stored, self._request.fields, now, self._service.caching)

    def _is_validated(self, entry: Entry, head: Response, request_at: float, response_at: float) -> bool:
        """Renew what is stored by a 304; False if that is about something else, or forbids to store it longer."""
        record, caching = self._found.record, self._service.caching
        assert record is not None
        if not confirms(entry.stored, head):
            return False
        stored = freshened(entry.stored, head, request_at, response_at, caching, self.number)
        renewed = Response(stored.status, stored.reason, stored.fields)
        ruled = self._asking.response(renewed, stored.terms, response_at)
        storing = decide(self._request, renewed, ruled.terms, caching, ruled.lifted)
        if ruled.pass_why is not None or storing not in _OF_THE_REQUEST:
            return False
        edits = _unmade(ruled.edits, entry.stored.fields, head.fields)
        fields = edited_fields(stored.fields, edits, FLOOR) if edits else stored.fields
        tags = together((*ruled.tags, *stored.tags))
        if storing is Storing.STORE:
            self._count_overrides(renewed, ruled)
        stored = replace(stored, terms=ruled.terms, fields=fields, tags=tags)
        self.entry, self.record = self._service.cache.freshen(self._found.primary, record, stored)
        self._settle(Ending.VALIDATED)
        return True

    async def _store_or_hand_over(self, response: OriginResponse, request_at: float, response_at: float) -> None:
        service, head = self._service, response.head
        ruled = self._asking.response(head, terms(head, service.caching, response_at), response_at)
        storing = self._storing(head, ruled)
        tags = together((*ruled.tags, *tags_of(head.fields)))
        if ruled.edits:
            head.fields = edited_fields(head.fields, ruled.edits, FLOOR)
        filling = None
        if storing is Storing.STORE and not self._is_kept_already(request_at):
            stored = stored_response(head, ruled.terms, request_at, response_at, self.number, tags)
            filling = self._begin_storing(head, stored)
        if filling is not None:
            self._count_overrides(head, ruled)
            service.cache.evidence.note(self._found.primary, head.status, is_storable=True)
            self.entry, self.key = filling.entry, filling.key
            self.length = response.head.body_length if response.head.body_length >= 0 else None
            self._settle(Ending.STREAMING)
            await self._copy(response, filling)
            return
        if self._says_something_lasting(storing, response.head.status):
            service.cache.evidence.note(self._found.primary, head.status, is_storable=False)
            memory_s = service.caching.pass_memory_s if ruled.pass_memory_s is None else ruled.pass_memory_s
            service.cache.mark(self._found, response_at + memory_s, self.number)
        if self._is_abandoned:
            response.close()
        else:
            self._response = response
        self._settle(Ending.UNCACHEABLE)

    def _storing(self, head: Response, ruled: ResponseDecision) -> Storing:
        """Return whether a response is stored: first the rules, then the floor under them."""
        if ruled.pass_why is not None:
            self.is_passed = True
            return Storing.POLICY
        return decide(self._request, head, ruled.terms, self._service.caching, ruled.lifted)

    def _count_overrides(self, head: Response, ruled: ResponseDecision) -> None:
        """Count each override that it takes to keep this: before anybody but who led gets a byte of it."""
        if ruled.overrides:
            required = needed(self._request, head, ruled.terms, self._service.caching, ruled.lifted)
            for override in ruled.overrides:
                if override.what in required:
                    self._service.overrides.used(override)

    def _begin_storing(self, head: Response, stored: Stored) -> Filling | None:
        length = head.body_length if head.body_length >= 0 else None
        return self._service.cache.begin(self._request, self._found.primary, stored, length)

    def _is_kept_already(self, request_at: float) -> bool:
        """Whether a response as new is stored, or is being: of many that do not wait for each other one is enough."""
        if self.is_shared:
            return False
        if self._service.flights.is_storing(self._service, self._found):
            return True
        kept = self._service.cache.find(self._request, request_at).entry
        return kept is not None and kept.stored.response_at >= request_at

    def _says_something_lasting(self, storing: Storing, status: int) -> bool:
        """Whether later requests will not be answered from the store either: no client may bring that about."""
        if not self.is_shared or (storing in _OF_THE_REQUEST and storing is not Storing.STORE):
            return False
        return status < 500 or self._found.entry is None

    async def _copy(self, response: OriginResponse, filling: Filling) -> None:
        """Read the body into the store and to the readers; what no longer fits goes to the readers alone."""
        storing: Filling | None = filling
        self._service.flights.begins_storing(self._found.key, self)
        showing = Showing(filling, self.body, self.length, self._claim)
        try:
            await asyncio.sleep(0)  # whoever waits begins to read before a byte can be let go
            while data := await response.read():
                if storing is not None and not storing.append(data):
                    storing = None
                    self._outgrew()
                    showing.close()
                self.body.append(data)
                if storing is not None:
                    showing.came()
                elif not self.body.reader_count:
                    return
                else:
                    await self.body.room()
            if storing is not None:
                showing.is_whole()
                storing.commit()
                storing = None
            self.body.end()
        except OriginError as error:
            error.__traceback__ = None  # its frames hold us
            self.body.fail(error)
        finally:
            if storing is not None:
                storing.abort()
            self._service.flights.ends_storing(self._found.key, self)
            response.close()
            self._release()
            showing.close()

    def _outgrew(self) -> None:
        """The body will not be stored after all: nobody joins any more, and what its readers have read goes."""
        self._on_end(self)
        self._release()
        self.body.stop_retaining()


def _unmade(edits: Sequence[Edit], kept: Fields, brought: Fields) -> list[Edit]:
    """Return the edits to make of what a 304 renewed: what was added to a field that it kept is there already."""
    unmade: list[Edit] = []
    begun_anew = {name for name, _ in brought.lines}
    for edit in edits:
        if edit.mode is not EditMode.ADD:
            begun_anew.update(edit.names)
        elif edit.names[0] in kept and edit.names[0] not in begun_anew:
            continue
        unmade.append(edit)
    return unmade


def shared_fill(
    service: Service, asking: Asking, found: Found, leader: object, begun: Begun | None = None
) -> Fill:
    """Return a fill that asks for the whole, with our own validators if something is stored.

    `begun`: what was begun of just that already.
    """
    is_kept = found.entry is not None and may_validate(found.entry.stored, service.now())
    conditions = conditional_fields(found.entry.stored) if found.entry is not None and is_kept else None
    client_ip = asking.shown_ip if leader is not None else ""
    asked = origin_request(asking.asked, client_ip, whole=True, conditions=conditions)
    asked.begun = begun
    return Fill(service, found, asking, asked, leader)
