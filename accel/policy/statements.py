"""What each statement does when it runs, as lines of Python; `policy.codegen` puts them into functions.

Owns the meaning of statements other than `when`. The lines set attributes of a draft (`d`, see `policy.rulings`), read
a view (`v`) through `policy.conditions`, and a verdict's line returns its ruling, which was made beforehand save for
the texts that are filled in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from accel.http.cache_status import Forward
from accel.policy import nodes
from accel.policy.checked import Checked
from accel.policy.conditions import Conditions, Constants, texts
from accel.policy.decision import Answer, Edit, EditMode, ErrorDecision, LimitCheck, Override, Recovery, Rule
from accel.policy.edits import NameEdit, field_value, framed, redirect_target
from accel.policy.matching import globs
from accel.policy.rulings import Ruling, Ttl, counted, edit, leading, saying, tagged
from accel.policy.templates import pieces, plain
from accel.policy.verdict import Action
from accel.policy.vocabulary import Phase

_CONTENT_TYPES = {
    "html": b"text/html; charset=utf-8",
    "htm": b"text/html; charset=utf-8",
    "json": b"application/json",
    "xml": b"application/xml",
    "txt": b"text/plain; charset=utf-8",
}
_PLAIN = b"text/plain; charset=utf-8"
_SPANS = {"grace": "grace_s", "if-error": "if_error_s", "keep": "keep_s", "pass-memory": "pass_memory_s"}
_VERDICTS = {
    "lookup": Action.LOOKUP,
    "pass": Action.PASS,
    "pipe": Action.PIPE,
    "deny": Action.DENY,
    "purge": Action.PURGE,
}


class Statements:
    """Writes the statements of one file."""

    def __init__(self, checked: Checked, conditions: Conditions, constants: Constants) -> None:
        self._checked = checked
        self._conditions = conditions
        self._constant = constants.name
        self._limit_counts: Counter[str] = Counter()
        """How many `limit` statements say the same."""

    def written(self, statement: nodes.Statement, phase: Phase) -> list[str]:
        """Return the code of a statement that is no `when`."""
        match statement:
            case nodes.Verdict():
                return [self._verdict(statement, phase)]
            case nodes.Redirect():
                return [self._redirect(statement, phase)]
            case nodes.Synth():
                return [self._synth(statement, phase)]
            case nodes.ToPool():
                return self._pool(statement)
            case nodes.Query():
                return self._query(statement)
            case nodes.Cookies():
                return self._name_edit("cookies", statement.mode, statement.names)
            case nodes.Key():
                return self._key(statement)
            case nodes.Host():
                return [f"d.host = {plain(statement.name).lower().encode()!r}"]
            case nodes.Header():
                return self._header(statement)
            case nodes.Limit():
                return [self._limit(statement)]
            case nodes.Seal():
                return ["d.is_sealed = True"]
            case nodes.Ttl():
                seconds = None if statement.duration is None else statement.duration.seconds
                return [f"d.ttl = {self._constant(Ttl(statement.source, seconds, rule_of(statement)))}"]
            case nodes.Span():
                return [f"d.{_SPANS[statement.word]} = {statement.duration.seconds!r}"]
            case nodes.Jitter():
                return [f"d.jitter_percent = {statement.share.value}"]
            case nodes.Tags():
                return self._tags(statement)
            case nodes.Override():
                return [f"d.overrides += ({self._constant(override_of(statement))},)"]
            case _:
                raise TypeError(f"{statement} is no statement")

    def _verdict(self, statement: nodes.Verdict, phase: Phase) -> str:
        rule, why = rule_of(statement), plain(statement.why) if statement.why is not None else ""
        if phase is Phase.ERROR:
            return f"return {self._constant(ErrorDecision(Recovery.STALE, rule=rule))}"
        action = _VERDICTS[statement.word]
        status = statement.status.value if statement.status is not None else 403
        answer = Answer(status, _typed(_PLAIN), why.encode()) if action is Action.DENY and why else None
        return f"return {self._constant(Ruling(action, why, Forward.BYPASS, status, answer, rule))}"

    def _answering(self, phase: Phase, answer: Answer | None, status: int, why: str, rule: Rule) -> str:
        ruling: object = Ruling(Action.DENY, why, Forward.BYPASS, status, answer, rule)
        if phase is Phase.ERROR:
            ruling = ErrorDecision(Recovery.ANSWER, answer=answer or Answer(status), rule=rule)
        return self._constant(ruling)

    def _redirect(self, statement: nodes.Redirect, phase: Phase) -> str:
        status, found = statement.status.value, pieces(statement.target)
        starts_with_input = bool(found) and isinstance(found[0], nodes.Input)
        is_constant = all(isinstance(piece, str) for piece in found)
        target = "".join(map(str, found)).encode() if is_constant else b""
        lines = ((b"location", redirect_target(target, False)),)
        ruling = self._answering(phase, Answer(status, lines), status, "redirect", rule_of(statement))
        if is_constant:
            return f"return {ruling}"
        text = self._filled(statement.target, is_uri=True)
        return f"return {self._constant(leading)}({ruling}, {text}, {starts_with_input})"

    def _synth(self, statement: nodes.Synth, phase: Phase) -> str:
        status, answer = statement.status.value, self._page(statement)
        ruling = self._answering(phase, answer, status, "synthetic", rule_of(statement))
        if statement.body is None or not _has_inputs(statement.body):
            return f"return {ruling}"
        return f"return {self._constant(saying)}({ruling}, {self._filled(statement.body)})"

    def _page(self, statement: nodes.Synth) -> Answer | None:
        if statement.file is not None:
            name = plain(statement.file)
            kind = _CONTENT_TYPES.get(name.rpartition(".")[2].lower(), b"application/octet-stream")
            return Answer(statement.status.value, _typed(kind), self._checked.texts[statement.file.value])
        if statement.body is None:
            return None
        return Answer(statement.status.value, _typed(_PLAIN), plain(statement.body).encode())

    def _pool(self, statement: nodes.ToPool) -> list[str]:
        pool = statement.pool.name
        if statement.is_retry:
            return [f"return {self._constant(ErrorDecision(Recovery.RETRY, pool=pool, rule=rule_of(statement)))}"]
        return [f"d.pool = {pool!r}"]

    def _query(self, statement: nodes.Query) -> list[str]:
        written = self._name_edit("query", statement.mode, statement.names) if statement.mode else []
        return [*written, "d.is_sorted = True"] if statement.is_sorted else written

    def _name_edit(
        self, attribute: str, mode: str, names: Sequence[nodes.Text | nodes.Name | nodes.ListName]
    ) -> list[str]:
        """A `keep` starts over from what was sent; a `drop` goes on from what is left."""
        patterns = [text.encode() for text in texts(self._checked, names)]
        constant = self._constant(NameEdit(mode == "keep", globs(patterns)))
        return [f"d.{attribute} {'=' if mode == 'keep' else '+='} ({constant},)"]

    def _key(self, statement: nodes.Key) -> list[str]:
        framing = self._constant(framed)
        values = [f"{framing}({str(read).encode()!r}, {self._conditions.text(read)})" for read in statement.inputs]
        fields = tuple(read.argument.lower().encode() for read in statement.inputs if read.name == "header")
        return [f"d.keyed += ({', '.join(values)},)", *([f"d.shown += {fields!r}"] if fields else [])]

    def _header(self, statement: nodes.Header) -> list[str]:
        names = tuple(plain(name).lower().encode() for name in statement.names)
        mode, value = EditMode(statement.mode), statement.value
        if isinstance(value, nodes.Text) and _has_inputs(value):
            made = self._edit_of(mode, names[0], self._filled(value))
        elif isinstance(value, nodes.Input):
            made = self._edit_of(mode, names[0], self._conditions.text(value))
        else:
            text = field_value(plain(value).encode()) if value is not None else b""
            made = self._constant((Edit(mode, names, text),))
        return [f"d.edits += {made}"]

    def _edit_of(self, mode: EditMode, name: bytes, value: str) -> str:
        return f"{self._constant(edit)}({self._constant(mode)}, {name!r}, {value})"

    def _limit(self, statement: nodes.Limit) -> str:
        otherwise = statement.otherwise
        status = otherwise.status.value if otherwise.status is not None else 429
        answer = self._page(otherwise) if isinstance(otherwise, nodes.Synth) else None
        if isinstance(otherwise, nodes.Verdict) and otherwise.why is not None:
            answer = Answer(status, _typed(_PLAIN), plain(otherwise.why).encode())
        burst = statement.burst.value if statement.burst is not None else 1
        rate, rule = statement.rate.count / statement.rate.seconds, rule_of(statement)
        name = self._bucket_name(rate, burst, statement.per)
        check = LimitCheck(name, b"", rate, max(1, burst), answer, status, rule)
        made = f"{self._constant(counted)}({self._constant(check)}, {self._conditions.bucket(statement.per)})"
        if isinstance(otherwise, nodes.Synth) and otherwise.body is not None and _has_inputs(otherwise.body):
            made = f"{self._constant(saying)}({made}, {self._filled(otherwise.body)})"
        return f"d.limits += ({made},)"

    def _bucket_name(self, rate: float, burst: int, per: nodes.Input) -> str:
        """Return a limit's own name, which no edit elsewhere in the file changes, so that what it counted stays.

        Rate and burst are part of it: see `proxy.limiter` for what else two programs would do to one bucket.
        """
        name = f"{self._checked.file}: {rate} per {per} burst {burst}"
        self._limit_counts[name] += 1
        return f"{name} #{self._limit_counts[name]}"

    def _tags(self, statement: nodes.Tags) -> list[str]:
        splitter = self._constant(tagged)
        values = [f"v.response({plain(name).lower().encode()!r})" for name in statement.fields]
        values += [self._filled(text) for text in statement.texts]
        return [f"d.tags += {splitter}({value})" for value in values]

    def _filled(self, text: nodes.Text, is_uri: bool = False) -> str:
        """Return the expression of a text with its inputs filled in; what is missing is empty."""
        parts = []
        for piece in pieces(text):
            if isinstance(piece, str):
                parts.append(repr(piece.encode()))
            else:
                parts.append(f'({self._conditions.text(piece, is_uri)} or b"")')
        return f'b"".join(({", ".join(parts)},))' if parts else 'b""'


def rule_of(statement: nodes.Statement) -> Rule:
    """Return where a statement stands, as decisions name it."""
    return Rule(statement.place.file, statement.place.line)


def override_of(statement: nodes.Override) -> Override:
    """Return what decisions say when this rule holds."""
    return Override(statement.what.name, plain(statement.reason), rule_of(statement))


def _typed(kind: bytes) -> tuple[tuple[bytes, bytes], ...]:
    return ((b"content-type", kind),)


def _has_inputs(text: nodes.Text) -> bool:
    return any(isinstance(piece, nodes.Input) for piece in pieces(text))
