"""How an operator's command gets at the database: checked as the daemon checks it, on a single connection."""

from collections.abc import Iterator
from contextlib import contextmanager

from relayd.adapters.database import Database, check_secret, check_version, connect
from relayd.settings import DirectorySettings, QueueSettings


@contextmanager
def directory_database(settings: DirectorySettings | QueueSettings) -> Iterator[Database]:
    """The database of the right version and secret. A SQLite file is made, or upgraded, on the way."""
    database = connect(settings.database_url, pool_size=1)
    try:
        check_version(database)
        if settings.secrets:
            check_secret(database, settings.secrets)
        yield database
    finally:
        database.close()
