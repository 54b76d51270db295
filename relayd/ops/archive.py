"""An archive of dead letters, in a folder or a bucket: one JSON document a letter, its raw mail beside it."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal, Protocol
from zlib import crc32

from relayd.adapters.folder_shelf import FolderShelf
from relayd.adapters.s3_shelf import SCHEME, s3_shelf
from relayd.errors import ConfigurationError, PermanentError, Problem
from relayd.ops.archive_record import ARCHIVED, MAIL_SUFFIX, MAX_BYTES, SUFFIX, Record, read_record, safe_id, to_bytes
from relayd.ops.patience import patiently
from relayd.ports import Clock
from relayd.runtime.clock import SystemClock

THREADS = 16
"""That may use one archive at a time: a get from S3 is 30 ms of waiting."""
AHEAD = 64
"""Records that are read before they are asked for; of 1 MiB each at most, as a rule of a few kilobytes."""
MAX_MAIL = 64 * 1024 * 1024
"""Bytes of a raw mail; SES receives up to 40 MB."""

JSON_KIND = "application/json"
MAIL_KIND = "message/rfc822"

Added = Literal["archived", "already_there"]


class Shelf(Protocol):
    """Where an archive keeps its files. Methods raise ConfigurationError for what a person must put right,
    TransientError for an outage, PermanentError for what is wrong with one file.
    """

    @property
    def place(self) -> str:
        """For people."""
        ...

    def make(self) -> None:
        """Be ready to be written to."""
        ...

    def check(self) -> None:
        """Be ready to be read. Raises ConfigurationError where there is nothing of that name."""
        ...

    def put(self, name: str, data: bytes, kind: str) -> None:
        """Durable when it returns, in the place of what had the name before. Killed half-way, it has done nothing."""
        ...

    def read(self, name: str, most: int) -> bytes | None:
        """None where there is none of that name. PermanentError for one of more than `most` bytes."""
        ...

    def names(self) -> Iterator[str]:
        """All names, in order."""
        ...


@dataclass(frozen=True, slots=True)
class Damaged:
    """A file in an archive that is no record, or not whole."""

    name: str
    problem: str
    """A reason word, and where in the file."""


class Archive:
    """Records on a shelf. Any number of threads may use one, and any number of commands one place at a time."""

    def __init__(self, shelf: Shelf, clock: Clock) -> None:
        self._shelf = shelf
        self._clock = clock
        self._turns = [clock.condition() for _ in range(4 * THREADS)]
        """Locks, each for some of the names."""

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return self._shelf.place

    def kept(self, record: Record) -> Record | None:
        """The record of the same letter, if it is here and whole."""
        try:
            data = patiently(self._clock, partial(self._shelf.read, record.stem + SUFFIX, MAX_BYTES))
            return None if data is None else read_record(data)
        except PermanentError:
            # Its name says that it was one of this letter; it is written anew.
            return None

    def add(self, record: Record, mail: bytes | None = None) -> Added:
        """Keep a record, and its raw mail where there is one. Durable when it returns.

        A name belongs to one letter (`Record.stem`), so nothing else is ever overwritten: only what is damaged, or knew
        less of its mail.
        """
        # The twins that a crash makes often come in one batch: the second of them is not to be counted as new.
        with self._turns[crc32(record.stem.encode()) % len(self._turns)]:
            kept = self.kept(record)
            if kept is not None and not _knows_more(record, kept):
                return "already_there"
            if mail is not None:
                # Before the record, which says that it is there.
                self._put(record.mail_name, mail, MAIL_KIND)
            self._put(record.stem + SUFFIX, to_bytes(record), JSON_KIND)
            return "archived" if kept is None else "already_there"

    def has(self, original_message_id: str) -> bool:
        """Whether any dead letter of this message is here. Looks through all names: for many, use `records`."""
        start = safe_id(original_message_id) + "."
        return any(name.startswith(start) and name.endswith(SUFFIX) for name in self._shelf.names())

    def mail(self, record: Record) -> bytes | None:
        """The raw mail beside a record; None where there is none."""
        return patiently(self._clock, partial(self._shelf.read, record.mail_name, MAX_MAIL))

    def records(self, report: Callable[[Damaged], None]) -> Iterator[Record]:
        """All records, in the order of their names, a few read ahead. `report` is told of every file that is none."""
        names = (name for name in self._shelf.names() if self._may_be_record(name))
        pool = ThreadPoolExecutor(THREADS, "archive")
        try:
            reads: deque[Future[Record | Damaged | None]] = deque()
            reads.extend(pool.submit(self._read, name) for name in islice(names, AHEAD))
            while reads:
                found = reads.popleft().result()
                reads.extend(pool.submit(self._read, name) for name in islice(names, 1))
                if isinstance(found, Damaged):
                    report(found)
                elif found is not None:
                    yield found
        finally:
            pool.shutdown(cancel_futures=True)

    @staticmethod
    def _may_be_record(name: str) -> bool:
        return not name.startswith(".") and not name.endswith(MAIL_SUFFIX)

    def _read(self, name: str) -> Record | Damaged | None:
        if not name.endswith(SUFFIX):
            return Damaged(name, "not_a_record")
        try:
            data = patiently(self._clock, partial(self._shelf.read, name, MAX_BYTES))
            # Removed since it was listed: that is nothing to report.
            return None if data is None else read_record(data)
        except PermanentError as error:
            return Damaged(name, str(error))

    def _put(self, name: str, data: bytes, kind: str) -> None:
        patiently(self._clock, partial(self._shelf.put, name, data, kind))


def archive_at(location: str, *, making: bool = False, default_region: str | None = None) -> Archive:
    """The archive at `s3://bucket/prefix`, or in a folder. With `making`, ready to be written to, and the folder made.

    Raises ConfigurationError where there is no such place, or it is not for us; TransientError for an outage.
    `default_region`: of the bucket, where neither AWS_REGION nor the profile names one.
    """
    clock = SystemClock()
    shelf: Shelf
    if location.startswith(SCHEME):
        shelf = s3_shelf(location, clock, threads=THREADS, default_region=default_region)
    elif "://" in location or not location:
        hint = "Write s3://bucket/prefix, or the name of a folder."
        raise ConfigurationError([Problem(location or "the archive", "this is no place for an archive.", hint)])
    else:
        shelf = FolderShelf(Path(location))
    if making:
        shelf.make()
    else:
        shelf.check()
    return Archive(shelf, clock)


def _knows_more(record: Record, kept: Record) -> bool:
    """About the raw mail: all else is the same."""
    if kept.mail is None or record.mail is None:
        return record.mail is not None
    return record.mail.state == ARCHIVED != kept.mail.state
