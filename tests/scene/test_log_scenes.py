"""`accelctl log` before real workers: what it shows is what the clients got, whoever answered and whoever died."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from itertools import pairwise

import pytest
from accel_process import Accel, StartAccel
from children import eventually
from fault_origin import FaultOrigin, reply
from http_clients import HOST, Load, ask

pytestmark = pytest.mark.scene


@pytest.fixture
def origin(fault: FaultOrigin) -> FaultOrigin:
    """Return an origin with a page that may be stored, one that may not, and one that fails."""
    fault.on("/page", reply(b"page", "Cache-Control: max-age=600", "Surrogate-Key: news"))
    fault.on("/mine", reply(b"mine", "Cache-Control: no-store"))
    fault.on("/broken", reply(b"sorry", status=500))
    return fault


def command(accel: Accel, *arguments: str) -> list[str]:
    """Return a call of `accelctl`."""
    program = "from accel.ctl import main; main()"
    return [sys.executable, "-c", program, "--admin", f"unix:{accel.admin_path}", *arguments]


def log(accel: Accel, *arguments: str) -> list[dict[str, object]]:
    """Return what `accelctl log` shows, in JSON."""
    call = command(accel, "log", "--format", "json", *arguments)
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_what_clients_got_is_shown_with_the_way_it_took(start_accel: StartAccel, origin: FaultOrigin) -> None:
    accel = start_accel([origin.backend])
    for target in ("/page", "/page", "/mine", "/broken"):
        ask(accel, target)

    shown = log(accel)
    failed = log(accel, "-q", "status >= 500 and time.origin > 0s")

    assert [(one["target"], one["cache"], one["reason"]) for one in shown] == [
        ("/page", "miss", "uri-miss"),
        ("/page", "hit", None),
        ("/mine", "miss", "uri-miss"),
        ("/broken", "miss", "uri-miss"),
    ]
    assert [one["tags"] for one in shown] == [["news"], ["news"], [], []]
    assert [one["backend"] for one in shown] == [origin.backend, None, origin.backend, origin.backend]
    assert [one["target"] for one in failed] == ["/broken"]


def test_every_exchange_is_shown_once_though_a_worker_is_killed(start_accel: StartAccel, origin: FaultOrigin) -> None:
    accel = start_accel([origin.backend], "--log-memory", "16m")

    with Load(accel.port, ["/page"]) as load:
        os.kill(accel.workers()[0]["pid"], signal.SIGKILL)
        eventually("another has its place", lambda: len(accel.accepting_pids()) == 2)
        load.wait_more(300)

    shown = log(accel, "-q", "url == /page and status == 200")
    numbers = [one["id"] for one in shown]
    assert abs(len(shown) - load.done) <= len(load.failures), "what a killed worker held may or may not be logged"
    assert len(set(numbers)) == len(numbers)
    ended = [one["time"] + one["duration_ms"] / 1000 for one in shown]  # type: ignore[operator]
    assert all(later >= earlier - 0.01 for earlier, later in pairwise(ended))


def test_an_exchange_is_found_by_its_connection_and_by_the_key_that_explain_says(
    start_accel: StartAccel, origin: FaultOrigin
) -> None:
    accel = start_accel([origin.backend])
    for target in ("/page", "/mine", "/page"):
        ask(accel, target)
    asked = {"url": f"http://{HOST}/page", "method": "GET", "fields": [], "from": "127.0.0.1"}
    explained = accel.admin("POST", "/explain", asked)

    by_key = log(accel, "-q", f'key == "{explained["key"]["hash"]}"')
    by_connection = log(accel, "-q", f'connection == "{by_key[0]["connection"]}"')

    assert by_key[0]["target"] == "/page"
    assert {one["target"] for one in by_key} == {"/page"}
    assert [one["id"] for one in by_connection] == [by_key[0]["id"]]


def test_what_makes_keys_many_is_ranked(start_accel: StartAccel, origin: FaultOrigin) -> None:
    origin.on("/list", reply(b"list", "Cache-Control: max-age=600", "Vary: Accept-Language"))
    accel = start_accel([origin.backend])
    for number in range(6):
        ask(accel, f"/page?from={number}")
        ask(accel, "/list", accept_language=f"x-{number}")

    shown = subprocess.run(command(accel, "top", "--by", "keys", "--json"), capture_output=True, text=True, check=True)

    ranked = [(part["name"], part["values"], part["misses"]) for part in json.loads(shown.stdout)["top"]["keys"]]
    assert ranked == [("parameter from", 6, 6), ("field accept-language", 5, 5)]


def test_following_shows_what_comes(start_accel: StartAccel, origin: FaultOrigin) -> None:
    accel = start_accel([origin.backend])
    ask(accel, "/mine")
    arguments = ("log", "-f", "--format", "json", "-q", "url in (/page, /mine)", "--sample", "1")
    with subprocess.Popen(command(accel, *arguments), stdout=subprocess.PIPE) as following:
        assert following.stdout is not None

        def is_shown() -> bool:
            assert following.stdout is not None
            ask(accel, "/page")
            return bool(select.select([following.stdout], [], [], 0.1)[0])

        eventually("it is shown", is_shown)
        line = json.loads(following.stdout.readline())
        following.send_signal(signal.SIGINT)

    assert line["target"] == "/page"
    assert following.returncode == 0
