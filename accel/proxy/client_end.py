"""The part of a client's connection that compiled code uses: compiled too, or, where it could not be, as it is here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from accel.proxy.phase import Phase

try:
    from accel.proxy._hot import ClientEnd
except ImportError:

    class ClientEnd:  # type: ignore[no-redef]
        """What a replay or a relay needs to know of the connection that it goes out by."""

        __slots__ = ("client_ip", "exchanges", "id", "phase", "since", "transport")

        client_ip: str
        """The client's address; empty: it has none."""
        exchanges: int
        """How many have begun."""
        id: int
        """Of those of this worker, from 1; 0: not admitted yet."""
        phase: Phase
        since: float
        """When that began, monotonic, s; or, where only replays came in between, the last one's time."""
        transport: asyncio.Transport


__all__ = ["ClientEnd"]
