"""`relayd db`: the database's tables, and which version they have."""

import json
import os

import click

from relayd.errors import RelaydError


@click.group()
def command() -> None:
    """Create or upgrade the database's tables.

    A SQLite file is upgraded by whoever opens it. PostgreSQL is upgraded by this command alone: run it once for
    each new relayd, before the replicas start (in Kubernetes: as a job or an init container).

    \b
    export RELAYD_DATABASE_URL=postgresql://relayd:...@db.example/relayd RELAYD_MAIL_DOMAINS=mask.example
    relayd db upgrade
    """


@command.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def upgrade(as_json: bool) -> None:
    """Bring the tables to this relayd's version.

    Does nothing when they have it already. Any number of machines may run it at once: they take turns.
    """
    from relayd.adapters.database import connect, version
    from relayd.adapters.database import upgrade as upgrade_database
    from relayd.settings import DirectorySettings

    database = connect(DirectorySettings.load(os.environ).database_url, pool_size=1)
    before = version(database)
    upgrade_database(database)
    after = version(database)
    if as_json:
        click.echo(json.dumps({"before": before, "after": after}))
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
    from relayd.adapters.database import connect
    from relayd.adapters.database import version as version_of
    from relayd.adapters.schema import HEAD
    from relayd.settings import DirectorySettings

    database = connect(DirectorySettings.load(os.environ).database_url, pool_size=1)
    if not database.exists:
        raise RelaydError("database_missing", "there is no such file; make it with: relayd db upgrade")
    found = version_of(database)
    if as_json:
        click.echo(json.dumps({"version": found, "needed": HEAD}))
    else:
        click.echo(
            f"The database has {f'version {found}' if found else 'no tables'}; this relayd needs version {HEAD}."
        )
