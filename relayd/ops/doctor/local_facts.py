"""What was found out without AWS: of the database, and of SNS's certificates."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from relayd.ops.doctor.findings import UnknownError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Looked(Generic[T]):
    """A fact of the database, or why it is not known."""

    value: T | None = None
    why: str = ""

    @property
    def known(self) -> T:
        if self.why or self.value is None:
            raise UnknownError(self.why or "it is not known", "see above")
        return self.value


@dataclass(frozen=True, slots=True)
class Sends:
    """What the ledger says of the last 24 hours."""

    mails: int
    busiest_minute: int


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """What was found in the database, and about it."""

    kind: Literal["sqlite", "postgresql"] | None
    """None where the URL is none."""
    trouble: str
    """Why it cannot be used at all; empty where it can."""
    hint: str = ""
    version: Looked[str] = Looked(why="it was not looked at")
    """Empty where there are no tables."""
    known_versions: tuple[str, ...] = ()
    suitable: Looked[bool] = Looked(why="it was not looked at")
    """Whether this relayd works on the tables as they are: newer ones may say so."""
    secret: Looked[bool] = Looked(why="it was not looked at")
    """Whether it is the one that the database was used with."""
    empty: Looked[bool] = Looked(why="it was not looked at")
    domains: Looked[Mapping[str, int]] = Looked(why="it was not looked at")
    """Masks and rules by domain: of ours, and of those that masks are on."""
    sends: Looked[Sends] = Looked(why="it was not looked at")
    replicas: Looked[int] = Looked(why="it was not looked at")
    """How many say that they run."""
    skew: Looked[float] = Looked(why="it was not looked at")
    """Seconds by which our clock is ahead of the database's."""
    writable: Looked[bool] = Looked(why="it was not looked at")
    connections: Looked[int] = Looked(why="it was not looked at")
    """How many the server admits."""
    filesystem: str = ""
    """Of a SQLite file: `ext4`, `nfs4`; empty where nobody knows."""


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What SNS's signatures would be verified with."""

    pinned: str = ""
    """The file's path; empty where certificates are fetched."""
    problem: str = ""
    """Why the file cannot be used."""
    not_before: float = 0.0
    not_after: float = 0.0
    hosts: Mapping[str, str] = field(default_factory=dict)
    """SNS's hosts, and what is wrong with each; empty where it answers."""
