"""Purges by URL, tag, everything, and bans, hard and soft, over all workers of a real accel and both kinds of store."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from accel_process import Accel, StartAccel
from children import eventually
from fault_origin import FaultOrigin, Talk, head, reply
from http_clients import HOST, Client, ask, clients_of_every_worker

pytestmark = pytest.mark.scene
MINUTE = "Cache-Control: max-age=60"
KINDS = ("shared", "private")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of store."""
    chosen: str = request.param
    return chosen


def ask_all(clients: list[Client], target: str) -> list[bytes]:
    """Return the body that each connection gets."""
    return [client.ask(target).body for client in clients]


def receipt(accel: Accel, target: str = "/", **fields: str) -> dict[str, Any]:
    """PURGE and return what is said of it."""
    said: dict[str, Any] = json.loads(ask(accel, target, "PURGE", **fields).body)
    return said


def test_a_tag_drops_what_carries_it_in_every_worker_and_nothing_else(
    start_accel: StartAccel, fault: FaultOrigin, kind: str
) -> None:
    fault.on("/a", reply(b"a", MINUTE, "Surrogate-Key: shop news"))
    fault.on("/b", reply(b"b", MINUTE, "Cache-Tag: news, de"))
    fault.on("/c", reply(b"c", MINUTE, "xkey: shop"))
    accel = start_accel([fault.backend], "--store-kind", kind)

    with clients_of_every_worker(accel) as clients:
        for target in ("/a", "/b", "/c"):
            ask_all(clients, target)
        said = receipt(accel, surrogate_key="news")
        asked_before = [len(fault.asked(target)) for target in ("/a", "/b", "/c")]
        for target in ("/a", "/b", "/c"):
            ask_all(clients, target)

    per_worker = 1 if kind == "shared" else 2
    assert (said["what"], said["names"], said["dropped"]) == ("tag", ["news"], 2 * per_worker)
    assert (said["workers"], said["answered"], "counting" in said) == (2, 2, False)
    asked = [len(fault.asked(target)) for target in ("/a", "/b", "/c")]
    assert [after - before for after, before in zip(asked, asked_before, strict=True)] == [per_worker, per_worker, 0]
    assert accel.counter("swept") == 2 * per_worker


def test_a_soft_purge_serves_the_old_while_one_refresh_runs(
    start_accel: StartAccel, fault: FaultOrigin, kind: str
) -> None:
    version = b"old"

    async def script(talk: Talk) -> bool:
        return await reply(version, MINUTE, "Surrogate-Key: news")(talk)

    fault.on("/page", script)
    accel = start_accel([fault.backend], "--store-kind", kind)

    with clients_of_every_worker(accel) as clients:
        ask_all(clients, "/page")
        asked_before = len(fault.asked("/page"))
        version = b"new"
        said = receipt(accel, surrogate_key="news", soft_purge="1")
        assert clients[0].ask("/page").body == b"old"
        eventually("all are refreshed", lambda: set(ask_all(clients, "/page")) == {b"new"})

    per_worker = 1 if kind == "shared" else 2
    assert (said["what"], said["touched"], "dropped" in said) == ("tag", per_worker, False)
    assert len(fault.asked("/page")) - asked_before == per_worker


def test_a_ban_drops_what_it_matches_and_is_soon_not_pending(
    start_accel: StartAccel, fault: FaultOrigin, kind: str
) -> None:
    fault.on("/a", reply(b"a", MINUTE, "Content-Type: text/css"))
    fault.on("/b", reply(b"b", MINUTE, "Content-Type: text/html"))
    accel = start_accel([fault.backend], "--store-kind", kind)

    with clients_of_every_worker(accel) as clients:
        ask_all(clients, "/a"), ask_all(clients, "/b")
        said = receipt(accel, ban="obj.http.content-type == text/css && req.url ~ ^/[ab]$")
        answers = [client.ask(target) for target in ("/a", "/b") for client in clients[:1]]

    assert (said["dropped"], said["answered"]) == (1 if kind == "shared" else 2, 2)
    assert [answer.is_hit for answer in answers] == [False, True]
    assert accel.admin("GET", "/bans") == []
    assert (accel.counter("bans"), accel.counter("swept")) == (1, said["dropped"])


def test_everything_can_be_dropped_at_once(start_accel: StartAccel, fault: FaultOrigin, kind: str) -> None:
    for number in range(20):
        fault.on(f"/{number}", reply(b"x", MINUTE, "Vary: Accept-Language"))
    accel = start_accel([fault.backend], "--store-kind", kind, workers=1)
    for number in range(20):
        ask(accel, f"/{number}")

    said = receipt(accel, purge="all")

    assert (said["what"], said["dropped"]) == ("all", 20)
    assert not any(ask(accel, f"/{number}").is_hit for number in range(20))


def test_a_purge_that_cannot_be_says_why(start_accel: StartAccel, fault: FaultOrigin) -> None:
    accel = start_accel([fault.backend], workers=1)

    answers = [
        ask(accel, "/", "PURGE", ban="ulr ~ x"),
        ask(accel, "/", "PURGE", purge="everything"),
        ask(accel, "/", "PURGE", surrogate_key="a", purge="all"),
        ask(accel, "/", "PURGE", ban="url ~ x", soft_purge="1"),
        ask(accel, "/", "PURGE", cache_tag=","),
    ]

    assert {answer.status for answer in answers} == {400}
    assert [json.loads(answer.body)["error"] for answer in answers] == [
        "column 1: 'ulr' is not known; write url, host, status, age or field.NAME",
        "to purge everything send Purge: all, without tags",
        "to purge everything send Purge: all, without tags",
        "a ban goes alone: send Ban without Soft-Purge, Purge or tags",
        "Cache-Tag names no tag",
    ]


def test_a_ban_holds_at_once_and_ends_when_a_stopped_worker_has_woken(
    start_accel: StartAccel, fault: FaultOrigin, kind: str
) -> None:
    fault.on("/page", reply(b"old", MINUTE))
    accel = start_accel([fault.backend], "--store-kind", kind, "--worker-timeout", "60s")

    with clients_of_every_worker(accel) as clients:
        ask_all(clients, "/page")
        fault.on("/page", reply(b"new", MINUTE))
        sleeper = accel.worker_pids()[0]
        os.kill(sleeper, signal.SIGSTOP)
        said = accel.admin("POST", "/ban", {"ban": "url == /page"})
        pending = [row["ban"] for row in accel.admin("GET", "/bans")]
        os.kill(sleeper, signal.SIGCONT)
        bodies = set(ask_all(clients, "/page"))
        eventually("the ban has ended", lambda: accel.admin("GET", "/bans") == [])

    assert (said["counting"], pending, bodies) == ("still under way", ["url == /page"], {b"new"})


def test_a_ban_that_was_pending_holds_and_ends_after_a_restart(
    start_accel: StartAccel, fault: FaultOrigin, tmp_path: Path
) -> None:
    """Everybody is killed before a stopped worker has let the ban end: its file has it still."""
    fault.on("/page", reply(b"old", MINUTE))
    flags = ("--store", str(tmp_path / "store"), "--memory", "16m", "--worker-timeout", "60s")
    before = start_accel([fault.backend], *flags)
    ask(before, "/page")
    os.kill(before.worker_pids()[0], signal.SIGSTOP)
    before.admin("POST", "/ban", {"ban": "url == /page"})
    before.child.send_to_group(signal.SIGKILL)
    before.child.end()
    fault.on("/page", reply(b"new", MINUTE))

    after = start_accel([fault.backend], *flags)

    assert " store-warm " in after.log
    assert ask(after, "/page").body == b"new"
    eventually("the ban has ended", lambda: after.admin("GET", "/bans") == [])


PAGES = tuple(f"/{number}" for number in range(4))
LONG = "/9"
LINES = dict.fromkeys(PAGES, 1) | {LONG: 130_000}
"""How often a page says its version; the long one is over a MiB, so other workers join it under way."""


class Readers:
    """Clients that ask without pause; each answer must be at least as new as the last purge answered before it."""

    def __init__(self, accel: Accel, floor: Callable[[], int]) -> None:
        self.too_old: list[tuple[str, int, int]] = []
        self.answers = 0
        self._accel, self._floor = accel, floor
        self._is_over = False
        self._threads = [threading.Thread(target=self._read, args=(number,)) for number in range(12)]

    def __enter__(self) -> Readers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._is_over = True
        for thread in self._threads:
            thread.join()

    def _read(self, seed: int) -> None:
        chance, client = random.Random(seed), Client(self._accel.port)
        while not self._is_over:
            target, least = chance.choice((*PAGES * 4, LONG)), self._floor()
            lines = client.ask(target).body.split()
            version = int(lines[0])
            assert len(lines) == LINES[target] and len(set(lines)) == 1
            self.answers += 1
            if version < least:
                self.too_old.append((target, version, least))
        client.close()


def test_no_version_older_than_an_answered_invalidation_is_ever_served(
    start_accel: StartAccel, fault: FaultOrigin, kind: str
) -> None:
    """A fetch brings the version that held when it began, late; purges of every kind go on meanwhile."""
    version = floor = 0
    chance = random.Random(7)

    async def script(talk: Talk) -> bool:
        body = (b"%09d\n" % version) * LINES[talk.seen.target]
        await asyncio.sleep(chance.random() * 0.02)
        await talk.send(head(200, MINUTE, "Surrogate-Key: news", "X-Kind: page", f"Content-Length: {len(body)}"))
        for start in range(0, len(body), 400_000):
            await talk.send(body[start : start + 400_000])
            await asyncio.sleep(chance.random() * 0.01)
        return True

    for page in LINES:
        fault.on(page, script)
    accel = start_accel([fault.backend], "--store-kind", kind)
    ways: tuple[dict[str, str], ...] = (
        {"surrogate_key": "news"},
        {"ban": "url ~ ^/[0-9] && field.x-kind == page"},
        {"purge": "all"},
        {"ban": f"host == {HOST} && status == 200 && age < 1d"},
    )

    with Readers(accel, lambda: floor) as readers:
        for turn in range(48):
            version += 1
            receipt(accel, **ways[turn % len(ways)])
            floor = version

    assert readers.too_old == []
    assert readers.answers > 48
    assert accel.admin("GET", "/bans") == []
    assert accel.admin("GET", "/store/check")["faults"] == []
