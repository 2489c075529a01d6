"""The options' sources, their order, and what is said of a wrong one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from accel import options
from accel.config import Address, BackendConfig, Balance, Config
from accel.errors import ConfigError
from accel.option_table import BY_NAME

BACKEND = {"backend": ("127.0.0.1:8001",)}


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], str]:
    """Return a function that writes a configuration file and returns its path."""

    def write(text: str) -> str:
        path = tmp_path / "accel.toml"
        path.write_text(text)
        return str(path)

    return write


def refusal(flags: dict[str, Any], environ: dict[str, str]) -> str:
    with pytest.raises(ConfigError) as caught:
        options.load(flags, environ)
    return str(caught.value)


def _places(part: Any, prefix: str = "") -> set[str]:
    """Return the dotted places of all that an operator could set."""
    found: set[str] = set()
    for one in fields(part):
        value = getattr(part, one.name)
        place = f"{prefix}{one.name}"
        found |= _places(value, f"{place}.") if is_dataclass(value) else {place}
    return found


def test_every_field_of_the_configuration_has_its_option() -> None:
    of_policies_alone = {"origin.host", "origin.backups"}
    assert {option.place for option in BY_NAME.values()} == _places(Config()) - of_policies_alone


def test_every_default_can_be_written_back_as_it_is_shown() -> None:
    for option in BY_NAME.values():
        for text in option.shown_default().split(", "):
            if text:
                option.kind.parse(text)


def test_what_is_not_given_is_as_config_has_it() -> None:
    config = options.load(BACKEND, {"ACCEL_WORKERS": "1"})

    assert config.origin.backends == (BackendConfig(Address("127.0.0.1", 8001)),)
    assert replace(config, server=Config().server, origin=Config().origin) == Config()


def test_the_command_line_wins_over_a_variable_and_that_over_the_file(file: Callable[[str], str]) -> None:
    path = file('head-timeout = "1s"\nidle-timeout = "1s"\nbody-timeout = "1s"\n')
    environ = {"ACCEL_CONFIG": path, "ACCEL_IDLE_TIMEOUT": "2s", "ACCEL_BODY_TIMEOUT": "2s"}

    timeouts = options.load(BACKEND | {"body-timeout": "3s"}, environ).timeouts

    assert (timeouts.head_s, timeouts.idle_s, timeouts.body_s) == (1.0, 2.0, 3.0)


def test_a_list_is_replaced_by_a_stronger_source_and_not_added_to() -> None:
    config = options.load({"backend": ("a:1", "b:2,c:3*2")}, {"ACCEL_BACKEND": "d:4"})

    assert [str(backend.address) for backend in config.origin.backends] == ["a:1", "b:2", "c:3"]


def test_a_file_holds_texts_numbers_truths_and_lists(file: Callable[[str], str]) -> None:
    path = file(
        'backend = ["127.0.0.1:8001-8002", "unix:/run/app.sock"]\nbalance = "least-conn"\nworkers = 3\n'
        "retry-share = 0.1\nheuristic = true\nmemory = 1048576\npurge-from = []\n"
    )

    config = options.load({"config": path}, {})

    assert len(config.origin.backends) == 3
    assert config.origin.balance is Balance.LEAST_CONN
    assert (config.server.workers, config.origin.retry_share, config.caching.heuristic) == (3, 0.1, True)
    assert (config.memory_bytes, config.purge_from) == (1 << 20, ())


def test_a_flag_that_is_on_in_the_file_can_be_switched_off(file: Callable[[str], str]) -> None:
    flags = BACKEND | {"config": file("heuristic = true"), "heuristic": False}

    assert options.load(flags, {}).caching.heuristic is False


def test_an_empty_variable_is_no_value() -> None:
    assert options.load(BACKEND, {"ACCEL_MEMORY": ""}).memory_bytes == Config().memory_bytes


def test_none_empties_a_list() -> None:
    assert options.load(BACKEND | {"purge-from": ("none",)}, {}).purge_from == ()


def test_what_kubernetes_sets_for_a_service_called_accel_is_left_alone() -> None:
    environ = {"ACCEL_PORT": "tcp://10.0.0.7:80", "ACCEL_SERVICE_HOST": "10.0.0.7"}

    assert options.load(BACKEND, environ).server.listen == (Address("", 8080),)


@pytest.mark.parametrize(
    ("flags", "environ", "source", "hint"),
    [
        (BACKEND | {"memory": "lots"}, {}, "--memory: 'lots'", "such as 4096, 64k"),
        (BACKEND | {"memory": "1k"}, {}, "--memory: '1k'", "the least is 1m"),
        (BACKEND, {"ACCEL_WORKERS": "0"}, "ACCEL_WORKERS: '0'", "from 1 to 128"),
        (BACKEND, {"ACCEL_WORKER": "2"}, "ACCEL_WORKER: '2'", "did you mean ACCEL_WORKERS?"),
        ({}, {}, "--backend: give", "--backend 127.0.0.1:8001"),
        ({"backend": ("h:1-3", "h:2*4")}, {}, "--backend: 'h:2'", "there twice"),
        (BACKEND | {"listen": ("none",)}, {}, "--listen", "must listen somewhere"),
        (BACKEND | {"listen": (":8001",)}, {}, "--backend: '127.0.0.1:8001'", "itself listens there"),
        (BACKEND | {"store": "/d", "store-kind": "private"}, {}, "--store: '/d'", "private stores lie in no file"),
        (BACKEND | {"config": "/nowhere.toml"}, {}, "--config: '/nowhere.toml'", "No such file"),
        (BACKEND, {"ACCEL_CONFIG": "/etc"}, "ACCEL_CONFIG: '/etc'", "Is a directory"),
    ],
)
def test_a_refusal_names_source_value_and_what_would_do(
    flags: dict[str, Any], environ: dict[str, str], source: str, hint: str
) -> None:
    message = refusal(flags, environ)

    assert message.startswith(source)
    assert hint in message


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('head_timeout = "1s"', "accel.toml: head_timeout: '1s' will not do: there is no such key"),
        ('head_timeout = "1s"', "did you mean head-timeout?"),
        ('colour = "red"', "there is no such key; the keys are the long names"),
        ("head-timeout = []", "accel.toml: head-timeout: [] will not do: it takes one value"),
        ('head-timeout = "soon"', "accel.toml: head-timeout: 'soon' will not do"),
        ("[limits]\nmax-fields = 3", "there is no such key"),
        ("memory = 2020-01-01", "write a text, a number"),
        ("memory = ", "it is not TOML"),
    ],
)
def test_a_refusal_of_the_file_names_file_and_key(file: Callable[[str], str], text: str, hint: str) -> None:
    assert hint in refusal(BACKEND | {"config": file(text)}, {})


def test_the_admin_socket_is_named_after_the_instance_and_tcp_comes_beside_it() -> None:
    flags = BACKEND | {"name": "shop", "admin": ("127.0.0.1:9000",)}

    unix, tcp = options.load(flags, {}).server.admin

    assert (Path(unix.path).name, str(tcp)) == ("shop.sock", "127.0.0.1:9000")


def test_a_unix_admin_socket_that_is_given_replaces_it() -> None:
    config = options.load(BACKEND | {"admin": ("unix:/run/shop/admin.sock",)}, {})

    assert [str(address) for address in config.server.admin] == ["unix:/run/shop/admin.sock"]


def test_only_root_may_change_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)

    assert "--user: 'root' will not do: only root" in refusal(BACKEND | {"user": "root"}, {})


def test_a_policy_may_bring_its_own_origins() -> None:
    assert options.load({"policy": "shop.policy"}, {}).policy_path == "shop.policy"
    with pytest.raises(ConfigError, match="--backend: give"):
        options.load({"policy": "none"}, {})
