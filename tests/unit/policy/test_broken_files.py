"""Broken files and what is said about them: the messages are kept beside the files and read by people."""

from __future__ import annotations

from pathlib import Path

import pytest
from broken_files import BROKEN, messages

FILES = sorted(BROKEN.glob("*.policy"))


def test_there_are_at_least_thirty() -> None:
    assert len(FILES) >= 30


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_broken_file_is_refused_with_its_messages(path: Path) -> None:
    assert messages(path) == path.with_suffix(".txt").read_text("utf-8")
