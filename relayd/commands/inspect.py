"""`relayd inspect`: what would become of raw mails, and why."""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from relayd.model.address import Address

if TYPE_CHECKING:
    from relayd.ops.inspect import Assumed, Outcome, Report, Source

EXIT_FAILED = 1
"""Some mail could not be read or written, so the answer is not complete."""

_MANY = 500
"""Mails from which on a terminal is shown how far it is."""


def _address(_: click.Context, __: click.Parameter, value: str) -> Address:
    try:
        return Address.parse(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r}: {error}") from None


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--mask", default="shop@mask.example", callback=_address, show_default=True, help="The mask written to.")
@click.option("--owner", default="owner@example.org", callback=_address, show_default=True, help="Its owner's mailbox.")
@click.option("--write", type=click.Path(file_okay=False, path_type=Path), help="Write the rewritten mails there.")
@click.option("--jobs", type=click.IntRange(1), help="Processes; default: one for each processor.")
@click.option("--json", "as_json", is_flag=True, help="One JSON line a mail.")
def command(
    *, paths: tuple[str, ...], mask: Address, owner: Address, write: Path | None, jobs: int | None, as_json: bool
) -> None:
    """Show what would become of raw mails, without sending any.

    PATH is a mail, a folder (every file in it, whatever its name), or - for standard input. No notification and no
    directory are needed: the mask and its owner are made up, and the verdicts are clean.

    \b
    relayd inspect mail.eml                          one mail: the decision, and the header before and after
    relayd inspect Maildir/ --write forwarded/       a folder: one line a mail, and the rewritten mails
    relayd inspect - --json < mail.eml
    relayd inspect spam/ --json | jq -r 'select(.error) | .path'

    Exit code 1: a mail could not be read or written, or looked at; its line says `error`. The others were done.
    """
    from relayd.ops.inspect import STDIN, Assumed, distinct, inspect, inspect_all, sources

    for path in paths:
        if path != STDIN and not os.path.lexists(path):
            raise click.UsageError(f"{path!r} does not exist. Give mails, folders, or - for standard input.")
    assumed = Assumed(mask, owner, write)
    mails = distinct(source for path in paths for source in sources(path))
    if len(mails) == 1 and not as_json and not os.path.isdir(paths[0]):
        outcome = inspect(_read(mails[0]), mails[0], assumed)
        _explain(outcome, assumed)
        sys.exit(EXIT_FAILED if outcome.report.decision == "error" else 0)
    files = [source for source in mails if source.path != STDIN]
    reports = inspect_all(files, assumed, jobs or os.cpu_count() or 1)
    if len(files) < len(mails):
        typed = next(source for source in mails if source.path == STDIN)
        reports = _with(inspect(_read(typed), typed, assumed).report, reports)
    tally = (_dump if as_json else _list)(_shown(reports, len(mails)))
    sys.exit(EXIT_FAILED if tally["error"] else 0)


def _read(source: "Source") -> bytes:
    if source.path == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(source.path).read_bytes()
    except OSError as error:
        raise click.FileError(_plain(source.path), error.strerror) from None


def _with(first: "Report", rest: Iterable["Report"]) -> Iterator["Report"]:
    yield first
    yield from rest


def _shown(reports: Iterable["Report"], count: int) -> Iterator["Report"]:
    """The same reports; on a terminal, with a bar that says how far it is when they go somewhere else."""
    visible = count >= _MANY and sys.stderr.isatty() and not sys.stdout.isatty()
    bar: Any = click.progressbar(length=count, label="inspecting", file=sys.stderr) if visible else nullcontext()
    with bar as progress:
        for report in reports:
            yield report
            if progress is not None:
                progress.update(1)


def _dump(reports: Iterable["Report"]) -> Counter[str]:
    """Print the reports as JSON, and count the decisions."""
    decisions: Counter[str] = Counter()
    for report in reports:
        click.echo(json.dumps(asdict(report)))
        decisions[report.decision] += 1
    return decisions


def _list(reports: Iterable["Report"]) -> Counter[str]:
    """Print the reports as lines with their sum, and count the decisions."""
    decisions: Counter[str] = Counter()
    tally: Counter[str] = Counter()
    for report in reports:
        decisions[report.decision] += 1
        click.echo(f"{report.decision:<10} {report.reason:<14} {_plain(report.path)}  {_figures(report)}")
        tally["mails"] += 1
        tally[report.decision if report.decision == "forward" else f"{report.decision} ({report.reason})"] += 1
        tally["parts repaired"] += report.repaired_parts
    mails, repaired = tally.pop("mails", 0), tally.pop("parts repaired", 0)
    outcomes = ", ".join(f"{count} {name}" for name, count in tally.most_common()) or "nothing to look at"
    click.echo(f"\n{mails} mails: {outcomes}; {repaired} parts repaired")
    return decisions


def _figures(report: "Report") -> str:
    if report.error is not None:
        return report.error
    sizes = f"{report.bytes_in} -> {report.bytes_out} bytes" if report.bytes_out else f"{report.bytes_in} bytes"
    repaired = f", {report.repaired_parts} repaired" if report.repaired_parts else ""
    return f"{sizes}{repaired}, {report.seconds * 1000:.1f} ms"


def _explain(outcome: "Outcome", assumed: "Assumed") -> None:
    report = outcome.report
    click.echo(f"{_plain(report.path)}: {report.decision}, {report.reason}  ({_figures(report)})")
    click.echo(f"assumed: a mail to {assumed.mask}, for {assumed.owner}, clean verdicts")
    if outcome.letter is not None:
        click.echo("\nheader before:")
        _header(b"".join(field.raw for field in outcome.letter.fields))
    if outcome.rewritten is not None:
        click.echo("\nheader after:")
        _header(outcome.rewritten.data.partition(b"\r\n\r\n")[0])
        if outcome.rewritten.unsendable_parts:
            click.echo("\nSigned or encrypted parts are not changed, and SES may refuse these as they are.")


def _header(block: bytes) -> None:
    for line in block.decode("utf-8", "replace").splitlines():
        click.echo(f"  {_plain(line)}")


def _plain(text: str) -> str:
    """For a terminal: foreign text must not move its cursor."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text.expandtabs())
