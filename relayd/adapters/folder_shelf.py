"""A folder of files that are written whole or not at all, for mail and messages that nobody else may read."""

import errno
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from relayd.errors import ConfigurationError, PermanentError, Problem, RelaydError, TransientError

FILE_MODE = 0o600
FOLDER_MODE = 0o700
STALE_SECONDS = 3600.0
"""After so long a file that was not finished never will be: whoever wrote it was killed."""
_UNFINISHED = ".part"

_PERSONS_TASK = {
    errno.EACCES,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}
"""Errors that somebody has to put right. All others may pass, or be put right, while work goes on."""


class FolderShelf:
    """Implements `relayd.ops.archive.Shelf`."""

    def __init__(self, folder: Path, *, fsync: Callable[[int], None] = os.fsync) -> None:
        """`fsync` brings a file, or a folder's list of names, to the disk."""
        self._folder = folder
        self._fsync = fsync

    @property
    def place(self) -> str:
        return str(self._folder)

    def make(self) -> None:
        """Create the folder where it does not exist, and remove what killed writers left in it."""
        with _translated(self._folder):
            missing = [path for path in (self._folder, *self._folder.parents) if not path.exists()]
            for path in reversed(missing):
                path.mkdir(mode=FOLDER_MODE, exist_ok=True)
                self._sync(path.parent)
            with os.scandir(self._folder) as entries:
                stale = [entry.path for entry in entries if _is_stale(entry)]
        for path_ in stale:
            with suppress(OSError):
                os.unlink(path_)

    def check(self) -> None:
        """Raises ConfigurationError where there is no such folder."""
        if not self._folder.is_dir():
            raise _problem(self._folder, "there is no such folder", "Check the name; it must be a folder of records.")

    def put(self, name: str, data: bytes, kind: str) -> None:  # noqa: ARG002 - a file has no kind but its name
        """Durable when it returns: file and folder are on the disk."""
        unfinished = self._folder / f".{name}.{secrets.token_hex(4)}{_UNFINISHED}"
        with _translated(self._folder):
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
            try:
                with open(descriptor, "wb") as file:
                    file.write(data)
                    file.flush()
                    self._fsync(file.fileno())
                os.replace(unfinished, self._folder / name)
            except BaseException:
                with suppress(OSError):
                    unfinished.unlink()
                raise
            self._sync(self._folder)

    def read(self, name: str, most: int) -> bytes | None:
        """The file's bytes; None where there is none. Raises PermanentError for one of more than `most` bytes."""
        try:
            with open(self._folder / name, "rb") as file:
                data = file.read(most + 1)
        except FileNotFoundError:
            return None
        except IsADirectoryError:
            raise PermanentError("not_a_file") from None
        except OSError as error:
            raise _told(self._folder, error) from None
        if len(data) > most:
            raise PermanentError("too_large", f"more than {most} bytes")
        return data

    def names(self) -> Iterator[str]:
        """The names of all files in order, but for those that are not finished."""
        with _translated(self._folder), os.scandir(self._folder) as entries:
            names = sorted(entry.name for entry in entries if not entry.name.endswith(_UNFINISHED))
        yield from names

    def _sync(self, folder: Path) -> None:
        """A new name is on the disk only with its folder."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._fsync(descriptor)
        finally:
            os.close(descriptor)


def _is_stale(entry: os.DirEntry[str]) -> bool:
    if not (entry.name.startswith(".") and entry.name.endswith(_UNFINISHED)):
        return False
    try:
        return entry.stat(follow_symlinks=False).st_mtime < time.time() - STALE_SECONDS
    except FileNotFoundError:
        return False


@contextmanager
def _translated(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _told(folder, error) from None


def _told(folder: Path, error: OSError) -> RelaydError:
    code = errno.errorcode.get(error.errno or 0, "unknown")
    if error.errno in _PERSONS_TASK:
        hint = "Name a folder that this user may write to, or let the user write to this one."
        return _problem(folder, f"it cannot be used ({code}: {os.strerror(error.errno or 0)})", hint)
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return TransientError("disk_full", code)
    return TransientError("disk_failed", code)


def _problem(folder: Path, problem: str, hint: str) -> ConfigurationError:
    return ConfigurationError([Problem(f"the folder {folder}", problem, hint)])
