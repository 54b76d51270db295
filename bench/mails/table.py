"""The figures for people."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

NAME = 34
COLUMNS = (
    ("mails/s", "mails_per_second", "{:.1f}"),
    ("per CPU-s", "mails_per_cpu_second", "{:.1f}"),
    ("CPU ms", "cpu_ms_per_mail", "{:.2f}"),
    ("calls", "aws_calls_per_mail", "{:.2f}"),
    ("MB", "rss_peak_mb", "{:.0f}"),
    ("p50 s", "p50_seconds", "{:.3f}"),
    ("p99 s", "p99_seconds", "{:.3f}"),
)
RATIO = "relayd over it: per CPU-s, and per s"


def show(found: Mapping[str, Any]) -> None:
    """Print whatever there is."""
    for line in lines(found):
        click.echo(line)


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    machine = found["machine"]
    yield (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_mb']} MB, load {machine['load'][0]}; "
        f"Python {machine['python']}, boto3 {machine['packages']['boto3']}, Node {machine['node'] or 'is not there'}"
    )
    if "relayd" in found:
        limit = found["fake"]
        yield (
            f"the fake AWS by itself: {limit['requests_per_second']} requests/s, {limit['mails_per_second']} mails/s, "
            f"{limit['cpu_us_per_request']} us of its processor time a request"
        )
        yield from _section("30 KB, 32 at a time", compared(found))
    if "latency" in found:
        yield from _section("with latencies, 64 at a time", compared(found["latency"]))
        half = found["latency"]["half_load"]
        yield from _section("half of that load", [(name, told, None) for name, told in half.items()])
    for name, what in (("concurrency", "{} at a time"), ("sizes", "{} bytes")):
        for key, told in found.get(name, {}).items():
            yield from _section(what.format(key), compared(told))
    if "backlog" in found:
        rows = [
            (f"{count} waiting, grew by {told['rss_growth_mb']} MB", told, None)
            for count, told in found["backlog"].items()
        ]
        yield from _section("backlog", rows)
    for name in ("options", "replicas"):
        if name in found:
            rows = [(key, told, None) for key, told in found[name].items() if isinstance(told, dict)]
            yield from _section(name, rows)
            yield from (f"{key}: {told}" for key, told in found[name].items() if not isinstance(told, dict))
    yield f"\ntook {found['took_seconds']} s"


def compared(told: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any] | None, str | None]]:
    """A row for relayd and for each rival, with the ratio and its spread."""
    rows: list[tuple[str, Mapping[str, Any] | None, str | None]] = [("relayd", told["relayd"], None)]
    for name, rival in told["rivals"].items():
        if rival is None:
            rows.append((name, None, "not installed"))
            continue
        least, most = told["ratios_spread"][name]
        by_time = told["ratios_of_mails_per_second"][name]
        rows.append((name, rival, f"{told['ratios'][name]:.3g} ({least:.3g} to {most:.3g}), {by_time:.3g}"))
    return rows


def _section(title: str, rows: Sequence[tuple[str, Mapping[str, Any] | None, str | None]]) -> Iterator[str]:
    yield ""
    last = RATIO if any(row[2] for row in rows) else ""
    yield f"{title:{NAME}}" + "".join(f"{head:>11}" for head, _, _ in COLUMNS) + f"  {last}"
    for name, told, more in rows:
        figures = "".join(f"{form.format(told[key]) if told else '-':>11}" for _, key, form in COLUMNS)
        yield f"{name:{NAME}}{figures}  {more or ''}".rstrip()
