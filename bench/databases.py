"""A fresh database for a proof that runs real daemons."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from tests.contract.databases import postgres_server

Kind = Literal["sqlite", "postgres"]


@contextmanager
def database_url(kind: Kind, folder: Path) -> Iterator[str]:
    """A SQLite file, or a PostgreSQL server of our own, which is gone at the end."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'relayd.sqlite'}"
        return
    with postgres_server() as server:
        yield server.get_uri()
