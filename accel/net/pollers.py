"""Whether sockets of our own can be had: they are compiled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accel.net._sockets import Poller


def make_poller() -> Poller | None:
    """Return the running loop's sockets; None if they could not be compiled: then the loop's transports have to do."""
    try:
        from accel.net._sockets import Poller
    except ImportError:
        return None
    return Poller(asyncio.get_running_loop())
