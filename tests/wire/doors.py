"""A listening socket whose connections become a scene's clients, by either kind of opener."""

from __future__ import annotations

import asyncio
import socket

from accel.proxy.clients import Clients
from accel.server.opening import IS_COMPILED, LoopOpener, OwnOpener

OPENERS: list[type[OwnOpener] | type[LoopOpener]] = [OwnOpener, LoopOpener] if IS_COMPILED else [LoopOpener]


class Door:
    """It stands open until it is closed."""

    def __init__(self, clients: Clients, kind: type[OwnOpener] | type[LoopOpener]) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.setblocking(False)
        self.address = self._listening.getsockname()
        self._opener = kind(clients)
        asyncio.get_running_loop().add_reader(self._listening.fileno(), self._opener.take, self._listening)

    def close(self) -> None:
        """Let nobody in."""
        asyncio.get_running_loop().remove_reader(self._listening.fileno())
        self._listening.close()
