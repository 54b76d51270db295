"""Which URLs name a database of relayd's, and what is wrong with the others."""

import importlib.util
from pathlib import Path
from urllib.parse import quote, unquote

import sqlalchemy as sa
from sqlalchemy import exc

from relayd.errors import ConfigurationError, Problem

_VARIABLE = "RELAYD_DATABASE_URL"
_FORMS = "use sqlite:///relayd.db on one host, or postgresql://user:password@host/database for several replicas."


def database_url(text: str) -> sa.URL:
    """With the driver that relayd uses. Raises ConfigurationError, which does not repeat the text."""
    try:
        parsed = sa.make_url(text)
    except (exc.ArgumentError, ValueError):
        raise refused("is not a database URL", _FORMS) from None
    if parsed.get_backend_name() == "sqlite":
        if "?" in text:
            # Each of them opens another file, or none: relayd sets by itself what it needs.
            raise refused("has parameters, and a SQLite URL has none", "end it before the ?, or write that as %3F.")
        # By ourselves: SQLAlchemy decodes the path only from 2.1 on.
        path = unquote(text.partition("://")[2].partition("/")[2])
        if path in ("", ":memory:"):
            raise refused("names a database in memory, which every restart and every thread would empty", _FORMS)
        folder = Path(path).resolve().parent
        if not folder.is_dir():
            raise refused(f"the folder {folder} does not exist", f"create it: mkdir -p {folder}")
        return sa.URL.create("sqlite+pysqlite", database=path)
    if parsed.get_backend_name() != "postgresql":
        raise refused("names a kind of database that relayd does not know", _FORMS)
    if importlib.util.find_spec("psycopg") is None:
        raise refused("PostgreSQL needs psycopg, which is not installed", "pip install 'relayd[postgres]'")
    return parsed.set(drivername="postgresql+psycopg")


def unwritten(url: sa.URL) -> sa.URL:
    """The same SQLite file, opened so that nothing can be changed and no file is made."""
    path = quote(str(path_of(url).resolve()))
    return url.set(database=f"file:{path}", query={"mode": "ro", "uri": "true"})


def path_of(url: sa.URL) -> Path:
    """A SQLite URL's file."""
    name = url.database or ""
    return Path(unquote(name.removeprefix("file:"))) if "uri" in url.query else Path(name)


def refused(problem: str, hint: str, subject: str = _VARIABLE) -> ConfigurationError:
    """What is wrong with a database, and what to do."""
    return ConfigurationError([Problem(subject, problem, hint)])
