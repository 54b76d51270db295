"""What was asked of `relayd replay`, and whether it makes sense."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from relayd.commands.arguments import refuse_wrong
from relayd.model.address import Address

SourceName = Literal["dead_letters", "archive", "deliveries", "bucket"]


@dataclass(frozen=True, slots=True)
class Asked:
    """The options, as they were given."""

    dead_letters: bool
    archive: str | None
    deliveries: bool
    bucket: str | None
    reasons: tuple[str, ...]
    since: float | None
    until: float | None
    mask: Address | None = field(repr=False)
    name: str | None
    state: Literal["failed", "discarded", "sent"] | None
    limit: int | None
    dry_run: bool
    again: bool
    here: bool
    rate: float | None
    timeout: float | None
    yes: bool
    as_json: bool

    @property
    def source(self) -> SourceName:
        """Which one it is; `checked` has seen to it that there is exactly one."""
        if self.dead_letters:
            return "dead_letters"
        if self.deliveries:
            return "deliveries"
        return "archive" if self.archive is not None else "bucket"

    @property
    def everything(self) -> bool:
        """Whether nothing is said of which of the dead letters, and how."""
        said = (self.reasons, self.since, self.until, self.mask, self.name, self.limit, self.rate)
        return not any(said) and not self.again and not self.here


def checked(asked: Asked) -> Asked:
    """The same. Raises click's error for a wrong call, with every problem and its hint."""
    refuse_wrong(_wrong(asked))
    return asked


def interactive() -> bool:
    """Whether there is somebody who can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def _wrong(asked: Asked) -> Iterator[tuple[str, str]]:
    places = asked.bucket is not None and not asked.deliveries
    sources = sum((asked.dead_letters, asked.archive is not None, asked.deliveries, places))
    if sources != 1:
        problem = "There is no source." if sources == 0 else "There is more than one source."
        yield problem, "Give exactly one: --dead-letters, --from ARCHIVE, --deliveries, or --bucket s3://bucket/prefix."
        return
    if asked.bucket is not None and not _is_location(asked.bucket):
        yield (
            f"{asked.bucket!r} names no bucket.",
            "Write s3://bucket/prefix; the prefix is a folder, and may be left out.",
        )
    if asked.state is not None and not asked.deliveries:
        yield "--state is for --deliveries.", "Of other sources, --reason chooses."
    if asked.state == "sent" and not asked.again:
        yield "--state sent needs --again.", "What was sent is sent once more then: it arrives twice."
    if asked.reasons and asked.source == "bucket":
        yield "Raw mails have no reason.", "Choose with --since, --until, --mask and --message-id."
    if asked.timeout is not None and not asked.here:
        yield "--timeout is for --here.", "By the queue, the daemons take the time that they need."
    if asked.dry_run and (asked.here or asked.rate is not None):
        yield "--dry-run does nothing, so --here and --rate have no meaning.", "Leave them out."
    if asked.since is not None and asked.until is not None and asked.since >= asked.until:
        yield "--since is not before --until.", "Nothing can fit that."
    yield from _unconfirmed(asked)


def _unconfirmed(asked: Asked) -> Iterator[tuple[str, str]]:
    if asked.yes or interactive():
        return
    if asked.again and not asked.dry_run:
        yield "--again sends mail that was sent before.", "Look with --dry-run, then confirm with --yes."
    if everything_in_bucket(asked):
        yield "Without --since or --until, that is all that ever came.", "Name a time, or confirm with --yes."


def everything_in_bucket(asked: Asked) -> bool:
    """Whether a whole bucket is meant."""
    return asked.source == "bucket" and asked.since is None and asked.until is None and asked.name is None


def location(text: str) -> tuple[str, str]:
    """The bucket and the folder that `s3://bucket/folder` names; the folder ends in a slash, or is empty."""
    bucket, _, folder = text.removeprefix("s3://").partition("/")
    return bucket, f"{folder}/" if folder and not folder.endswith("/") else folder


def _is_location(text: str) -> bool:
    return text.startswith("s3://") and bool(location(text)[0])
