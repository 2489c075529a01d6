"""What of `_sockets.pyx` Python uses."""

import asyncio
from typing import Any

class SocketReader: ...

class SocketTransport(asyncio.Transport):
    @property
    def fd(self) -> int: ...

class Poller:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None: ...
    def accept(self, listening: int) -> tuple[int, Any]: ...
    def attach(
        self,
        fd: int,
        protocol: asyncio.BaseProtocol,
        peer: Any = None,
        reader: SocketReader | None = None,
        most_bytes: int = ...,
    ) -> SocketTransport: ...
    def turn(self) -> None: ...
    def close(self) -> None: ...
