"""`relayd inspect`: what would become of raw mails, and why."""

import json
import os
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

import click

from relayd.model.address import Address
from relayd.model.notification import InlineContent, Received, S3Content

if TYPE_CHECKING:
    from relayd.ops.explaining import View
    from relayd.ops.inspect import Outcome, Report, Source
    from relayd.ops.judging import Assumed

EXIT_FAILED = 1
"""Some mail could not be read or written, so the answer is not complete."""

_MANY = 500
"""Mails from which on a terminal is shown how far it is."""
_MASK = Address("shop", "mask.example")


def _address(_: click.Context, __: click.Parameter, value: str | None) -> Address | None:
    try:
        return None if value is None else Address.parse(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r}: {error}") from None


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--mask", callback=_address, help=f"The mask written to.  [default: the notification's, or {_MASK}]")
@click.option("--owner", default="owner@example.org", callback=_address, show_default=True, help="Its owner's mailbox.")
@click.option("--notification", metavar="FILE", help="What SES told about the mail: JSON, in SNS's envelope or bare.")
@click.option("--as-reply", is_flag=True, help="Take the mail for the owner's answer to a contact.")
@click.option("--contact", default="contact@example.com", callback=_address, show_default=True, help="That contact.")
@click.option("--full", is_flag=True, help="Show one mail whole, before and after.")
@click.option("--diff", is_flag=True, help="Show what differs in one mail, before and after.")
@click.option("--write", type=click.Path(file_okay=False, path_type=Path), help="Write the rewritten mails there.")
@click.option("--jobs", type=click.IntRange(1), help="Processes; default: one for each processor.")
@click.option("--json", "as_json", is_flag=True, help="One JSON line a mail.")
def command(
    *,
    paths: tuple[str, ...],
    mask: Address | None,
    owner: Address,
    notification: str | None,
    as_reply: bool,
    contact: Address,
    full: bool,
    diff: bool,
    write: Path | None,
    jobs: int | None,
    as_json: bool,
) -> None:
    """Show what would become of raw mails, and why, without sending any.

    PATH is a mail, a folder (every file in it, whatever its name), or - for standard input. No directory is needed:
    the mask and its owner are made up. Without a notification, so are clean verdicts. For a single mail, every rule
    tells what it looked at, and every header field and part what became of it.

    \b
    What each rule says, and what changes; then to the letter:
      relayd inspect mail.eml
      relayd inspect mail.eml --diff
    With the verdicts, the header and the recipients that SES told:
      relayd inspect mail.eml --notification ses.json
    The owner's answer to a contact:
      relayd inspect answer.eml --as-reply --owner me@example.org
    A folder: one line a mail, and the rewritten mails:
      relayd inspect Maildir/ --write forwarded/
    For programs:
      relayd inspect - --json < mail.eml
      relayd inspect spam/ --json | jq -r 'select(.error) | .path'

    Exit code 1: a mail could not be read or written, or looked at; its line says `error`. The others were done.
    """
    from relayd.ops.inspect import STDIN, Source, distinct, inspect, inspect_all, sources
    from relayd.ops.judging import Assumed
    from relayd.settings import forms

    for path in paths:
        if path != STDIN and not os.path.lexists(path):
            raise click.UsageError(f"{path!r} does not exist. Give mails, folders, or - for standard input.")
    if notification == STDIN and STDIN in paths:
        raise click.UsageError("Only one of the mail and its notification can come from standard input.")
    told, released = (None, frozenset[str]()) if notification is None else _told(notification)
    inline = None if paths else _inline(told)
    mails = distinct(source for path in paths for source in sources(path))
    if inline is not None:
        mails = [Source(str(notification), "inline.eml")]
    single = inline is not None or (len(mails) == 1 and not os.path.isdir(paths[0]))
    if not single and (notification or full or diff):
        raise click.UsageError("--notification, --full and --diff are for a single mail: name one file.")
    if as_json and (full or diff):
        raise click.UsageError("--json is one line a mail: leave out --full and --diff.")
    assumed = Assumed(
        mask or _recipient(told),
        owner,
        write,
        contact=contact if as_reply else None,
        notification=told,
        released=released,
        secrets=tuple(part.encode() for part in forms.split(os.environ.get("RELAYD_SECRET", ""))),
    )
    if single and not as_json:
        data = _read(mails[0]) if inline is None else inline
        outcome = inspect(data, mails[0], assumed)
        _explain(data, outcome, assumed, "full" if full else "diff" if diff else "headers")
        sys.exit(EXIT_FAILED if outcome.report.decision == "error" else 0)
    files = [source for source in mails if source.path != STDIN and inline is None]
    reports = inspect_all(files, assumed, jobs or os.cpu_count() or 1)
    if len(files) < len(mails):
        given = next(source for source in mails if source not in files)
        reports = _with(inspect(_read(given) if inline is None else inline, given, assumed).report, reports)
    tally = (_dump if as_json else _list)(_shown(reports, len(mails)))
    sys.exit(EXIT_FAILED if tally["error"] else 0)


def _told(path: str) -> tuple[Received, frozenset[str]]:
    """What SES told, and what the mail was released for."""
    from relayd.ops.refusals import WrongEntryError
    from relayd.ops.told import MAX_FILE, read_told

    try:
        if path == "-":
            data = sys.stdin.buffer.read(MAX_FILE + 1)
        else:
            with open(path, "rb") as file:
                data = file.read(MAX_FILE + 1)
        return read_told(data)
    except OSError as error:
        raise click.UsageError(f"{path!r} cannot be read: {error.strerror or type(error).__name__}") from None
    except WrongEntryError as error:
        raise click.UsageError(f"{path!r}: {error}\n    hint: {error.hint}") from None


def _inline(told: Received | None) -> bytes:
    """The mail that came with its notification."""
    if told is None:
        raise click.UsageError("Give mails, folders, or - for standard input.")
    match told.content:
        case InlineContent():
            return told.content.data
        case S3Content():
            place = f"s3://{told.content.bucket}/{told.content.key}"
            raise click.UsageError(
                f"The mail did not come with the notification.\n    hint: fetch it, and name it as PATH: "
                f"aws s3 cp {shlex.quote(place)} mail.eml"
            )
        case _:
            assert_never(told.content)


def _recipient(told: Received | None) -> Address:
    """The mask where none was named: the first recipient of the notification that is an address."""
    for recipient in told.recipients if told is not None else ():
        with suppress(ValueError):
            return Address.parse(recipient)
    return _MASK


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


def _explain(data: bytes, outcome: "Outcome", assumed: "Assumed", view: "View") -> None:
    from relayd.ops.explaining import explanation

    report = outcome.report
    click.echo(f"{_plain(report.path)}: {report.decision}, {report.reason}  ({_figures(report)})")
    if outcome.letter is not None and outcome.judged is not None:
        for line in explanation(data, outcome.letter, outcome.judged, assumed, view):
            click.echo(_plain(line))


def _plain(text: str) -> str:
    """For a terminal: foreign text must not move its cursor."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text.expandtabs())
