"""What replays come to: figures of each policy, what differs between two of them, and for which URLs.

Owns the counting of outcomes and their comparison. Pure, and its memory grows with the URLs of the log alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import nlargest
from math import inf
from typing import Any

from accel.policy.replay import CACHED, SERVED, Outcome, Replay, Way
from accel.policy.replay_origin import Visit


@dataclass(slots=True)
class Figures:
    """What one policy comes to."""

    requests: int = 0
    sent_bytes: int = 0
    """What clients got, as logged."""
    hit_bytes: int = 0
    """Of these, from the store."""
    fetches: int = 0
    fetched_bytes: int = 0
    ways: Counter[Way] = field(default_factory=Counter)
    reasons: Counter[tuple[Way, str, str]] = field(default_factory=Counter)
    """Requests by what became of them, why, and the rule."""

    def count(self, visit: Visit, outcome: Outcome) -> None:
        """Take one request."""
        self.requests += 1
        self.sent_bytes += visit.body_bytes
        self.ways[outcome.way] += 1
        self.reasons[outcome[:3]] += 1
        if outcome.fetches:
            self.fetches += 1
            self.fetched_bytes += outcome.fetched_bytes
        if outcome.way in SERVED:
            self.hit_bytes += visit.body_bytes

    def facts(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "requests": self.requests,
            "hit_ratio": _part(sum(self.ways[way] for way in SERVED), self.requests),
            "byte_hit_ratio": _part(self.hit_bytes, self.sent_bytes),
            "bytes": self.sent_bytes,
            "origin_requests": self.fetches,
            "origin_bytes": self.fetched_bytes,
            "ways": {way.value: self.ways[way] for way in Way},
            "rules": [
                {"way": way.value, "why": why, "rule": rule or None, "requests": count}
                for (way, why, rule), count in self.reasons.most_common()
            ],
        }


_Side = tuple[str, str, str]
"""What became of requests under one of two policies, why, and the rule."""


class _Differences:
    """Requests of which two policies make something else."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[_Side, _Side]] = Counter()
        self._examples: dict[tuple[_Side, _Side], bytes] = {}

    def note(self, url: bytes, old: Outcome, new: Outcome) -> None:
        """Compare what became of one request."""
        words = _words(old, new)
        if words[0] == words[1] and (old.way is not Way.ANSWERED or old.why == new.why):
            return
        pair = (words[0], old.why, old.rule), (words[1], new.why, new.rule)
        self._counts[pair] += 1
        self._examples.setdefault(pair, url)

    def facts(self) -> list[dict[str, Any]]:
        """Return them as JSON values, those of most requests first."""
        return [
            {"requests": count, "old": _side(pair[0]), "new": _side(pair[1]), "example": _text(self._examples[pair])}
            for pair, count in self._counts.most_common()
        ]


_NEVER = Outcome(Way.MISS, "", "")
"""Stands for the outcome of what has always come from the store, as another URL of the same key."""


@dataclass(slots=True)
class _Url:
    """What became of the requests for one URL."""

    requests: int = 0
    fetches: int = 0
    is_cached: bool = False
    was_cached: bool = False
    """Under the policy that is compared with."""
    last: Outcome = _NEVER
    """The latest that did not come from the store: it says why."""
    last_before: Outcome = _NEVER

    def note(self, outcome: Outcome) -> None:
        """Count one request."""
        self.requests += 1
        self.fetches += outcome.fetches
        if outcome.way in CACHED:
            self.is_cached = True
        if outcome.way not in SERVED:
            self.last = outcome

    def note_before(self, outcome: Outcome) -> None:
        """Note the same request under the policy that is compared with."""
        if outcome.way in CACHED:
            self.was_cached = True
        if outcome.way not in SERVED:
            self.last_before = outcome


class Tally:
    """One log under one policy, or under two that are compared."""

    def __init__(self, new: Replay, old: Replay | None = None) -> None:
        self._new, self._old = new, old
        self._figures, self._figures_before = Figures(), Figures()
        self._differences = _Differences()
        self._urls: dict[bytes, _Url] = {}
        self._logged: Counter[str] = Counter()
        self._from_at, self._to_at = inf, -inf
        self._without_host = 0

    def take(self, visit: Visit) -> None:
        """Take the next record."""
        self._note(visit)
        outcome = self._new.take(visit)
        self._figures.count(visit, outcome)
        name = visit.host + visit.target
        url = self._urls.get(name)
        if url is None:
            url = self._urls[name] = _Url()
        url.note(outcome)
        if self._old is not None:
            before = self._old.take(visit)
            self._figures_before.count(visit, before)
            url.note_before(before)
            self._differences.note(name, before, outcome)

    def _note(self, visit: Visit) -> None:
        if visit.at < self._from_at:
            self._from_at = visit.at
        if visit.at > self._to_at:
            self._to_at = visit.at
        if visit.outcome:
            self._logged[visit.outcome] += 1
        if not visit.host:
            self._without_host += 1

    def facts(self, top: int) -> dict[str, Any]:
        """Return everything as JSON values; of URLs the `top` with the most requests."""
        facts = {"log": self._log_facts(), "new": self._figures.facts(), "most_fetched": self._most_fetched(top)}
        if self._old is None:
            return facts
        became = self._turned(top, lambda url: url.is_cached and not url.was_cached, lambda url: url.last_before)
        ceased = self._turned(top, lambda url: url.was_cached and not url.is_cached, lambda url: url.last)
        return facts | {
            "old": self._figures_before.facts(),
            "differences": self._differences.facts(),
            "become_cacheable": became,
            "cease_to_be_cacheable": ceased,
        }

    def _log_facts(self) -> dict[str, Any]:
        said = sum(self._logged.values())
        hits = sum(self._logged[way.value] for way in SERVED)
        return {
            "requests": self._figures.requests,
            "from": self._from_at if self._figures.requests else None,
            "to": self._to_at if self._figures.requests else None,
            "without_host": self._without_host,
            "hit_ratio": _part(hits, said),
        }

    def _most_fetched(self, top: int) -> list[dict[str, Any]]:
        most = nlargest(top, self._urls.items(), key=lambda item: item[1].fetches)
        return [_url_facts(name, url, url.last) | {"fetches": url.fetches} for name, url in most if url.fetches]

    def _turned(self, top: int, is_meant: Callable[[_Url], bool], because: Callable[[_Url], Outcome]) -> dict[str, Any]:
        """Return how many URLs are meant, and those with the most requests, each with why it is not stored."""
        urls = [(name, url) for name, url in self._urls.items() if is_meant(url)]
        most = nlargest(top, urls, key=lambda item: item[1].requests)
        return {
            "urls": len(urls),
            "requests": sum(url.requests for _, url in urls),
            "top": [_url_facts(name, url, because(url)) for name, url in most],
        }


def _words(old: Outcome, new: Outcome) -> tuple[str, str]:
    """Return what is said of two outcomes: whether it is stored, and where both store it, who had to fetch."""
    if old.way in CACHED and new.way in CACHED:
        return _USE[old.way in SERVED], _USE[new.way in SERVED]
    return _standing(old), _standing(new)


def _standing(outcome: Outcome) -> str:
    return "stored" if outcome.way in CACHED else outcome.way.value


_USE = {True: "from the store", False: "fetched, stored"}


def _side(side: _Side) -> dict[str, Any]:
    return {"way": side[0], "why": side[1], "rule": side[2] or None}


def _url_facts(name: bytes, url: _Url, outcome: Outcome) -> dict[str, Any]:
    return {"url": _text(name), "requests": url.requests} | _side((outcome.way.value, outcome.why, outcome.rule))


def _text(url: bytes) -> str:
    """Return what a client asked for so that it does a terminal no harm."""
    text = url.decode("utf-8", "backslashreplace")
    return text if text.isprintable() else "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def _part(count: int, of: int) -> float | None:
    return round(count / of, 4) if of else None
