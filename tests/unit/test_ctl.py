"""The command accelctl against a real admin server, and against nothing."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner, Result
from fake_control import FakeControl

from accel import ctl, ctl_numbers, ctl_top
from accel.caching.invalidation import Purge, What
from accel.config import Address
from accel.server import admin
from accel.stats.histograms import KINDS, record, unpacked

Run = Callable[..., Result]


@pytest.fixture
def accelctl(control: FakeControl, tmp_path: Path) -> Iterator[Run]:
    """Return a function that runs accelctl against an admin that lives in a thread."""
    address = Address(path=str(tmp_path / "shop.sock"))
    loop = asyncio.new_event_loop()
    server = admin.bind(control, [address])
    loop.run_until_complete(server.open())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield lambda *arguments: CliRunner().invoke(ctl.main, ("--admin", str(address), *arguments))
    loop.call_soon_threadsafe(server.close)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_stat_shows_what_was_counted_and_what_it_means(accelctl: Run) -> None:
    result = accelctl("stat", "--once")

    assert result.exit_code == 0
    assert "shop: accel 0.1.0, process 40, 75.0% hits" in result.output
    assert "requests answered or begun to be answered" in result.output
    assert "2,000" in result.output
    assert "tunnels" not in result.output


def test_stat_shows_the_zeros_when_asked(accelctl: Run) -> None:
    assert "tunnels" in accelctl("stat", "--once", "--all").output


@pytest.mark.parametrize("command", ["stat", "workers", "backends"])
def test_json_is_what_the_arbiter_said(accelctl: Run, control: FakeControl, command: str) -> None:
    said = {"stat": control.counted, "workers": control.worker_rows, "backends": control.backend_rows}

    assert json.loads(accelctl(command, "--json").output) == said[command]


def test_watch_shows_rates_until_ctrl_c(accelctl: Run, control: FakeControl, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter(range(100))
    monkeypatch.setattr("time.monotonic", lambda: float(next(seconds)))
    rounds = iter([500, None])

    def sleep(seconds: float) -> None:
        more = next(rounds)
        if more is None:
            raise KeyboardInterrupt
        control.counted["requests"] += more

    monkeypatch.setattr("time.sleep", sleep)

    result = accelctl("stat", "--watch")

    assert result.exit_code == 0
    assert "a second" in result.output
    assert "2,500" in result.output


def test_stat_shows_rates_by_a_second_reading(
    accelctl: Run, control: FakeControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(
        sleep=lambda seconds: control.counted.update(requests=2500, fetches=8), monotonic=iter([10.0, 12.0]).__next__
    )
    monkeypatch.setattr(ctl_numbers, "time", clock)

    lines = {line.split()[0]: line.split() for line in accelctl("stat").output.splitlines() if line.strip()}

    assert lines["requests"][:3] == ["requests", "2,500", "250"]
    assert lines["fetches"][:3] == ["fetches", "8", "4"]
    assert lines["origins"] == ["origins"], "the counters stand in groups"


def test_stat_shows_each_site(accelctl: Run) -> None:
    lines = [line.split() for line in accelctl("stat", "--sites", "--once").output.splitlines()]

    assert ["shop.policy", "1,900", "76.3%", "1,450", "450", "0", "0", "0"] in lines
    assert ["other", "100", "50.0%", "50", "0", "0", "0", "50"] in lines


def test_hist_shows_hits_beside_misses(accelctl: Run, control: FakeControl) -> None:
    for _ in range(99):
        record(control.measured, KINDS.index("hit"), 0.0001, 0.0001, 1000)
    record(control.measured, KINDS.index("miss"), 0.2, 0.25, 1 << 20)

    output = accelctl("hist", "--once").output

    assert "time to the first byte, since the start" in output
    assert any(line.split()[:2] == ["hit", "99"] and "100 us" in line for line in output.splitlines())
    assert any(line.split()[:2] == ["miss", "1"] and "200 ms" in line for line in output.splitlines())
    assert "1 MiB" in output


def test_hist_shows_what_came_between_two_readings(
    accelctl: Run, control: FakeControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(control.measured, KINDS.index("hit"), 0.1, 0.1, 10)
    monkeypatch.setattr("time.sleep", lambda seconds: record(control.measured, KINDS.index("pass"), 0.1, 0.1, 10))

    lines = [line.split()[:2] for line in accelctl("hist").output.splitlines()]

    assert ["pass", "1"] in lines
    assert ["hit", "0"] in lines
    assert unpacked(json.loads(accelctl("hist", "--json").output))["total_us"]["hit"].count == 1


def test_workers_are_one_row_each(accelctl: Run) -> None:
    output = accelctl("workers").output

    assert "accepting" in output
    assert "2m" in output
    assert "0.2s ago" in output


def test_backends_name_their_pools_where_policies_have_some(accelctl: Run, control: FakeControl) -> None:
    plain = accelctl("backends").output
    control.backend_rows = [row | {"pools": ["", "shop.policy:app"]} for row in control.backend_rows]

    assert "pools" not in plain
    assert "default, shop.policy:app" in accelctl("backends").output


def test_backends_say_why_one_is_down_and_how_far_another_has_started(accelctl: Run) -> None:
    output = accelctl("backends").output

    assert "connection refused" in output
    assert "up, 43 % of its share" in output


def test_store_shows_what_is_free_and_held(accelctl: Run) -> None:
    output = accelctl("store", "stat").output

    assert "sealed" in output
    assert "3,145,728 B" in output


def test_a_store_check_ends_with_1_and_the_faults_if_there_are_any(accelctl: Run, control: FakeControl) -> None:
    sound = accelctl("store", "check")
    control.checked["faults"] = ["segment 3: a record of another generation"]
    broken = accelctl("store", "check")

    assert (sound.exit_code, broken.exit_code) == (0, 1)
    assert "nothing is wrong" in sound.output
    assert "fault: segment 3: a record of another generation" in broken.output


def test_health_is_an_exit_code(accelctl: Run, control: FakeControl) -> None:
    well = accelctl("health", "--ready")
    control.backend_rows.clear()
    without_backends = accelctl("health"), accelctl("health", "--ready")

    assert (well.exit_code, well.output) == (0, "ready\n")
    assert [result.exit_code for result in without_backends] == [0, 1]
    assert "no backend is up" in without_backends[1].output


def test_purge_gives_a_receipt_for_each_url(accelctl: Run, control: FakeControl) -> None:
    result = accelctl("purge", "http://a/x", "http://a/y")

    assert result.exit_code == 0
    assert control.purged == [Purge(What.URL, (b"a\0/x",)), Purge(What.URL, (b"a\0/y",))]
    assert "http://a/x: dropped 2 stored responses; 1 of 1 workers answered" in result.output


def test_a_purge_that_not_every_worker_answered_is_a_failure(accelctl: Run, control: FakeControl) -> None:
    control.answered = 0

    result = accelctl("purge", "http://a/x")

    assert result.exit_code == 1
    assert "not every worker answered" in result.output


@pytest.mark.parametrize(
    ("arguments", "purge", "said"),
    [
        (("http://a/x", "--soft"), Purge(What.URL, (b"a\0/x",), True), "a/x: 2 stored responses count as stale;"),
        (("--tag", "a", "b c"), Purge(What.TAG, (b"a", b"b c")), "tag a, b c: dropped 2 stored responses;"),
        (("--all",), Purge(What.ALL), "everything: dropped 2 stored responses;"),
        (("--all", "--soft"), Purge(What.ALL, (), True), "everything: 2 stored responses count as stale;"),
    ],
)
def test_a_purge_is_of_urls_or_tags_or_everything_hard_or_soft(
    accelctl: Run, control: FakeControl, arguments: tuple[str, ...], purge: Purge, said: str
) -> None:
    result = accelctl("purge", *arguments)

    assert (result.exit_code, control.purged) == (0, [purge])
    assert said in result.output


@pytest.mark.parametrize("arguments", [(), ("--tag",), ("--all", "http://a/"), ("--all", "--tag")])
def test_a_purge_that_names_nothing_or_too_much_is_wrong_usage(
    accelctl: Run, control: FakeControl, arguments: tuple[str, ...]
) -> None:
    result = accelctl("purge", *arguments)

    assert (result.exit_code, control.purged) == (2, [])
    assert "name URLs, or tags after --tag, or use --all alone" in result.output


def test_a_ban_gives_a_receipt_and_says_when_it_is_still_counting(accelctl: Run, control: FakeControl) -> None:
    counted = accelctl("ban", "url ~ ^/news")
    control.said_too, control.answered = {"counting": "still under way"}, 0
    counting = accelctl("ban", "url ~ ^/news")

    assert "ban url ~ ^/news: dropped 2 stored responses; 1 of 1 workers answered" in counted.output
    assert (counting.exit_code, "effective everywhere; counting is still under way" in counting.output) == (0, True)


def test_bans_lists_those_that_are_pending(accelctl: Run, control: FakeControl) -> None:
    none = accelctl("bans")
    control.pending = [{"ban": "field.x ~ [a]", "number": 7, "age_s": 61.4}]

    assert none.output == "no ban is pending\n"
    assert [word in accelctl("bans").output for word in ("field.x ~ [a]", "7", "61s")] == [True] * 3
    assert json.loads(accelctl("bans", "--json").output) == control.pending


def test_drain_and_undrain_say_what_happens(accelctl: Run, control: FakeControl) -> None:
    drained = accelctl("drain", "127.0.0.1:8001")
    given_back = accelctl("undrain", "127.0.0.1:8001")

    assert "gets no new requests; 'accelctl undrain 127.0.0.1:8001'" in drained.output
    assert "in rotation again" in given_back.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("drain", "x:1"), "there is no backend x:1; there is 127.0.0.1:8001"),
        (("purge", "/list"), "write the whole URL, such as http://host/list"),
    ],
)
def test_a_no_is_exit_code_1_with_its_reason(accelctl: Run, arguments: tuple[str, ...], said: str) -> None:
    result = accelctl(*arguments)

    assert result.exit_code == 1
    assert said in result.output


def test_reload_says_whether_it_was_taken(accelctl: Run, control: FakeControl) -> None:
    taken = accelctl("reload")
    control.outcome = {"ok": False, "error": "--memory: 'x' will not do"}
    refused = accelctl("reload")

    assert (taken.exit_code, taken.output) == (0, "reloaded\n")
    assert refused.exit_code == 1
    assert "the running configuration stays: --memory: 'x' will not do" in refused.output


def test_a_reload_that_left_a_file_out_shows_its_problems_and_is_no_success(
    accelctl: Run, control: FakeControl
) -> None:
    control.outcome = {"ok": True, "policy": 2, "refused": {"b.policy": "b.policy:1:1: no\n    pas\n    ^^^"}}

    result = accelctl("reload")

    assert result.exit_code == 1
    assert "reloaded" in result.output and "    ^^^" in result.output and "b.policy" in result.output


def test_a_rollback_says_where_it_led(accelctl: Run, control: FakeControl) -> None:
    control.outcome = {"ok": True, "policy": 3, "refused": {}}

    result = accelctl("reload", "--rollback")

    assert (result.exit_code, result.output) == (0, "returned to version 3 of the policies\n")
    assert control.has_rolled_back


def test_policies_shows_files_versions_and_overrides(accelctl: Run, control: FakeControl) -> None:
    override = {"what": "set-cookie", "reason": "theme", "rules": ["a.policy:4", "a.policy:9"], "uses": 1200}
    file = {"file": "a.policy", "since": 0.0, "is_last_good": True, "hosts": ["a.example"], "rules": 3, "tests": 1}
    file |= {"pools": ["app"], "overrides": [override], "reads": {"request": ["path", "cookie.a"]}}
    refused = {"a.policy": "a.policy:9:1: no"}
    control.policy_facts = {"path": "sites", "version": 2, "since": 0.0, "files": [file], "refused": refused}
    control.policy_facts |= {"earlier": [{"version": 1, "since": 0.0, "files": ["a.policy"]}]}

    output = accelctl("policies", "--reads").output

    for said in ("version 2", "for a.example", "3 rules, 1 test", "its last good version", "pools app"):
        assert said in output
    for said in ("path, cookie.a", "kept: version 1", "a.policy:9:1: no"):
        assert said in output
    assert "overrides set-cookie: theme (a.policy:4, a.policy:9), used 1,200 times" in output
    assert json.loads(accelctl("policies", "--json").output) == control.policy_facts


def override(what: str, uses: int | None, *lines: int) -> dict[str, object]:
    """Return an override as the arbiter tells it; in force if it stands on any line."""
    facts: dict[str, object] = {"what": what, "reason": "theme", "file": "a.policy", "lines": list(lines)}
    return facts | {"uses": uses, "is_in_force": bool(lines)}


def test_overrides_are_shown_with_their_uses_the_most_used_first(accelctl: Run, control: FakeControl) -> None:
    listed = [override("private", 3), override("no-store", None, 7), override("set-cookie", 1200, 4, 9)]
    control.override_facts = {"total": 1208, "others": 5, "overrides": listed}

    lines = accelctl("overrides").output.splitlines()

    assert [line.split(maxsplit=1) for line in lines] == [
        ["1,200", "set-cookie: theme (a.policy:4,9)"],
        ["3", "private: theme (a.policy, no longer in force)"],
        ["others", "no-store: theme (a.policy:7)"],
        ["5", "all others together: there are more than are counted one by one"],
    ]
    assert json.loads(accelctl("overrides", "--json").output) == control.override_facts


def test_without_overrides_that_is_said(accelctl: Run) -> None:
    assert accelctl("overrides").output == "no rule overrides the safety floor\n"


EXPLANATION: dict[str, object] = {
    "request": {"method": "GET", "host": "a.example", "target": "/cart", "from": "192.0.2.1"},
    "policy": "a.policy",
    "outcome": "pass",
    "verdict": "pass",
    "why": "known",
    "rule": "a.policy:7",
    "status": None,
    "matched": ["a.policy:7"],
    "limits": ["2/s burst 5 (a.policy:8)"],
    "key": {"host": "a.example", "target": "/cart", "joined": ["cookie.currency=eur"], "vary": "accept-encoding",
            "hash": "00ff"},
    "origin_sees": ["GET /cart", "Host: a.example"],
    "pool": "a.policy:app",
    "stored": {"status": 200, "bytes": 5, "age_s": 1.5, "lifetime_s": 60, "lifetime_from": "rule", "remaining_s": 58}
    | {"grace_s": 5, "if_error_s": 0, "tags": ["t"], "hits": 2, "is_soft_purged": True, "matched": ["a.policy:9"]},
    "is_marked": True,
    "nearest": "the cookie session makes rule a.policy:7 pass it: without it, a hit",
    "lines": {"a.policy:7": 'when cookie.session exists { pass "known" }'},
}


def test_explain_says_all_that_is_known(accelctl: Run, control: FakeControl) -> None:
    control.explanation = EXPLANATION

    url = "http://A.example:80/cart"
    output = accelctl("explain", url, "-H", "Cookie: session=1", "--from", "10.0.0.7", "-X", "POST").output

    ((request, client_ip),) = control.asked
    assert (request.method, request.host, request.target, client_ip) == (b"POST", b"a.example", b"/cart", "10.0.0.7")
    assert request.fields.get(b"cookie") == b"session=1"
    for said in ("pass, known (a.policy:7)", "cookie.session exists", "+ cookie.currency=eur", "hit-for-miss", "58s"):
        assert said in output
    for said in ("Vary: accept-encoding", "soft purged", "2/s burst 5", "without it, a hit", "tags     t", "log: 00ff"):
        assert said in output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("/cart",), "write the whole URL"),
        (("http://a.example/", "--from", "nobody"), "'nobody' is no address"),
        (("http://a.example/", "-H", "Cookie"), "a field is written 'Name: value'"),
        (("http://a.example/", "-X", "G T"), "400"),
        (("http://a.example/", "-H", "X: \u20ac"), "latin-1"),
    ],
)
def test_what_cannot_be_explained_is_said(accelctl: Run, arguments: tuple[str, ...], said: str) -> None:
    result = accelctl("explain", *arguments)

    assert result.exit_code in (1, 2)
    assert said in result.output or said == "400"


def test_a_profile_names_what_ran_longest(accelctl: Run) -> None:
    output = accelctl("profile", "--seconds", "2").output

    assert "worker 1: 2.0 s, of which 1.50 s running" in output
    assert output.index("waiting: event loop") < output.index("running: accel.b") < output.index("running: accel.a")


def test_a_profile_is_drawn_or_written_as_stacks(accelctl: Run, tmp_path: Path) -> None:
    for name in ("a.svg", "a.txt"):
        assert accelctl("profile", "--own", "-o", str(tmp_path / name)).exit_code == 0

    assert "8.50 s at rest, not drawn" in (tmp_path / "a.svg").read_text()
    assert "running;accel.a;accel.b 1000\n" in (tmp_path / "a.txt").read_text()


def test_where_py_spy_may_not_look_the_worker_is_asked(
    accelctl: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = tmp_path / "py-spy"
    spy.write_text("#!/bin/sh\necho 'Permission denied' >&2\nexit 1\n")
    spy.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    output = accelctl("profile", "-o", str(tmp_path / "a.svg")).output

    assert "py-spy could not (Permission denied); the worker is asked itself" in output
    assert (tmp_path / "a.svg").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("--worker", "7"), "there is no worker 7"), (("-o", "a.png"), "FILE.svg or FILE.txt")],
)
def test_a_profile_that_cannot_be_is_refused(accelctl: Run, arguments: tuple[str, ...], said: str) -> None:
    result = accelctl("profile", *arguments)

    assert result.exit_code in (1, 2)
    assert said in result.output


def test_a_dump_shows_what_is_under_way(accelctl: Run, control: FakeControl) -> None:
    place = {"method": "GET", "host": "a.example", "target": "/slow"}
    control.dumped = [
        {"worker": 1, "tasks": [{"where": "serve:1 > wait:2", "count": 3}], "connections": {"busy": 1, "idle": 2}}
        | {"exchanges": [{**place, "id": 17, "for_s": 1.5, "outcome": "miss", "status": None, "body_bytes": 0}
                         | {"client": "192.0.2.1", "backend": ""}]}
        | {"fetches": [{**place, "by": "this worker", "head": "awaited", "body_bytes": 0, "of_bytes": None}
                       | {"readers": 1, "backend": ""}]}
        | {"idle_origin_connections": {"default": {"127.0.0.1:8001": 4}}},
        {"worker": 2, "error": "the worker that was asked does not answer"},
    ]  # fmt: skip

    output = accelctl("dump").output

    for said in ("1 busy, 2 idle; to origins, at rest: 4", "a.example/slow", "awaited", "serve:1 > wait:2"):
        assert said in output
    assert any(line.split()[:2] == ["1-17", "1.500s"] for line in output.splitlines())
    assert "worker 2: the worker that was asked does not answer" in output


def test_nobody_there_names_socket_and_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctl, "admin_socket_path", lambda name: str(tmp_path / f"{name}.sock"))
    (tmp_path / "dead.sock").touch()
    with socket.socket(socket.AF_UNIX) as shop:
        shop.bind(str(tmp_path / "shop.sock"))
        shop.listen()

        result = CliRunner().invoke(ctl.main, ["stat"])

    assert result.exit_code == 1
    assert f"no accel named 'accel' answers at unix:{tmp_path}/accel.sock" in result.output
    assert "there is shop; choose with --name" in result.output


def test_nobody_at_all_says_how_to_find_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctl, "admin_socket_path", lambda name: str(tmp_path / f"{name}.sock"))

    assert "give that with --admin" in CliRunner().invoke(ctl.main, ["stat"]).output


def test_a_socket_of_another_user_says_whom_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(ctl._Connection, "connect", refuse)

    result = CliRunner().invoke(ctl.main, ["--admin", "unix:/run/x.sock", "stat"])

    assert result.exit_code == 1
    assert "as the user that started accel, or as root" in result.output


def test_something_else_that_answers_is_recognised() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        closer = threading.Thread(target=lambda: other.accept()[0].close())
        closer.start()

        result = CliRunner().invoke(ctl.main, ["--admin", f"127.0.0.1:{other.getsockname()[1]}", "stat"])
        closer.join()

    assert result.exit_code == 1
    assert "is this an accel's --admin?" in result.output


def test_wrong_usage_is_exit_code_2() -> None:
    result = CliRunner().invoke(ctl.main, ["--admin", "9000", "stat"])

    assert result.exit_code == 2
    assert "a port needs its host, such as 127.0.0.1:9000" in result.output


def test_an_upgrade_waits_for_the_new_program_and_retires_the_old_one(accelctl: Run, control: FakeControl) -> None:
    control.upgrades = [(40, "starting"), (40, "replaced"), (50, "replacing"), (50, "replacing"), (50, "alone")]

    result = accelctl("upgrade")

    assert result.exit_code == 0
    assert result.output == "process 50 serves\nprocess 40 ends when its exchanges have ended\n"
    assert control.has_retired_old


def test_an_upgrade_may_keep_the_old_program(accelctl: Run, control: FakeControl) -> None:
    control.upgrades = [(50, "replacing")]

    result = accelctl("upgrade", "--keep-old")

    assert result.output == "process 50 serves\n"
    assert not control.has_retired_old


def test_an_upgrade_that_failed_is_exit_code_1_and_says_why(accelctl: Run, control: FakeControl) -> None:
    control.upgrades, control.upgrade_failure = [(40, "starting"), (40, "left")], "it was not ready in time"

    result = accelctl("upgrade")

    assert result.exit_code == 1
    assert "the running program stays: it was not ready in time" in result.output


def test_an_upgrade_under_way_is_said_with_the_counters(accelctl: Run, control: FakeControl) -> None:
    control.upgrades = [(40, "replacing")]

    assert "process 40 (the old one, process 50, still lives)" in accelctl("stat", "--once").output


@pytest.mark.parametrize("group", ["main", "store"])
def test_no_summary_in_the_list_of_commands_is_cut_at_80_columns(group: str) -> None:
    arguments = ["--help"] if group == "main" else [group, "--help"]
    output = CliRunner(env={"COLUMNS": "80"}).invoke(ctl.main, arguments, terminal_width=80).output

    listed = output.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    assert len(listed) >= 2
    assert [line for line in listed if not line.endswith((".", ":"))] + [line for line in listed if "..." in line] == []


def test_every_option_of_every_command_says_what_it_is() -> None:
    assert isinstance(ctl.main, click.Group)
    for name, command in ctl.main.commands.items():
        options = [param for param in command.params if isinstance(param, click.Option)]
        assert all(option.help for option in options), name
        assert command.help, name


def test_top_says_what_each_ranking_is() -> None:
    text = " ".join(CliRunner().invoke(ctl.main, ["top", "--help"]).output.split())

    said = text.partition("--by:")[2].partition("Options:")[0]
    assert all(name in said for name in [*ctl_top.RANKINGS, ctl_top.KEYS])


def test_whoever_is_not_root_hears_that_roots_accel_is_roots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctl, "admin_socket_path", lambda name: str(tmp_path / f"{name}.sock"))
    said = {}
    for user in (0, 1000):
        monkeypatch.setattr("os.geteuid", lambda user=user: user)
        said[user] = "Root's is asked by root" in CliRunner().invoke(ctl.main, ["stat"]).output

    assert said == {0: False, 1000: True}
