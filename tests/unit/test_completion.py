"""What a shell is told at a TAB."""

from __future__ import annotations

import pytest
from click.shell_completion import ShellComplete

from accel import cli, completion, ctl


def completed(command: object, name: str, *words: str) -> list[tuple[str, str]]:
    """Return kind and value of each completion of the last of the words."""
    asked = ShellComplete(command, {}, name, "_X")  # type: ignore[arg-type]
    return [(item.type, item.value) for item in asked.get_completions(list(words[:-1]), words[-1])]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--bal",), [("plain", "--balance")]),
        (("--balance", "l"), [("plain", "least-conn")]),
        (("--store-kind", "s"), [("plain", "shared")]),
        (("--policy", "si"), [("file", "si")]),
        (("--store", "/var"), [("dir", "/var")]),
        (("--memory", "1"), []),
    ],
)
def test_accel_completes_options_words_and_paths(words: tuple[str, ...], said: list[tuple[str, str]]) -> None:
    assert completed(cli.main, "accel", *words) == said


def test_accelctl_completes_names_of_running_ones_and_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctl, "_running", lambda: ["shop", "news"])
    monkeypatch.setattr(ctl.Daemon, "ask", lambda daemon, path: [{"address": "127.0.0.1:8001"}, {"address": "app:80"}])

    assert completed(ctl.main, "accelctl", "--name", "s") == [("plain", "shop")]
    assert completed(ctl.main, "accelctl", "drain", "127") == [("plain", "127.0.0.1:8001")]
    assert ("plain", "drain") in completed(ctl.main, "accelctl", "dr")


def test_without_an_accel_that_answers_there_is_nothing_to_complete() -> None:
    assert completed(ctl.main, "accelctl", "--admin", "unix:/nowhere/a.sock", "drain", "") == []


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_each_shell_gets_its_words_for_both_programs(shell: str) -> None:
    text = completion.script(shell, (cli.main, ctl.main))

    assert "_ACCEL_COMPLETE" in text and "_ACCELCTL_COMPLETE" in text
