"""From lark's tree to the nodes of a policy's own tests. Owns their small vocabulary, as `policy.building` the rest."""

from __future__ import annotations

from lark import Token, Tree

from accel.policy import document, nodes
from accel.policy.literals import Literals
from accel.policy.problems import did_you_mean

METHODS = {"get", "head", "post", "put", "patch", "delete", "options", "purge"}
OUTCOMES = {"hit", "miss", "stale", "pass", "synthetic", "error"}
_EXPECTED = ("no header", "origin saw no", "origin saw", "header", "status", "body", "pool", "redirect", "no fetch")
"""What else an answer may be held to, the longer words first."""


class TestBuilder:
    """Builds the tests of one file."""

    __test__ = False

    def __init__(self, read: Literals) -> None:
        self._read = read

    def test(self, tree: Tree[Token]) -> document.Test:
        """Return one test."""
        name, *steps = tree.children
        assert isinstance(name, Token)
        built = self._read.text(name)
        return document.Test(built, tuple(self._step(step) for step in steps if isinstance(step, Tree)), built.place)

    def _step(self, tree: Tree[Token]) -> document.Step:
        first = next(token for token in tree.children if isinstance(token, Token))
        place = self._read.place(first)
        match tree.data:
            case "origin_says":
                return self._origin_says(tree)
            case "origin_state":
                return document.Fails(tree.children[-1] == "fails", place)
            case "after":
                return document.After(self._read.duration(first), place)
            case _:
                return self._ask(tree)

    def _origin_says(self, tree: Tree[Token]) -> document.OriginSays:
        origin, method, target, _, status = (part for part in tree.children if isinstance(part, Token))
        fields = self._fields(tree)
        bodies = [value for name, value in fields if name == "body"]
        return document.OriginSays(
            method=nodes.Name(method.upper(), self._read.place(method)),
            target=self._read.text(target),
            status=self._read.status(status),
            fields=tuple(field for field in fields if field[0] != "body"),
            body=bodies[0] if bodies else None,
            place=self._read.place(origin),
        )

    def _ask(self, tree: Tree[Token]) -> document.Ask:
        method, target = (part for part in tree.children[:2] if isinstance(part, Token))
        place = self._read.place(method)
        if method not in METHODS:
            self._read.problem(
                place, f"{str(method)!r} is no step of a test", did_you_mean(method, METHODS | {"after", "origin"})
            )
        fields = self._fields(tree)
        clients = [value for name, value in fields if name == "from"]
        return document.Ask(
            method=method.upper(),
            target=self._read.text(target),
            fields=tuple(field for field in fields if field[0] != "from"),
            client=nodes.Name(clients[0].value, clients[0].place) if clients else None,
            expectations=tuple(self._expectation(part) for part in tree.find_data("expectation")),
            place=place,
        )

    def _fields(self, tree: Tree[Token]) -> list[tuple[str, nodes.Text]]:
        """Return the pairs behind a step's target: `type "text/html"`, `from 10.0.0.1`."""
        pairs = []
        for part in tree.find_data("said"):
            name, value = (token for token in part.children if isinstance(token, Token))
            is_address = name == "from" and value.type != "STRING"
            text = nodes.Text(str(value), self._read.place(value)) if is_address else self._read.text(value)
            pairs.append((_FIELDS.get(name, str(name)), text))
        return pairs

    def _expectation(self, tree: Tree[Token]) -> document.Expectation:
        tokens = [token for token in tree.children if isinstance(token, Token)]
        place = self._read.place(tokens[0])
        words = " ".join(str(token) for token in tokens if token.type != "STRING")
        texts = [self._read.text(token) for token in tokens if token.type == "STRING"]
        if words in OUTCOMES:
            return document.Expectation(words, "", texts[0] if texts else None, place)
        for word in _EXPECTED:
            if words == word or words.startswith(word + " "):
                return self._held_to(word, words[len(word) :].strip(), texts, tokens, place)
        known = OUTCOMES | set(_EXPECTED)
        self._read.problem(place, f"{words!r} says nothing about an answer", did_you_mean(words, known))
        return document.Expectation("miss", "", None, place)

    def _held_to(
        self, word: str, rest: str, texts: list[nodes.Text], tokens: list[Token], place: nodes.Place
    ) -> document.Expectation:
        """Return `status 301`, `header "X" "y"`, `origin saw cookie "a=1"`, `pool app`."""
        if word == "status":
            return document.Expectation(word, "", self._read.status(tokens[-1]), place)
        if not rest and word in ("header", "no header") and texts:
            rest, texts = texts[0].value, texts[1:]
        return document.Expectation(word, rest, texts[0] if texts else None, place)


_FIELDS = {"type": "content-type"}
"""Short names of fields in tests."""
