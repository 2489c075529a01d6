"""Every counter, declared once: name, unit, one line of meaning. A worker's counters are one row of 64-bit words.

```
 sites       64 x 8 words    how requests were answered, OUTCOMES in their order, by site (a policy file); 3 spare
 others      a word each     all other counters
```

Invariant: each word has one writer (the worker whose row it is; of `log_records_lost` the arbiter), only ever grows,
and outlives that worker: its successor counts on in the same row. `hits + misses + passes + synthetic + errors =
requests` holds exactly, for each site and over all, wherever a worker is killed: a request is counted by one store,
and all sums are made by who reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Declared:
    """One counter as an operator sees it."""

    name: str
    unit: str
    meaning: str


OUTCOMES = ("hits", "misses", "passes", "synthetic", "errors")
"""How a request can be answered; `requests` is their sum."""
SITE_SLOTS = 64
"""The first is for requests that no policy file governs, or could not be read, and for files that have no slot."""
SITE_WORDS = 8

COUNTERS: tuple[Declared, ...] = (
    Declared("connections", "", "client connections accepted"),
    Declared("connections_refused", "", "answered 503 and closed because the worker held all it may"),
    Declared("connections_evicted", "", "idle connections closed early to make room"),
    Declared("requests", "", "requests answered or begun to be answered"),
    Declared("hits", "", "answered from the store, fresh or stale"),
    Declared("misses", "", "forwarded because nothing usable was stored, or joined to such a forward"),
    Declared("passes", "", "forwarded because the rules or the method said so"),
    Declared("synthetic", "", "answered by accel itself by rule: purges, redirects, deny"),
    Declared("errors", "", "answered by accel itself because something was wrong"),
    Declared("overridden", "", "refusals of the safety floor that a rule lifted; by reason: accelctl overrides"),
    Declared("limited", "", "requests beyond the rate of a limit rule"),
    Declared("limit_spills", "", "requests whose rate one worker counted alone, for want of room in the shared table"),
    Declared("hits_stale", "", "hits that were stale: while revalidating, or because the origin failed"),
    Declared("hits_validated", "", "misses answered from the store after the origin's 304"),
    Declared("collapsed", "", "misses that joined another request's fetch"),
    Declared("waits_given_up", "", "misses that stopped waiting for another's fetch and made their own"),
    Declared("joined_cut", "", "clients cut since the fetch of another worker that they had joined failed"),
    Declared("joined_resumed", "", "clients that went on from another fetch when such a one failed"),
    Declared("not_modified", "", "304 answered to the client's own precondition"),
    Declared("partial", "", "206 answered from a stored whole"),
    Declared("tunnels", "", "connections that became a tunnel after the origin's 101"),
    Declared("purges", "", "URLs purged, by PURGE, by accelctl or by an unsafe method's success"),
    Declared("purges_tag", "", "tags purged"),
    Declared("purges_all", "", "purges of everything"),
    Declared("purges_soft", "", "of all these purges, those that were soft"),
    Declared("bans", "", "bans published"),
    Declared("swept", "", "stored responses that sweeps freed after a purge of tags or of all, or a ban"),
    Declared("client_bytes_in", "B", "read from clients"),
    Declared("client_bytes_out", "B", "written to clients"),
    Declared("client_aborts", "", "clients gone before their response ended"),
    Declared("bad_requests", "", "400: framing, syntax or Host that could be read in two ways"),
    Declared("head_too_large", "", "431: head, field or field count over its limit"),
    Declared("target_too_long", "", "414: target over its limit"),
    Declared("body_too_large", "", "413: body over its limit"),
    Declared("method_refused", "", "405 and 501: method not allowed or not known"),
    Declared("expectation_refused", "", "417: an expectation other than 100-continue"),
    Declared("version_refused", "", "505: neither HTTP/1.0 nor HTTP/1.1"),
    Declared("head_timeouts", "", "408: head not complete in time"),
    Declared("body_timeouts", "", "408: body stalled or below the least rate"),
    Declared("idle_timeouts", "", "kept-alive connections closed after their idle time"),
    Declared("write_timeouts", "", "clients dropped because they read nothing or too slowly"),
    Declared("fetches", "", "requests sent to an origin"),
    Declared("fetch_connects", "", "new connections to an origin"),
    Declared("fetch_reuses", "", "fetches on a kept-alive origin connection"),
    Declared("fetch_retries", "", "fetches tried again on another connection or backend"),
    Declared("fetch_connect_failures", "", "connections to a backend refused or too slow"),
    Declared("fetch_timeouts", "", "504: no first byte, or a gap between bytes, in time"),
    Declared("fetch_bad_responses", "", "502: a backend broke HTTP's rules or closed unanswered"),
    Declared("fetch_truncated", "", "bodies cut short by a backend; none was stored"),
    Declared("fetch_no_backend", "", "503: no backend was up"),
    Declared("fetch_retries_denied", "", "retries not made because over 20 % of requests were retries"),
    Declared("origin_bytes_in", "B", "read from origins"),
    Declared("origin_bytes_out", "B", "written to origins"),
    Declared("stored", "", "responses stored"),
    Declared("not_stored_no_room", "", "storable responses passed through for want of room"),
    Declared("not_stored_purged", "", "storable responses not stored: an invalidation came after their fetch began"),
    Declared("refreshes", "", "stale responses refreshed behind a hit"),
    Declared("refreshes_deferred", "", "stale responses whose refresh had to wait for its turn"),
    Declared("refreshes_left_out", "", "stale hits that asked for no refresh because too many wait: a later hit does"),
    Declared("evicted", "", "stored responses dropped to make room"),
    Declared("log_records_lost", "", "records that no access log took before they were overrun, or at all"),
    Declared("callback_failures", "", "exceptions that reached the event loop: each one is a defect worth a report"),
)

GROUPS = {
    "connections": "clients",
    "requests": "requests",
    "purges": "invalidation",
    "client_bytes_in": "traffic",
    "bad_requests": "requests refused",
    "head_timeouts": "time limits",
    "fetches": "origins",
    "stored": "store",
    "log_records_lost": "accel itself",
}
"""What the counters are about, by the first one of each group."""

_OTHERS = [declared.name for declared in COUNTERS if declared.name not in {"requests", *OUTCOMES}]
_OTHERS_AT = SITE_SLOTS * SITE_WORDS
_INDEX = {name: place for place, name in enumerate(OUTCOMES)}
_INDEX |= {name: _OTHERS_AT + place for place, name in enumerate(_OTHERS)}
ROW_WORDS = _OTHERS_AT + len(_OTHERS)


def index(name: str) -> int:
    """Return the word of counter `name` in a worker's row; KeyError if it was never declared, or is a sum.

    Of an outcome it is the word of site 0: add `slot * SITE_WORDS` for another one.
    """
    return _INDEX[name]


CounterRow = memoryview
"""`ROW_WORDS` unsigned 64-bit words (format `Q`): `row[index("fetches")] += 1`."""


def private_row() -> CounterRow:
    """Return a row of zeros that is not shared: for tests and tools."""
    return memoryview(bytearray(8 * ROW_WORDS)).cast("Q")


def totals(rows: Sequence[CounterRow]) -> dict[str, int]:
    """Return every counter over some rows, in the order of COUNTERS."""
    sums = {name: sum(sum(row[_INDEX[name] : _OTHERS_AT : SITE_WORDS]) for row in rows) for name in OUTCOMES}
    sums["requests"] = sum(sums.values())  # of what was read: a worker may count on meanwhile
    sums |= {name: sum(row[_INDEX[name]] for row in rows) for name in _OTHERS}
    return {declared.name: sums[declared.name] for declared in COUNTERS}


def site_outcomes(rows: Sequence[CounterRow], slot: int) -> dict[str, int]:
    """Return how the requests of one site were answered, and `requests`, their sum."""
    at = slot * SITE_WORDS
    sums = {name: sum(row[at + place] for row in rows) for place, name in enumerate(OUTCOMES)}
    return {"requests": sum(sums.values())} | sums
