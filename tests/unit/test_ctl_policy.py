"""`accelctl check`, `test` and `fmt`, as a user types them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner, Result

from accel.ctl import main

GOOD = "policy 1\nsite a.example\nrequest { cookies keep sid }\n"
BAD = "policy 1\nsite b.example\nrequest { cookies kep sid; ttl 30 }\n"


def accelctl(*arguments: str) -> Result:
    """Return what the command says."""
    return CliRunner().invoke(main, arguments)


def test_a_good_file_is_said_to_be_fine(tmp_path: Path) -> None:
    path = tmp_path / "a.policy"
    path.write_text(GOOD)

    result = accelctl("check", str(path))

    assert result.exit_code == 0
    assert result.stdout == f"{path}: fine, for a.example\n"


def test_problems_go_to_standard_error_with_the_line_and_a_caret(tmp_path: Path) -> None:
    path = tmp_path / "b.policy"
    path.write_text(BAD)

    result = accelctl("check", str(path))

    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith(f"{path}:3:19: 'kep' does not fit here\n    request {{ cookies kep sid")
    assert result.stderr.endswith("1 problem in 1 file\n")


def test_a_directory_is_judged_file_by_file(tmp_path: Path) -> None:
    (tmp_path / "a.policy").write_text(GOOD)
    (tmp_path / "b.policy").write_text(BAD)

    result = accelctl("check", str(tmp_path))

    assert result.exit_code == 1
    assert "a.policy: fine" in result.stdout
    assert "b.policy:3:19" in result.stderr


def test_what_is_read_is_shown_by_phase(tmp_path: Path) -> None:
    path = tmp_path / "a.policy"
    path.write_text(GOOD + 'response { when status == 200 and path under "/a/" { ttl 1m } }\n')

    lines = accelctl("check", "--reads", str(path)).stdout.splitlines()

    assert lines[1:] == ["  request  cookie", "  response path, status", "  deliver  -", "  error    -"]


def test_json_is_for_editors(tmp_path: Path) -> None:
    (tmp_path / "a.policy").write_text(GOOD)
    path = tmp_path / "b.policy"
    path.write_text(BAD)

    result = accelctl("check", "--json", str(tmp_path))

    said = json.loads(result.stdout)
    assert result.exit_code == 1
    assert said["policies"][0]["reads"]["request"] == ["cookie"]
    assert said["refused"] == [str(path)]
    assert said["problems"][0] == {
        "file": str(path), "line": 3, "column": 19, "length": 3,
        "message": "'kep' does not fit here", "hint": "did you mean keep?",
    }  # fmt: skip


def test_a_path_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    assert accelctl("check", str(tmp_path / "none")).exit_code == 2
    assert accelctl("check", str(tmp_path)).exit_code == 2
    assert accelctl("fmt", str(tmp_path / "none")).exit_code == 2
    assert accelctl("fmt").exit_code == 2


def test_fmt_sets_a_file_in_place_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "a.policy"
    path.write_text("policy   1\nrequest{seal}\n")
    path.chmod(0o640)

    result = accelctl("fmt", str(path))

    assert result.exit_code == 0
    assert path.read_text() == "policy 1\nrequest { seal }\n"
    assert path.stat().st_mode & 0o777 == 0o640
    assert [found.name for found in tmp_path.iterdir()] == ["a.policy"]
    assert accelctl("fmt", str(path)).stdout == ""


def test_fmt_check_changes_nothing_and_says_what_would(tmp_path: Path) -> None:
    path = tmp_path / "a.policy"
    path.write_text("policy   1\n")

    result = accelctl("fmt", "--check", str(path))

    assert result.exit_code == 1
    assert result.stdout == f"{path}: would change\n"
    assert path.read_text() == "policy   1\n"


def test_fmt_leaves_alone_what_does_not_parse(tmp_path: Path) -> None:
    path = tmp_path / "a.policy"
    path.write_text("policy   1\nrequest {\n")

    result = accelctl("fmt", str(path))

    assert result.exit_code == 1
    assert "the file ends too early" in result.stderr
    assert path.read_text() == "policy   1\nrequest {\n"


def test_commands_that_ask_a_running_accel_do_not_wait_for_the_language() -> None:
    code = "import accel.ctl, sys; print('lark' in sys.modules, 're2' in sys.modules)"

    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False False\n"


TESTED = 'policy 1\nrequest {\n  when path == "/a" { deny }\n}\ntest "t" {\n  get "/a" -> %s\n}\n'


def test_tests_that_hold_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.policy").write_text(TESTED % "synthetic")

    result = accelctl("test", str(tmp_path))

    assert (result.exit_code, result.stdout) == (0, f"{tmp_path}/a.policy: 1 test, 0 failed\n")


def test_a_test_that_fails_shows_expected_got_and_the_rule(tmp_path: Path) -> None:
    path = tmp_path / "a.policy"
    path.write_text(TESTED % "hit")

    result = accelctl("test", str(path))

    assert result.exit_code == 1
    assert "expected  hit" in result.stdout
    assert "got       synthetic" in result.stdout
    assert f'decided by {path}:3: when path == "/a" {{ deny }}' in result.stdout
    assert result.stdout.endswith("1 test, 1 failed\n")


def test_programs_get_outcomes_as_json_and_files_that_will_not_do_count(tmp_path: Path) -> None:
    (tmp_path / "a.policy").write_text(TESTED % "hit")
    (tmp_path / "b.policy").write_text(BAD)

    result = accelctl("test", "--json", str(tmp_path))

    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["refused"] == [f"{tmp_path}/b.policy"]
    (test,) = found["tests"]
    assert (test["test"], test["passed"], test["line"]) == ("t", False, 5)
    assert test["mismatches"][0]["rule"] == f"{tmp_path}/a.policy:3"
