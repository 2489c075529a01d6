"""Reading policies from disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from accel.server.policies import load_path


def write(path: Path, text: str) -> Path:
    """Write a policy with these parts."""
    path.write_text(f"policy 1\n{text}\n", "utf-8")
    return path


def test_a_directory_is_its_policy_files(tmp_path: Path) -> None:
    write(tmp_path / "a.policy", "site a.example")
    write(tmp_path / "b.policy", "site b.example")
    write(tmp_path / "c.policy.bak", "sit c")

    loaded = load_path(tmp_path)

    assert [policy.hosts for policy in loaded.policies] == [("a.example",), ("b.example",)]
    assert not loaded.refused


def test_files_are_looked_for_beside_the_policy(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "bots.txt").write_text("*bot*\n")
    (tmp_path / "sorry.html").write_text("<p>sorry")
    path = write(tmp_path / "a.policy", 'list bots from "lists/bots.txt"\nerror { synth 503 from "sorry.html" }')

    (policy,) = load_path(path).policies

    assert policy.lists == {"bots": ("*bot*",)}
    assert policy.texts == {"sorry.html": b"<p>sorry"}


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: path.mkdir(), "it is not a plain file"),
        (lambda path: os.mkfifo(path), "it is not a plain file"),
        (lambda path: path.write_bytes(b"a\n\xff"), "it is not UTF-8 (line 2)"),
        (lambda path: path.write_bytes(b"a" * (4 << 20) + b"a"), "it is larger than 4 MiB"),
        (lambda path: None, "cannot be read: No such file or directory"),
    ],
    ids=["directory", "pipe", "bytes", "large", "missing"],
)
def test_a_text_that_will_not_do_is_a_problem_where_it_is_named(
    tmp_path: Path, make: Callable[[Path], object], why: str
) -> None:
    make(tmp_path / "bots.txt")
    path = write(tmp_path / "a.policy", 'list bots from "bots.txt"')

    error = str(load_path(path).refused[str(path)])

    assert "a.policy:2:16: the file bots.txt" in error
    assert why in error


def test_a_policy_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.policy").write_bytes(b"\xff")
    write(tmp_path / "b.policy", "site b.example")

    loaded = load_path(tmp_path)

    assert [policy.hosts for policy in loaded.policies] == [("b.example",)]
    assert "this file cannot be read: it is not UTF-8 (line 1)" in str(loaded.refused[str(tmp_path / "a.policy")])


def test_a_path_that_is_not_there_is_an_error_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_path(tmp_path / "none.policy")
    with pytest.raises(FileNotFoundError):
        load_path(tmp_path)
