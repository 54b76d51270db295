"""What `relayd run --observe` leaves behind: a report in a file, and a summary on the terminal."""

import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

import click
import structlog

from relayd import __version__
from relayd.commands.showing import plain, print_table
from relayd.errors import ConfigurationError, Problem

log = structlog.get_logger(__name__)

WIDTH = 80
MOST_REASONS = 6
"""Of each kind on the terminal; the report has all of them."""


def report_to(path: Path) -> Callable[[Mapping[str, Any]], None]:
    """What writes the report, whole or not at all. Raises ConfigurationError where it could never be written: nobody
    should learn that after an hour.
    """
    try:
        with tempfile.NamedTemporaryFile(dir=path.resolve().parent, prefix=".relayd-"):
            pass
    except OSError as error:
        problem = f"the report cannot be written there ({error.strerror})"
        hint = "name a file in a folder that you may write to"
        raise ConfigurationError([Problem(f"--report {path}", problem, hint)]) from None

    def write(told: Mapping[str, Any]) -> None:
        text = json.dumps({"version": __version__, **told}, indent=2) + "\n"
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            beside.write_text(text)
            beside.replace(path)
        except OSError as error:
            log.warning("report_failed", reason=error.strerror)
            with suppress(OSError):
                beside.unlink()

    return write


def print_summary(told: Mapping[str, Any]) -> None:
    """What was seen, for a person, beside the logs: nothing where standard error is no terminal."""
    if not sys.stderr.isatty():
        return
    with redirect_stdout(sys.stderr):
        messages, would = told["messages"], told["would"]
        click.echo(
            f"\nrelayd observed {plain(told['queue'])} from {told['since']} to {told['until']}.\n"
            f"{messages['finished']:,} messages finished, {messages['waiting']:,} waiting to come again. "
            "Nothing was sent or changed.\n"
        )
        for name, value in _facts(would, messages["waiting_for"]).items():
            click.echo(click.wrap_text(plain(value), WIDTH, f"{name:<18}", " " * 18))
        if told["stages"]:
            click.echo()
            head = ("stage", "count", "seconds in all", "median", "99 % within", "slowest")
            print_table(head, [_row(stage) for stage in told["stages"]])
            slowest = max(told["stages"], key=lambda stage: float(stage["slowest"]))
            click.echo(f"\nThe slowest {slowest['stage']} is in trace {slowest['slowest_trace'] or '(none)'}.")


def _facts(would: Mapping[str, Any], waiting: Mapping[str, int]) -> dict[str, str]:
    facts = {"would forward": f"{would['forward']:,}", "would reply": f"{would['reply']:,}"}
    kinds = {
        "would discard": would["discard"],
        "would quarantine": would["quarantine"],
        "would fail": would["fail"],
        "would tell owners": would["tell_owner"],
        "would heed events": would["apply_event"],
        "not done yet": waiting,
    }
    return facts | {name: _counted(reasons) for name, reasons in kinds.items()}


def _counted(reasons: Mapping[str, int]) -> str:
    if not reasons:
        return "0"
    shown = [f"{reason} {count:,}" for reason, count in list(reasons.items())[:MOST_REASONS]]
    more = len(reasons) - len(shown)
    return f"{sum(reasons.values()):,}: {', '.join(shown)}{f', and {more} more reasons' if more else ''}"


def _row(stage: Mapping[str, Any]) -> tuple[str, ...]:
    seconds = (f"{stage[name]:.3f}" for name in ("p50", "p99", "slowest"))
    return (stage["stage"], f"{stage['count']:,}", f"{stage['total']:.1f}", *seconds)
