"""What the operator set, as frozen values. Owns shapes and defaults; `options` reads them from flags, environment
and file. Each class of the program gets its own part, never the whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Network, IPv6Network, ip_network

Network = IPv4Network | IPv6Network

MOST_WORKERS = 128
"""What the scoreboard has rows for."""


class Balance(Enum):
    """How a backend is chosen."""

    ROUND_ROBIN = "round-robin"
    LEAST_CONN = "least-conn"
    TWO_CHOICES = "two-choices"


class StoreKind(Enum):
    """Where stored responses lie."""

    AUTO = "auto"
    """Shared where the compiled part was built, else private."""
    SHARED = "shared"
    """In one memory of all workers."""
    PRIVATE = "private"
    """In each worker's own memory."""


class LogFormat(Enum):
    """How an access log record is written."""

    COMBINED = "combined"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP address (`host`, `port`) or a unix socket (`path`)."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class BackendConfig:
    """One origin address and its share."""

    address: Address
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes and counts (HTTP/1 has none of its own)."""

    head_bytes: int = 32 * 1024
    field_bytes: int = 8 * 1024
    target_bytes: int = 8 * 1024
    fields: int = 100
    body_bytes: int | None = None
    window_bytes: int = 64 * 1024
    connections: int | None = None
    """A worker's client connections; None: (open-file limit - 64) / 2."""
    ranges: int = 8
    variants: int = 32
    requests_per_connection: int | None = None


@dataclass(frozen=True, slots=True)
class ClientTimeouts:
    """How long a client may take."""

    head_s: float = 10.0
    idle_s: float = 15.0
    body_s: float = 15.0
    write_s: float = 30.0
    least_rate: int = 500
    """Bytes a second, held to after `least_rate_after_s`, reading and writing; 0 for none."""
    least_rate_after_s: float = 10.0


@dataclass(frozen=True, slots=True)
class OriginTimeouts:
    """How long a backend may take."""

    connect_s: float = 1.0
    first_byte_s: float = 15.0
    between_bytes_s: float = 15.0
    whole_s: float | None = None


@dataclass(frozen=True, slots=True)
class OriginOptions:
    """The pool: its members, how one is chosen, how its connections are kept."""

    backends: tuple[BackendConfig, ...] = ()
    balance: Balance = Balance.ROUND_ROBIN
    timeouts: OriginTimeouts = field(default_factory=OriginTimeouts)
    keep_alive_connections: int = 64
    """Idle connections kept for each backend in each worker."""
    keep_alive_s: float = 4.0
    """Below the 5 s after which common origins close an idle connection."""
    max_connections: int = 0
    """In-flight fetches a backend over all workers; 0 for no limit."""
    queue_length: int = 256
    queue_s: float = 2.0
    retry_share: float = 0.2
    """At most this share of fetches may be retries."""
    trace: bool = False
    """Begin a trace for requests without one (`origin.tracing`)."""
    backups: tuple[BackendConfig, ...] = ()
    """Picked while none of `backends` is up."""
    host: str = ""
    """The Host that they get; empty: the request's own."""


@dataclass(frozen=True, slots=True)
class ProbeOptions:
    """Active and passive health."""

    path: str | None = None
    """None: backends are only probed by connecting, and only while they are down."""
    interval_s: float = 2.0
    timeout_s: float = 1.0
    rise: int = 2
    fall: int = 3
    slow_start_s: float = 10.0


@dataclass(frozen=True, slots=True)
class CachingOptions:
    """What RFC 9111 leaves to the cache."""

    heuristic: bool = False
    heuristic_fraction: float = 0.1
    heuristic_cap_s: int = 24 * 3600
    ignore_reload: bool = False
    """Ignore a client's no-cache, max-age and min-fresh."""
    pass_memory_s: int = 120
    """How long a hit-for-miss mark stands."""
    coalesce_wait_s: float | None = 0.1
    """How long a miss waits for another's fetch of which nothing is known; None: for as long as that takes."""
    refreshes: int | None = 32
    """Refreshes behind stale hits at once, all workers together; None for no limit."""
    max_body_bytes: int | None = None
    """Largest body stored; None: an eighth of the store."""


@dataclass(frozen=True, slots=True)
class LogOptions:
    """The access log."""

    path: str | None = None
    """`-` for standard output, None for no log."""
    format: LogFormat = LogFormat.COMBINED
    memory_bytes: int = 4 * 1024 * 1024
    """Of each worker's ring of records, from which files are written and `accelctl log` reads; 0: none."""


LOOPBACK: tuple[Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Processes and how they are reached."""

    name: str = "accel"
    workers: int = 1
    worker_timeout_s: float = 3.0
    graceful_timeout_s: float = 30.0
    upgrade_timeout_s: float = 60.0
    listen: tuple[Address, ...] = (Address("", 8080),)
    """An empty host means all addresses of both families."""
    reuseport: bool = False
    admin: tuple[Address, ...] = ()
    user: str | None = None
    group: str | None = None
    pid_file: str | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """Everything together: only the command line and the arbiter hold one."""

    server: ServerOptions = field(default_factory=ServerOptions)
    origin: OriginOptions = field(default_factory=OriginOptions)
    probe: ProbeOptions = field(default_factory=ProbeOptions)
    limits: Limits = field(default_factory=Limits)
    timeouts: ClientTimeouts = field(default_factory=ClientTimeouts)
    caching: CachingOptions = field(default_factory=CachingOptions)
    log: LogOptions = field(default_factory=LogOptions)
    memory_bytes: int = 256 * 1024 * 1024
    """The store's bound over all workers together."""
    store_kind: StoreKind = StoreKind.AUTO
    store_directory: str | None = None
    """Where the shared store lies in a file, to be warm after a restart; None: in memory alone."""
    purge_from: tuple[Network, ...] = LOOPBACK
    policy_path: str | None = None
    """A policy file, or a directory with one for each site; None: the built-in rules."""
