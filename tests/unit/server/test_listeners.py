"""Listening sockets: both families, unix paths, systemd's, and what is said when an address cannot be had."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from accel.config import Address, ServerOptions
from accel.errors import StartError
from accel.server import listeners

LOOPBACK = Address("127.0.0.1", 0)


@pytest.fixture
def bound() -> Iterator[list[socket.socket]]:
    """Return a list whose sockets are closed after the test."""
    sockets: list[socket.socket] = []
    yield sockets
    listeners.close(sockets)


def bind(bound: list[socket.socket], *addresses: Address, reuseport: bool = False) -> list[socket.socket]:
    bound += sockets(listeners.bind(ServerOptions(listen=addresses, reuseport=reuseport), {}))
    return bound


def sockets(bound: list[listeners.Bound]) -> list[socket.socket]:
    return [one.sock for one in bound]


def port_of(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


def test_one_socket_answers_both_families(bound: list[socket.socket]) -> None:
    if not socket.has_dualstack_ipv6():
        return
    (sock,) = bind(bound, Address("", 0))

    socket.create_connection(("127.0.0.1", port_of(sock))).close()
    socket.create_connection(("::1", port_of(sock))).close()


def test_where_ipv6_is_missing_all_addresses_are_those_of_ipv4(
    bound: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)

    (sock,) = bind(bound, Address("", 0))

    assert sock.getsockname()[0] == "0.0.0.0"
    assert listeners.address_of(sock) == Address("", port_of(sock))


def test_sockets_are_inheritable_and_do_not_block(bound: list[socket.socket]) -> None:
    (sock,) = bind(bound, LOOPBACK)

    assert sock.get_inheritable()
    assert not sock.getblocking()
    with pytest.raises(BlockingIOError):
        sock.accept()


def test_reuseport_is_set_only_when_asked_for(bound: list[socket.socket]) -> None:
    bind(bound, LOOPBACK)
    bind(bound, LOOPBACK, reuseport=True)

    assert [sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) for sock in bound] == [0, 1]


def test_a_name_is_bound_at_each_of_its_addresses_that_exist(
    bound: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [(socket.AF_INET, 0, 0, "", (host, 0)) for host in ("192.0.2.1", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)

    (sock,) = bind(bound, Address("here.test", 0))

    assert sock.getsockname()[0] == "127.0.0.1"


def test_a_port_in_use_names_who_holds_it(bound: list[socket.socket]) -> None:
    (sock,) = bind(bound, LOOPBACK)

    with pytest.raises(StartError) as caught:
        listeners.bind(ServerOptions(listen=(Address("127.0.0.1", port_of(sock)),)), {})

    assert f"cannot listen on 127.0.0.1:{port_of(sock)}: it is in use by" in str(caught.value)
    assert f"(process {os.getpid()}); stop that, or listen elsewhere" in str(caught.value)


def test_nothing_stays_open_when_one_address_fails(bound: list[socket.socket], tmp_path: Path) -> None:
    (sock,) = bind(bound, LOOPBACK)
    path = tmp_path / "first.sock"

    with pytest.raises(StartError):
        listeners.bind(ServerOptions(listen=(Address(path=str(path)), listeners.address_of(sock))), {})

    assert not path.exists()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (Address("192.0.2.1", 8080), "this machine has no such address; :PORT"),
        (Address("no-such-host.invalid", 8080), "the name is unknown here"),
        (Address(path="/no/such/directory/a.sock"), "its directory does not exist; make it first"),
    ],
)
def test_an_address_that_cannot_be_had_says_why(address: Address, said: str) -> None:
    with pytest.raises(StartError, match=said):
        listeners.bind(ServerOptions(listen=(address,)), {})


def test_a_low_port_without_the_right_says_whose_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(family: int, sockaddr: object, reuseport: bool) -> socket.socket:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(listeners, "_bind_tcp", refuse)

    with pytest.raises(StartError, match="ports below 1024 are root's; start as root with --user"):
        listeners.bind(ServerOptions(listen=(Address("", 80),)), {})


def test_a_unix_socket_for_clients_is_open_to_all_and_leaves_when_closed(tmp_path: Path) -> None:
    path = tmp_path / "accel.sock"

    opened = sockets(listeners.bind(ServerOptions(listen=(Address(path=str(path)),)), {}))
    mode = stat.S_IMODE(path.stat().st_mode)
    listeners.close(opened)

    assert mode == 0o666
    assert not path.exists()


def test_a_path_where_nobody_answers_is_taken_over(bound: list[socket.socket], tmp_path: Path) -> None:
    address = Address(path=str(tmp_path / "accel.sock"))
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(address.path)

    (sock,) = bind(bound, address)

    assert listeners.address_of(sock) == address


def test_a_path_where_somebody_answers_is_left_alone(bound: list[socket.socket], tmp_path: Path) -> None:
    address = Address(path=str(tmp_path / "accel.sock"))
    bind(bound, address)

    with pytest.raises(StartError, match=rf"in use by .* \(process {os.getpid()}\)"):
        listeners.bind(ServerOptions(listen=(address,)), {})

    assert Path(address.path).exists()


def test_a_path_that_somebody_took_over_is_not_removed(bound: list[socket.socket], tmp_path: Path) -> None:
    address = Address(path=str(tmp_path / "accel.sock"))
    old = sockets(listeners.bind(ServerOptions(listen=(address,)), {}))
    Path(address.path).unlink()
    bind(bound, address)

    listeners.close(old)

    assert Path(address.path).exists()


def test_a_plain_file_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("mine")

    with pytest.raises(StartError, match="a file that is no socket is there"):
        listeners.bind(ServerOptions(listen=(Address(path=str(path)),)), {})

    assert path.read_text() == "mine"


def test_a_directory_that_may_not_be_looked_into_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "is_socket", refused)
    monkeypatch.setattr(Path, "exists", refused)

    with pytest.raises(StartError, match="its directory may not be written to"):
        listeners.bind(ServerOptions(listen=(Address(path=str(tmp_path / "s")),)), {})


def test_sockets_that_systemd_passed_are_taken_instead(
    bound: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = socket.create_server(("127.0.0.1", 0))
    port = port_of(passed)
    monkeypatch.setattr(listeners, "FIRST_PASSED_FD", passed.detach())
    environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "http", "HOME": "/"}

    bound += sockets(listeners.bind(ServerOptions(), environ))

    assert [port_of(sock) for sock in bound] == [port]
    assert environ == {"HOME": "/"}


def test_sockets_passed_to_another_process_are_not_ours() -> None:
    assert listeners.passed_sockets({"LISTEN_PID": "1", "LISTEN_FDS": "1"}) == []


def test_the_admin_socket_and_its_directory_are_private(bound: list[socket.socket], tmp_path: Path) -> None:
    path = tmp_path / "accel" / "shop.sock"

    bound += listeners.bind_admin(Address(path=str(path)))

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_second_accel_of_one_name_is_told_to_take_another(bound: list[socket.socket], tmp_path: Path) -> None:
    address = Address(path=str(tmp_path / "accel" / "shop.sock"))
    bound += listeners.bind_admin(address)

    with pytest.raises(StartError, match=r"in use by .* two accels of one user need two names"):
        listeners.bind_admin(address)


def test_a_directory_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "accel"
    directory.mkdir()
    if os.geteuid() == 0:
        os.chown(directory, 4321, -1)
    monkeypatch.setattr(os, "geteuid", lambda: 1234)

    with pytest.raises(StartError, match="belongs to another user; remove it, or set XDG_RUNTIME_DIR"):
        listeners.bind_admin(Address(path=str(directory / "shop.sock")))


@pytest.mark.parametrize(
    ("user", "environ", "path"),
    [
        (0, {"XDG_RUNTIME_DIR": "/run/user/0"}, "/run/accel/shop.sock"),
        (1000, {"XDG_RUNTIME_DIR": "/run/user/1000"}, "/run/user/1000/accel/shop.sock"),
        (1000, {}, "/tmp/accel-1000/shop.sock"),
    ],
)
def test_the_admin_socket_is_found_by_name(
    user: int, environ: dict[str, str], path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(os, "access", lambda *_: True)
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/tmp")

    assert listeners.admin_socket_path("shop", environ) == path
