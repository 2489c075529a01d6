"""What a reload can change and what waits for a restart. Pure: two configurations in, the one to use out."""

from __future__ import annotations

from dataclasses import replace

from accel.config import Config

_OF_SERVER = {
    "listen": "listen",
    "reuseport": "reuseport",
    "name": "name",
    "user": "user",
    "group": "group",
    "pid_file": "pid",
    "admin": "admin",
}
"""Attributes of `ServerOptions` that processes are made with, and the options that set them."""


def with_kept(old: Config, new: Config) -> tuple[Config, list[str]]:
    """Return `new` with what only a restart can change as in `old`, and the options of that kind that differ."""
    kept = {name: getattr(old.server, name) for name in _OF_SERVER}
    config = replace(
        new,
        server=replace(new.server, **kept),
        caching=replace(new.caching, max_body_bytes=old.caching.max_body_bytes),
        memory_bytes=old.memory_bytes,
        store_kind=old.store_kind,
        store_directory=old.store_directory,
        log=replace(new.log, memory_bytes=old.log.memory_bytes),
    )
    waiting = [_OF_SERVER[name] for name, value in kept.items() if getattr(new.server, name) != value]
    of_memory = {
        "memory": new.memory_bytes != old.memory_bytes,
        "store-kind": new.store_kind is not old.store_kind,
        "store": new.store_directory != old.store_directory,
        "log-memory": new.log.memory_bytes != old.log.memory_bytes,
        "max-stored-body": new.caching.max_body_bytes != old.caching.max_body_bytes,
    }
    return config, waiting + [option for option, differs in of_memory.items() if differs]
