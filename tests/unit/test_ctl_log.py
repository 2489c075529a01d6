"""`accelctl log`: all workers' exchanges in order, filtered, in three forms; what was overrun is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import nan
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from fake_control import FakeControl

from accel import ctl_log
from accel.ctl_log_words import WORDS
from accel.server import log_view
from accel.stats.ring import RingReader, RingWriter


class Daemon:
    """Answers from a control's rings."""

    def __init__(self, control: FakeControl) -> None:
        self._control = control
        self.before: Callable[[], None] = lambda: None

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        self.before()
        assert path == "/log"
        answer = self._control.log(None, 0) if body is None else self._control.log(body["row"], body["from"])
        return json.loads(json.dumps(answer))


class World:
    """Two workers that have logged, and who asks."""

    def __init__(self) -> None:
        self.control = FakeControl()
        self.daemon = Daemon(self.control)
        self.workers = [RingWriter(self.control.rings.memory(row) or memoryview(b"")) for row in range(2)]

    def record(self, ended: float, row: int = 0, **other: Any) -> None:
        fields = {
            "first_byte_s": 0.5, "total_s": 1.0, "origin_s": 0.0, "age_s": nan, "ttl_s": nan,
            "key_hash": 0, "body_bytes": 5, "exchange_id": 0, "connection_id": 0, "status": 200, "minor": 1,
            "outcome": 0, "reason": 0, "retries": 0, "client": "192.0.2.1", "method": b"GET", "host": b"example.org",
            "target": b"/", "referer": b"", "user_agent": b"", "backend": "", "rule": "", "tags": b"",
            "asked": b"", "varies": b"",
        }  # fmt: skip
        self.workers[row].write(ended - 1, *(fields | other).values())

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(ctl_log.log, arguments, obj=self.daemon)

    def targets(self, *arguments: str) -> list[str]:
        result = self.run("--format", "json", *arguments)
        assert result.exit_code == 0, result.output
        return [json.loads(line)["target"] for line in result.stdout.splitlines()]


@pytest.fixture(params=["mapped", "asked"])
def world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> World:
    """Return a world without records, whose rings can be mapped or not."""
    if request.param == "asked":
        monkeypatch.setattr(ctl_log, "mapped", lambda pid, name: None)
    return World()


NOW = 1_700_000_000.0


def test_all_workers_exchanges_come_in_the_order_in_which_they_ended(world: World) -> None:
    for number in (1, 4, 5):
        world.record(NOW + number, 0, target=b"/%d" % number)
    for number in (2, 3, 6):
        world.record(NOW + number, 1, target=b"/%d" % number)

    assert world.targets() == ["/1", "/2", "/3", "/4", "/5", "/6"]
    assert world.targets("--limit", "2") == ["/5", "/6"]


@pytest.mark.parametrize(("query", "found"), [
    ("status >= 500 and time.first_byte > 200ms", ["/slow"]),
    ("status in 500..599", ["/slow", "/fast"]),
    ("not status in 500..599", ["/ok"]),
    ("cache == miss and reason == uri-miss", ["/slow"]),
    ("client in 10.0.0.0/8", ["/ok"]),
    ('path glob "/*a*" or bytes > 1K', ["/fast"]),
    ("age > 1m", ["/ok"]),
    ("retries > 0", ["/slow"]),
    ('backend contains ":80"', ["/slow"]),
    ('rule exists', ["/slow"]),
    ('host == "example.org" and method != GET', []),
    ('url matches "^/(ok|fast)$"', ["/fast", "/ok"]),
    ('id == "1-2"', ["/fast"]),
    ('connection in ("1-7", "1-8")', ["/slow"]),
    ('key == "00000000000000ff"', ["/ok"]),
    ("worker == 2", []),
    ("asked == /o/k", ["/ok"]),
    ('varies contains "accept="', ["/ok"]),
])  # fmt: skip
def test_a_filter_has_the_syntax_of_policies(world: World, query: str, found: list[str]) -> None:
    world.record(NOW, target=b"/slow", status=503, first_byte_s=0.3, outcome=2, reason=3, retries=1,
                 backend="b:80", rule="a.policy:3", connection_id=7)  # fmt: skip
    world.record(NOW + 1, target=b"/fast", status=500, first_byte_s=0.1)
    world.record(NOW + 2, target=b"/ok", client="10.1.2.3", age_s=90.0, key_hash=255,
                 asked=b"/o/k", varies=b"2 accept=0a")  # fmt: skip

    assert world.targets("-q", query) == found


@pytest.mark.parametrize(("query", "hint"), [
    ("statu == 5", "did you mean status?"),
    ("foo", "there is status, method, host"),
    ("status == ok", "write a status such as 404"),
    ("cache == miss and outcome == missed", "did you mean miss?"),
    ("time.first_byte > 200", "write a time such as 200ms"),
    ("status >= 500 &&", "write `and`"),
    ("", "write one in one line"),
    ("status == 200\ndef a = status == 1", "write one in one line"),
    ("status == 200; site a.org", "join conditions"),
    ("status", "compare it with something"),
    ('url matches "("', "missing )"),
    ("client == nobody", "write an address"),
    ("status == @list", "write a status"),
    ("status == 200 or (", ""),
])  # fmt: skip
def test_a_wrong_filter_says_what_would_do(world: World, query: str, hint: str) -> None:
    result = world.run("-q", query)

    assert result.exit_code == 2
    assert hint in result.output and "Traceback" not in result.output


def test_every_word_of_a_filter_can_be_read_of_every_record(world: World) -> None:
    world.record(NOW, status=0, first_byte_s=nan, client="-")

    for word in WORDS:
        assert world.run("-q", f"{word} exists").exit_code == 0


def test_the_manual_names_every_word() -> None:
    text = " ".join(CliRunner().invoke(ctl_log.log, ["--help"]).output.split())

    assert all(word in text for word in WORDS)


def test_a_long_block_tells_the_way_and_no_byte_of_a_client_reaches_the_terminal(world: World) -> None:
    world.record(NOW, target=b"/a\x1b[2J", status=200, first_byte_s=0.0012, total_s=2.0, origin_s=0.001, outcome=2,
                 reason=3, retries=2, backend="b:80", rule="a.policy:3", age_s=3.0, ttl_s=57.0,
                 tags=b"news front", user_agent=b"\xffx" * 300, key_hash=255, connection_id=9,
                 asked=b"/b", varies=b"2 accept=0a")  # fmt: skip

    block = world.run("--format", "long").stdout

    assert block.startswith("1-1  ")
    for part in (
        "GET http://example.org/a\\x1b[2J", "way        miss, forwarded: uri-miss", "rule       a.policy:3",
        "origin     b:80, waited 1 ms, tried again 2 times", "200, 5 bytes; first byte after 1.2 ms, all after 2 s",
        "age 3 s, fresh for 57 s", "tags       news front", "key        00000000000000ff", "cut        user_agent",
        "connection 1-9", "asked      /b", "varies     2 accept=0a",
    ):  # fmt: skip
        assert part in block
    assert block.isascii() and "\x1b" not in block


@pytest.mark.parametrize(("seconds", "shown"), [
    (12.5, "12.5 s"), (-40.0, "-40 s"), (0.0123, "12.3 ms"), (0.000715e-3, "0.715 us"), (0.0, "0 s"),
])  # fmt: skip
def test_a_time_has_the_unit_that_makes_it_short(world: World, seconds: float, shown: str) -> None:
    world.record(NOW, age_s=seconds, ttl_s=0.5)

    assert f"age {shown}, fresh for 500 ms" in world.run("--format", "long").stdout


def test_a_line_of_json_has_what_the_access_log_has_and_more(world: World) -> None:
    world.record(NOW, outcome=2, reason=3, tags=b"a b")

    facts = json.loads(world.run("--format", "json").stdout)

    assert (facts["cache"], facts["reason"], facts["tags"], facts["id"]) == ("miss", "uri-miss", ["a", "b"], "1-1")
    assert (facts["age_s"], facts["rule"], facts["duration_ms"]) == (None, None, 1000.0)


def test_since_and_sample_leave_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctl_log.time, "time", lambda: NOW + 100)
    for number in range(10):
        world.record(NOW + 10 * number + 5, target=b"/%d" % number)

    assert world.targets("--since", "20s") == ["/8", "/9"]
    assert world.targets("--sample", "5") == ["/4", "/9"]


def test_what_was_overrun_between_two_pieces_is_counted_and_said(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_view, "MOST_PAGES", 1)
    for _ in range(1000):
        world.record(NOW)
    reads, read = iter(range(100)), RingReader.read

    def overrun(reader: RingReader, offset: int) -> tuple[bytes, int]:
        if next(reads) == 1:  # after a first piece
            for _ in range(5000):
                world.record(NOW)
        return read(reader, offset)

    monkeypatch.setattr(RingReader, "read", overrun)
    result = world.run("--format", "json")

    assert " records were overrun before they were read: see --log-memory\n" in result.stderr
    said, shown = int(result.stderr.split()[0].replace(",", "")), result.stdout.splitlines()
    assert said > 1000
    assert json.loads(shown[-1])["id"] == f"1-{len(shown) + said}"


def test_only_who_may_not_map_a_ring_asks_for_its_bytes(world: World, request: pytest.FixtureRequest) -> None:
    asked = []
    ask = world.daemon.ask
    world.daemon.ask = lambda path, body=None: asked.append(body) or ask(path, body)  # type: ignore[assignment]
    world.record(NOW)

    assert world.targets() == ["/"]
    assert asked == [None] if "[mapped]" in request.node.name else [None, {"row": 0, "from": 0}]


def test_following_begins_with_what_comes_and_goes_over_to_a_new_program(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.record(NOW, target=b"/before")
    steps = iter(range(10))

    def between(seconds: float) -> None:
        match next(steps):
            case 0:
                world.record(NOW, target=b"/first")
            case 1:
                fresh = World()
                fresh.record(NOW, target=b"/of-the-next")
                world.control.rings = fresh.control.rings
                monkeypatch.setattr(log_view.os, "getpid", lambda: 1)
            case 2:
                return
            case _:
                raise KeyboardInterrupt

    monkeypatch.setattr(ctl_log.time, "sleep", between)

    assert world.targets("--follow") == ["/first", "/of-the-next"]


def test_following_tells_two_workers_in_order_though_one_is_read_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [NOW]
    monkeypatch.setattr(log_view.time, "time", lambda: now[0])
    steps, asked = iter(range(3)), iter(range(100))

    def between(seconds: float) -> None:
        if next(steps) == 2:
            raise KeyboardInterrupt
        now[0] += 1

    def meanwhile() -> None:
        if next(asked) == 2:  # the first row was seen to end before; the second has not been read
            world.record(NOW + 1.6, 0, target=b"/2")
            world.record(NOW + 1.5, 1, target=b"/1")
            world.record(NOW + 1.7, 1, target=b"/3")

    monkeypatch.setattr(ctl_log.time, "sleep", between)
    world.record(NOW + 0.5, 1, target=b"/0")
    world.daemon.before = meanwhile

    assert world.targets("--follow", "--limit", "100") == ["/0", "/1", "/2", "/3"]


def test_without_a_log_that_is_said(world: World) -> None:
    class Off:
        def ask(self, path: str, body: object = None) -> Any:
            return {"pid": 1, "now": NOW, "rows": {}}

    result = CliRunner().invoke(ctl_log.log, [], obj=Off())

    assert (result.exit_code, result.output) == (1, "Error: this accel keeps no log: --log-memory is 0\n")


def test_the_command_is_accelctls() -> None:
    from accel.ctl import main

    assert isinstance(main, click.Group) and "log" in main.commands
