"""What of `_relay.pyx` Python uses."""

from collections.abc import Callable

from accel.config import Limits
from accel.http.cache_status import Forward
from accel.http.message import Request
from accel.origin.attempt import Begun
from accel.origin.connection import OriginConnection
from accel.origin.fetch import Origin
from accel.origin.wire import Passer
from accel.policy.compile import CompiledPolicy
from accel.proxy.connection import ClientConnection
from accel.proxy.exchange import Exchange
from accel.proxy.fill import Fill
from accel.proxy.outcome import Outcome
from accel.proxy.relay import Relays
from accel.proxy.service import Claim, Service
from accel.stats._ring import RingWriter
from accel.store._shared import Glance
from accel.store.shared import SharedStore

class Plan:
    service: Service
    policy: CompiledPolicy
    origin: Origin
    outcome: Outcome
    reason: Forward
    def __init__(
        self, exchange: Exchange, origin: Origin, before: bytes, after: bytes, shows_client: bool
    ) -> None: ...
    def rest_on(self, mark: Glance, until_at: float, world: int, key_hash: int) -> None: ...
    def look_up(self, most_bytes: int) -> None: ...

class Keeping:
    def __init__(self, form: bytes, lifetime_s: float) -> None: ...

class Relay(Passer):
    plan: Plan
    connection: ClientConnection
    conn: OriginConnection
    begun: Begun
    data: bytes
    started_at: float
    first_byte_at: float
    head_sent: bool
    is_head: bool
    id: int
    key: bytes | None
    number: int
    gathered: bytes | None
    entry: None
    status: int
    body_bytes: int
    body: None
    backend: str
    client_ip: str
    @property
    def service(self) -> Service: ...
    @property
    def outcome(self) -> Outcome: ...
    @property
    def request(self) -> Request: ...
    def client_gone(self) -> None: ...
    def leave(self) -> Claim | None: ...
    def shared(self) -> Fill: ...

class Carrier:
    is_on: bool
    def __init__(
        self,
        owner: Relays,
        store: SharedStore,
        words: memoryview,
        counters: memoryview,
        histograms: memoryview,
        wall: Callable[[], float] | None,
        entries: int,
    ) -> None: ...
    def __len__(self) -> int: ...
    def forget(self) -> None: ...
    def bound(self, limits: Limits) -> None: ...
    def tell_to(self, log: RingWriter | None) -> None: ...
    def world(self) -> int: ...
    def keep(self, signature: bytes, plan: Plan) -> None: ...
    def keep_lookup(self, signature: bytes, plan: Plan) -> None: ...
    def take(self, connection: ClientConnection, data: bytes, signature: bytes) -> bool: ...
