"""Mails through relayd and through its rivals, side by side, against one fast fake AWS.

    python -m bench.mails --quick --json
    python -m bench.mails --set all --output bench/results/mails.json

Every program does the same job with the same mails: receive, get, rewrite, send, delete. docs/performance.md tells what
each rival is, how all this is measured, and what came of it.

Figures depend on the machine and on what else it does; ratios much less, because the programs take turns, round by
round. Nothing here passes or fails.
"""

import json
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

import click

from bench.mails.machine import described
from bench.mails.measuring import fake_aws
from bench.mails.programs import BenchError
from bench.mails.sets import DEFAULT, SETS, Effort
from bench.mails.table import show

QUICK_SECONDS = 38.0
"""After which the quick one begins no round that would not be done by then."""


def _say(text: str) -> None:
    click.echo(text, err=True)


def _stop(_number: int, _frame: FrameType | None) -> None:
    # As Ctrl-C does: all programs are stopped on the way out.
    raise KeyboardInterrupt


def _write(output: Path | None, found: dict[str, Any]) -> None:
    """After each set: an hour's work is not lost with its last minute."""
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(found, indent=2) + "\n")


@click.command(help=__doc__)
@click.option("--quick", is_flag=True, help="Few mails, done within 50 seconds (the set `rivals`).")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, and nothing else there.")
@click.option(
    "sets",
    "--set",
    multiple=True,
    default=(DEFAULT,),
    show_default=True,
    type=click.Choice([*SETS, "all"]),
    help="What to measure; may be given several times.",
)
@click.option("--more-rivals", is_flag=True, help="Other forms of process_per_mail as well.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the JSON object here as well.")
def main(*, quick: bool, as_json: bool, sets: tuple[str, ...], more_rivals: bool, output: Path | None) -> None:
    began = time.monotonic()
    signal.signal(signal.SIGTERM, _stop)
    effort = Effort(quick=quick, until=began + QUICK_SECONDS if quick else None, more_rivals=more_rivals, say=_say)
    found: dict[str, Any] = {"machine": described(), "quick": quick}
    names = [name for name in SETS if name in sets or "all" in sets]
    try:
        with fake_aws() as fake:
            for name in names:
                _say(f"== {name}: {SETS[name].title}")
                result = SETS[name].measure(fake, effort)
                # The default one is what the object is about; the others stand beside it.
                found |= result if name == DEFAULT else {name: result}
                found["took_seconds"] = round(time.monotonic() - began, 1)
                _write(output, found)
    except BenchError as error:
        raise click.ClickException(str(error)) from None
    except KeyboardInterrupt:
        sys.exit(130)
    if as_json:
        click.echo(json.dumps(found))
    else:
        show(found)


if __name__ == "__main__":
    main()
