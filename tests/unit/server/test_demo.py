"""The demo's origins as a real process, and the words about them."""

from __future__ import annotations

import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from accel.config import Address
from accel.server import demo

PARENT = """
from accel.server import demo
with demo.origins() as ports:
    print(ports[0], flush=True)
    input()
"""


@pytest.fixture(scope="module")
def ports() -> Iterator[tuple[int, ...]]:
    with demo.origins() as opened:
        yield opened


def fetch(port: int, path: str, **fields: str) -> tuple[dict[str, str], bytes]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=fields)
    with urllib.request.urlopen(request, timeout=10) as response:
        return dict(response.headers), response.read()


def test_each_of_eight_origins_says_which_it_is(ports: tuple[int, ...]) -> None:
    answers = [fetch(port, "/cached") for port in ports]

    assert len(set(ports)) == 8
    assert [fields["X-Origin"] for fields, _ in answers] == [str(port) for port in ports]
    assert all(str(port).encode() in body for port, (_, body) in zip(ports, answers, strict=True))


@pytest.mark.parametrize(
    ("path", "policy"),
    [("/", "no-store"), ("/cached", "max-age=60"), ("/uncached", "no-store"), ("/image.svg", "max-age=300")],
)
def test_each_page_says_how_it_may_be_stored(ports: tuple[int, ...], path: str, policy: str) -> None:
    assert fetch(ports[0], path)[0]["Cache-Control"] == policy


def test_the_page_that_varies_does(ports: tuple[int, ...]) -> None:
    plain, _ = fetch(ports[0], "/vary")
    coded, body = fetch(ports[0], "/vary", **{"Accept-Encoding": "gzip"})

    assert plain["Vary"] == coded["Vary"] == "Accept-Encoding"
    assert ("Content-Encoding" in plain, coded["Content-Encoding"], body[:2]) == (False, "gzip", b"\x1f\x8b")


def test_taken_ports_are_replaced_by_free_ones(ports: tuple[int, ...]) -> None:
    with demo.origins() as others:
        assert set(others).isdisjoint(ports)
        assert "were not all free" in demo.what_to_try(Address("127.0.0.1", 8080), others, "accel")


def test_a_taken_listening_port_is_replaced_by_a_free_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(demo, "LISTEN_PORT", taken.getsockname()[1])

        assert demo.free_address() != f"127.0.0.1:{demo.LISTEN_PORT}"


def test_the_origins_end_with_the_context() -> None:
    with demo.origins() as opened:
        pass

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", opened[0]))


def test_the_origins_end_when_their_parent_is_killed() -> None:
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        port = int(parent.stdout.readline())
        parent.kill()

        # The origins share this pipe: its end is the end of the last of them.
        assert parent.stdout.read() == ""

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_what_to_try_names_the_instance_only_if_it_is_not_the_usual_one() -> None:
    ports = tuple(demo.PORTS)

    assert "accelctl stat" in demo.what_to_try(Address("127.0.0.1", 8080), ports, "accel")
    assert "accelctl --name shop stat" in demo.what_to_try(Address("127.0.0.1", 8080), ports, "shop")


def test_what_to_try_can_be_pasted_where_the_shell_does_not_find_accelctl(monkeypatch: pytest.MonkeyPatch) -> None:
    beside = Path(sys.executable).with_name("accelctl")
    monkeypatch.setenv("PATH", "")
    monkeypatch.chdir(beside.parent.parent)

    said = demo.what_to_try(Address("127.0.0.1", 8080), tuple(demo.PORTS), "accel")

    assert f"  {beside.relative_to(beside.parent.parent)} stat" in said
