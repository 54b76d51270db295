"""`relayd db`: the database's tables, which version they have, and what is forgotten of them."""

import json
import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from relayd.commands.exits import DONE, INTERRUPTED
from relayd.commands.showing import tell
from relayd.errors import RelaydError, TransientError

if TYPE_CHECKING:
    from relayd.ops.pruning import Pruned


@click.group()
def command() -> None:
    """Create or upgrade the database's tables, and forget what is old.

    A SQLite file is upgraded by whoever opens it. PostgreSQL is upgraded by `relayd db upgrade` alone: run it once for
    each new relayd, before its replicas start (in Kubernetes: as a job). The replicas of the version before go on.

    \b
    export RELAYD_DATABASE_URL=postgresql://relayd:...@db.example/relayd
    export RELAYD_MAIL_DOMAINS=mask.example
    relayd db upgrade
    relayd db version
    relayd db prune
    """


@command.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def upgrade(as_json: bool) -> None:
    """Bring the tables to this relayd's version.

    Does nothing when they have it already, or a newer one that this relayd works on. Any number of machines may run it
    at once: they take turns. It does not wait for a table that somebody holds, as a backup may, because the daemons'
    mail would wait behind it: then it says so, with exit code 1 and nothing changed.
    """
    from relayd.adapters.database import connect, version
    from relayd.adapters.database import upgrade as upgrade_database
    from relayd.adapters.schema import HEAD
    from relayd.settings import DirectorySettings

    database = connect(DirectorySettings.load(os.environ).database_url, pool_size=1)
    before = version(database)
    try:
        upgrade_database(database)
    except TransientError as error:
        if error.reason != "database_busy":
            raise
        held = "somebody holds a table: a backup, or a long query. Nothing was changed; run it again later"
        raise RelaydError("database_busy", held) from None
    after = version(database)
    if as_json:
        click.echo(json.dumps({"before": before, "after": after}))
    elif after != HEAD:
        click.echo(f"The database is at version {after}, newer than this relayd's {HEAD}, which still works on it.")
    elif before == after:
        click.echo(f"The database is at version {after} already.")
    else:
        click.echo(f"The database is at version {after} now; before: {before or 'no tables'}.")


@command.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def version(as_json: bool) -> None:
    """Tell the database's version, and the one that this relayd needs.

    Changes nothing, and makes no file: where there is none, it says so, with exit code 1.
    """
    from relayd.adapters.database import connect, works_on
    from relayd.adapters.database import version as version_of
    from relayd.adapters.schema import HEAD
    from relayd.settings import DirectorySettings

    database = connect(DirectorySettings.load(os.environ).database_url, pool_size=1)
    if not database.exists:
        raise RelaydError("database_missing", "there is no such file; make it with: relayd db upgrade")
    found, works = version_of(database), works_on(database)
    text = f"The database has {f'version {found}' if found else 'no tables'}; this relayd needs version {HEAD}"
    if works and found != HEAD:
        text += ", and works on this newer one, too"
    tell({"version": found, "needed": HEAD, "works": works}, f"{text}.", as_json)


class _Days(click.ParamType[int]):
    """As RELAYD_LEDGER_DAYS, with its limits."""

    name = "days"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from relayd.settings import SETTINGS
        from relayd.settings.forms import WrongFormError

        form = next(setting.form for setting in SETTINGS if setting.field == "ledger_days")
        try:
            return int(form.parse(str(value)))
        except WrongFormError as wrong:
            self.fail(f"{value!r}: {wrong}\n    hint: {form.hint}", param, ctx)


@command.command(short_help="Forget what nothing has happened to for N days.")
@click.option("--days", type=_Days(), metavar="N", help="How old it must be.  [default: RELAYD_LEDGER_DAYS]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def prune(*, days: int | None, as_json: bool) -> None:
    """Forget deliveries that nothing has happened to for N days, and what else is as old.

    Each daemon does it once a day by itself; this is for a quiet hour, or after RELAYD_LEDGER_DAYS was lowered. It
    works in short transactions beside the mail, and may be interrupted at any point. Counts of masks and owners stay.
    What is forgotten can no longer keep a replay from sending a mail again: 30 days is the least.

    \b
    relayd db prune
    relayd db prune --days 45 --json
    """
    from relayd.commands.progress import progress
    from relayd.ops.opening import directory_database
    from relayd.ops.pruning import Pruned
    from relayd.ops.pruning import prune as prune_database
    from relayd.settings import PruneSettings

    settings = PruneSettings.load(os.environ)
    days = days or settings.ledger_days
    pruned = Pruned()
    try:
        with directory_database(settings, make=False) as database, progress("forgetting", quiet=as_json) as bar:
            prune_database(database, days, bar.at, pruned)
    except KeyboardInterrupt:
        pass
    except RelaydError:
        # What is gone is gone, wherever the database went.
        if pruned.deliveries:
            _tell_pruned(pruned, days, as_json)
        raise
    _tell_pruned(pruned, days, as_json)
    sys.exit(DONE if pruned.finished else INTERRUPTED)


def _tell_pruned(pruned: "Pruned", days: int, as_json: bool) -> None:
    left = "." if pruned.finished else "; there may be more: run it again."
    text = f"Forgot {pruned.deliveries} deliveries older than {days} days, and {pruned.orders} expired orders{left}"
    tell({"days": days, **asdict(pruned)}, text, as_json)
