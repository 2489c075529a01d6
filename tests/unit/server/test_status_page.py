"""The status page as it is sent: whole, self-contained, and allowed no more than what stands in it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import struct
from html.parser import HTMLParser

import tree_sitter_javascript
from tree_sitter import Language, Node, Parser

from accel.server import status_page
from accel.stats import histograms
from accel.stats.counters import COUNTERS
from accel.stats.plain_ring import EXCHANGE, FIXED, PAGE_BYTES
from accel.stats.records import OUTCOMES, REASONS, TEXTS

REFERS = frozenset({"src", "href", "style"})
VOID = frozenset({"meta", "link", "br"})


class Elements(HTMLParser):
    """Notes ids and what scripts and styles say; fails where tags are not nested."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.texts: dict[str, list[str]] = {"script": [], "style": []}
        self.named: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids += [given["id"] or ""] if "id" in given else []
        self.named += [value or "" for name, value in attrs if name in REFERS or name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, self.getpos()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in self.texts:
            self.texts[self.open[-1]].append(data)


def read() -> tuple[Elements, str]:
    """Return the page's elements, and its policy."""
    data, lines = status_page.document("the-token")
    elements = Elements()
    elements.feed(data.decode())
    return elements, dict(lines)[b"content-security-policy"].decode()


def faults(node: Node) -> list[Node]:
    """Return what is no JavaScript below a node."""
    own = [node] if node.is_error or node.is_missing else []
    return own + [fault for child in node.children for fault in faults(child)]


def test_its_tags_are_nested_and_its_ids_given_once() -> None:
    elements, _ = read()

    assert elements.open == []
    assert len(elements.ids) == len(set(elements.ids))


def test_it_refers_to_nothing_outside() -> None:
    elements, _ = read()

    assert elements.named == ["data:,"]


def test_its_script_is_javascript_and_asks_only_for_ids_that_are_there() -> None:
    elements, _ = read()
    script = elements.texts["script"][-1]

    tree = Parser(Language(tree_sitter_javascript.language())).parse(script.encode())

    assert [(fault.start_point, fault.text) for fault in faults(tree.root_node)] == []
    assert set(re.findall(r'\bat\("([^"]+)"\)', script)) <= set(elements.ids)


def test_its_script_writes_no_html_and_runs_no_text() -> None:
    elements, _ = read()
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function"

    assert not re.search(forbidden, elements.texts["script"][-1])


def test_its_policy_allows_its_own_script_and_style_and_nothing_else() -> None:
    elements, policy = read()
    allowed = dict(part.split(" ", 1) for part in policy.split("; "))

    hashes = {
        tag: "'sha256-" + base64.b64encode(hashlib.sha256(texts[-1].encode()).digest()).decode() + "'"
        for tag, texts in elements.texts.items()
    }

    assert (allowed["script-src"], allowed["style-src"]) == (hashes["script"], hashes["style"])
    assert (allowed["default-src"], allowed["frame-ancestors"]) == ("'none'", "'none'")


def test_it_carries_the_token_and_the_meaning_of_every_counter() -> None:
    data, _ = status_page.document("the-token")

    assert b'content="the-token"' in data and b"{{" not in data
    assert all(f'"{one.name}"'.encode() in data for one in COUNTERS)


def test_its_script_reads_records_where_they_are_written() -> None:
    script = (status_page._PARTS / "log.js").read_text()
    before, lengths, seconds = FIXED.format.partition(f"{len(TEXTS)}H")
    before_lengths, before_seconds = struct.calcsize(before), struct.calcsize(before + lengths)

    assert f"const FIXED_BYTES = {FIXED.size}, EXCHANGE = {EXCHANGE};" in script
    assert f"const LENGTHS_AT = {before_lengths}, TEXTS = [" in script
    assert seconds.startswith("5f") and f"origin: view.getFloat32(start + {before_seconds + 8}, true)" in script
    assert f"const OUTCOME_WORDS = {json.dumps(list(OUTCOMES))};" in script
    assert [int(number) for number in re.findall(r"\b(\d): \"", script)] == list(range(1, len(REASONS)))
    assert f"const SUB_BITS = {histograms.SUB_BITS};" in script and f"const RING_PAGE = {PAGE_BYTES};" in script
