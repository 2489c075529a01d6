"""What a policy's names stand for: lists, acls, splits, definitions, pools, hosts; its own and those of its presets.

Owns names and what they hold, not where they are used. Invariant: whatever is wrong is noted, and a name that was
written has an entry all the same, so that its uses are not reported too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from accel.addresses import network
from accel.config import Network
from accel.errors import RequestError
from accel.http.request_parser import normal_host
from accel.policy import document, nodes
from accel.policy.checked import SplitPlan
from accel.policy.document import Policy
from accel.policy.findings import Findings
from accel.policy.nodes import Place
from accel.policy.vocabulary import INPUTS

MOST_MEMBERS = 100_000
"""A longer list is a data base."""
LONGEST_MEMBER = 1024
MOST_COMPARISONS = 1000
"""Of one condition, with all the definitions that it uses."""
DEEPEST = 20
"""So many definitions may use one another in a row."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(slots=True)
class Names:
    """Everything in a file that has a name."""

    hosts: tuple[str, ...] = ()
    lists: dict[str, tuple[str, ...]] = field(default_factory=dict)
    acls: dict[str, tuple[Network, ...]] = field(default_factory=dict)
    splits: dict[str, SplitPlan] = field(default_factory=dict)
    defs: dict[str, nodes.Condition] = field(default_factory=dict)
    pools: set[str] = field(default_factory=set)
    sizes: dict[str, int] = field(default_factory=dict)
    """How many comparisons each definition comes to."""


def collected(policies: Sequence[Policy], read_file: Callable[[str], str], findings: Findings) -> Names:
    """Return the names of the presets and of the file itself, which comes last in `policies`."""
    names = Names(hosts=_hosts(policies[-1].sites, findings))
    for policy in policies:
        _take_lists(policy, names, read_file, findings)
        for acl in policy.acls:
            names.acls.setdefault(acl.name.name, _networks(acl, findings))
        for split in policy.splits:
            names.splits.setdefault(split.name.name, _split(split, findings))
        for definition in policy.defs:
            names.defs.setdefault(definition.name.name, definition.condition)
        names.pools.update(pool.name.name for pool in policy.pools)
    for kind, found in _named(policies).items():
        _check_names(kind, found, findings)
    _check_definitions(policies, names, findings)
    return names


def host_form(text: str) -> str:
    """Return a host in key form: lower case, without the default port. Raises ValueError if it is none."""
    try:
        return normal_host(text.encode(), required=True).decode()
    except RequestError:
        raise ValueError("write a host as clients send it, such as shop.example.org or [::1]:8080") from None


def _hosts(sites: Sequence[nodes.Name], findings: Findings) -> tuple[str, ...]:
    hosts: dict[str, Place] = {}
    for site in sites:
        try:
            host = "*." + host_form(site.name[2:]) if site.name.startswith("*.") else host_form(site.name)
        except ValueError as error:
            hint = "a star stands alone at the beginning: *.example.org" if "*" in site.name else str(error)
            findings.problem(site.place, f"{site.name!r} is no host", hint)
            continue
        if host in hosts:
            findings.again(site.place, f"the host {host} stands", hosts[host], "name each host once")
        hosts.setdefault(host, site.place)
    return tuple(hosts)


def _take_lists(policy: Policy, names: Names, read_file: Callable[[str], str], findings: Findings) -> None:
    for listed in policy.lists:
        if listed.file is not None:
            members = _from_file(listed.file, read_file, findings)
        else:
            members = tuple(_distinct(listed.members, "the list has", findings))
        names.lists.setdefault(listed.name.name, members)


def _from_file(file: nodes.Text, read_file: Callable[[str], str], findings: Findings) -> tuple[str, ...]:
    """Return a file's lines, each a member; empty ones and comments (`#`) left out."""
    text = file_text(file, read_file, findings)
    lines = [line.strip() for line in text.split("\n")]
    members = tuple(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    if len(members) > MOST_MEMBERS:
        findings.problem(file.place, f"{file.value} has {len(members)} entries", f"a list has at most {MOST_MEMBERS}")
        return ()
    odd = next((line for line in members if len(line) > LONGEST_MEMBER or _CONTROL.search(line)), None)
    if odd is not None:
        number = lines.index(odd) + 1
        hint = f"an entry is one line of at most {LONGEST_MEMBER} characters, without control characters"
        findings.problem(file.place, f"line {number} of {file.value} is no entry of a list", hint)
    return members


def file_text(file: nodes.Text, read_file: Callable[[str], str], findings: Findings) -> str:
    """Return what a file that the policy names holds; nothing, and a problem, if it cannot be read."""
    try:
        return read_file(file.value)
    except ValueError as error:
        findings.problem(file.place, f"the file {file.value} will not do", str(error))
    except OSError as error:
        why = error.strerror or type(error).__name__
        hint = "a file is looked for beside the policy that names it"
        findings.problem(file.place, f"the file {file.value} cannot be read: {why}", hint)
    return ""


def _distinct(members: Iterable[nodes.Text | nodes.Name], says: str, findings: Findings) -> Iterator[str]:
    seen: dict[str, Place] = {}
    for member in members:
        text = member.value if isinstance(member, nodes.Text) else member.name
        if text in seen:
            findings.again(member.place, f"{says} {text!r}", seen[text], "leave one out")
            continue
        seen[text] = member.place
        yield text


def _networks(acl: document.Acl, findings: Findings) -> tuple[Network, ...]:
    found: dict[Network, Place] = {}
    for name in acl.networks:
        read = as_network(name, findings)
        if read is not None and read in found:
            findings.again(name.place, f"the acl has {name.name}", found[read], "leave one out")
        elif read is not None:
            found[read] = name.place
    return tuple(found)


def as_network(name: nodes.Name, findings: Findings) -> Network | None:
    """Return the network that a name spells; None, and a problem, if it spells none."""
    try:
        return network(name.name)
    except ValueError as error:
        hint = "write 0.0.0.0/0 and ::/0 for everybody" if name.name in ("all", "any", "*") else str(error)
        findings.problem(name.place, f"{name.name!r} is no address and no network", hint)
        return None


def _split(split: document.Split, findings: Findings) -> SplitPlan:
    name, arms = split.name.name, {}
    if split.by.name == "split":
        findings.problem(split.by.place, "a split cannot go by a split", "split by a cookie, a field or the client")
    for arm, share in split.arms:
        if arm.name in arms:
            findings.problem(arm.place, f"the split has an arm {arm.name} already", "each arm has its own name")
        if not share.value:
            findings.problem(share.place, f"nobody falls in the arm {arm.name}", "give it a share, or leave it out")
        arms[arm.name] = share.value
    whole = sum(share.value for _, share in split.arms)
    if whole != 100:
        hint = "raise" if whole < 100 else "lower"
        findings.problem(split.place, f"the arms of {name} make {whole} %, not 100 %", f"{hint} one of them")
    if len(split.arms) < 2:
        findings.problem(split.place, f"the split {name} has one arm", "write two or more: old 90%, new 10%")
    return SplitPlan(name, split.by, tuple(arms.items()))


_Named = list[tuple[str, Place]]


def _named(policies: Sequence[Policy]) -> dict[str, _Named]:
    """Return each kind's names with their places, presets' first."""
    return {
        "list": [(part.name.name, part.place) for policy in policies for part in policy.lists],
        "acl": [(part.name.name, part.place) for policy in policies for part in policy.acls],
        "split": [(part.name.name, part.place) for policy in policies for part in policy.splits],
        "pool": [(part.name.name, part.place) for policy in policies for part in policy.pools],
        "def": [(part.name.name, part.place) for policy in policies for part in policy.defs],
        "test": [(part.name.value, part.place) for policy in policies for part in policy.tests],
    }


def _check_names(kind: str, found: _Named, findings: Findings) -> None:
    first: dict[str, Place] = {}
    for name, place in found:
        if name in first:
            findings.again(place, f"the {kind} {name} is defined", first[name], "choose another name, or remove one")
        first.setdefault(name, place)
        if kind == "test":
            continue
        if kind == "def" and name in INPUTS:
            findings.problem(place, f"{name} is an input and cannot be defined", f"choose another name: is_{name}")
        elif _NAME.fullmatch(name) is None:
            findings.problem(place, f"{name!r} is no name", "a name is letters, digits, `-` and `_`, a letter first")


def _check_definitions(policies: Sequence[Policy], names: Names, findings: Findings) -> None:
    """Note each definition that comes back to itself or grows without measure, and let it be something harmless."""
    places = {part.name.name: part.place for policy in policies for part in policy.defs}
    order: dict[str, None] = {}
    for name in places:
        while loop := _loop(name, names.defs, order):
            way = " -> ".join([*loop, loop[0]])
            findings.problem(places[loop[0]], f"the definition of {loop[0]} comes back to itself", way)
            names.defs[loop[-1]] = _harmless(places[loop[-1]])
    sizes: dict[str, int] = {}
    depths: dict[str, int] = {}
    for name in order:
        used = used_in(names.defs[name])
        sizes[name] = sum(sizes.get(getattr(part, "name", ""), 1) for part in leaves(names.defs[name]))
        depths[name] = 1 + max((depths.get(one, 0) for one in used), default=0)
        if sizes[name] > MOST_COMPARISONS:
            hint = f"a definition may come to {MOST_COMPARISONS}, with all that it uses; put values in a list"
            findings.problem(places[name], f"the definition of {name} comes to {sizes[name]} comparisons", hint)
        elif depths[name] > DEEPEST:
            hint = f"{DEEPEST} deep is the most; say it in fewer steps"
            findings.problem(places[name], f"the definition of {name} uses definitions {depths[name]} deep", hint)
        else:
            continue
        names.defs[name], sizes[name], depths[name] = _harmless(places[name]), 1, 1
    names.sizes = sizes


def _loop(start: str, defs: dict[str, nodes.Condition], order: dict[str, None]) -> list[str]:
    """Return the names of a circle that `start` leads into, or none; `order` takes those that end, the used first."""
    way: dict[str, None] = {}
    left = [iter((start,))]
    while left:
        name = next(left[-1], None)
        if name is None:
            left.pop()
            if way:
                order[way.popitem()[0]] = None
        elif name in way:
            return list(way)[list(way).index(name) :]
        elif name not in order and name in defs:
            way[name] = None
            left.append(iter(used_in(defs[name])))
    return []


def _harmless(place: Place) -> nodes.Condition:
    return nodes.Exists(nodes.Input("method", "", place), place)


def used_in(condition: nodes.Condition) -> list[str]:
    """Return the names of the definitions that a condition uses."""
    return [part.name for part in leaves(condition) if isinstance(part, nodes.Use)]


def leaves(condition: nodes.Condition) -> Iterator[nodes.Compare | nodes.Exists | nodes.Use]:
    """Yield what a condition is made of."""
    left = [condition]
    while left:
        part = left.pop()
        if isinstance(part, nodes.AnyOf | nodes.AllOf):
            left.extend(reversed(part.parts))
        elif isinstance(part, nodes.Not):
            left.append(part.part)
        else:
            yield part
