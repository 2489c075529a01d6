"""The canonical form: what it looks like, that it means the same, and that it is its own."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from placeless import placeless

from accel.policy.formatting import formatted
from accel.policy.parser import parse

HERE = Path(__file__).parent
PRESETS = Path(str(files("accel.policy"))) / "presets"
TEXTS = [path.read_text("utf-8") for path in (*(HERE / "examples").glob("*.policy"), *PRESETS.glob("*.policy"))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("policy   1", "policy 1\n"),
        ("\n\npolicy 1\n\n\n\nrequest{seal}\n\n", "policy 1\n\nrequest { seal }\n"),
        ("policy 1\nrequest {\nseal;\n\tlookup ;\n}", "policy 1\nrequest {\n  seal\n  lookup\n}\n"),
        ("policy 1\nrequest {\n\n seal\n\n}", "policy 1\nrequest {\n  seal\n}\n"),
        ("policy 1\nrequest { seal;;query sort; }", "policy 1\nrequest { seal; query sort }\n"),
        ("policy 1\nrequest { ; seal }", "policy 1\nrequest { seal }\n"),
        ("policy 1 #one\n   # two\n", "policy 1  #one\n# two\n"),
        (
            'policy 1\ndef a=path in("/a" ,"/b")and\nstatus in { 301,404 }',
            'policy 1\ndef a = path in ("/a", "/b") and\n  status in {301, 404}\n',
        ),
        (
            'policy 1\nlist a {\n"x",\n"y"\n}\nacl b {::1}',
            'policy 1\nlist a {\n  "x",\n  "y"\n}\nacl b { ::1 }\n',
        ),
        (
            'policy 1\nrequest {\nwhen path glob (\n"/a",\n"/b"\n) {\nlookup\n} else {\n# why\npass\n}\n}',
            'policy 1\nrequest {\n  when path glob (\n    "/a",\n    "/b"\n  ) {\n    lookup\n  } else {\n'
            "    # why\n    pass\n  }\n}\n",
        ),
        (
            "policy 1\npool a {\nservers 10.0.0.1:80,\n10.0.0.2:80; balance least-conn }",
            "policy 1\npool a {\n  servers 10.0.0.1:80,\n    10.0.0.2:80; balance least-conn }\n",
        ),
        (
            'policy 1\ntest "t" { get   "/"  ->hit,status   200 }',
            'policy 1\ntest "t" { get "/" -> hit, status 200 }\n',
        ),
        (
            'policy 1\nrequest {\nwhen a { seal }\nwhen path in {"/b"} and c { lookup }\n\nwhen d { seal }\n'
            "when e {\nseal }\n}",
            'policy 1\nrequest {\n  when a                    { seal }\n  when path in {"/b"} and c { lookup }\n\n'
            "  when d { seal }\n  when e {\n    seal }\n}\n",
        ),
        (
            'policy 1\npool a {\nservers 10.0.0.1:80\nhost "a"  # b\n}\ndef a = b\ndef long = c',
            'policy 1\npool a {\n  servers 10.0.0.1:80\n  host    "a"  # b\n}\ndef a    = b\ndef long = c\n',
        ),
        (
            'policy 1\ntest "t" {\norigin GET "/" -> 200\nget "/" -> hit\nget "/a" -> hit\n}',
            'policy 1\ntest "t" {\n  origin GET "/" -> 200\n  get "/"  -> hit\n  get "/a" -> hit\n}\n',
        ),
        ("policy 1\r\nrequest {\r\nkey +header.a}", "policy 1\nrequest {\n  key + header.a }\n"),
    ],
)
def test_the_canonical_form(text: str, expected: str) -> None:
    assert formatted(text) == expected


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_formatted_means_the_same_and_is_its_own_form(text: str) -> None:
    once = formatted(text)

    assert placeless(parse(once, "x")) == placeless(parse(text, "x"))
    assert formatted(once) == once


@pytest.mark.parametrize("path", sorted(PRESETS.glob("*.policy")), ids=lambda path: path.stem)
def test_what_is_shipped_stands_in_its_canonical_form(path: Path) -> None:
    assert formatted(path.read_text("utf-8")) == path.read_text("utf-8")


def test_a_cookie_called_in_ends_its_statement() -> None:
    text = "policy 1\nrequest { cookies keep in; lookup }\n"

    assert formatted(text) == text


def test_a_setting_called_as_a_part_of_a_file_is_set_as_a_setting() -> None:
    text = "policy 1\npool a {\n  def     b\n  servers c\n}\n"

    assert formatted(text) == text


_GAPS = st.sampled_from([" ", "  ", "\t", " \t "])
_ENDS = st.sampled_from(["\n", ";", "; ", "\n\n\n", " # why\n", ";;", "\r\n", "\n  # more\n\n"])
_STATEMENTS = st.sampled_from(
    [
        ["seal"], ["lookup"], ["query", "drop", "a", ",", '"b*"', ",", "sort"], ["cookies", "keep", "none"],
        ["key", "+", "cookie.a", ",", 'header."x-a"'], ["pass", '"a # b; { "'], ["cookies", "keep", "in"],
        ["limit", "2/s", "per", "client", "burst", "5", "else", "synth", "429", '"x"'],
    ]
)  # fmt: skip
_CONDITIONS = st.sampled_from(
    [
        ["path", "under", "(", '"/a"', ",", '"/b"', ")"], ["not", "a", "and", "b"],
        ["status", "in", "{", "301", ",", "404", "}"], ["(", "a", "or", "b", ")", "and", "cookie.x", "exists"],
    ]
)  # fmt: skip


@st.composite
def _blocks(draw: st.DrawFn, depth: int = 2) -> str:
    """Return a block, spaced at random."""
    parts = []
    for _ in range(draw(st.integers(0, 4))):
        if depth and draw(st.booleans()):
            inner = draw(_blocks(depth - 1))
            rest = draw(st.sampled_from(["", "else", "\nelse"]))
            parts.append(f"when {draw(_GAPS).join(draw(_CONDITIONS))} {inner}")
            parts[-1] += f" {rest} {draw(_blocks(depth - 1))}" if rest else ""
        else:
            parts.append(draw(_GAPS).join(draw(_STATEMENTS)))
    ends = [draw(_ENDS) for _ in parts]
    return "{" + "".join(part + end for part, end in zip(parts, ends, strict=True)) + "}"


@settings(deadline=None)
@given(_blocks())
def test_however_it_is_spaced_it_means_the_same_and_is_its_own_form(block: str) -> None:
    text = f"policy 1\nrequest{block}\n"
    once = formatted(text)

    assert placeless(parse(once, "x")) == placeless(parse(text, "x"))
    assert formatted(once) == once
