"""What of `_hot.pyx` Python uses."""

import asyncio
from collections.abc import Callable

from accel.config import Limits
from accel.net._sockets import SocketReader
from accel.proxy.covering import CoveredResponse
from accel.proxy.phase import Phase
from accel.stats._ring import RingWriter
from accel.store._shared import Glance

NEW_HOST: bytes

class ClientEnd:
    phase: Phase
    since: float
    client_ip: str
    id: int
    exchanges: int
    transport: asyncio.Transport

class FieldTable:
    keys_client: bool
    def __init__(
        self,
        general: frozenset[bytes],
        keyed: tuple[bytes, ...],
        cookies: tuple[bytes, ...],
        prefixes: tuple[bytes, ...],
        keys_client: bool,
        site_at: int = 0,
        edition: int = 0,
    ) -> None: ...

class Replayer(SocketReader):
    is_on: bool
    unknown: bytes | None
    def __init__(
        self,
        words: memoryview,
        counters: memoryview,
        wall: Callable[[], float] | None,
        mono: Callable[[], float] | None,
        entries: int,
        histograms: memoryview | None = None,
    ) -> None: ...
    def __len__(self) -> int: ...
    @property
    def hosts(self) -> int: ...
    def forget(self) -> None: ...
    def bound(self, limits: Limits) -> None: ...
    def tell(self, log: RingWriter | None) -> None: ...
    def govern(self, authority: bytes, table: FieldTable | None) -> None: ...
    def keep(
        self,
        signature: bytes,
        glance: Glance,
        listed: Glance | None,
        head: bytes,
        entry: CoveredResponse,
        is_not_modified: bool,
        told: tuple[bytes, bytes, bytes, int],
        note: Callable[[int], None],
    ) -> None: ...
    def answer(self, connection: ClientEnd, data: bytes) -> bytes | None: ...
