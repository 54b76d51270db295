"""What a source has to offer for another try, whichever source it is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from relayd.model.notification import Received

_NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Offer:
    """One message, or one mail, that may be put through again."""

    reason: str
    """Why it is where it is: what people choose by, and what it is counted under."""
    at: float
    """When it came there, in seconds since the epoch; 0 when not known."""
    names: frozenset[str] = frozenset()
    """The ids that it can be asked for by: SES's of the mail, SQS's of the message."""
    text: str | None = field(repr=False, default=None)
    """The notification, verified or of our own making: what may be sealed. None where there is none."""
    original: str | None = field(repr=False, default=None)
    """The message's body, where nobody here can tell whether it is true: to be sent as it came, for the daemon to
    verify.
    """
    received: Received | None = field(repr=False, default=None)
    """The mail that it is about. Not to be trusted where `text` is None."""
    released: frozenset[str] = frozenset()
    """What a person let it out of quarantine for."""
    replay_id: str | None = None
    """The replay that put it into the queue before."""
    attributes: Mapping[str, str] = field(repr=False, default_factory=lambda: _NOTHING)
    """Message attributes that go along."""
    trace_header: str | None = None
    first_received_at: float | None = None
    """In seconds since the epoch: of the first of all its messages."""
    doubt: str = ""
    """Why it could not be verified here, where `original` is all there is of it."""
    problem: str = ""
    """Why it cannot be put through; empty where it can."""
    token: object = field(repr=False, default=None)
    """The source's own word for it."""


class Source(Protocol):
    """Where offers come from. One thread at a time."""

    def offers(self) -> Iterator[list[Offer]]:
        """Everything that is there, a portion at a time, each once. Portions may be empty, so that whoever reads can
        show how far it is, and stop. Raises RelaydError where no more can be read.
        """
        ...

    def total(self) -> int | None:
        """About how many there are; None where nobody can tell without reading them all."""
        ...

    def done(self, offers: Sequence[Offer]) -> Sequence[str | None]:
        """These are on their way: the source need not keep them. In their order: None, or why one stays all the same,
        which leads to a second try that the ledger absorbs.
        """
        ...

    def tend(self) -> None:
        """Keep what was offered from being offered to others. To be called every few seconds by whoever takes longer
        over a portion; going on to the next one does the same.
        """
        ...

    def close(self) -> None:
        """Give back what was offered and is not done."""
        ...

    def remark(self) -> str:
        """What there is to say of what could not be offered; empty for nothing."""
        ...


class Standing:
    """What the sources have in common that keep everything: nothing is taken from them, so nothing is given back."""

    def total(self) -> int | None:
        """See `Source`."""
        return None

    def done(self, offers: Sequence[Offer]) -> Sequence[str | None]:
        """See `Source`."""
        return [None for _ in offers]

    def tend(self) -> None:
        """See `Source`."""

    def close(self) -> None:
        """See `Source`."""

    def remark(self) -> str:
        """See `Source`."""
        return ""
