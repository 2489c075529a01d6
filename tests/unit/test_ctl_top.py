"""`accelctl top`: what is ranked, out of the records of all workers, and what it says of its own limits."""

from __future__ import annotations

import json
from math import nan
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fake_control import FakeControl

from accel import ctl_top
from accel.stats.records import OUTCOMES, REASONS
from accel.stats.ring import RingWriter

NOW = 1_700_000_000.0


class World:
    """Two workers that have logged, and who asks."""

    def __init__(self) -> None:
        self._control = FakeControl()
        self._workers = [RingWriter(self._control.rings.memory(row) or memoryview(b"")) for row in range(2)]

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Answer as the admin does."""
        assert path == "/log"
        answer = self._control.log(None, 0) if body is None else self._control.log(body["row"], body["from"])
        return json.loads(json.dumps(answer))

    def record(self, target: str, outcome: str, row: int = 0, reason: str = "", **other: Any) -> None:
        """Have a worker log an exchange."""
        fields = {
            "first_byte_s": 0.5, "total_s": 1.0, "origin_s": 0.0, "age_s": nan, "ttl_s": nan,
            "key_hash": 0, "body_bytes": 5, "exchange_id": 0, "connection_id": 0, "status": 200, "minor": 1,
            "outcome": OUTCOMES.index(outcome), "reason": REASONS.index(reason), "retries": 0, "client": "192.0.2.1",
            "method": b"GET", "host": b"a.example", "target": target.encode(), "referer": b"", "user_agent": b"",
            "backend": "", "rule": "", "tags": b"", "asked": b"", "varies": b"",
        }  # fmt: skip
        self._workers[row].write(NOW, *(fields | other).values())

    def run(self, *arguments: str) -> Result:
        """Run `accelctl top`."""
        result = CliRunner().invoke(ctl_top.top, arguments, obj=self)
        assert result.exit_code == 0, result.output
        return result

    def ranked(self, which: str, *arguments: str) -> list[tuple[str, float]]:
        """Return names and weights of one ranking."""
        found = json.loads(self.run("--json", "--by", which, *arguments).output)
        return [(one["name"], one["weight"]) for one in found["top"][which]]


@pytest.fixture
def world() -> World:
    """Return a world whose two workers had a page each, hit and missed."""
    world = World()
    for row, target, count in ((0, "/a", 3), (1, "/a", 2), (1, "/b", 4)):
        for _ in range(count):
            world.record(target, "hit", row)
    world.record("/b", "miss", 0, "vary-miss", origin_s=0.5, backend="one:80", user_agent=b"curl/8")
    world.record("/c", "pass", 1, "bypass", origin_s=2.0, backend="two:80", body_bytes=7000, rule="x.policy:3")
    world.record("/c", "error", 1, "bypass", status=503, client="192.0.2.9")
    return world


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        ("hits", [("a.example/a", 5), ("a.example/b", 4)]),
        ("misses", [("a.example/b", 1)]),
        ("origin", [("a.example/c", 2), ("a.example/b", 0.5)]),
        ("bytes", [("a.example/c", 7005), ("a.example/a", 25), ("a.example/b", 25)]),
        ("vary", [("a.example/b", 1)]),
        ("agents", [("curl/8", 1)]),
        ("backends", [("two:80", 2), ("one:80", 0.5)]),
        ("clients", [("192.0.2.1", 11), ("192.0.2.9", 1)]),
        ("rules", [("x.policy:3", 1)]),
        ("errors", [("a.example/c", 1)]),
    ],
)
def test_each_ranking_is_over_all_workers(world: World, which: str, expected: list[tuple[str, float]]) -> None:
    assert world.ranked(which) == expected


def test_what_makes_keys_many_is_ranked_by_different_values() -> None:
    world = World()
    for number in range(30):
        world.record(f"/?page=1&utm_source={number}", "miss", number % 2, "uri-miss")
    world.record("/?page=1", "miss", 0, "vary-miss", varies=b"3 accept-language=00ff")

    found = json.loads(world.run("--json", "--by", "keys").output)["top"]
    lines = world.run("--once", "--by", "keys").output.splitlines()

    assert [(part["name"], part["values"], part["misses"]) for part in found["keys"]] == [
        ("parameter utm_source", 30, 30), ("field accept-language", 1, 1), ("parameter page", 1, 31),
    ]  # fmt: skip
    assert any(line.split() == ["~30", "30", "parameter", "utm_source"] for line in lines)


def test_only_as_many_are_shown_as_wanted(world: World) -> None:
    assert world.ranked("hits", "--limit", "1") == [("a.example/a", 5)]


def test_a_sample_is_multiplied() -> None:
    world = World()
    for _ in range(100):
        world.record("/", "hit")

    assert world.ranked("hits", "--sample", "10") == [("a.example/", 100)]


def test_the_tables_name_what_they_rank_and_its_share(world: World) -> None:
    output = world.run("--once").output

    assert output.startswith("of 12 exchanges\n")
    assert "URLs by hits" in output and "clients by requests" in output
    assert any(line.split() == ["5", "55.6%", "a.example/a"] for line in output.splitlines())


def test_a_live_view_goes_on_with_what_comes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = iter((1, None))

    def sleep(seconds: float) -> None:
        if next(steps) is None:
            raise KeyboardInterrupt
        world.record("/new", "miss")

    monkeypatch.setattr("time.sleep", sleep)

    output = world.run("--by", "misses").output

    assert "of 13 exchanges" in output
    assert "a.example/new" in output


def test_what_was_overrun_is_said(world: World) -> None:
    reader = ctl_top.Reader(world)
    list(reader.new())
    for _ in range(200_000):
        world.record("/long" + "x" * 200, "hit")
    ranks = ctl_top.Ranks(["hits"], 1)
    ctl_top._feed(ranks, reader)

    assert reader.lost > 0
    assert ranks.read + reader.lost == 200_000
    assert f"{reader.lost:,} were overrun" in ctl_top._missed(reader)


def test_a_clients_bytes_do_nothing_to_the_terminal(world: World) -> None:
    world.record("/", "miss", 0, "vary-miss", user_agent=b"\x1b]0;x\x07" + b"y")

    assert "\x1b]" not in world.run("--once", "--by", "agents").output
