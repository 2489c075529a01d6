"""What an operator may write for places, and what the refusals say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from accel import addresses
from accel.config import Address, BackendConfig


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (":8080", Address("", 8080)),
        ("127.0.0.1:0", Address("127.0.0.1", 0)),
        ("localhost:80", Address("localhost", 80)),
        ("[::1]:80", Address("::1", 80)),
        ("[0:0::1]:80", Address("::1", 80)),
        ("unix:/run/accel.sock", Address(path="/run/accel.sock")),
    ],
)
def test_a_listening_address_is_read(text: str, address: Address) -> None:
    assert addresses.listen_address(text) == address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8001", [BackendConfig(Address("127.0.0.1", 8001))]),
        ("app_1.internal:80*3", [BackendConfig(Address("app_1.internal", 80), 3)]),
        ("h:1-3*2", [BackendConfig(Address("h", port), 2) for port in (1, 2, 3)]),
        ("[::1]:8001-8002", [BackendConfig(Address("::1", port)) for port in (8001, 8002)]),
        ("unix:/run/app.sock*2", [BackendConfig(Address(path="/run/app.sock"), 2)]),
    ],
)
def test_backends_are_read_with_ranges_and_weights(text: str, expected: list[BackendConfig]) -> None:
    assert list(addresses.backends(text)) == expected


@pytest.mark.parametrize("text", ["127.0.0.1:8001", "h:80*3", "[::1]:80", "unix:/run/app.sock*2"])
def test_a_backend_reads_back_from_its_text(text: str) -> None:
    (backend,) = addresses.backends(text)

    assert addresses.show_backend(backend) == text


@pytest.mark.parametrize(
    ("parse", "text", "hint"),
    [
        (addresses.backends, "app", "write app:8001"),
        (addresses.backends, "8001", "such as 127.0.0.1:8001"),
        (addresses.backends, ":8001", "needs a host"),
        (addresses.backends, "app..internal:8001", "a host is a name"),
        (addresses.backends, "a" * 64 + ".internal:8001", "a host is a name"),
        (addresses.backends, "h:0", "from 1 to 65535"),
        (addresses.backends, "h:99999", "from 1 to 65535"),
        (addresses.backends, "h:8008-8001", "goes upwards"),
        (addresses.backends, "h:1-60000", "at most 1024"),
        (addresses.backends, "h:80*0", "a weight is"),
        (addresses.backends, "h:80*x", "a weight is"),
        (addresses.backends, "http://h:80/", "write only the address: h:80"),
        (addresses.backends, "https://h", "speaks plain HTTP"),
        (addresses.backends, "/run/app.sock", "written unix:/run/app.sock"),
        (addresses.backends, "h:80/path", "write HOST:PORT"),
        (addresses.backends, "::1:80", r"brackets: \[::1\]:80"),
        (addresses.backends, "[::g]:80", "no IPv6 address"),
        (addresses.backends, "a b:80", "a name or an address"),
        (addresses.backends, "unix:", "path after unix:"),
        (addresses.backends, "unix:/" + "x" * 107, "at most 107 bytes"),
        (addresses.listen_address, "h:80-81", "one address has one port"),
        (addresses.listen_address, "[::1]", "port is missing"),
        (addresses.network, "10.0.0.1/8", "is 10.0.0.0/8"),
        (addresses.network, "everyone", "such as 10.0.0.0/8"),
    ],
)
def test_what_will_not_do_says_what_would(parse: Callable[[str], Any], text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        parse(text)
