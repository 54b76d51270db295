"""The data folder: what the sandbox writes to disk, and whether it stays."""

import json
import os
import secrets
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from relayd.errors import ConfigurationError, Problem, RelaydError
from relayd.sandbox.masks import TRACKERS


class Folder:
    """A folder's places by name. A temporary one goes away at the end unless `kept` was set."""

    def __init__(self, path: Path, *, temporary: bool) -> None:
        self.path = path
        self.temporary = temporary
        self.kept = not temporary

    @property
    def database(self) -> Path:
        return self.path / "relayd.sqlite"

    @property
    def database_url(self) -> str:
        return f"sqlite:///{quote(str(self.database))}"

    @property
    def log(self) -> Path:
        """The daemon's."""
        return self.path / "relayd.log"

    @property
    def aws_log(self) -> Path:
        return self.path / "aws.log"

    @property
    def certificate(self) -> Path:
        """What the emulated SNS signs with."""
        return self.path / "sns.pem"

    @property
    def environment(self) -> Path:
        """For the shell's `.`, so that other relayd commands find this sandbox."""
        return self.path / "env"

    def secret(self) -> str:
        """The secret, made once: a database is bound to its secret."""
        path = self.path / "secret"
        if not path.exists():
            _write_private(path, secrets.token_urlsafe(48))
        return path.read_text()

    def trackers(self) -> Path:
        """The list of trackers, written once: a user's own stays."""
        path = self.path / "trackers.json"
        if not path.exists():
            path.write_text(json.dumps(TRACKERS, indent=2) + "\n")
        return path

    def write_environment(self, settings: Mapping[str, str]) -> None:
        _write_private(
            self.environment, "".join(f"export {name}={shlex.quote(value)}\n" for name, value in settings.items())
        )

    def remove(self) -> None:
        """Take a temporary folder away that is not to be kept."""
        if not self.kept:
            shutil.rmtree(self.path, ignore_errors=True)


@contextmanager
def data_folder(given: Path | None) -> Iterator[Folder]:
    """The folder that was given, or a temporary one, which stays when a part of the sandbox failed."""
    folder = _made(given) if given else Folder(Path(tempfile.mkdtemp(prefix="relayd-sandbox-")), temporary=True)
    try:
        yield folder
    except ConfigurationError:
        raise
    except RelaydError:
        folder.kept = True
        raise
    finally:
        folder.remove()


def _made(path: Path) -> Folder:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        hint = "name a folder that you may write to"
        raise ConfigurationError([Problem("--data", f"the folder cannot be made: {error.strerror}", hint)]) from None
    return Folder(path.resolve(), temporary=False)


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
