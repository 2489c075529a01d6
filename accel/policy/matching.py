"""Matching values: globs, prefixes, regular expressions, networks, made ready once and then asked for each request.

Owns what a pattern means; knows no request. Values and patterns are bytes. Invariant: every test takes time linear in
the value, whatever the pattern: regular expressions run on RE2, which never backtracks, and a glob's stars are found
from left to right, which is enough since whatever a star takes may be as short as can be.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

import re2

from accel.config import Network

Test = Callable[[bytes], bool]

_PLAIN_START = re.compile(rb"[A-Za-z0-9/_~=&%:,;@!-]*")

Client = tuple[int, int]
"""An address: 4 or 6, and the number that it is."""


def _options() -> re2.Options:
    options = re2.Options()
    # One byte, one character: what is no UTF-8 cannot hide from a dot.
    options.encoding = re2.Options.Encoding.LATIN1
    options.log_errors = False
    options.never_capture = True
    return options


def literal_start(pattern: bytes) -> bytes:
    """Return what a value that the regular expression is found in must begin with; empty if that is not plain."""
    if not pattern.startswith(b"^") or b"|" in pattern or b"(?" in pattern:
        return b""
    plain = _PLAIN_START.match(pattern, 1)
    assert plain is not None
    is_repeated = pattern[plain.end() : plain.end() + 1] in (b"*", b"?", b"{", b"+")
    return plain[0][:-1] if is_repeated else plain[0]


def searcher(patterns: Iterable[bytes]) -> Callable[[bytes], object]:
    """Return what is true of a value that any of the regular expressions is found in, anywhere."""
    return re2.compile(b"|".join(b"(?:%b)" % pattern for pattern in patterns), _options()).search  # type: ignore[no-any-return]


def regex_fault(patterns: Iterable[bytes]) -> str:
    """Return what RE2 has against regular expressions, each by itself or all in one; empty if nothing."""
    each = tuple(patterns)
    try:
        for pattern in each:
            re2.compile(pattern, _options())
        searcher(each)
    except re2.error as error:
        said = error.args[0] if error.args else b""
        return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    return ""


@dataclass(frozen=True, slots=True)
class Globs:
    """Globs that a value fits if it fits any: `*` is any run, `?` one byte, and the whole value is meant."""

    exact: frozenset[bytes]
    prefixes: tuple[bytes, ...]
    suffixes: tuple[bytes, ...]
    others: tuple[Test, ...]

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.exact or self.prefixes or self.suffixes or self.others)

    def fits(self, value: bytes) -> bool:
        """Whether the value fits any of them."""
        if value in self.exact or value.startswith(self.prefixes) or value.endswith(self.suffixes):
            return True
        for test in self.others:  # noqa: SIM110 (a generator costs 300 ns more)
            if test(value):
                return True
        return False

    def fits_any(self, values: Iterable[bytes]) -> bool:
        """Whether any of the values fits any of them."""
        return any(map(self.fits, values))


def globs(patterns: Iterable[bytes]) -> Globs:
    """Return globs made ready."""
    exact, prefixes, suffixes, others = set(), [], [], []
    for pattern in dict.fromkeys(patterns):
        pieces = re.sub(rb"\*+", b"*", pattern).split(b"*")
        if b"?" in pattern:
            others.append(_wildcard(pattern))
        elif len(pieces) == 1:
            exact.add(pattern)
        elif len(pieces) == 2 and not pieces[1]:
            prefixes.append(pieces[0])
        elif len(pieces) == 2 and not pieces[0]:
            suffixes.append(pieces[1])
        else:
            others.append(_in_order(pieces))
    return Globs(frozenset(exact), tuple(prefixes), tuple(suffixes), tuple(others))


def _in_order(pieces: list[bytes]) -> Test:
    """Return the test of a glob with stars alone: its first and last piece at the ends, the others between in order."""
    first, *between, last = pieces
    least = len(first) + len(last)

    def test(value: bytes) -> bool:
        if len(value) < least or not value.startswith(first) or not value.endswith(last):
            return False
        position, end = len(first), len(value) - len(last)
        for piece in between:
            found = value.find(piece, position, end)
            if found < 0:
                return False
            position = found + len(piece)
        return True

    return test


def _wildcard(pattern: bytes) -> Test:
    parts = {b"*": b".*", b"?": b"."}
    pieces = (parts.get(piece, re2.escape(piece)) for piece in re.split(rb"(\*|\?)", pattern))
    found = re2.compile(rb"(?s)\A%b\z" % b"".join(pieces), _options()).search
    return lambda value: found(value) is not None


class Networks:
    """Networks that an address may lie in."""

    def __init__(self, networks: Iterable[Network]) -> None:
        self._tables: dict[int, dict[int, set[int]]] = {4: {}, 6: {}}
        """By version, then by the bits that a network leaves open: the numbers that the rest may be."""
        for network in networks:
            shift = network.max_prefixlen - network.prefixlen
            known = self._tables[network.version].setdefault(shift, set())
            known.add(int(network.network_address) >> shift)
        self.hold: Callable[[Client | None], bool] = lru_cache(maxsize=4096)(self._hold)
        """Whether an address lies in any of them; clients come again, so the answers are kept."""

    def _hold(self, client: Client | None) -> bool:
        if client is None:
            return False
        version, number = client
        for shift, known in self._tables[version].items():  # noqa: SIM110 (a generator costs 300 ns more)
            if number >> shift in known:
                return True
        return False


@lru_cache(maxsize=4096)
def client(text: str) -> Client | None:
    """Return an address as numbers, an IPv4 one in IPv6's clothes as what it is; None for a unix socket."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.version, int(address)
