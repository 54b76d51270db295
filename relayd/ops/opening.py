"""How an operator's command gets at the database: checked as the daemon checks it, on a single connection."""

from collections.abc import Iterator
from contextlib import contextmanager

from relayd.adapters.database import Database, check_secret, check_version, connect
from relayd.errors import RelaydError
from relayd.settings import DirectorySettings, PruneSettings, QueueSettings


@contextmanager
def directory_database(
    settings: DirectorySettings | PruneSettings | QueueSettings, *, make: bool = True
) -> Iterator[Database]:
    """The database of the right version and secret. A SQLite file is made, or upgraded, on the way; without `make`,
    one that is not there is refused.
    """
    database = connect(settings.database_url, pool_size=1)
    try:
        if not make and not database.exists:
            raise RelaydError("database_missing", "there is no such file; make it with: relayd db upgrade")
        check_version(database)
        if settings.secrets:
            check_secret(database, settings.secrets)
        yield database
    finally:
        database.close()
