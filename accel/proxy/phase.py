"""What a client's connection may be waiting for."""

from enum import Enum


class Phase(Enum):
    """What the connection is waiting for."""

    IDLE = "the first byte of a request"
    HEAD = "the rest of a head"
    BUSY = "an exchange to end"
    LINGER = "the client to close, after our last answer"
    TUNNEL = "either side of a tunnel to close"
    CLOSED = "nothing"
