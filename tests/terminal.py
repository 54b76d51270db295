"""Somebody at a terminal: relayd's commands on a SQLite file, or on the database that a test names."""

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from relayd.adapters.database import Database, connect
from relayd.cli import root
from tests.contract.databases import with_tables


class Operator:
    """Somebody at a terminal, with relayd's settings in the environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ: dict[str, str | None] = {
            "RELAYD_DATABASE_URL": with_tables(folder),
            "RELAYD_MAIL_DOMAINS": "mask.example,other.example",
        }

    def __call__(self, *args: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(root, list(args), env=self.environ, input=stdin)

    def ok(self, *args: str, stdin: str | None = None) -> str:
        """What the command printed; it must have succeeded."""
        result = self(*args, stdin=stdin)
        assert result.exit_code == 0, result.output
        return result.stdout

    def json(self, *args: str, stdin: str | None = None) -> Any:
        return json.loads(self.ok(*args, "--json", stdin=stdin))

    def masks(self, *args: str) -> list[str]:
        listed = self.json("masks", "list", *args)
        assert isinstance(listed, list)
        return [one["mask"] for one in listed]

    def file(self, text: str) -> str:
        path = self.folder / "masks.csv"
        path.write_text(text, encoding="utf-8")
        return str(path)

    def database(self) -> Database:
        return connect(str(self.environ["RELAYD_DATABASE_URL"]), pool_size=1)
