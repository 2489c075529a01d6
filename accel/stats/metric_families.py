"""The counters as Prometheus has them: one table from `counters` to metrics with labels.

Invariant: every counter is in exactly one family, but those that are sums (a test counts them). Names by
prometheus.io/docs/practices/naming; `_total` is added by whoever writes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Family:
    """Counters that are one metric: each under its value of one label, or a single one without any."""

    name: str
    counters: Mapping[str, str]
    """Names of counters by the label's value; one counter under the empty value has no label."""
    label: str = ""
    meaning: str = ""
    """What they have in common; empty for a single one, which says it itself."""


def _one(counter: str, name: str = "") -> Family:
    return Family(name or counter, {"": counter})


REQUESTS = Family(
    "requests",
    {"hit": "hits", "miss": "misses", "pass": "passes", "synthetic": "synthetic", "error": "errors"},
    "outcome",
    "Requests by policy file and by how they were answered.",
)
"""Of each site, which is its other label."""
FAMILIES = (
    _one("hits_stale", "stale_hits"),
    _one("hits_validated", "validated_misses"),
    _one("collapsed", "collapsed_misses"),
    _one("waits_given_up"),
    Family(
        "joined_clients", {"cut": "joined_cut", "resumed": "joined_resumed"}, "end", "Clients of a fetch that failed."
    ),
    _one("not_modified", "not_modified_responses"),
    _one("partial", "partial_responses"),
    _one("limited", "limited_requests"),
    _one("limit_spills"),
    _one("connections", "client_connections"),
    Family(
        "client_connections_ended_early",
        {"refused": "connections_refused", "evicted": "connections_evicted"},
        "reason",
        "Client connections that there was no room for.",
    ),
    _one("client_bytes_in", "client_received_bytes"),
    _one("client_bytes_out", "client_sent_bytes"),
    _one("client_aborts"),
    _one("tunnels"),
    Family(
        "refused_requests",
        {
            "syntax": "bad_requests",
            "head": "head_too_large",
            "target": "target_too_long",
            "body": "body_too_large",
            "method": "method_refused",
            "expectation": "expectation_refused",
            "version": "version_refused",
        },
        "reason",
        "Requests refused for their form.",
    ),
    Family(
        "client_timeouts",
        {"head": "head_timeouts", "body": "body_timeouts", "idle": "idle_timeouts", "write": "write_timeouts"},
        "phase",
        "Clients that took too long.",
    ),
    Family(
        "purges", {"url": "purges", "tag": "purges_tag", "all": "purges_all"}, "kind", "What was invalidated by name."
    ),
    _one("purges_soft", "soft_purges"),
    _one("bans"),
    _one("swept", "swept_responses"),
    _one("fetches"),
    Family(
        "fetch_connections",
        {"new": "fetch_connects", "reused": "fetch_reuses"},
        "kind",
        "Connections that fetches were made on.",
    ),
    Family(
        "fetch_retries", {"made": "fetch_retries", "denied": "fetch_retries_denied"}, "result", "Fetches tried again."
    ),
    Family(
        "fetch_failures",
        {
            "connect": "fetch_connect_failures",
            "timeout": "fetch_timeouts",
            "bad_response": "fetch_bad_responses",
            "truncated": "fetch_truncated",
            "no_backend": "fetch_no_backend",
        },
        "reason",
        "What went wrong on the side of the origin.",
    ),
    _one("origin_bytes_in", "origin_received_bytes"),
    _one("origin_bytes_out", "origin_sent_bytes"),
    _one("stored", "stored_responses"),
    Family(
        "not_stored_responses",
        {"no_room": "not_stored_no_room", "purged": "not_stored_purged"},
        "reason",
        "Storable responses that were not stored.",
    ),
    _one("evicted", "evicted_responses"),
    Family(
        "refreshes",
        {"made": "refreshes", "deferred": "refreshes_deferred", "left_out": "refreshes_left_out"},
        "result",
        "Refreshes behind stale hits.",
    ),
    _one("log_records_lost", "lost_log_records"),
    _one("callback_failures"),
)
SUMS = frozenset({"requests", "overridden"})
"""Counters that are no sample, but the sum of a metric's: of REQUESTS, and of the uses of overrides."""
