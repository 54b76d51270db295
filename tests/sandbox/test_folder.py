"""The data folder: what is private in it, what stays and what goes."""

import subprocess
from pathlib import Path

import pytest

from relayd.adapters.database import connect, upgrade
from relayd.errors import ConfigurationError, RelaydError
from relayd.sandbox.folder import data_folder
from relayd.settings import DirectorySettings


def test_a_temporary_folder_goes_away() -> None:
    """Nothing is left behind after a good end."""
    with data_folder(None) as folder:
        assert folder.path.is_dir()
    assert not folder.path.exists()


def test_it_stays_when_a_part_failed() -> None:
    """The log is what one wants to read then."""
    with pytest.raises(RelaydError), data_folder(None) as folder:
        raise RelaydError("sandbox_daemon")
    assert folder.path.is_dir()
    folder.kept = False
    folder.remove()


def test_it_goes_when_the_call_was_wrong() -> None:
    """A wrong option is no reason to keep an empty folder."""
    with pytest.raises(ConfigurationError), data_folder(None) as folder:
        raise ConfigurationError([])
    assert not folder.path.exists()


def test_a_given_folder_stays_and_keeps_its_secret(tmp_path: Path) -> None:
    """A second sandbox over the same database must have the same secret; nobody else may read it."""
    with data_folder(tmp_path / "a" / "b") as folder:
        secret = folder.secret()
    with data_folder(tmp_path / "a" / "b") as again:
        assert again.secret() == secret
    assert len(secret) >= 32
    assert (folder.path / "secret").stat().st_mode & 0o777 == 0o600


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A file in the way is a configuration problem with a hint."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError) as caught, data_folder(tmp_path / "file"):
        pass
    assert caught.value.problems[0].subject == "--data"


@pytest.mark.parametrize("name", ["a b", "what?", "50%", "%3F", "#1", "a+b&c=d"])
def test_the_database_is_in_the_folder_whatever_its_name(tmp_path: Path, name: str) -> None:
    """Characters that mean something in a URL mean themselves in a folder's name."""
    with data_folder(tmp_path / name) as folder:
        environ = {"RELAYD_DATABASE_URL": folder.database_url, "RELAYD_MAIL_DOMAINS": "mask.example"}
        database = connect(DirectorySettings.load(environ).database_url, pool_size=1)
        upgrade(database)
        database.close()
    assert folder.database.is_file()


def test_the_environment_is_for_the_shell(tmp_path: Path) -> None:
    """`. env` exports every value as it is."""
    with data_folder(tmp_path) as folder:
        folder.write_environment({"RELAYD_DATABASE_URL": "sqlite:////tmp/a b's.sqlite", "RELAYD_BUCKETS": "$HOME"})
    shell = subprocess.run(
        ["sh", "-c", f". {folder.environment}; env"],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/bin:/usr/bin"},
    )
    assert "RELAYD_DATABASE_URL=sqlite:////tmp/a b's.sqlite" in shell.stdout.splitlines()
    assert "RELAYD_BUCKETS=$HOME" in shell.stdout.splitlines()
