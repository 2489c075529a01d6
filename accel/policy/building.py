"""From lark's tree to nodes, part by part. Owns how the grammar's rules become shapes; literals are `policy.literals`.

Invariant: it never fails: what is wrong is noted in `problems`, and what can be built is built.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from lark import Token, Tree

from accel.policy import document, nodes
from accel.policy.building_tests import TestBuilder
from accel.policy.literals import Literals
from accel.policy.nodes import Place
from accel.policy.problems import Problem

_Part = Tree[Token] | Token


_MOST_ELSES = 100
"""Of one `when`: what follows is nested in it."""
_WORD = re.compile(r"[^\s,;{}()]+")


class Builder:
    """Builds the nodes of one file."""

    def __init__(self, file: str, lines: Sequence[str]) -> None:
        self._file = file
        self._lines = tuple(lines)
        self._read = Literals(file)
        self._tests = TestBuilder(self._read)

    @property
    def problems(self) -> list[Problem]:
        """What was found wrong."""
        return self._read.problems

    def policy(self, tree: Tree[Token]) -> document.Policy:
        """Return the whole file's nodes."""
        read = self._read
        version = read.number(_tokens(tree)[0])
        if version.value != 1:
            read.problem(version.place, f"there is no version {version.value} of the language", "write `policy 1`")
        return document.Policy(
            file=self._file,
            version=version,
            sites=tuple(read.name(token) for item in _trees(tree, "site") for token in _tokens(item)),
            uses=tuple(read.text(token) for item in _trees(tree, "use") for token in _tokens(item)),
            pools=tuple(map(self._pool, _trees(tree, "pool"))),
            acls=tuple(map(self._acl, _trees(tree, "acl"))),
            lists=tuple(map(self._list, _trees(tree, "list", "list_from"))),
            defs=tuple(map(self._def, _trees(tree, "def"))),
            splits=tuple(map(self._split, _trees(tree, "split"))),
            purges=tuple(map(self._purge, _trees(tree, "purge"))),
            phases=tuple(map(self._phase, _trees(tree, "phase"))),
            tests=tuple(map(self._tests.test, _trees(tree, "test"))),
            lines=self._lines,
        )

    # Parts of a file.

    def _pool(self, tree: Tree[Token]) -> document.Pool:
        name = self._read.name(_tokens(tree)[0])
        return document.Pool(name, self._settings(tree), name.place)

    def _purge(self, tree: Tree[Token]) -> document.Purge:
        settings = self._settings(tree)
        return document.Purge(settings, settings[0].place if settings else self._place_of(tree))

    def _settings(self, tree: Tree[Token]) -> tuple[document.Setting, ...]:
        return tuple(map(self._setting, _trees(tree, "setting")))

    def _setting(self, tree: Tree[Token]) -> document.Setting:
        word, *values = _tokens(tree)
        return document.Setting(str(word), tuple(map(self._read.setting, values)), self._read.place(word))

    def _acl(self, tree: Tree[Token]) -> document.Acl:
        name, *networks = map(self._read.name, _tokens(tree))
        return document.Acl(name, tuple(networks), name.place)

    def _list(self, tree: Tree[Token]) -> document.ListOf:
        first, *rest = _tokens(tree)
        name = self._read.name(first)
        if tree.data == "list_from":
            return document.ListOf(name, (), self._read.text(rest[0]), name.place)
        return document.ListOf(name, tuple(map(self._word, rest)), None, name.place)

    def _word(self, token: Token) -> nodes.Text | nodes.Name:
        return self._read.text(token) if token.type == "STRING" else self._read.name(token)

    def _def(self, tree: Tree[Token]) -> document.Def:
        name = self._read.name(_tokens(tree)[0])
        return document.Def(name, self._condition(tree.children[-1]), name.place)

    def _split(self, tree: Tree[Token]) -> document.Split:
        name, by = _tokens(tree)
        arms = [_tokens(arm) for arm in _trees(tree, "arm")]
        pairs = tuple((self._read.name(arm), self._read.percent(share)) for arm, share in arms)
        return document.Split(self._read.name(name), self._read.input(by), pairs, self._read.place(name))

    def _phase(self, tree: Tree[Token]) -> document.Phase:
        word = _tokens(tree)[0]
        return document.Phase(str(word), self._block(_trees(tree, "block")[0]), self._read.place(word))

    def _place_of(self, tree: Tree[Token]) -> Place:
        """Return where a part's first word stands."""
        line, column = getattr(tree.meta, "line", 1), getattr(tree.meta, "column", 1)
        word = _WORD.match(self._lines[line - 1], column - 1) if line <= len(self._lines) else None
        return Place(self._file, line, column, len(word[0]) if word else 1)

    # Conditions.

    def _condition(self, part: _Part) -> nodes.Condition:
        assert isinstance(part, Tree)
        place = self._place_of(part)
        match part.data:
            case "any_of":
                return nodes.AnyOf(tuple(map(self._condition, part.children)), place)
            case "all_of":
                return nodes.AllOf(tuple(map(self._condition, part.children)), place)
            case "not_":
                return nodes.Not(self._condition(part.children[0]), place)
            case "compare":
                return self._compare(part)
            case "exists":
                return nodes.Exists(self._read.input(_tokens(part)[0]), place)
            case _:
                return nodes.Use(str(_tokens(part)[0]), place)

    def _compare(self, tree: Tree[Token]) -> nodes.Compare:
        left, operator, right = tree.children
        assert isinstance(left, Token) and isinstance(operator, Token)
        read = self._read.input(left)
        return nodes.Compare(read, str(operator), self._operand(right), read.place)

    def _operand(self, part: _Part) -> nodes.Operand:
        if isinstance(part, Token):
            return self._read.member(part)
        return nodes.Many(tuple(map(self._read.member, _tokens(part))), self._place_of(part))

    # Statements.

    def _block(self, tree: Tree[Token]) -> tuple[nodes.Statement, ...]:
        """Return a block's statements, each `else` joined to the `when` before it."""
        statements: list[nodes.Statement] = []
        chained = 0
        for part in tree.children:
            assert isinstance(part, Tree)
            if part.data != "else_":
                chained = 0
                statements.append(self._statement(part))
            elif statements and isinstance(statements[-1], nodes.When):
                chained += 1
                if chained > _MOST_ELSES:
                    self._read.problem(self._place_of(part), f"over {_MOST_ELSES} elses", "write a `when` for each")
                    break
                statements[-1] = _with_else(statements[-1], self._otherwise(part))
            else:
                hint = "an else stands right behind the `}` of its `when`"
                self._read.problem(self._place_of(part), "this else has no `when` before it", hint)
        return tuple(statements)

    def _otherwise(self, tree: Tree[Token]) -> tuple[nodes.Statement, ...]:
        part = tree.children[0]
        assert isinstance(part, Tree)
        return self._block(part) if part.data == "block" else (self._when(part),)

    def _when(self, tree: Tree[Token]) -> nodes.When:
        condition, block, *otherwise = tree.children
        assert isinstance(block, Tree)
        built = self._condition(condition)
        rest = [self._otherwise(part) for part in otherwise if isinstance(part, Tree)]
        return nodes.When(built, self._block(block), rest[0] if rest else (), built.place)

    def _statement(self, tree: Tree[Token]) -> nodes.Statement:
        return _STATEMENTS[str(tree.data)](self, tree)

    def _verdict(self, tree: Tree[Token]) -> nodes.Verdict:
        word, *rest = _tokens(tree)
        texts = [self._read.text(token) for token in rest if token.type == "STRING"]
        statuses = [self._read.status(token) for token in rest if token.type != "STRING"]
        place = self._read.place(word)
        return nodes.Verdict(str(word), statuses[0] if statuses else None, texts[0] if texts else None, place)

    def _redirect(self, tree: Tree[Token]) -> nodes.Redirect:
        status, target = _tokens(tree)
        return nodes.Redirect(self._read.status(status), self._read.text(target), self._place_of(tree))

    def _synth(self, tree: Tree[Token]) -> nodes.Synth:
        status, *rest = _tokens(tree)
        text = self._read.text(rest[-1]) if rest else None
        is_file = len(rest) == 2
        place = self._place_of(tree)
        return nodes.Synth(self._read.status(status), None if is_file else text, text if is_file else None, place)

    def _to_pool(self, tree: Tree[Token]) -> nodes.ToPool:
        *retry, pool = _tokens(tree)
        return nodes.ToPool(self._read.name(pool), bool(retry), self._place_of(tree))

    def _query(self, tree: Tree[Token]) -> nodes.Query:
        mode, *rest = _tokens(tree)
        names = [token for token in rest if token.type != "SORT"]
        is_sorted = mode.type == "SORT" or len(names) < len(rest)
        word = "" if mode.type == "SORT" else str(mode)
        return nodes.Query(word, self._globs(names), is_sorted, self._place_of(tree))

    def _cookies(self, tree: Tree[Token]) -> nodes.Cookies:
        mode, *names = _tokens(tree)
        return nodes.Cookies(str(mode), self._globs(names), self._place_of(tree))

    def _globs(self, tokens: Sequence[Token]) -> tuple[nodes.Text | nodes.Name | nodes.ListName, ...]:
        """Return names of cookies or parameters; `none`, alone, is no name."""
        return () if [str(token) for token in tokens] == ["none"] else tuple(map(self._glob, tokens))

    def _glob(self, token: Token) -> nodes.Text | nodes.Name | nodes.ListName:
        if token.type == "LISTNAME":
            return nodes.ListName(str(token[1:]), self._read.place(token))
        return self._word(token)

    def _key(self, tree: Tree[Token]) -> nodes.Key:
        inputs = tuple(map(self._read.input, _tokens(tree)))
        return nodes.Key(inputs, self._place_of(tree))

    def _host(self, tree: Tree[Token]) -> nodes.Host:
        return nodes.Host(self._read.text(_tokens(tree)[0]), self._place_of(tree))

    def _header(self, tree: Tree[Token]) -> nodes.Header:
        mode, name, value = _tokens(tree)
        read = self._read.text(value) if value.type == "STRING" else self._read.input(value)
        return nodes.Header(str(mode), (self._read.text(name),), read, self._read.place(mode))

    def _unset(self, tree: Tree[Token]) -> nodes.Header:
        return nodes.Header("unset", tuple(map(self._read.text, _tokens(tree))), None, self._place_of(tree))

    def _limit(self, tree: Tree[Token]) -> nodes.Limit:
        rate, per, *burst = _tokens(tree)
        otherwise = self._statement(_trees(tree, "synth", "deny")[0])
        assert isinstance(otherwise, nodes.Synth | nodes.Verdict)
        count = self._read.number(burst[0]) if burst else None
        return nodes.Limit(self._read.rate(rate), self._read.input(per), count, otherwise, self._place_of(tree))

    def _seal(self, tree: Tree[Token]) -> nodes.Seal:
        return nodes.Seal(self._read.place(_tokens(tree)[0]))

    def _ttl(self, tree: Tree[Token]) -> nodes.Ttl:
        first, *rest = _tokens(tree)
        place = self._place_of(tree)
        if first.type in ("ORIGIN", "HEURISTIC"):
            return nodes.Ttl(str(first), self._read.duration(rest[0]) if rest else None, place)
        return nodes.Ttl("fixed", self._read.duration(first), place)

    def _span(self, tree: Tree[Token]) -> nodes.Span:
        word, duration = _tokens(tree)
        return nodes.Span(str(word), self._read.duration(duration), self._read.place(word))

    def _jitter(self, tree: Tree[Token]) -> nodes.Jitter:
        return nodes.Jitter(self._read.percent(_tokens(tree)[0]), self._place_of(tree))

    def _tags(self, tree: Tree[Token]) -> nodes.Tags:
        tokens = _tokens(tree)
        is_from = tokens[0].type == "FROM"
        texts = tuple(self._read.text(token) for token in tokens if token.type != "FROM")
        return nodes.Tags(texts if is_from else (), () if is_from else texts, self._place_of(tree))

    def _override(self, tree: Tree[Token]) -> nodes.Override:
        tokens = [token for token in _tokens(tree) if token.type != "DROP"]
        return nodes.Override(self._read.name(tokens[0]), self._read.text(tokens[-1]), self._place_of(tree))


_STATEMENTS: dict[str, Callable[[Builder, Tree[Token]], nodes.Statement]] = {
    "when": Builder._when,
    "verdict": Builder._verdict,
    "deny": Builder._verdict,
    "redirect": Builder._redirect,
    "synth": Builder._synth,
    "to_pool": Builder._to_pool,
    "query": Builder._query,
    "cookies": Builder._cookies,
    "key": Builder._key,
    "host": Builder._host,
    "header": Builder._header,
    "unset": Builder._unset,
    "limit": Builder._limit,
    "seal": Builder._seal,
    "ttl": Builder._ttl,
    "span": Builder._span,
    "jitter": Builder._jitter,
    "tags": Builder._tags,
    "override": Builder._override,
}


def _with_else(when: nodes.When, otherwise: tuple[nodes.Statement, ...]) -> nodes.When:
    """Return a `when` with an else at the end of its chain."""
    if when.otherwise and isinstance(when.otherwise[-1], nodes.When):
        otherwise = (_with_else(when.otherwise[-1], otherwise),)
    return nodes.When(when.condition, when.body, otherwise, when.place)


def _tokens(tree: Tree[Token]) -> list[Token]:
    return [part for part in tree.children if isinstance(part, Token)]


def _trees(tree: Tree[Token], *kinds: str) -> list[Tree[Token]]:
    return [part for part in tree.children if isinstance(part, Tree) and part.data in kinds]
