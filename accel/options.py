"""Reads the options from their sources: command line over environment over file over default.

Invariant: `load` reads nothing but its arguments and the file they name, so a reload with the same arguments
sees what changed in that file and nothing else.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accel import addresses
from accel.config import Address, BackendConfig, Config, StoreKind
from accel.errors import ConfigError
from accel.option_table import BY_NAME, Option
from accel.server.listeners import admin_socket_path

CONFIG_VARIABLE = "ACCEL_CONFIG"


@dataclass(frozen=True, slots=True)
class Given:
    """What one source says of one option, with the source's own name for it."""

    where: str
    texts: tuple[str, ...]


def load(flags: Mapping[str, object], environ: Mapping[str, str]) -> Config:
    """Return the configuration that the sources make together.

    `flags` maps option names (and `config`) to what the command line said: a text, a bool, a sequence of
    texts, None and () for nothing. Raises ConfigError, which names the source, the value and what would do.
    """
    given = _from_file(flags, environ)
    given |= _from_environment(environ)
    given |= _from_flags(flags)
    config = Config()
    for option in BY_NAME.values():
        if option.name in given:
            config = _put(config, option.place, _read(option, given[option.name]))
        elif option.default:
            config = _put(config, option.place, option.kind.parse(option.default))
    _check(config, given)
    return _with_admin_socket(config, environ)


def _with_admin_socket(config: Config, environ: Mapping[str, str]) -> Config:
    """Put the unix socket named after the instance before its other admin addresses, unless one is given."""
    admin = config.server.admin
    if not any(address.path for address in admin):
        admin = (Address(path=admin_socket_path(config.server.name, environ)), *admin)
    return replace(config, server=replace(config.server, admin=admin))


def _from_flags(flags: Mapping[str, object]) -> dict[str, Given]:
    return {
        name: Given(f"--{name}", _texts(value))
        for name, value in flags.items()
        if name in BY_NAME and value is not None and value != ()
    }


def _from_environment(environ: Mapping[str, str]) -> dict[str, Given]:
    by_variable = {option.variable: option for option in BY_NAME.values()}
    given = {}
    for variable, text in environ.items():
        if variable in by_variable and text:
            given[by_variable[variable].name] = Given(variable, (text,))
        elif variable.startswith("ACCEL_") and variable not in by_variable and variable != CONFIG_VARIABLE:
            _refuse_slip(variable, text, by_variable)
    return given


def _refuse_slip(variable: str, text: str, known: Iterable[str]) -> None:
    """Refuse what is almost a variable of ours; other ACCEL_ names are left to others.

    Kubernetes gives every container ACCEL_PORT and more when a service is called accel.
    """
    if near := difflib.get_close_matches(variable, known, 1, 0.9):
        raise ConfigError(variable, text, f"there is no such variable; did you mean {near[0]}?")


def _from_file(flags: Mapping[str, object], environ: Mapping[str, str]) -> dict[str, Given]:
    """Read the file that is named, if one is."""
    where = "--config" if flags.get("config") else CONFIG_VARIABLE
    path = str(flags.get("config") or environ.get(CONFIG_VARIABLE, ""))
    if not path:
        return {}
    try:
        table = tomllib.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise ConfigError(where, path, f"it cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(where, path, f"it is not TOML: {error}") from None
    return {key: _from_key(path, key, value) for key, value in table.items()}


def _from_key(path: str, key: str, value: object) -> Given:
    where = f"{path}: {key}"
    if key not in BY_NAME:
        near = difflib.get_close_matches(key.replace("_", "-"), BY_NAME, 1)
        hint = f"did you mean {near[0]}?" if near else "the keys are the long names of accel --help"
        raise ConfigError(where, value, f"there is no such key; {hint}")
    items = value if isinstance(value, list) else [value]
    if not all(isinstance(item, str | int | float) for item in items):
        raise ConfigError(where, value, "write a text, a number, true or false, or a list of them")
    return Given(where, _texts(items))


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, bool):
        return (str(value).lower(),)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(text for item in value for text in _texts(item))
    return (str(value),)


def _read(option: Option, given: Given) -> Any:
    if option.many:
        return _read_many(option, given)
    if len(given.texts) != 1:
        raise ConfigError(given.where, list(given.texts), "it takes one value")
    return _parse(option, given.where, given.texts[0])


def _read_many(option: Option, given: Given) -> tuple[Any, ...]:
    texts = [text.strip() for joined in given.texts for text in joined.split(",")]
    if texts == ["none"]:
        return ()
    parsed = [_parse(option, given.where, text) for text in texts]
    flat = [item for value in parsed for item in (value if isinstance(value, tuple) else (value,))]
    _refuse_repeated(given, [item.address if isinstance(item, BackendConfig) else item for item in flat])
    return tuple(flat)


def _refuse_repeated(given: Given, items: Sequence[object]) -> None:
    seen: set[object] = set()
    for item in items:
        if item in seen:
            raise ConfigError(given.where, str(item), "it is there twice; once is enough")
        seen.add(item)


def _parse(option: Option, where: str, text: str) -> Any:
    try:
        return option.kind.parse(text)
    except ValueError as error:
        raise ConfigError(where, text, str(error)) from None


def _check(config: Config, given: Mapping[str, Given]) -> None:
    """Refuse what only the options together can show."""
    if not config.origin.backends and config.policy_path is None:  # a policy may have pools
        raise ConfigError("--backend", None, "give at least one origin, such as --backend 127.0.0.1:8001")
    if not config.server.listen:
        raise ConfigError(given["listen"].where, "none", "accel must listen somewhere, such as :8080")
    if config.store_directory is not None and config.store_kind is StoreKind.PRIVATE:
        hint = "private stores lie in no file; leave one of --store and --store-kind private out"
        raise ConfigError(given["store"].where, config.store_directory, hint)
    if config.log.path is not None and not config.log.memory_bytes:
        raise ConfigError(given["access-log"].where, config.log.path, "--log-memory 0 keeps no records to be written")
    _refuse_loop(config)
    for name in ("user", "group"):
        if name in given and os.geteuid() != 0:
            refused = given[name].texts[0]
            raise ConfigError(given[name].where, refused, "only root may change to it; leave it out")


def _refuse_loop(config: Config) -> None:
    """Refuse a backend that is accel itself: each request would come back until no connection is left."""
    for backend in config.origin.backends:
        if addresses.is_own(backend.address, config.server.listen):
            raise ConfigError("--backend", str(backend.address), "accel itself listens there; change it or --listen")


def _put(part: Any, place: str, value: object) -> Any:
    """Return the frozen `part` with the attribute at the dotted `place` replaced."""
    attribute, _, rest = place.partition(".")
    return replace(part, **{attribute: _put(getattr(part, attribute), rest, value) if rest else value})
