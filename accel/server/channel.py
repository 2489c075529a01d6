"""What the arbiter and one worker say to each other: typed messages over a socket pair that only they hold.

A datagram a message (SOCK_SEQPACKET), so none is ever torn; pickled. A worker may have less rights than the arbiter
(`--user`), so what it sends may name nothing but the messages below: unpickling it can then run no code. End of file
means that the other process is gone. A message that does not fit the kernel's buffer (a stopped worker reads nothing)
is not sent and `send` says so: the sender decides, nobody waits.
"""

from __future__ import annotations

import asyncio
import io
import pickle
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from accel.config import Config
from accel.http.message import Request
from accel.proxy.sweeping import Job
from accel.server.journal import note
from accel.server.policy_parcel import Parcel

_LARGEST = 1 << 20


@dataclass(frozen=True, slots=True)
class BackendFailed:
    """Worker to arbiter: a fetch to backend `row` failed."""

    row: int
    why: str


@dataclass(frozen=True, slots=True)
class Invalidate:
    """Worker to arbiter: invalidate these names of a kind (`What`); `counted` asks how many responses it hit."""

    ticket: int
    what: str
    names: tuple[bytes, ...]
    is_soft: bool
    counted: bool


@dataclass(frozen=True, slots=True)
class Invalidated:
    """Arbiter to worker: the answer to `Invalidate`. By now no worker serves what was covered."""

    ticket: int
    count: int = 0
    workers: int = 0
    answered: int = 0
    is_counting: bool = False
    status: int = 0
    """Of the refusal, 0 if it is done."""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Drop:
    """Arbiter to worker: free what is stored under these primary keys (if soft, keep it) and say how much it was."""

    ticket: int
    keys: tuple[bytes, ...]
    is_soft: bool = False


@dataclass(frozen=True, slots=True)
class WalkOwn:
    """Arbiter to worker: walk your own store for these, if any, and answer; the answer also says that every
    commit that began before this message came is over."""

    ticket: int
    jobs: tuple[Job, ...]


@dataclass(frozen=True, slots=True)
class Dropped:
    """Worker to arbiter: the answer to `Drop` and to `WalkOwn`, a number for each key or job."""

    ticket: int
    counts: tuple[int, ...]
    dropped: int = 0
    """Of a walk: responses that went."""


@dataclass(frozen=True, slots=True)
class Configure:
    """Arbiter to worker: use this configuration for every request from now on; `rows` places each pool's backends."""

    generation: int
    config: Config
    rows: Mapping[str, tuple[int, ...]]
    policies: Parcel


@dataclass(frozen=True, slots=True)
class Configured:
    """Worker to arbiter: configuration `generation` is in use; fetches of older ones have picked their backends."""

    generation: int


@dataclass(frozen=True, slots=True)
class Explain:
    """What would become of this request now?"""

    request: Request
    client_ip: str


@dataclass(frozen=True, slots=True)
class Profile:
    """Where is time spent, in so many seconds from now on?"""

    seconds: float


@dataclass(frozen=True, slots=True)
class Dump:
    """What is under way?"""


Question = Explain | Profile | Dump


@dataclass(frozen=True, slots=True)
class Ask:
    """Arbiter to worker: an operator's question."""

    ticket: int
    question: Question


@dataclass(frozen=True, slots=True)
class Told:
    """Worker to arbiter: the answer to `Ask`, packed JSON (`inquiries`)."""

    ticket: int
    facts: bytes


Message = (
    BackendFailed | Invalidate | Invalidated | Drop | WalkOwn | Dropped | Configure | Configured | Ask | Told
)

_OF_WORKERS = {kind.__name__: kind for kind in (BackendFailed, Invalidate, Dropped, Configured, Told)}
"""All that an arbiter takes from a worker."""


class _FromWorker(pickle.Unpickler):
    """Reads a worker's message; any other name in it is an error."""

    def find_class(self, module: str, name: str) -> type:
        """pickle: return what a name stands for."""
        if module != __name__ or name not in _OF_WORKERS:
            raise pickle.UnpicklingError(f"{module}.{name} is no message of a worker")
        return _OF_WORKERS[name]


class Channel:
    """One end of the pair."""

    def __init__(self, end: socket.socket, is_arbiters: bool) -> None:
        end.setblocking(False)
        self._socket = end
        self._is_arbiters = is_arbiters
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_message: Callable[[Message], None] | None = None
        self._on_end: Callable[[], None] | None = None

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Return two connected ends: the arbiter's and the worker's."""
        left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (left, right):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LARGEST)
        return cls(left, True), cls(right, False)

    def listen(
        self,
        loop: asyncio.AbstractEventLoop,
        on_message: Callable[[Message], None],
        on_end: Callable[[], None],
    ) -> None:
        """Call `on_message` for each message, and `on_end` once when the other process is gone."""
        self._loop, self._on_message, self._on_end = loop, on_message, on_end
        loop.add_reader(self._socket.fileno(), self._readable)

    def send(self, message: Message) -> bool:
        """Send without waiting; False if the other end is gone or does not read."""
        try:
            self._socket.send(pickle.dumps(message))
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close this end. In a child that only inherited it, the loop was never its own and is not touched."""
        if self._loop is not None and self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    def forget(self) -> None:
        """Close an end that this process inherited by fork and that its parent still listens on."""
        self._loop = None
        self._socket.close()

    def _readable(self) -> None:
        assert self._on_message is not None and self._on_end is not None
        while True:
            try:
                data = self._socket.recv(_LARGEST)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.close()
                self._on_end()
                return
            message = self._read(data)
            if message is not None:
                self._on_message(message)

    def _read(self, data: bytes) -> Message | None:
        """Return a message; None for what no worker of ours sends."""
        if not self._is_arbiters:
            message: Message = pickle.loads(data)
            return message
        try:
            said = _FromWorker(io.BytesIO(data)).load()
        except Exception as error:  # bytes of whoever took a worker over may fail in any way
            note("message-refused", why=error)
            return None
        return said if isinstance(said, BackendFailed | Invalidate | Dropped | Configured | Told) else None
