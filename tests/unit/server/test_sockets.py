"""The sockets of one program, and what the next takes of them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from accel.config import Address, ServerOptions
from accel.errors import StartError
from accel.server.handover import Handed
from accel.server.sockets import Sockets

LOOPBACK = Address("127.0.0.1", 0)
Open = Callable[..., Sockets]


@pytest.fixture
def opened() -> Iterator[Open]:
    """Return what opens sockets that are closed after the test."""
    made: list[Sockets] = []

    def open_them(*listen: Address, inherited: list[Handed] | None = None, reuseport: bool = False) -> Sockets:
        sockets = Sockets()
        made.append(sockets)
        sockets.open(ServerOptions(listen=listen, reuseport=reuseport), inherited)
        return sockets

    yield open_them
    for sockets in made:
        sockets.close()
        sockets.unlink()


def handed(sockets: Sockets) -> list[Handed]:
    """Return what a successor is given, as descriptors of its own."""
    return [replace(one, fd=os.dup(one.fd)) for one in sockets.handed()]


def test_the_next_program_takes_what_it_is_still_asked_for_by_the_same_words(opened: Open) -> None:
    old = opened(LOOPBACK)

    new = opened(LOOPBACK, inherited=handed(old))

    assert new.addresses == old.addresses


def test_an_address_in_other_words_is_taken_too(opened: Open) -> None:
    old = opened(LOOPBACK)
    [address] = old.addresses

    assert opened(address, inherited=handed(old)).addresses == (address,)


def test_what_the_next_program_is_not_asked_for_is_left(opened: Open, tmp_path: Path) -> None:
    kept, left = Address(path=str(tmp_path / "kept")), Address(path=str(tmp_path / "left"))
    old = opened(kept, left)
    new = opened(kept, inherited=handed(old))

    new.leave_spare()
    old.close()
    old.unlink()

    assert Path(kept.path).exists()
    assert not Path(left.path).exists()


def test_what_systemd_passed_is_taken_whatever_the_options_say(opened: Open) -> None:
    with socket.create_server(("127.0.0.1", 0)) as passed:
        address = Address(*passed.getsockname())

        new = opened(LOOPBACK, inherited=[Handed(os.dup(passed.fileno()), None)])

    assert new.addresses == (address,)
    assert [one.asked for one in new.handed()] == [None]


def test_the_workers_own_sockets_go_to_the_workers_of_the_same_rows(opened: Open) -> None:
    old = opened(LOOPBACK, reuseport=True)
    [own] = old.of(1)
    inode = os.fstat(own.fileno()).st_ino

    new = opened(LOOPBACK, inherited=handed(old), reuseport=True)

    assert [os.fstat(sock.fileno()).st_ino for sock in new.of(1)] == [inode]
    assert os.fstat(new.of(2)[0].fileno()).st_ino != inode


def test_a_worker_keeps_its_own_alone(opened: Open, tmp_path: Path) -> None:
    sockets = opened(LOOPBACK, Address(path=str(tmp_path / "all")), reuseport=True)
    own, other = sockets.of(1), sockets.of(2)

    sockets.keep_only(own)

    assert all(sock.fileno() >= 0 for sock in own)
    assert other[0].fileno() == sockets.shared[0].fileno() == -1


def test_an_address_that_cannot_be_had_closes_no_inherited_path(opened: Open, tmp_path: Path) -> None:
    path = Address(path=str(tmp_path / "clients"))
    old = opened(path)

    with pytest.raises(StartError):
        opened(path, Address("192.0.2.1", 80), inherited=handed(old))

    assert Path(path.path).exists()
