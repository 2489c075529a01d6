"""How accelctl shows a replay: JSON values in, rich tables and sentences out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from accel.ctl_views import count_of, table_of
from accel.values import show_duration, show_size

_MOST_RULES = 30
"""Rules and differences shown; all of them are in the JSON."""
_SCALES = (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


def shown(facts: Mapping[str, Any]) -> Group:
    """Return everything that a person wants to know of a replay."""
    return Group(*_parts(facts))


def _parts(facts: Mapping[str, Any]) -> Iterator[RenderableType]:
    yield _headline(facts["log"])
    yield _figures(facts)
    yield _rules(facts["new"])
    if "old" in facts:
        yield _differences(facts["differences"])
        yield from _urls("become cacheable", "was", facts["become_cacheable"])
        yield from _urls("cease to be cacheable", "is", facts["cease_to_be_cacheable"])
    yield from _most_fetched(facts["most_fetched"])
    yield from _assumed(facts)


def _headline(log: Mapping[str, Any]) -> Text:
    begin, end = (datetime.fromtimestamp(log[name]).strftime("%Y-%m-%d %H:%M:%S") for name in ("from", "to"))
    text = Text(f"{_counted(log['requests'], 'request')}, {begin} to {end}", "bold")
    if log["bad_lines"]:
        text.append(f"; {_counted(log['bad_lines'], 'line')} left out: ", "yellow")
        text.append("; ".join(f"{why} ({count:,})" for why, count in log["bad_why"].items()), "yellow")
    return text


def _figures(facts: Mapping[str, Any]) -> Table:
    names = [name for name in ("old", "new") if name in facts]
    policies = [facts[name] for name in names]
    is_logged = facts["log"]["hit_ratio"] is not None
    table = table_of("", *([">as logged"] if is_logged else ()), *(f">{name}" for name in names))
    logged, blank = ([_share(facts["log"]["hit_ratio"])], [""]) if is_logged else ([], [])
    table.add_row("hit ratio", *logged, *(_share(one["hit_ratio"]) for one in policies), style="bold")
    table.add_row("byte hit ratio", *blank, *(_share(one["byte_hit_ratio"]) for one in policies))
    table.add_row("requests to the origin", *blank, *(count_of(one["origin_requests"]) for one in policies))
    table.add_row("bytes from the origin", *blank, *(_bytes(one["origin_bytes"]) for one in policies))
    for way in policies[0]["ways"]:
        table.add_row(Text(f"  {way}", "dim"), *blank, *(count_of(one["ways"][way]) for one in policies))
    return table


def _rules(figures: Mapping[str, Any]) -> Table:
    table = table_of(">requests", "what", "rule")
    for row in figures["rules"][:_MOST_RULES]:
        table.add_row(count_of(row["requests"]), _what(row), row["rule"] or Text("no rule", "dim"))
    return table


def _differences(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    if not rows:
        return Text("No request fares differently.\n")
    table = table_of(">requests", "old", "by", "new", "by", "example")
    for row in rows[:_MOST_RULES]:
        old, new = row["old"], row["new"]
        sides = (cell for side in (old, new) for cell in (_what(side), side["rule"] or "-"))
        table.add_row(count_of(row["requests"]), *sides, Text(row["example"], overflow="ellipsis", no_wrap=True))
    return table


def _urls(what: str, tense: str, some: Mapping[str, Any]) -> Iterator[RenderableType]:
    if not some["urls"]:
        yield Text(f"No URLs {what}.\n")
        return
    verb = what if some["urls"] > 1 else what.replace(" ", "s ", 1)
    yield Text(f"{_counted(some['urls'], 'URL')} {verb}, with {_counted(some['requests'], 'request')}", "bold")
    table = table_of(">requests", "URL", f"{tense} not cacheable because", "rule")
    for row in some["top"]:
        table.add_row(count_of(row["requests"]), _url(row), _what(row), row["rule"] or "-")
    yield table


def _most_fetched(rows: Sequence[Mapping[str, Any]]) -> Iterator[RenderableType]:
    if not rows:
        return
    table = table_of(">fetches", ">requests", "most fetched", "the last time as", "rule")
    for row in rows:
        table.add_row(count_of(row["fetches"]), count_of(row["requests"]), _url(row), _what(row), row["rule"] or "-")
    yield table


def _assumed(facts: Mapping[str, Any]) -> Iterator[Text]:
    assumed, log = facts["assumed"], facts["log"]
    ttl = assumed["origin_ttl_s"]
    says = "says nothing of freshness" if ttl is None else f"gives a max-age of {show_duration(ttl)}"
    memory = assumed["memory_bytes"]
    store = "boundless" if memory is None else show_size(memory)
    yield Text(
        f"Assumed: the origin {says} (--origin-ttl), sets no cookies and varies on nothing; it sends "
        f"{assumed['type']} where the path does not say (--type); a store of {store} (--memory).",
        "dim",
    )
    if assumed["missing"]:
        names = ", ".join(assumed["missing"])
        yield Text(f"The rules read what no log holds, here always missing: {names}.", "yellow")
    if log["without_host"] and assumed["host"] is None:
        yield Text(f"{_counted(log['without_host'], 'line')} without a host: give theirs with --host.", "dim")


def _what(row: Mapping[str, Any]) -> str:
    return f"{row['way']}: {row['why']}" if row["why"] else row["way"]


def _url(row: Mapping[str, Any]) -> Text:
    return Text(row["url"], overflow="ellipsis", no_wrap=True)


def _share(part: float | None) -> str:
    return "-" if part is None else f"{part:.1%}"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


def _bytes(count: int) -> str:
    return next((f"{count / scale:.1f} {unit}" for unit, scale in _SCALES if count >= scale), f"{count} B")
