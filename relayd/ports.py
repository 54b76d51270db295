"""What relayd asks of the outside world, as narrow Protocols. `relayd.adapters` answers them for real.

Every method may raise the errors of `relayd.errors` and nothing else; an adapter translates its library's errors
once, at its edge. The contract suites in `tests/contract` say what each port promises and run on the in-memory
fakes and on the real adapters alike.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol

from relayd.model.address import Address
from relayd.model.delivery import Claim, ClaimAnswer, Concern, DeliveryKey, Draft, Held, Replay, ThreadLink, Tries
from relayd.model.feedback import Effect, Feedback, Match
from relayd.model.mask import Contact, Mask, Screening, Target
from relayd.model.message import Message
from relayd.model.notice import OwnerNotice, PendingNotice
from relayd.model.notification import S3Content


@dataclass(frozen=True, slots=True)
class EntryError:
    """Why one entry of a batch failed while the call succeeded."""

    code: str
    gone: bool
    """The lease has ended (handle stale, message deleted or no longer in flight): never try this entry again."""


class Queue(Protocol):
    """A queue with leases (SQS)."""

    @property
    def name(self) -> str:
        """The queue's short name, for spans and logs."""
        ...

    def receive(self, limit: int, wait: float, visibility: float) -> list[Message]:
        """Long-poll for up to `limit` (1 to 10) messages for up to `wait` seconds (0 to 20), leased for
        `visibility` seconds each. One receive may hold the same message twice. Empty when none came.

        Raises HoldError("queue") where waiting alone will not help (missing queue, denied access), else
        TransientError.
        """
        ...

    def delete(self, handles: Sequence[str]) -> list[EntryError | None]:
        """Delete 1 to 10 messages in one call; answers in the order of `handles`, None for success."""
        ...

    def change_visibility(self, changes: Sequence[tuple[str, float]]) -> list[EntryError | None]:
        """Let 1 to 10 leases, given as (handle, seconds from now), end then; answers as `delete` does."""
        ...

    def dead_letter(self, message: Message, reason: str, detail: str) -> None:
        """Copy the message, attributes included, to the dead-letter queue, with the reason as attributes.

        It does not delete the message: the copy must be durable first.
        """
        ...


class MailStore(Protocol):
    """Where received mail lies (S3). There is no delete: relayd never destroys mail."""

    def fetch(self, content: S3Content, admit: Callable[[int], None]) -> bytes:
        """The mail's bytes. `admit` is called with the size in bytes before the body is read and may refuse by
        raising; the connection is closed then.

        Raises TransientError("content_missing") for a missing object, PermanentError for one that can never be
        read (too large, archived, encrypted by the client), HoldError("s3") and TransientError as they fit.
        """
        ...


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One mail to one recipient."""

    sender: str = field(repr=False)
    """The address in From: a reply token on one of our domains."""
    recipient: str = field(repr=False)
    data: bytes = field(repr=False)
    """The whole mail, CRLF lines of at most 998 bytes, 7-bit."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """SES message tags: names and values of `[A-Za-z0-9_-]{1,256}`."""


class Mailer(Protocol):
    """What sends mail (SES v2). One call is one attempt: only the queue retries."""

    def send(self, mail: Outgoing) -> str:
        """Send, and return SES's MessageId.

        Raises InDoubtError when it cannot be known whether SES took it; every other error means that it did not.
        """
        ...


class Directory(Protocol):
    """Masks, owners, mailboxes and contacts."""

    def lookup(self, address: Address) -> Target:
        """What the address is to us: a mask (the tag ignored), a contact's reply token, a mask that a domain rule would
        make (`rule_id` is set then), or unknown. An exact mask wins over a token, and both win over a rule.

        Raises HoldError("database", "directory_empty") when there are neither masks nor rules: a wrong or restored
        database must not turn all mail into `unknown_mask`.
        """
        ...

    def screen(self, mask: Mask, senders: Sequence[Address]) -> Screening:
        """What the lists of the mask and its owner say of these senders. The mask's word goes before the owner's."""
        ...

    def create(self, mask: Mask) -> bool:
        """Make a mask that `lookup` said a rule would make, if it is not there yet. False when it may not be: the
        rule has gone, or has made as many as it may.
        """
        ...

    def contact(self, mask_id: str, sender: Address | None) -> Contact:
        """The mask's contact for this correspondent, made on first sight. One per mask and address; all mail
        without a readable sender shares one.
        """
        ...

    def correspondents(self, owner_id: str, tokens: Sequence[str]) -> dict[str, Contact]:
        """Those of the tokens (local parts) that are contacts of this owner's masks and have an address."""
        ...


class Ledger(Protocol):
    """What has been done with each delivery: it turns at-least-once into once.

    Times are measured by the database's clock, so that replicas with skewed clocks agree.
    """

    def claim(
        self,
        key: DeliveryKey,
        concern: Concern,
        *,
        message_id: str,
        ttl: float,
        trace: str | None,
        doubt_seconds: float = 0.0,
        replay: Replay | None = None,
    ) -> ClaimAnswer:
        """Take the delivery for `ttl` seconds, if it is free.

        Free is: new; given back; `claimed` and expired (its process died: the third time it answers Lost("killed"));
        `sending` and expired for `doubt_seconds` (in doubt: the first time a Claim with `resend`, the second time
        Lost("in_doubt")); `failed` for another SQS message (a redrive starts a new generation); for a `replay` also
        what failed or was discarded, and with its `again` what was sent, but for each replay once only. `trace` is this
        attempt's traceparent; the claim carries the one before. How the attempt before ended stays on record.
        """
        ...

    def begin_send(self, claim: Claim, draft: Draft, *, ttl: float) -> None:
        """Make `sending` durable before the call, to expire in `ttl` seconds. Raises ClaimLostError."""
        ...

    def sent(self, claim: Claim, ses_id: str) -> None:
        """Record a send that SES accepted, and count it. A known send is a fact: it is recorded even if the claim was
        lost; but not over a replay that came after it, which is another send.
        """
        ...

    def failed(self, claim: Claim, reason: str, *, message_id: str, held: Held | None = None) -> None:
        """Record that the delivery cannot be done; with `held`, so that a person may try it again. Raises
        ClaimLostError.
        """
        ...

    def refused(self, claim: Claim, reason: str) -> None:
        """Record that policy, asked again with the whole mail in hand, discards a delivery that was claimed.
        Raises ClaimLostError.
        """
        ...

    def give_back(self, claim: Claim, reason: str) -> None:
        """Let go of a claim whose work was not finished and whose mail was certainly not sent, free for the next
        receiver at once. Why stays on record. A claim that is no longer ours is left alone.
        """
        ...

    def discarded(
        self,
        key: DeliveryKey,
        reason: str,
        *,
        message_id: str,
        concern: Concern | None,
        held: Held | None = None,
        replay: Replay | None = None,
    ) -> None:
        """Record a discard, and count it; with `held`, a quarantine. One that is recorded already keeps its first
        reason, unless a replay asked again.
        """
        ...

    def charge(self, message_id: str, *, bug: bool) -> Tries:
        """Count one failed try of an SQS message, with a bug among its failures or not, and tell what it has cost."""
        ...

    def threads(self, mask_id: str, message_ids: Sequence[str]) -> tuple[ThreadLink, ...]:
        """The mails sent for this mask, in either direction, that one of these ids (without brackets) names: by the
        Message-ID that they came with, or by the local part of the one that SES gave them. Oldest first.
        """
        ...


class Feedbacks(Protocol):
    """What SES's events are about, and what they lead to."""

    def match(self, feedback: Feedback) -> Match:
        """The delivery, the mailboxes and the owner that an event is about: by its tag, by SES's id, by address."""
        ...

    def apply(self, feedback: Feedback, effects: Sequence[Effect]) -> bool:
        """Do what follows from an event, all of it or nothing. False, and nothing done, when the same event had its
        effects before; confirming a send and ending a pause may happen any number of times.
        """
        ...


class Notices(Protocol):
    """What owners are to be told. They wait in the database, so that no trouble of SES holds up who has to tell."""

    def tell(self, notice: OwnerNotice) -> None:
        """Let the owner know. Of one kind there is one a day (UTC) for each owner: a second one is dropped."""
        ...

    def waiting(self, limit: int, without: Collection[str] = ()) -> list[PendingNotice]:
        """Notices that were not sent yet, oldest first; of more than `limit`, rather those that can be sent. None for
        the owners (ids) in `without`.
        """
        ...

    def ended(self, notice_id: str, outcome: str) -> None:
        """The notice was sent, or never will be."""
        ...


class Replicas(Protocol):
    """Where each replica writes down that it runs, for the operators of all of them."""

    def beat(self, replica_id: str, uptime: float, status: str) -> None:
        """The replica runs, for `uptime` seconds by now, and says so much of itself, as JSON. Replicas that were not
        heard of for a day are forgotten.
        """
        ...

    def leave(self, replica_id: str) -> None:
        """The replica has stopped in good order."""
        ...


class Memory(Protocol):
    """What mails may take of this process."""

    def reserve(self, size: int, left: Callable[[], float]) -> AbstractContextManager[None]:
        """Memory for working on a mail of `size` bytes while the context lasts. `left` tells how many seconds it may be
        waited for, and is asked again while that lasts: a stop shortens it. Entering the context raises
        TransientError("memory_full"), not charged, where there is none so soon.
        """
        ...


class Pace(Protocol):
    """How fast mail may be sent."""

    def wait(self, left: Callable[[], float]) -> bool:
        """Wait for the right to send one mail. `left` tells how many seconds that may take, and is asked again while it
        does: a stop shortens it. False, and no right, where they do not suffice.
        """
        ...

    def throttled(self) -> None:
        """SES refused a mail because of the rate."""
        ...


class Certificates(Protocol):
    """SNS's signing certificates."""

    def fetch(self, url: str) -> bytes:
        """The certificate as PEM. The caller has checked the URL's host. Raises HoldError("certificates"): a
        certificate that cannot be fetched says nothing about the message.
        """
        ...


class Condition(Protocol):
    """What relayd uses of `threading.Condition`. `wait` answers False when the timeout passed."""

    def __enter__(self) -> bool: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...
    def wait(self, timeout: float | None = None) -> bool: ...
    def notify(self) -> None: ...
    def notify_all(self) -> None: ...


class Thread(Protocol):
    """What relayd uses of `threading.Thread`."""

    @property
    def name(self) -> str: ...
    def is_alive(self) -> bool: ...
    def join(self, timeout: float | None = None) -> None: ...


class Clock(Protocol):
    """Time, and everything that blocks on it. The tests' virtual clock runs an hour of the engine in a blink, and
    the same way each time, because no part of the engine waits on anything else.
    """

    def time(self) -> float:
        """Seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    def sleep(self, seconds: float) -> None: ...

    def condition(self) -> Condition: ...

    def spawn(self, name: str, target: Callable[[], None]) -> Thread:
        """Start a daemon thread."""
        ...


class Lease(Protocol):
    """The right to work on one message. The worker holds it; the Keeper renews it."""

    @property
    def message(self) -> Message: ...

    def fence(self, seconds: float) -> None:
        """Promise that the message stays ours for `seconds` more, extending the lease if need be.

        Called right before the one irreversible step. Raises LeaseLostError, or StoppingError when the daemon is
        stopping and the step would outlast its grace.
        """
        ...

    def left(self) -> float:
        """Seconds until the message's deadline, or until the stop's when the daemon is stopping; 0 when lost."""
        ...
