"""`relayd doctor`: everything that can be wrong before it hurts, and the command that mends it."""

import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import click

from relayd.commands.arguments import json_option
from relayd.commands.exits import DONE, FAILURES, INTERRUPTED
from relayd.commands.progress import progress
from relayd.commands.showing import plain, print_json

if TYPE_CHECKING:
    from relayd.ops.doctor.diagnosis import Diagnosis
    from relayd.ops.doctor.findings import Area, Finding, Level

_AREAS = ("settings", "identity", "queues", "topics", "buckets", "receipt", "ses", "permissions", "database", "clock")
_area = click.Choice(_AREAS)
_WIDEST = 100
"""Columns of text: longer lines are hard to read."""
_MARKS = {"ok": ("ok", "green"), "unchecked": ("?", "cyan"), "warning": ("WARN", "yellow"), "failure": ("FAIL", "red")}


@click.command(short_help="Check everything that can be wrong before it hurts.")
@click.option("--only", type=_area, metavar="AREA", multiple=True, help="Only this area; more than once for several.")
@click.option("--skip", type=_area, metavar="AREA", multiple=True, help="All but this area.")
@click.option(
    "--timeout",
    type=click.FloatRange(1, 600),
    metavar="SECONDS",
    default=30.0,
    show_default=True,
    help="For asking; then it judges.",
)
@json_option
def command(only: tuple[str, ...], skip: tuple[str, ...], timeout: float, as_json: bool) -> None:
    """Check everything that can be wrong before it hurts: settings, AWS, database, clock.

    Each check comes to ok, a warning (it works, and will not one day, or costs something), a failure (mail is lost,
    held up or open to strangers), or could not be made, with why. What is wrong comes with what was read, and with
    the command that mends it. relayd doctor itself changes nothing, ever: it asks, and tries its rights with calls
    that AWS must refuse whoever makes them.

    It wants the daemon's environment: run it where the daemon runs, as whom it runs.

    \b
    Before the first start, or after a change:
      relayd doctor
    Only what concerns sending:
      relayd doctor --only ses --only permissions
    In a pod:
      kubectl exec deploy/relayd -- relayd doctor
    What fails, for a script:
      relayd doctor --json | jq '.findings[] | select(.result=="failure")'

    \b
    Areas:       settings identity queues topics buckets receipt ses permissions
                 database clock
    Exit codes:  0  no failures (there may be warnings, and checks that could not
                    be made)
                 2  wrong usage
                 4  there are failures
    """
    from relayd.ops.doctor.diagnosis import diagnose
    from relayd.ops.doctor.findings import Area, Level
    from relayd.ops.doctor.gathering import Senses

    areas = [Area(name) for name in _AREAS if (not only or name in only) and name not in skip]
    if not areas:
        raise click.UsageError("Nothing is left to check.")
    try:
        with progress("asking", quiet=as_json) as bar:
            answers = _Count()

            def asked() -> None:
                bar.at(answers.more(), note="answers")

            diagnosis = diagnose(areas, Senses(asked=asked), timeout)
    except KeyboardInterrupt:
        click.echo("interrupted; nothing was changed", err=True)
        sys.stderr.flush()
        # Threads that wait for AWS would keep the process alive until their time-outs.
        os._exit(INTERRUPTED)
    if as_json:
        print_json(document(diagnosis))
    else:
        _print(diagnosis, areas)
    sys.exit(FAILURES if diagnosis.of(Level.FAILURE) else DONE)


def document(diagnosis: "Diagnosis") -> dict[str, object]:
    """What `--json` prints."""
    return {"counts": diagnosis.counts, "findings": [finding.as_json() for finding in diagnosis.findings]}


class _Count:
    def __init__(self) -> None:
        self._count = 0

    def more(self) -> int:
        self._count += 1
        return self._count


def _print(diagnosis: "Diagnosis", areas: "Sequence[Area]") -> None:
    """A line a check first, then what to do, and how it stands last, where the eye is."""
    from relayd.ops.doctor.findings import Level

    width = min(shutil.get_terminal_size((_WIDEST, 24)).columns, 160)
    for area in areas:
        click.secho(f"{area}", bold=True)
        for line in _lines([one for one in diagnosis.findings if one.area == area], width):
            click.echo(line)
    troubles = [*diagnosis.of(Level.FAILURE), *diagnosis.of(Level.WARNING)]
    if troubles:
        click.secho("\nwhat to do", bold=True)
        for same in _alike(troubles):
            _print_trouble(same, width)
    _print_unchecked(diagnosis.of(Level.UNCHECKED), width)
    click.echo()
    click.echo(_summary(diagnosis))


def _lines(findings: "Sequence[Finding]", width: int) -> Iterator[str]:
    """One line for each check and level."""
    for check, group in groupby(findings, key=lambda one: one.check):
        of_check = list(group)
        for level, same in _by_level(of_check):
            mark, colour = _MARKS[level.value]
            name = check.partition(".")[2]
            subjects = ", ".join(one.subject for one in same if one.subject)
            text = same[0].verdict.says if len(same) == 1 else f"{len(same)}: {subjects}"
            if len(same) == 1 and subjects and subjects not in text:
                text = f"{subjects}: {text}"
            yield f"  {click.style(f'{mark:<4}', fg=colour)} {name:<21} {_cut(plain(text), width - 29)}"


def _by_level(findings: "Sequence[Finding]") -> "Iterator[tuple[Level, list[Finding]]]":
    for level in dict.fromkeys(one.verdict.level for one in findings):
        yield level, [one for one in findings if one.verdict.level == level]


def _alike(findings: "Sequence[Finding]") -> "list[list[Finding]]":
    """Findings of one check that say the same, or that the same commands mend, stand together."""
    groups: dict[tuple[object, ...], list[Finding]] = {}
    for one in findings:
        wanted = one.verdict.commands or one.verdict.says
        groups.setdefault((one.check, one.verdict.level, wanted), []).append(one)
    return list(groups.values())


def _print_trouble(findings: "Sequence[Finding]", width: int) -> None:
    """What is wrong, what was read, and what to do, with what there is to say about that."""
    check, verdict = findings[0].check, findings[0].verdict
    mark, colour = _MARKS[verdict.level.value]
    stories = {one.verdict.says: one for one in findings}
    subjects = ", ".join(one.subject for one in findings if one.subject)
    about = plain(f" ({_cut(subjects, width - len(check) - 10)})") if subjects else ""
    click.echo(f"\n  {click.style(mark, fg=colour, bold=True)} {click.style(check, bold=True)}{about}")
    for says, one in stories.items():
        _wrapped(says, width)
        if one.verdict.evidence:
            read = ", ".join(f"{name}={_cut(value, 80)}" for name, value in one.verdict.evidence.items())
            _wrapped(f"read: {read}", width, dim=True)
    if verdict.commands:
        click.echo("       do:")
    for line in verdict.commands:
        # As it is, whatever its length: it is to be copied.
        click.echo(f"         {click.style(plain(line), fg='cyan')}")
    if verdict.hint:
        _wrapped(f"{'note' if verdict.commands else 'do'}: {verdict.hint}", width)


def _print_unchecked(findings: "Sequence[Finding]", width: int) -> None:
    """What could not be checked, by why: one reason often stands for many."""
    if not findings:
        return
    click.secho("\ncould not be checked", bold=True)
    reasons: dict[tuple[str, str], list[str]] = {}
    for one in findings:
        reasons.setdefault((one.verdict.says, one.verdict.hint), []).append(one.check)
    for (says, hint), checks in reasons.items():
        _wrapped(f"{says}: {', '.join(dict.fromkeys(checks))}", width, indent=2)
        if hint:
            _wrapped(f"do: {hint}", width)


def _wrapped(text: str, width: int, *, indent: int = 7, dim: bool = False) -> None:
    lines = textwrap.wrap(
        plain(text),
        min(width, _WIDEST),
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + (2 if dim else 0)),
    )
    click.secho("\n".join(lines), dim=dim)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: max(1, length - 3)] + "..."


def _summary(diagnosis: "Diagnosis") -> str:
    counts = diagnosis.counts
    parts = [
        _counted(counts["failure"], "failure", "red"),
        _counted(counts["warning"], "warning", "yellow"),
        f"{counts['ok']} ok",
    ]
    if counts["unchecked"]:
        parts.append(click.style(f"{counts['unchecked']} could not be checked", fg="cyan"))
    return ", ".join(parts)


def _counted(number: int, word: str, colour: str) -> str:
    text = f"{number} {word}{'' if number == 1 else 's'}"
    return click.style(text, fg=colour, bold=True) if number else text
