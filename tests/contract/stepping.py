"""Migrations one by one, also some to come, and what each of them took away from whoever worked before it."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from relayd.adapters import migrations
from relayd.adapters.database import Database
from relayd.adapters.schema import HEAD
from relayd.adapters.versions import alembic

FUTURE = """
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "{revision}", "{before}", None, None


def upgrade():
    {body}
"""
RAISE = """
    meta = sa.table("meta", sa.column("name"), sa.column("value"))
    op.execute(sa.update(meta).where(meta.c.name == "oldest_version").values(value="{oldest}"))
"""
EXPANDING = 'op.add_column("masks", sa.Column("colour", sa.Text(), nullable=True))'
CONTRACTING = 'op.drop_table("traced_masks")' + RAISE.format(oldest="0004")


def revisions() -> list[str]:
    """All of this relayd's, in order."""
    return [one.revision for one in ScriptDirectory.from_config(alembic()).walk_revisions()][::-1]


def step(database: Database, revision: str, config: Config | None = None) -> None:
    """Bring the tables to that version."""
    config = config or alembic()
    with database.writing() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


@dataclass
class Future:
    """The migrations of a relayd to come: ours, and more."""

    folder: Path
    head: str = HEAD

    def __post_init__(self) -> None:
        ours = Path(str(migrations.__file__)).parent
        shutil.copytree(ours, self.folder, ignore=shutil.ignore_patterns("__pycache__"))

    def upgrade(self, database: Database, body: str) -> str:
        """One more migration, and the database with it. Returns its version."""
        revision = f"{int(self.head) + 1:04}"
        text = FUTURE.format(revision=revision, before=self.head, body=body)
        (self.folder / "versions" / f"{revision}_future.py").write_text(text)
        self.head = revision
        config = Config()
        config.set_main_option("script_location", str(self.folder))
        step(database, revision, config)
        return revision


def shape(database: Database) -> dict[str, Any]:
    """What a program can trip over: columns and whether they must be given, and what must be unique or must exist."""
    with database.reading() as connection:
        found = sa.inspect(connection)
        return {
            table: {
                "columns": {
                    one["name"]: (str(one["type"]), one["nullable"] or one["default"] is not None)
                    for one in found.get_columns(table)
                },
                "rules": {
                    str(rule["name"])
                    for rules in (found.get_unique_constraints(table), found.get_foreign_keys(table))
                    for rule in rules
                }
                | {str(one["name"]) for one in found.get_indexes(table) if one["unique"]},
            }
            for table in found.get_table_names()
        }


def taken_away(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    """What a program that knows the shape from before cannot do any more, or has to do now."""
    for table, was in before.items():
        if table not in after:
            yield f"{table} is gone"
            continue
        now = after[table]
        for name, (kind, free) in was["columns"].items():
            if name not in now["columns"]:
                yield f"{table}.{name} is gone"
            elif now["columns"][name] != (kind, free) and now["columns"][name] != (kind, True):
                yield f"{table}.{name} takes less"
        new = (name for name, (_, free) in now["columns"].items() if name not in was["columns"] and not free)
        yield from (f"{table}.{name} must be given" for name in new)
        yield from (f"{table} has the rule {name}" for name in sorted(now["rules"] - was["rules"]))
