"""What an operator may write for places: addresses to listen on, backends, networks.

Same rule as `values`: a parser raises ValueError whose message says what would do, and knows no option.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from ipaddress import ip_network

from accel.config import Address, BackendConfig, Network

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
"""Labels as names have them (RFC 1035 §2.3.4): of others the resolver raises more than OSError."""
_PORTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?", re.ASCII)

_LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})

MOST_PORTS = 1024
"""A range of ports longer than this is taken for a slip of the hand."""
UNIX_PATH_BYTES = 107
"""Linux keeps a unix socket's path in 108 bytes with its closing zero (unix(7))."""


def listen_address(text: str) -> Address:
    """Return an address to listen on: `HOST:PORT`, `:PORT` (all addresses), `[::1]:PORT` or `unix:PATH`."""
    _refuse_scheme(text)
    if text.startswith("unix:"):
        return _unix(text)
    if text.isdigit():
        raise ValueError(f"a port needs its host, such as 127.0.0.1:{text}; :{text} stands for all addresses")
    host, ports = _host_and_ports(text)
    if len(ports) > 1:
        raise ValueError("one address has one port; repeat the option for more")
    return Address(host, ports[0])


def backends(text: str) -> tuple[BackendConfig, ...]:
    """Return the backends of `HOST:PORT[-PORT][*WEIGHT]` or `unix:PATH[*WEIGHT]`."""
    _refuse_scheme(text)
    place, weight = _weighted(text)
    if place.startswith("unix:"):
        return (BackendConfig(_unix(place), weight),)
    host, ports = _host_and_ports(place)
    if not host:
        raise ValueError("a backend needs a host, such as 127.0.0.1:8001")
    if ports[0] == 0:
        raise ValueError("a backend's port is a number from 1 to 65535")
    return tuple(BackendConfig(Address(host, port), weight) for port in ports)


def show_backend(backend: BackendConfig) -> str:
    """Return a backend as an operator writes it."""
    return f"{backend.address}*{backend.weight}" if backend.weight != 1 else str(backend.address)


def is_own(backend: Address, listen: Collection[Address]) -> bool:
    """Whether a backend is accel itself, listening there."""
    everywhere = {address.port for address in listen if not address.host and address.port}
    return backend in listen or (backend.port in everywhere and backend.host in _LOOPBACK_HOSTS)


def network(text: str) -> Network:
    """Return an address or a network in CIDR form."""
    try:
        return ip_network(text)
    except ValueError as error:
        if "host bits" in str(error):
            raise ValueError(f"the network's own address is {ip_network(text, strict=False)}") from None
        raise ValueError("write an address or a network, such as 10.0.0.0/8 or ::1, or none") from None


def _refuse_scheme(text: str) -> None:
    if text.startswith("https://"):
        raise ValueError("accel speaks plain HTTP; write the address as HOST:PORT, without https://")
    if "://" in text:
        bare = text.partition("://")[2].rstrip("/")
        raise ValueError(f"write only the address: {bare or 'HOST:PORT'}")
    if "/" in text and not text.startswith("unix:"):
        hint = f"a unix socket is written unix:{text}" if text.startswith("/") else "write HOST:PORT"
        raise ValueError(hint)


def _unix(text: str) -> Address:
    path = text.removeprefix("unix:")
    if not path or "\0" in path:
        raise ValueError("write the socket's path after unix:, such as unix:/run/app.sock")
    if len(os.fsencode(path)) > UNIX_PATH_BYTES:
        raise ValueError(f"a unix socket's path has at most {UNIX_PATH_BYTES} bytes")
    return Address(path=path)


def _weighted(text: str) -> tuple[str, int]:
    place, star, weight = text.rpartition("*")
    if not star:
        return text, 1
    if not (weight.isdigit() and 1 <= int(weight) <= 256):
        raise ValueError("a weight is a number from 1 to 256, such as 127.0.0.1:8001*2")
    return place, int(weight)


def _host_and_ports(text: str) -> tuple[str, range]:
    if text.isdigit():
        raise ValueError(f"a port needs its host, such as 127.0.0.1:{text}")
    host, colon, port_text = text.rpartition(":")
    if not colon or "]" in port_text:
        raise ValueError(f"the port is missing; write {text or '127.0.0.1'}:8001 for port 8001")
    if host.startswith("[") and host.endswith("]"):
        host = _ipv6(host[1:-1])
    elif ":" in host:
        raise ValueError(f"write an IPv6 address in brackets: [{host}]:{port_text}")
    elif host and not _HOST.fullmatch(host):
        raise ValueError("a host is a name or an address, such as app.internal, 127.0.0.1 or [::1]")
    return host, _ports(port_text)


def _ipv6(text: str) -> str:
    try:
        return str(ip_network(text).network_address)
    except ValueError:
        raise ValueError("what stands in brackets is no IPv6 address") from None


def _ports(text: str) -> range:
    match = _PORTS.fullmatch(text)
    if match is None:
        raise ValueError("a port is a number from 1 to 65535, or a range such as 8001-8008")
    first, last = int(match[1]), int(match[2] or match[1])
    if last > 65535:
        raise ValueError("a port is a number from 1 to 65535")
    if last < first or last - first >= MOST_PORTS:
        raise ValueError(f"a range of ports goes upwards and has at most {MOST_PORTS}")
    return range(first, last + 1)
