"""What `pool` and `purge` come to: the program's own options, filled from the settings.

Owns bounds and meanings of settings. Invariant: what is not set is as the program's defaults have it (`config`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from accel.addresses import backends
from accel.config import Address, BackendConfig, Balance, Network, OriginOptions, OriginTimeouts, ProbeOptions
from accel.policy import document, nodes
from accel.policy.checked import PoolPlan, PurgePlan
from accel.policy.checking_names import as_network, host_form
from accel.policy.checking_settings import Filled, Form, by_word, fill, shown
from accel.policy.document import Setting, SettingValue
from accel.policy.findings import Findings
from accel.policy.problems import did_you_mean
from accel.policy.vocabulary import POOL_SETTINGS, PURGE_SETTINGS
from accel.values import LONGEST_S, probe_path

_MOST = 1_000_000
_TIME: tuple[type[nodes.Duration]] = (nodes.Duration,)
_FORMS: dict[str, Form] = {
    "servers": Form(repeated=nodes.Name),
    "backup": Form(repeated=nodes.Name),
    "balance": Form((nodes.Name,)),
    "probe": Form(
        ("GET", nodes.Name),
        {"every": _TIME, "timeout": _TIME, "rise": (nodes.Number,), "fall": (nodes.Number,), "slow-start": _TIME},
    ),
    "limit": Form((nodes.Number, "per", "server"), {"queue": (nodes.Number, "for", nodes.Duration)}),
    "retry": Form(("at", "most", nodes.Percent)),
    "timeout": Form((), dict.fromkeys(("connect", "first-byte", "between-bytes", "whole"), _TIME)),
    "keep-alive": Form((nodes.Number, "for", nodes.Duration)),
    "host": Form((nodes.Text,)),
    "allow": Form(repeated=nodes.Name),
    "methods": Form(repeated=nodes.Name),
    "mode": Form((nodes.Name,)),
}
_METHODS = frozenset({"PURGE", "BAN", "SOFTPURGE"})
_MODES = frozenset({"hard", "soft"})


def pool_plan(pool: document.Pool, findings: Findings) -> PoolPlan:
    """Return what a pool's settings say."""
    settings = by_word(pool.settings, POOL_SETTINGS, "a pool", findings)
    plan = PoolPlan(pool.name.name, OriginOptions(), ProbeOptions(), (), "", pool.place)
    if "servers" not in settings:
        hint = "write servers 127.0.0.1:8001, or several"
        findings.problem(pool.place, f"the pool {pool.name.name} has no servers", hint)
    for word, setting in settings.items():
        filled = fill(setting, _FORMS[word], POOL_SETTINGS[word], findings)
        if filled is not None:
            _check_bounds(setting, findings)
            plan = _POOL[word](plan, filled, findings)
    if twice := set(plan.backups) & set(plan.origin.backends):
        place = settings["backup"].place
        findings.problem(place, f"{min(map(_shown, twice))} is a server already", "a backup is another one")
    return plan


def purge_plan(
    purges: Iterable[document.Purge], acls: Mapping[str, tuple[Network, ...]], findings: Findings
) -> PurgePlan:
    """Return who may purge, and how."""
    plan, first = PurgePlan(), None
    for purge in purges:
        if first is not None:
            findings.again(purge.place, "there is a purge block", first, "write one")
        first = first or purge.place
        for word, setting in by_word(purge.settings, PURGE_SETTINGS, "purge", findings).items():
            filled = fill(setting, _FORMS[word], PURGE_SETTINGS[word], findings)
            if filled is not None:
                plan = _with_purge_setting(plan, word, filled, acls, findings)
    return plan


def _check_bounds(setting: Setting, findings: Findings) -> None:
    for value in setting.values:
        if isinstance(value, nodes.Duration) and not 0 < value.seconds <= LONGEST_S:
            findings.problem(value.place, f"{shown(value)} will not do for {setting.word}", "above 0s, at most 366d")
        elif isinstance(value, nodes.Number) and not 1 <= value.value <= _MOST:
            findings.problem(value.place, f"{shown(value)} will not do for {setting.word}", f"1 to {_MOST}")


# The settings of a pool, each: plan, values -> plan.


def _servers(plan: PoolPlan, filled: Filled, findings: Findings) -> PoolPlan:
    return replace(plan, origin=replace(plan.origin, backends=_addresses(filled, findings)))


def _backup(plan: PoolPlan, filled: Filled, findings: Findings) -> PoolPlan:
    return replace(plan, backups=_addresses(filled, findings))


def _addresses(filled: Filled, findings: Findings) -> tuple[BackendConfig, ...]:
    found: dict[Address, BackendConfig] = {}
    for name in _names(filled.values):
        try:
            read = backends(name.name)
        except ValueError as error:
            findings.problem(name.place, f"{name.name!r} is no server", str(error))
            continue
        for backend in read:
            if backend.address in found:
                findings.problem(name.place, f"{backend.address} stands here twice", "name each server once")
            found[backend.address] = backend
    return tuple(found.values())


def _balance(plan: PoolPlan, filled: Filled, findings: Findings) -> PoolPlan:
    (name,) = _names(filled.values)
    words = {balance.value: balance for balance in Balance}
    if name.name not in words:
        findings.unknown(name.place, "way to balance called", name.name, words, "")
        return plan
    return replace(plan, origin=replace(plan.origin, balance=words[name.name]))


def _probe(plan: PoolPlan, filled: Filled, findings: Findings) -> PoolPlan:
    (path,) = _names(filled.values)
    try:
        probe_path(path.name)
    except ValueError as error:
        findings.problem(path.place, f"{path.name!r} is no path to probe", str(error))
    default = plan.probe
    probe = ProbeOptions(
        path=path.name,
        interval_s=filled.seconds("every", default.interval_s),
        timeout_s=filled.seconds("timeout", default.timeout_s),
        rise=filled.count("rise", default.rise),
        fall=filled.count("fall", default.fall),
        slow_start_s=filled.seconds("slow-start", default.slow_start_s),
    )
    return replace(plan, probe=probe)


def _limit(plan: PoolPlan, filled: Filled, findings: Findings) -> PoolPlan:
    (count,) = filled.values
    assert isinstance(count, nodes.Number)
    origin = replace(
        plan.origin,
        max_connections=count.value,
        queue_length=filled.count("queue", plan.origin.queue_length),
        queue_s=filled.seconds("queue", plan.origin.queue_s),
    )
    return replace(plan, origin=origin)


def _retry(plan: PoolPlan, filled: Filled, findings: Findings) -> PoolPlan:
    (share,) = filled.values
    assert isinstance(share, nodes.Percent)
    return replace(plan, origin=replace(plan.origin, retry_share=share.value / 100))


def _timeout(plan: PoolPlan, filled: Filled, findings: Findings) -> PoolPlan:
    default = plan.origin.timeouts
    timeouts = OriginTimeouts(
        connect_s=filled.seconds("connect", default.connect_s),
        first_byte_s=filled.seconds("first-byte", default.first_byte_s),
        between_bytes_s=filled.seconds("between-bytes", default.between_bytes_s),
        whole_s=filled.seconds("whole", 0.0) or default.whole_s,
    )
    return replace(plan, origin=replace(plan.origin, timeouts=timeouts))


def _keep_alive(plan: PoolPlan, filled: Filled, findings: Findings) -> PoolPlan:
    count, time = filled.values
    assert isinstance(count, nodes.Number) and isinstance(time, nodes.Duration)
    return replace(plan, origin=replace(plan.origin, keep_alive_connections=count.value, keep_alive_s=time.seconds))


def _host(plan: PoolPlan, filled: Filled, findings: Findings) -> PoolPlan:
    (text,) = filled.values
    assert isinstance(text, nodes.Text)
    return replace(plan, host=checked_host(text, findings))


def checked_host(text: nodes.Text, findings: Findings) -> str:
    """Return a host in key form; note it if it is none."""
    try:
        return host_form(text.value)
    except ValueError as error:
        findings.problem(text.place, f"{text.value!r} is no host", str(error))
        return ""


_POOL: dict[str, Callable[[PoolPlan, Filled, Findings], PoolPlan]] = {
    "servers": _servers,
    "backup": _backup,
    "balance": _balance,
    "probe": _probe,
    "limit": _limit,
    "retry": _retry,
    "timeout": _timeout,
    "keep-alive": _keep_alive,
    "host": _host,
}


def _with_purge_setting(
    plan: PurgePlan, word: str, filled: Filled, acls: Mapping[str, tuple[Network, ...]], findings: Findings
) -> PurgePlan:
    if word == "allow":
        networks = [network for name in _names(filled.values) for network in _allowed(name, acls, findings)]
        return replace(plan, allow=tuple(dict.fromkeys(networks)))
    known = _METHODS if word == "methods" else _MODES
    for name in _names(filled.values):
        if name.name not in known:
            findings.problem(name.place, f"{name.name!r} does not fit here in {word}", did_you_mean(name.name, known))
    said = frozenset(name.name for name in _names(filled.values)) & known
    return replace(plan, methods=said) if word == "methods" else replace(plan, is_soft="soft" in said)


def _allowed(name: nodes.Name, acls: Mapping[str, tuple[Network, ...]], findings: Findings) -> tuple[Network, ...]:
    if name.name in acls:
        return acls[name.name]
    if name.name[:1].isalpha() and ":" not in name.name:
        otherwise = f"define it: acl {name.name} {{ 10.0.0.0/8 }}"
        findings.unknown(name.place, "acl", name.name, acls, otherwise)
        return ()
    found = as_network(name, findings)
    return () if found is None else (found,)


def _names(values: Iterable[SettingValue]) -> list[nodes.Name]:
    return [value for value in values if isinstance(value, nodes.Name)]


def _shown(backend: BackendConfig) -> str:
    return str(backend.address)
