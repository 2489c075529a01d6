"""A listening socket whose connections become a scene's clients, by either kind of opener."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from accel.net.pollers import make_poller
from accel.proxy.clients import Clients
from accel.server.opening import make_opener

if TYPE_CHECKING:
    from accel.net._sockets import Poller

Kind = Callable[[], "Poller | None"]
KINDS: dict[str, Kind] = {"ours": make_poller, "the loop's": lambda: None}
"""Whose sockets clients come by; where ours are not compiled both are the loop's."""


class Door:
    """It stands open until it is closed."""

    def __init__(self, clients: Clients, kind: Kind) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.setblocking(False)
        self.address = self._listening.getsockname()
        self._opener = make_opener(clients, kind())
        asyncio.get_running_loop().add_reader(self._listening.fileno(), self._opener.take, self._listening)

    def close(self) -> None:
        """Let nobody in."""
        asyncio.get_running_loop().remove_reader(self._listening.fileno())
        self._listening.close()
