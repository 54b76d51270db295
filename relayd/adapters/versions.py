"""Which relayd works on which tables: the database says how far back it goes, for a relayd that does not know it.

An update expands, then contracts (docs/adr/0013): a migration that only adds leaves the word as it is, and one that
takes something away raises it to the oldest version whose relayd can do without.
"""

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from relayd.adapters.schema import HEAD, meta

OLDEST = "oldest_version"
"""The row of `meta` that holds the word. Migrations write it, and nobody else."""


def alembic() -> Any:
    """Alembic's configuration: where the steps are."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


def known() -> frozenset[str]:
    """The versions that this relayd has the steps to: its own, and all before it."""
    from alembic.script import ScriptDirectory

    return frozenset(script.revision for script in ScriptDirectory.from_config(alembic()).walk_revisions())


def suits(connection: sa.Connection, found: str | None) -> bool:
    """Whether this relayd works on tables of the version `found` (None: no tables): on its own, and on newer ones that
    say so. Older ones have to be upgraded first.
    """
    if found == HEAD:
        return True
    ours = known()
    if found is None or found in ours:
        return False
    # Versions are a line: to know a version is to be that one or a later one.
    return connection.execute(sa.select(meta.c.value).where(meta.c.name == OLDEST)).scalar_one_or_none() in ours
