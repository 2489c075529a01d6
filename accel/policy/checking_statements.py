"""Whether each statement fits its phase and says what can be done.

Owns the messages about single statements; conditions, fields and texts have checkers of their own, and what several
statements say together is `policy.reachability`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from accel.policy import document, nodes
from accel.policy.checking_conditions import ConditionChecker
from accel.policy.checking_fields import check_field, check_field_name
from accel.policy.checking_inputs import check_input, listed
from accel.policy.checking_names import Names, file_text
from accel.policy.checking_pools import checked_host
from accel.policy.checking_texts import check_line, check_reason, check_template, check_value
from accel.policy.checking_values import glob_problem, unknown_list
from accel.policy.findings import Findings
from accel.policy.nodes import Duration, Place
from accel.policy.problems import did_you_mean
from accel.policy.templates import plain
from accel.policy.vocabulary import OVERRIDES, REDIRECTS, STATEMENTS, Phase, Type

LONGEST_S = 10 * 365 * 86400.0
"""No response lives longer; a longer time is a slip."""
MOST_REQUESTS = 1_000_000
DEFAULT_POOL = "default"
"""What the command line's --backend makes."""
_BODILESS = frozenset({204, 205, 304})
_KEYED = frozenset({"path", "url", "host"})
_WORDS: dict[type, str] = {
    nodes.Redirect: "redirect",
    nodes.Synth: "synth",
    nodes.Query: "query",
    nodes.Cookies: "cookies",
    nodes.Key: "key",
    nodes.Host: "host",
    nodes.Header: "header",
    nodes.Limit: "limit",
    nodes.Seal: "seal",
    nodes.Ttl: "ttl",
    nodes.Jitter: "jitter",
    nodes.Tags: "tags",
    nodes.Override: "override",
}


def word_of(statement: nodes.Statement) -> str:
    """Return the word of `vocabulary.STATEMENTS` that a statement begins with; `when` has none there."""
    if isinstance(statement, nodes.Verdict | nodes.Span):
        return statement.word
    if isinstance(statement, nodes.ToPool):
        return "retry" if statement.is_retry else "pool"
    return _WORDS.get(type(statement), "when")


class StatementChecker:
    """Checks the phases of one file."""

    def __init__(self, names: Names, read_file: Callable[[str], str], findings: Findings) -> None:
        self._names = names
        self._read_file = read_file
        self._findings = findings
        self._conditions = ConditionChecker(names, findings)
        self.texts: dict[str, bytes] = {}
        """The files of synthetic answers."""

    def check(self, statements: Sequence[nodes.Statement], phase: Phase) -> None:
        """Note what is wrong in a phase's block and the blocks in it."""
        blocks = [statements]
        while blocks:
            for statement in blocks.pop():
                if isinstance(statement, nodes.When):
                    self._conditions.check(statement.condition, phase)
                    blocks += [statement.body, statement.otherwise]
                else:
                    self._statement(statement, phase)

    def definition(self, name: nodes.Name, condition: nodes.Condition) -> None:
        """Note what is wrong with a definition."""
        self._conditions.definition(name, condition)

    def split(self, split: document.Split) -> None:
        """Note what is wrong with what a split goes by: requests are dealt out by it."""
        check_value(split.by, Phase.REQUEST, self._names, self._findings)

    def _statement(self, statement: nodes.Statement, phase: Phase) -> None:
        word = word_of(statement)
        if phase in STATEMENTS[word]:
            _CHECKS[type(statement)](self, statement, phase)
            return
        places = [known.value for known in Phase if known in STATEMENTS[word]]
        shown = {"header": "set, add and unset header", "retry": "retry pool"}.get(word, word)
        what = f"`{shown}` does not stand in {phase.value} rules"
        self._findings.problem(statement.place, what, f"it stands in {listed(places)} rules")

    # Verdicts.

    def _verdict(self, verdict: nodes.Verdict, phase: Phase) -> None:
        if verdict.why is not None:
            check_reason(verdict.why, verdict.word, self._findings)
        if verdict.status is not None and not 400 <= verdict.status.value <= 599:
            what = f"a denial is answered with 400 to 599, not {verdict.status.value}"
            hint = 'write deny 403, or synth 200 "…" for a page of your own'
            self._findings.problem(verdict.status.place, what, hint)

    def _redirect(self, redirect: nodes.Redirect, phase: Phase) -> None:
        if redirect.status.value not in REDIRECTS:
            what = f"a redirect is answered with 301, 302, 303, 307 or 308, not {redirect.status.value}"
            hint = "301 and 308 are for good, 302, 303 and 307 for now"
            self._findings.problem(redirect.status.place, what, hint)
        target = redirect.target
        if not target.value.startswith(("/", "http://", "https://", "${")) or target.value == "":
            hint = 'write "/path" or "https://host/path"'
            self._findings.problem(target.place, f"{target.value!r} is no place to redirect to", hint)
        check_line(target, self._findings)
        check_template(target, phase, self._names, self._findings)

    def _synth(self, synth: nodes.Synth, phase: Phase) -> None:
        status, findings = synth.status.value, self._findings
        if status in REDIRECTS:
            findings.problem(synth.place, f"a {status} needs a target", f'write redirect {status} "/path"')
        elif status < 200 or status == 304:
            findings.problem(synth.place, f"{status} cannot be an answer of its own", "write 200, 404, 503 or another")
        elif status in _BODILESS and (synth.body or synth.file):
            findings.problem(synth.place, f"a {status} has no body", f"write synth {status} alone")
        if synth.body is not None:
            check_template(synth.body, phase, self._names, findings)
        if synth.file is not None and synth.file.value not in self.texts:
            self.texts[synth.file.value] = file_text(synth.file, self._read_file, findings).encode()

    def _to_pool(self, chosen: nodes.ToPool, phase: Phase) -> None:
        name, pools = chosen.pool, self._names.pools | {DEFAULT_POOL}
        if name.name not in pools:
            otherwise = f"define it: pool {name.name} {{ servers 127.0.0.1:8001 }}"
            self._findings.unknown(name.place, "pool", name.name, pools, otherwise)

    # What the key and the origin see.

    def _query(self, query: nodes.Query, phase: Phase) -> None:
        self._edited_names(query, "query", "parameter")

    def _cookies(self, cookies: nodes.Cookies, phase: Phase) -> None:
        self._edited_names(cookies, "cookies", "cookie")

    def _edited_names(self, edit: nodes.Query | nodes.Cookies, word: str, what: str) -> None:
        findings = self._findings
        if edit.mode == "drop" and not edit.names:
            findings.problem(edit.place, f"`{word} drop none` does nothing", f"write {word} keep none, or leave it out")
        seen: set[str] = set()
        for name in edit.names:
            if isinstance(name, nodes.ListName):
                self._listed(name)
                continue
            glob = plain(name) if isinstance(name, nodes.Text) else name.name
            if isinstance(name, nodes.Name) and glob in ("none", "all"):
                is_idle = (edit.mode, glob) == ("keep", "all")
                hint = f"without a rule all are kept: leave it out, or write {word} keep none alone"
                hint = hint if is_idle else f"write {word} keep none alone, or {word} drop NAME, …"
                findings.problem(name.place, f"{glob} cannot stand here", f'{hint}; a {what} of that name is "{glob}"')
            elif wrong := glob_problem(word, glob):
                findings.problem(name.place, f"{glob!r} {wrong[0]}", wrong[1])
            elif glob in seen:
                findings.problem(name.place, f"{glob!r} stands here twice", "leave one out")
            seen.add(glob)

    def _listed(self, name: nodes.ListName) -> None:
        if name.name not in self._names.lists:
            unknown_list(name, self._names, self._findings)

    def _key(self, key: nodes.Key, phase: Phase) -> None:
        seen: set[str] = set()
        for read in key.inputs:
            check_value(read, phase, self._names, self._findings)
            if read.name in _KEYED:
                self._findings.problem(read.place, f"{read} is part of every key", "leave it out")
            elif str(read) in seen:
                self._findings.problem(read.place, f"{read} stands here twice", "leave one out")
            seen.add(str(read))

    def _host(self, host: nodes.Host, phase: Phase) -> None:
        checked_host(host.name, self._findings)

    def _header(self, header: nodes.Header, phase: Phase) -> None:
        seen: set[str] = set()
        for name in header.names:
            check_field(name, header.mode, phase, self._findings)
            if name.value.lower() in seen:
                self._findings.problem(name.place, f"{name.value} stands here twice", "leave one out")
            seen.add(name.value.lower())
        if isinstance(header.value, nodes.Text):
            check_line(header.value, self._findings)
            check_template(header.value, phase, self._names, self._findings)
        elif header.value is not None:
            check_value(header.value, phase, self._names, self._findings)

    def _limit(self, limit: nodes.Limit, phase: Phase) -> None:
        counts: list[tuple[int, Place]] = [(limit.rate.count, limit.rate.place)]
        counts += [(limit.burst.value, limit.burst.place)] if limit.burst is not None else []
        for count, place in counts:
            if not 1 <= count <= MOST_REQUESTS:
                self._findings.problem(place, f"{count} requests will not do", f"1 to {MOST_REQUESTS}")
        if check_input(limit.per, phase, self._names, self._findings) is Type.NAMES:
            hint = "limit per client, or per one cookie: cookie.NAME"
            self._findings.problem(limit.per.place, f"{limit.per} is a set of names, not one value", hint)
        self._statement(limit.otherwise, phase)

    def _nothing(self, statement: nodes.Statement, phase: Phase) -> None:
        """Nothing can be wrong with it."""

    # Terms of what is stored.

    def _ttl(self, ttl: nodes.Ttl, phase: Phase) -> None:
        if ttl.duration is not None:
            self._time(ttl.duration)

    def _span(self, span: nodes.Span, phase: Phase) -> None:
        self._time(span.duration)

    def _time(self, duration: Duration) -> None:
        if duration.seconds > LONGEST_S:
            self._findings.problem(duration.place, "no response is kept for over ten years", "the longest time is 10y")

    def _jitter(self, jitter: nodes.Jitter, phase: Phase) -> None:
        if not 1 <= jitter.share.value <= 90:
            hint = "write 1% to 90%; 10% is common"
            self._findings.problem(jitter.place, f"a jitter of {jitter.share.value}% will not do", hint)

    def _tags(self, tags: nodes.Tags, phase: Phase) -> None:
        for name in tags.fields:
            check_field_name(name, self._findings)
        for text in tags.texts:
            if not text.value or " " in plain(text) or "," in plain(text):
                hint = 'write one text for each: tags "a", "b"'
                self._findings.problem(text.place, f"{text.value!r} is not one tag", hint)
            check_line(text, self._findings)
            check_template(text, phase, self._names, self._findings)

    def _override(self, override: nodes.Override, phase: Phase) -> None:
        if override.what.name not in OVERRIDES:
            what = f"{override.what.name} cannot be overridden"
            self._findings.problem(override.what.place, what, did_you_mean(override.what.name, OVERRIDES))
        check_reason(override.reason, "override", self._findings)


_CHECKS: dict[type, Callable[[StatementChecker, Any, Phase], None]] = {
    nodes.Verdict: StatementChecker._verdict,
    nodes.Redirect: StatementChecker._redirect,
    nodes.Synth: StatementChecker._synth,
    nodes.ToPool: StatementChecker._to_pool,
    nodes.Query: StatementChecker._query,
    nodes.Cookies: StatementChecker._cookies,
    nodes.Key: StatementChecker._key,
    nodes.Host: StatementChecker._host,
    nodes.Header: StatementChecker._header,
    nodes.Limit: StatementChecker._limit,
    nodes.Seal: StatementChecker._nothing,
    nodes.Ttl: StatementChecker._ttl,
    nodes.Span: StatementChecker._span,
    nodes.Jitter: StatementChecker._jitter,
    nodes.Tags: StatementChecker._tags,
    nodes.Override: StatementChecker._override,
}
