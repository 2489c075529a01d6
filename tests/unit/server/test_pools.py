"""All pools of a configuration: their names, members and settings."""

from __future__ import annotations

from accel.addresses import backends
from accel.config import Config, OriginOptions
from accel.policy.checked import Checked
from accel.policy.loader import load
from accel.server.pools import pools_of


def no_file(policy: str, name: str) -> str:
    """Stand in for a disk with nothing on it."""
    raise FileNotFoundError(name)


def checked(**texts: str) -> tuple[Checked, ...]:
    """Return files by name."""
    loaded = load({f"{name}.policy": f"policy 1\n{text}\n" for name, text in texts.items()}, no_file)
    assert not loaded.refused
    return loaded.policies


def test_pools_of_two_files_do_not_meet() -> None:
    text = "site {0}.example\npool app {{ servers 127.0.0.1:800{1} }}"
    policies = checked(a=text.format("a", 1), b=text.format("b", 2))

    pools = pools_of(Config(origin=OriginOptions(backends=backends("127.0.0.1:9"))), policies)

    assert [(pool.name, str(pool.members[0].address)) for pool in pools] == [
        ("", "127.0.0.1:9"),
        ("a.policy:app", "127.0.0.1:8001"),
        ("b.policy:app", "127.0.0.1:8002"),
    ]


def test_backups_come_last_and_the_host_goes_along() -> None:
    (policy,) = checked(a='pool app { servers 127.0.0.1:1, 127.0.0.1:2; backup 127.0.0.1:3; host "app.internal" }')

    pool = pools_of(Config(), [policy])[1]

    assert [one.address.port for one in pool.members] == [1, 2, 3]
    assert [one.address.port for one in pool.origin.backups] == [3]
    assert pool.origin.host == "app.internal"


def test_the_command_lines_pool_is_there_with_nobody_in_it() -> None:
    (pool,) = pools_of(Config(), ())

    assert (pool.name, pool.members) == ("", ())
