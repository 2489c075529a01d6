"""`accelctl replay`, as a user types it."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from accel.ctl import main
from accel.stats.access_log import combined_line, json_line
from accel.stats.records import LogRecord

POLICY = """policy 1
request { query drop "utm_*"; when path under "/cart" { pass "cart" }; when cookie.sid exists { pass "in" } }
response { ttl 60s }
"""
TARGETS = ("/", "/?utm_source=a", "/cart", "/", "/a.css")


def records(host: bytes = b"shop.example") -> list[LogRecord]:
    """Return five requests, a second apart: three of one page, one of the cart, one of a style sheet."""
    return [
        LogRecord(1_700_000_000 + at, "192.0.2.1", b"GET", host, each.encode(), 1, 200, 500, 0.1, "miss", "", b"", b"")
        for at, each in enumerate(TARGETS)
    ]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names stay as short as a user types them."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def policy() -> str:
    Path("shop.policy").write_text(POLICY)
    return "shop.policy"


@pytest.fixture
def log() -> str:
    Path("access.log").write_text("".join(map(combined_line, records())) + "no record\n")
    return "access.log"


def accelctl(*arguments: str, given: bytes | None = None) -> Result:
    """Return what the command says."""
    return CliRunner().invoke(main, ["replay", *arguments], input=given)


def facts(*arguments: str, given: bytes | None = None) -> dict[str, Any]:
    result = accelctl("--json", *arguments, given=given)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_figures_rules_and_assumptions_are_shown(log: str, policy: str) -> None:
    result = accelctl(log, "--policy", policy)

    assert result.exit_code == 0, result.output
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "5 requests, 2023-11-14" in lines[0] and "1 line left out: it is in neither format (1)" in lines[0]
    assert "hit ratio 40.0%" in lines
    assert "requests to the origin 3" in lines
    assert f"1 pass: cart {policy}:2" in lines
    assert "The rules read what no log holds, here always missing: cookie.sid." in lines
    assert any(line.startswith("Assumed: the origin says nothing of freshness (--origin-ttl)") for line in lines)
    assert "5 lines without a host: give theirs with --host." in lines


def test_two_policies_are_compared(log: str, policy: str) -> None:
    Path("old.policy").write_text('policy 1\nrequest { when path == "/" { pass "home" } }\nresponse { ttl 60s }\n')

    result = accelctl(log, "--policy", policy, "--against", "old.policy")

    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "hit ratio 0.0% 40.0%" in lines
    assert "3 pass: home old.policy:2 stored shop.policy:3 /" in lines
    assert "2 URLs become cacheable, with 3 requests" in lines
    assert "1 URL ceases to be cacheable, with 1 request" in lines


def test_the_built_in_rules_are_compared_with_and_lifetimes_assumed(log: str, policy: str) -> None:
    found = facts(log, "--policy", policy, "--against", "built-in", "--origin-ttl", "2s")

    assert (found["old"]["ways"]["miss"], found["old"]["ways"]["hit"]) == (5, 0)
    assert (found["new"]["ways"]["miss"], found["new"]["ways"]["hit"]) == (2, 2)
    assert found["assumed"] == {
        "origin_ttl_s": 2.0,
        "type": "text/html",
        "host": None,
        "memory_bytes": 256 << 20,
        "missing": ["cookie.sid"],
    }


@pytest.mark.parametrize("is_packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("is_piped", [False, True], ids=["file", "standard-input"])
def test_json_and_combined_lines_come_to_the_same_packed_or_piped(
    policy: str, log: str, is_packed: bool, is_piped: bool
) -> None:
    content = "".join(map(json_line, records())).encode()
    content = gzip.compress(content) if is_packed else content
    Path("j.log").write_bytes(content)
    source = "-" if is_piped else "j.log"

    found = facts(source, "--policy", policy, given=content if is_piped else None)

    assert found["new"] == facts(log, "--policy", policy, "--host", "shop.example")["new"]
    assert (found["log"]["without_host"], found["log"]["bad_lines"], found["log"]["hit_ratio"]) == (0, 0, 0)


def test_several_logs_are_one_in_the_order_given(log: str, policy: str) -> None:
    assert facts(log, log, "--policy", policy)["log"]["requests"] == 10


def test_a_directory_of_sites_decides_by_host() -> None:
    sites = Path("sites")
    sites.mkdir()
    (sites / "a.policy").write_text('policy 1\nsite a.example\nrequest { pass "a" }\n')
    (sites / "b.policy").write_text('policy 1\nsite b.example\nrequest { pass "b" }\n')
    lines = "".join(json_line(record) for host in (b"a.example", b"b.example") for record in records(host))

    found = facts("-", "--policy", "sites", given=lines.encode())

    assert [(row["why"], row["requests"]) for row in found["new"]["rules"]] == [("a", 5), ("b", 5)]


def test_a_policy_that_will_not_do_is_said_why(log: str) -> None:
    Path("bad.policy").write_text("policy 1\nrequest { ttl 30s }\n")

    result = accelctl(log, "--policy", "bad.policy")

    assert result.exit_code == 1
    assert "bad.policy:2:11" in result.stderr


def test_what_clients_and_rules_wrote_is_shown_as_text() -> None:
    Path("x.policy").write_text('policy 1\nrequest { pass "[red]why[/]" }\n')
    line = combined_line(replace(records()[0], target=b"/\x1b[31m[bold]\xff"))

    result = accelctl("-", "--policy", "x.policy", given=line.encode())

    assert "\x1b" not in result.stdout
    assert r"/\x1b[31m[bold]\xff" in result.stdout and "pass: [red]why[/]" in result.stdout


def test_a_log_without_a_record_is_said_why(policy: str) -> None:
    Path("x.log").write_text("a\nb\n")

    result = accelctl("x.log", "--policy", policy)

    assert result.exit_code == 1
    assert "no line of" in result.stderr and "2 times: it is in neither format" in result.stderr


def test_a_log_that_breaks_off_is_said_where(policy: str) -> None:
    whole = gzip.compress("".join(map(combined_line, records())).encode())
    Path("x.log.gz").write_bytes(whole[:-12])

    result = accelctl("x.log.gz", "--policy", policy)

    assert result.exit_code == 1
    assert "cannot be read beyond line" in result.stderr


def test_what_to_compare_with_must_be_there(log: str, policy: str) -> None:
    result = accelctl(log, "--policy", policy, "--against", "nothing")

    assert result.exit_code == 2
    assert "write a policy file, a directory of them, or built-in" in result.stderr
