"""How accelctl shows counters, histograms and rankings: numbers in, rich tables out. Asks nobody."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.text import Text

from accel.ctl_views import count_of, headline, table_of
from accel.stats.counters import COUNTERS, GROUPS, OUTCOMES, Declared
from accel.stats.histograms import BUCKETS, KINDS, SUB_BITS, Histogram, Histograms, lowest

_BAR = "▏▎▍▌▋▊▉█"
_BAR_COLUMNS = 16
_QUANTILES = (0.5, 0.9, 0.99, 0.999)
_TITLES = {
    "first_byte_us": "time to the first byte",
    "total_us": "time to the last byte",
    "body_bytes": "bytes of the body",
}
_TIMES = ((1_000_000, "s"), (1_000, "ms"), (1, "us"))
_SIZES = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B"))
_STYLES = {"hit": "green", "miss": "yellow", "pass": "cyan"}


def stat(
    facts: Mapping[str, Any],
    counters: Mapping[str, int],
    before: Mapping[str, int] | None,
    passed_s: float,
    everything: bool,
) -> Group:
    """Return the counters that are not zero (or all) by group, with their rates if there was an earlier reading."""
    table = table_of("counter", ">now", *([">a second"] if before is not None else ()), "meaning")
    shown = 0
    for group, members in _grouped():
        members = [one for one in members if everything or counters.get(one.name)]
        if members:
            table.add_row(Text(group, "bold"))
        for one in members:
            now = counters.get(one.name, 0)
            rate = [] if before is None else [count_of(round((now - before.get(one.name, 0)) / passed_s), one.unit)]
            table.add_row(f"  {one.name}", count_of(now, one.unit), *rate, Text(one.meaning, "dim"))
        shown += len(members)
    hidden = len(COUNTERS) - shown
    footer = [Text(f"counters at zero, not shown: {hidden} (--all)", "dim")] if hidden else []
    return Group(headline(facts, counters), table, *footer)


def sites(rows: Mapping[str, Mapping[str, int]], before: Mapping[str, Any] | None, passed_s: float) -> Any:
    """Return one row a site, with its requests a second if there was an earlier reading."""
    rate = [">a second"] if before is not None else []
    table = table_of("site", ">requests", *rate, ">hit ratio", *(f">{name}" for name in OUTCOMES))
    for site, row in rows.items():
        requests = row["requests"]
        shown = [count_of(requests)]
        if before is not None:
            shown.append(count_of(round((requests - before.get(site, {"requests": 0})["requests"]) / passed_s)))
        shown.append(f"{row['hits'] / requests:.1%}" if requests else "")
        table.add_row(Text(site), *shown, *(count_of(row[name]) for name in OUTCOMES))
    return table


def _grouped() -> Iterator[tuple[str, list[Declared]]]:
    members: list[Declared] = []
    group = ""
    for one in COUNTERS:
        if one.name in GROUPS:
            if members:
                yield group, members
            group, members = GROUPS[one.name], []
        members.append(one)
    yield group, members


def hist(histograms: Histograms, when: str) -> Group:
    """Return quantiles and bars of each measure, hits beside misses and passes."""
    parts: list[Any] = []
    for measure, title in _TITLES.items():
        units = _SIZES if measure == "body_bytes" else _TIMES
        parts += [Text(f"{title}, {when}", "bold"), _quantiles(histograms[measure], units)]
        parts.append(_bars(histograms[measure], units))
    return Group(*parts)


def _quantiles(kinds: Mapping[str, Histogram], units: Sequence[tuple[int, str]]) -> Any:
    table = table_of("answered by", ">answers", ">mean", *(f">{share * 100:g} %" for share in _QUANTILES))
    for kind, one in kinds.items():
        count = one.count
        figures = [one.sum / count, *map(one.quantile, _QUANTILES)] if count else []
        table.add_row(Text(kind, _STYLES[kind]), count_of(count), *(_figure(value, units) for value in figures))
    return table


def _bars(kinds: Mapping[str, Histogram], units: Sequence[tuple[int, str]]) -> Any:
    """Return a row for each power of two that holds something, and those between; a bar is a share of its kind."""
    powers = {kind: _by_power(one) for kind, one in kinds.items()}
    used = [power for counts in powers.values() for power, count in enumerate(counts) if count]
    table = table_of(">from", *(f"{kind}" for kind in KINDS))
    for power in range(min(used, default=0), max(used, default=-1) + 1):
        low = lowest(power << SUB_BITS)
        bars = (_bar(counts[power], sum(counts), _STYLES[kind]) for kind, counts in powers.items())
        table.add_row(_figure(low, units), *bars)
    return table


def _by_power(one: Histogram) -> list[int]:
    return [sum(one.counts[at : at + (1 << SUB_BITS)]) for at in range(0, BUCKETS, 1 << SUB_BITS)]


def _bar(count: int, total: int, style: str) -> Text:
    if not count:
        return Text("")
    eighths = max(1, round(count / total * _BAR_COLUMNS * 8))
    full, rest = divmod(eighths, 8)
    return Text(f"{_BAR[-1] * full}{_BAR[rest - 1] if rest else ''} {count / total:.1%}", style)


def _figure(value: float, units: Sequence[tuple[int, str]]) -> str:
    for size, unit in units:
        if value >= size:
            return f"{value / size:.3g} {unit}" if value < 1000 * size else f"{value / size:,.0f} {unit}"
    return f"{value:.0f} {units[-1][1]}"
