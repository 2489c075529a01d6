"""A worker's channel as a test sees it: it keeps what is sent, and the test answers."""

from __future__ import annotations

import asyncio

from accel.server.channel import Channel, Message


class FakeChannel(Channel):
    """An end that keeps what is sent over it."""

    def __init__(self, is_open: bool = True) -> None:
        self.sent: list[Message] = []
        self._is_open = is_open

    def send(self, message: Message) -> bool:
        """Keep a message."""
        if self._is_open:
            self.sent.append(message)
        return self._is_open


async def turn() -> None:
    """Let everything that is ready run."""
    for _ in range(8):
        await asyncio.sleep(0)
