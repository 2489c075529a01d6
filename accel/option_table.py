"""Every option, declared once: its name, its place in the configuration, how it is read, one line of help.

From this table come the flags (`--head-timeout 5s`), the environment (`ACCEL_HEAD_TIMEOUT=5s`), the keys
of the configuration file (`head-timeout = "5s"`) and the help. Reads nothing itself: that is `options`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from accel import addresses, values
from accel.config import Balance, Config, LogFormat, StoreKind
from accel.values import Kind, at_least, or_word


class Group(Enum):
    """A heading of the help."""

    ORIGINS = "Origins"
    HEALTH = "Health of origins"
    LISTENING = "Listening"
    CACHING = "Caching"
    LOGGING = "Access log"
    PROCESSES = "Processes"
    TIMEOUTS = "Client timeouts"
    LIMITS = "Limits"


@dataclass(frozen=True, slots=True)
class Option:
    """One option as the operator sees it and as the program keeps it."""

    name: str
    """`head-timeout`: the flag without its dashes and the key in the file."""
    place: str
    """`timeouts.head_s`: the attribute of `Config` that it sets."""
    kind: Kind
    help: str
    short: str = ""
    many: bool = False
    """May be repeated and hold comma lists; the value is a tuple."""
    default: str = ""
    """Text of a default that `Config` cannot know, such as one worker a core."""

    @property
    def variable(self) -> str:
        """The name in the environment."""
        return "ACCEL_" + self.name.upper().replace("-", "_")

    def shown(self, config: Config) -> str:
        """Return its value in `config` as an operator would write it; empty for an empty tuple."""
        value = _at(config, self.place)
        return ", ".join(map(self.kind.show, value)) if self.many else self.kind.show(value)

    def shown_default(self) -> str:
        """Return its default as an operator would write it."""
        return self.default or self.shown(Config())


TIME = Kind("TIME", values.positive_duration, values.show_duration)
TIME_OR_ZERO = Kind("TIME", values.duration, values.show_duration)
WHOLE_SECONDS = Kind("TIME", lambda text: int(values.duration(text)), values.show_duration)
SIZE = Kind("SIZE", at_least(1, values.size), values.show_size)
HEAD_SIZE = Kind("SIZE", at_least(256, values.size), values.show_size)
WINDOW = Kind("SIZE", at_least(4096, values.size, values.show_size), values.show_size)
MEMORY = Kind("SIZE", at_least(1 << 20, values.size, values.show_size), values.show_size)
RING = Kind("SIZE", values.zero_or(at_least(256 << 10, values.size, values.show_size)), values.show_size)
COUNT = Kind("N", values.whole_number)
POSITIVE = Kind("N", at_least(1, values.whole_number))
SHARE = Kind("SHARE", values.share, lambda share: f"{share:g}")
FLAG = Kind("", values.truth, lambda on: str(on).lower())
BACKENDS = Kind("HOST:PORT[-PORT][*WEIGHT]", addresses.backends, addresses.show_backend)
ADDRESS = Kind("ADDRESS", addresses.listen_address)
NETWORK = Kind("CIDR", addresses.network)
PATH = Kind("PATH", values.file_path)

OPTIONS: dict[Group, tuple[Option, ...]] = {
    Group.ORIGINS: (
        Option("backend", "origin.backends", BACKENDS,
               "An origin, or several: 127.0.0.1:8001-8008, app:80*2, unix:/run/app.sock.", "b", many=True),
        Option("balance", "origin.balance", values.one_of(Balance), "How a backend is chosen."),
        Option("connect-timeout", "origin.timeouts.connect_s", TIME, "To connect to a backend."),
        Option("first-byte-timeout", "origin.timeouts.first_byte_s", TIME,
               "From the request sent to the first byte of its response."),
        Option("between-bytes-timeout", "origin.timeouts.between_bytes_s", TIME,
               "Between two pieces of a response."),
        Option("fetch-timeout", "origin.timeouts.whole_s", or_word("none", TIME), "For a whole fetch."),
        Option("max-connections", "origin.max_connections", COUNT,
               "Fetches in flight a backend, over all workers; 0 for no limit."),
        Option("queue-length", "origin.queue_length", COUNT, "Fetches that wait when every backend is full."),
        Option("queue-timeout", "origin.queue_s", TIME, "How long one of them waits."),
        Option("retry-share", "origin.retry_share", SHARE, "At most this share of fetches may be retries."),
        Option("trace", "origin.trace", FLAG,
               "Begin a trace (traceparent, sampled) for requests that come without one."),
        Option("origin-idle-connections", "origin.keep_alive_connections", COUNT,
               "Idle connections kept to each backend by each worker."),
        Option("origin-idle-timeout", "origin.keep_alive_s", TIME_OR_ZERO,
               "How long they are kept; keep it below the origin's own time."),
    ),
    Group.HEALTH: (
        Option("probe", "probe.path", or_word("none", Kind("PATH", values.probe_path)),
               "Ask each backend for this path; none: only connect, and only to those that are down."),
        Option("probe-interval", "probe.interval_s", TIME, "Between two probes of a backend."),
        Option("probe-timeout", "probe.timeout_s", TIME, "For one probe."),
        Option("probe-rise", "probe.rise", POSITIVE, "Good probes that bring a backend back."),
        Option("probe-fall", "probe.fall", POSITIVE, "Failures that take it out."),
        Option("slow-start", "probe.slow_start_s", TIME_OR_ZERO,
               "A returned backend's share grows over this time."),
    ),
    Group.LISTENING: (
        Option("listen", "server.listen", ADDRESS,
               "Where clients connect: :8080 for all addresses, [::1]:8080, unix:PATH.", "l", many=True),
        Option("reuseport", "server.reuseport", FLAG,
               "One listening socket a worker instead of one for all."),
        Option("admin", "server.admin", ADDRESS,
               "Where accelctl connects, beside a unix socket named after --name; TCP has no password.", many=True),
        Option("purge-from", "purge_from", NETWORK, "Clients that may PURGE; none for nobody.", many=True),
    ),
    Group.CACHING: (
        Option("policy", "policy_path", or_word("none", Kind("FILE|DIR", values.file_path)),
               "Rules: a policy file, or a directory with one for each site; none: as HTTP says."),
        Option("memory", "memory_bytes", MEMORY, "Bound of the store, all workers together.", "m"),
        Option("store-kind", "store_kind", values.one_of(StoreKind),
               "One store for all workers, or one each; auto: shared where the compiled part is built."),
        Option("store", "store_directory", or_word("none", Kind("DIR", values.file_path)),
               "Keep the shared store in a file of this directory: it is warm after a restart."),
        Option("max-stored-body", "caching.max_body_bytes", or_word("auto", SIZE),
               "Largest body stored; auto: an eighth of the store."),
        Option("heuristic", "caching.heuristic", FLAG,
               "Store responses without explicit freshness by their Last-Modified age."),
        Option("heuristic-fraction", "caching.heuristic_fraction", SHARE,
               "The part of that age they stay fresh."),
        Option("heuristic-cap", "caching.heuristic_cap_s", WHOLE_SECONDS, "The longest such freshness."),
        Option("ignore-reload", "caching.ignore_reload", FLAG,
               "Ignore a client's no-cache, max-age and min-fresh."),
        Option("pass-memory", "caching.pass_memory_s", WHOLE_SECONDS,
               "How long to remember that a response may not be stored."),
        Option("coalesce-wait", "caching.coalesce_wait_s", or_word("none", TIME_OR_ZERO),
               "How long a miss waits for another's fetch of a page of which nothing is known; none: to its end."),
        Option("refreshes", "caching.refreshes", or_word("none", POSITIVE),
               "Refreshes behind stale hits at once, all workers together; a worker has its share, and at least one."),
    ),
    Group.LOGGING: (
        Option("access-log", "log.path", or_word("none", PATH), "File to append to; - for standard output."),
        Option("log-format", "log.format", values.one_of(LogFormat), "How a record is written."),
        Option("log-memory", "log.memory_bytes", RING,
               "What a worker keeps of its latest records, for files and accelctl log; 0: no log at all."),
    ),
    Group.PROCESSES: (
        Option("name", "server.name", Kind("NAME", values.instance_name), "Tells several accels apart."),
        Option("workers", "server.workers", Kind("N|auto", values.worker_count),
               "Worker processes; auto: one a core.", "w", default="auto"),
        Option("worker-timeout", "server.worker_timeout_s", TIME,
               "A worker stuck for this long is replaced."),
        Option("graceful-timeout", "server.graceful_timeout_s", TIME_OR_ZERO,
               "How long a stop waits for exchanges to end."),
        Option("upgrade-timeout", "server.upgrade_timeout_s", TIME,
               "How long a new program (USR2) may take until it serves."),
        Option("user", "server.user", or_word("none", Kind("NAME", values.user_name)),
               "User of the workers, from root."),
        Option("group", "server.group", or_word("none", Kind("NAME", values.group_name)), "Their group."),
        Option("pid", "server.pid_file", or_word("none", PATH), "File to write the arbiter's process id to."),
    ),
    Group.TIMEOUTS: (
        Option("head-timeout", "timeouts.head_s", TIME, "A request's head, from its first byte."),
        Option("idle-timeout", "timeouts.idle_s", TIME, "A kept-alive connection between requests."),
        Option("body-timeout", "timeouts.body_s", TIME, "Between two pieces of a request's body."),
        Option("write-timeout", "timeouts.write_s", TIME, "A client that reads nothing."),
        Option("least-rate", "timeouts.least_rate", Kind("SIZE", values.size, values.show_size),
               "Bytes a second that a client must read or send; 0 for any."),
        Option("least-rate-after", "timeouts.least_rate_after_s", TIME_OR_ZERO, "From when that is asked."),
    ),
    Group.LIMITS: (
        Option("head-size", "limits.head_bytes", HEAD_SIZE, "A whole head."),
        Option("field-size", "limits.field_bytes", HEAD_SIZE, "One field of it."),
        Option("target-size", "limits.target_bytes", HEAD_SIZE, "The request's target."),
        Option("max-fields", "limits.fields", POSITIVE, "Fields of a head."),
        Option("max-body", "limits.body_bytes", or_word("none", Kind("SIZE", values.size, values.show_size)),
               "A request's body."),
        Option("window", "limits.window_bytes", WINDOW, "Bytes buffered for one slow reader."),
        Option("max-clients", "limits.connections", or_word("auto", POSITIVE),
               "Client connections a worker; auto: by the open-file limit."),
        Option("max-requests", "limits.requests_per_connection", or_word("none", POSITIVE),
               "Requests of one connection."),
        Option("max-ranges", "limits.ranges", COUNT, "Ranges of one request; beyond it the whole is sent."),
        Option("max-variants", "limits.variants", POSITIVE, "Stored variants of one key."),
    ),
}  # fmt: skip

BY_NAME: dict[str, Option] = {option.name: option for group in OPTIONS.values() for option in group}


def _at(config: object, place: str) -> Any:
    for attribute in place.split("."):
        config = getattr(config, attribute)
    return config
