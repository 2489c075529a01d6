"""What a reload changes, and what it says that only a restart can."""

from __future__ import annotations

from dataclasses import replace

from accel.config import CachingOptions, Config, ServerOptions, StoreKind
from accel.server.reloading import with_kept


def test_what_processes_were_made_with_stays_and_is_named() -> None:
    new = Config(
        server=ServerOptions(name="other", pid_file="/run/x", worker_timeout_s=9.0),
        caching=CachingOptions(max_body_bytes=10, heuristic=True),
        memory_bytes=1 << 30,
        store_kind=StoreKind.PRIVATE,
        store_directory="/other",
    )
    config, waiting = with_kept(Config(), new)
    assert waiting == ["name", "pid", "memory", "store-kind", "store", "max-stored-body"]
    assert config == Config(server=ServerOptions(worker_timeout_s=9.0), caching=CachingOptions(heuristic=True))


def test_what_stays_the_same_is_not_named() -> None:
    config = replace(Config(), memory_bytes=1)
    assert with_kept(config, config) == (config, [])
