"""Everything at once, and then the books: does every mail have one end, and is every double an in-doubt resend?

    python -m bench.chaos --mails 1000 --daemons 2 --faults 0.05 --kills 4 --terms 2 --seed 1 --json

Real daemons share one database (PostgreSQL; SQLite for a single one) and an embedded AWS, in which every call of theirs
(SQS receive, delete, change and send; S3 get; SES send) meets a fault with the given probability. Meanwhile daemons are
killed, stopped and paused, and started again. The seed decides the mail, the strikes, and which call of each operation
meets which fault; which mail that call is for is up to the scheduling of the machine.

Exit 0 only when every mail has an end, the right one, within the time; and every mail that SES was given twice is one
that the ledger counts as resent in doubt.
"""

import json
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click

from bench.chaos.faults import Outage
from bench.chaos.plan import Plan
from bench.chaos.report import proven, report
from bench.chaos.run import Run
from bench.databases import Kind, database_url

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


class _OutageType(click.ParamType):  # type: ignore[type-arg]
    name = "service:from:until"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Outage:
        try:
            return value if isinstance(value, Outage) else Outage.parse(value)
        except ValueError:
            self.fail("is not like s3:20:35", param, ctx)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """A signal ends the run as an error does, so that every process is ended; a second one does not disturb that."""

    def leave(number: int, _: object) -> None:
        for one in SIGNALS:
            signal.signal(one, signal.SIG_IGN)
        sys.exit(128 + number)

    before = {number: signal.signal(number, leave) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(plan: Plan, keep: Path | None = None) -> Mapping[str, Any]:
    """Do one run in a folder of its own; returns its figures. `keep`: a folder that stays, for its logs."""
    with ExitStack() as stack:
        stack.enter_context(_ended_by_signals())
        folder = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="relayd-chaos-")))
        folder.mkdir(parents=True, exist_ok=True)
        url = stack.enter_context(database_url(plan.database, folder))
        chaos = Run(plan, folder, url)
        stack.callback(chaos.close)
        return chaos()


@click.command(help=__doc__)
@click.option("--mails", default=1000, show_default=True, type=click.IntRange(1))
@click.option("--daemons", default=2, show_default=True, type=click.IntRange(1, 4))
@click.option("--faults", default=0.05, show_default=True, type=click.FloatRange(0, 0.9), help="Of each call.")
@click.option("--kills", default=4, show_default=True, type=click.IntRange(0), help="SIGKILLs.")
@click.option("--terms", default=2, show_default=True, type=click.IntRange(0), help="SIGTERMs.")
@click.option("--stops", default=0, show_default=True, type=click.IntRange(0), help="SIGSTOPs for longer than a lease.")
@click.option("--outage", "outages", multiple=True, type=_OutageType(), help="Such as s3:20:35, in seconds.")
@click.option("--seed", default=1, show_default=True)
@click.option("--no-events", is_flag=True, help="Without the queue of SES's events: doubts are resent at once.")
@click.option("--database", type=click.Choice(["sqlite", "postgres"]), help="Postgres, or SQLite for one daemon.")
@click.option("--timeout", default=900.0, show_default=True, help="Seconds for all of the mail.")
@click.option("--keep", type=click.Path(file_okay=False, path_type=Path), help="A new folder for the daemons' logs.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(
    *,
    mails: int,
    daemons: int,
    faults: float,
    kills: int,
    terms: int,
    stops: int,
    outages: tuple[Outage, ...],
    seed: int,
    no_events: bool,
    database: Kind | None,
    timeout: float,
    keep: Path | None,
    as_json: bool,
) -> None:
    if database == "sqlite" and daemons > 1:
        raise click.BadParameter("is for a single daemon", param_hint="--database sqlite")
    kind: Kind = database or ("sqlite" if daemons == 1 else "postgres")
    plan = Plan(mails, daemons, faults, kills, terms, stops, seed, kind, not no_events, timeout, outages)
    result = {**run(plan, keep), "seed": seed, "database": kind}
    click.echo(json.dumps(result) if as_json else report(result))
    sys.exit(0 if proven(result) else 1)


if __name__ == "__main__":
    main()
