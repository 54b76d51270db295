"""Ports that look and change nothing: for a daemon that is to say what it would do.

Reads go to the real directory and ledger. What would be written is answered as the real one would answer, and kept in
memory for as long as the same mail may come again: never in the database, SES or the dead-letter queue.
"""

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from relayd.adapters.directory import new_token
from relayd.model.address import Address
from relayd.model.delivery import (
    Claim,
    ClaimAnswer,
    Concern,
    DeliveryKey,
    DeliveryKind,
    Draft,
    Held,
    Replay,
    Settled,
    ThreadLink,
    Tries,
)
from relayd.model.feedback import Confirm, Effect, EndPause, Feedback, Match
from relayd.model.mask import Contact, Mask, Screening, Target
from relayd.model.message import Message
from relayd.model.notice import OwnerNotice, PendingNotice
from relayd.model.observed import Fate
from relayd.ports import Clock, Directory, EntryError, Feedbacks, Ledger, Outgoing, Queue

Saw = Callable[[Fate, str], None]
"""Told of everything that would have been done, with its reason (empty where it needs none)."""

NOT_SENT = "observed"
"""What stands in place of SES's id."""
REMEMBERED = 20_000
"""Deliveries, messages, notices and events each. A mail that comes again after so many others is counted again."""

_SECONDS_A_DAY = 86_400
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class _Memory(Generic[_Key, _Value]):
    """The latest of what was put in. Not thread-safe: whoever holds it locks."""

    def __init__(self) -> None:
        self._kept: OrderedDict[_Key, _Value] = OrderedDict()

    def get(self, key: _Key) -> _Value | None:
        return self._kept.get(key)

    def put(self, key: _Key, value: _Value) -> None:
        self._kept[key] = value
        if len(self._kept) > REMEMBERED:
            self._kept.popitem(last=False)

    def pop(self, key: _Key) -> _Value | None:
        return self._kept.pop(key, None)


class LookedUp(Directory, Protocol):
    """A directory that can be asked for a contact without making one."""

    def known_contact(self, mask_id: str, sender: Address | None) -> Contact | None: ...


class ObservingDirectory:
    """`relayd.ports.Directory`, for reading only."""

    def __init__(self, real: LookedUp) -> None:
        self._real = real

    def lookup(self, address: Address) -> Target:
        return self._real.lookup(address)

    def screen(self, mask: Mask, senders: Sequence[Address]) -> Screening:
        return self._real.screen(mask, senders)

    def create(self, mask: Mask) -> bool:
        """Whether it could be made now: it is there meanwhile, or its rule would still make it."""
        found = self._real.lookup(mask.address)
        return isinstance(found, Mask) and found.mask_id == mask.mask_id

    def contact(self, mask_id: str, sender: Address | None) -> Contact:
        """The one that there is, or one that nobody will ever write to."""
        found = self._real.known_contact(mask_id, sender)
        return found or Contact(secrets.token_hex(10), mask_id, new_token(), sender)

    def correspondents(self, owner_id: str, tokens: Sequence[str]) -> dict[str, Contact]:
        return self._real.correspondents(owner_id, tokens)


@dataclass(slots=True)
class _Cost:
    first_at: float
    failures: int = 0
    bugs: int = 0


class ObservingLedger:
    """`relayd.ports.Ledger`, of this process alone: each mail is met as if for the first time, whatever other daemons
    have done with it. Only threads are looked up in the real one.
    """

    def __init__(self, real: Ledger, clock: Clock, saw: Saw) -> None:
        self._real = real
        self._clock = clock
        self._saw = saw
        self._lock = threading.Lock()
        self._ended: _Memory[DeliveryKey, tuple[Settled, str]] = _Memory()
        self._claimed: _Memory[str, DeliveryKind] = _Memory()
        self._attempts: _Memory[DeliveryKey, int] = _Memory()
        self._costs: _Memory[str, _Cost] = _Memory()

    def claim(
        self,
        key: DeliveryKey,
        concern: Concern,
        *,
        message_id: str,
        ttl: float,  # noqa: ARG002 - the port's
        trace: str | None,  # noqa: ARG002
        doubt_seconds: float = 0.0,  # noqa: ARG002
        replay: Replay | None = None,  # noqa: ARG002
    ) -> ClaimAnswer:
        """A claim, unless this delivery ended before."""
        with self._lock:
            ended = self._ended.get(key)
            if ended is not None and (ended[0].state != "failed" or ended[1] == message_id):
                return ended[0]
            claim = Claim(secrets.token_hex(10), key, secrets.token_hex(10), (self._attempts.get(key) or 0) + 1)
            self._attempts.put(key, claim.attempt)
            self._claimed.put(claim.delivery_id, concern.kind)
            return claim

    def begin_send(self, claim: Claim, draft: Draft, *, ttl: float) -> None:
        """Nothing is ever sent, and so no send is ever in doubt."""

    def sent(self, claim: Claim, ses_id: str) -> None:  # noqa: ARG002
        kind = self._finish(claim)
        self._end(claim.key, Settled("sent", "sent"), "", "reply" if kind == "reply" else "forward", "")

    def failed(self, claim: Claim, reason: str, *, message_id: str, held: Held | None = None) -> None:  # noqa: ARG002
        self._finish(claim)
        self._end(claim.key, Settled("failed", reason), message_id, "fail", reason)

    def refused(self, claim: Claim, reason: str) -> None:
        self._finish(claim)
        self._end(claim.key, Settled("discarded", reason), "", "discard", reason)

    def give_back(self, claim: Claim, reason: str) -> None:  # noqa: ARG002
        self._finish(claim)

    def discarded(
        self,
        key: DeliveryKey,
        reason: str,
        *,
        message_id: str,  # noqa: ARG002
        concern: Concern | None,  # noqa: ARG002
        held: Held | None = None,
        replay: Replay | None = None,  # noqa: ARG002
    ) -> None:
        self._end(key, Settled("discarded", reason), "", "discard" if held is None else "quarantine", reason)

    def charge(self, message_id: str, *, bug: bool) -> Tries:
        """Tries count here as anywhere, so that a mail that can never be fetched comes to an end."""
        now = self._clock.time()
        with self._lock:
            cost = self._costs.get(message_id) or _Cost(now)
            cost.failures += 1
            cost.bugs += bug
            self._costs.put(message_id, cost)
            return Tries(cost.failures, cost.bugs, max(0.0, now - cost.first_at))

    def threads(self, mask_id: str, message_ids: Sequence[str]) -> tuple[ThreadLink, ...]:
        return self._real.threads(mask_id, message_ids)

    def _finish(self, claim: Claim) -> DeliveryKind | None:
        with self._lock:
            return self._claimed.pop(claim.delivery_id)

    def _end(self, key: DeliveryKey, how: Settled, message_id: str, fate: Fate, reason: str) -> None:
        with self._lock:
            before = self._ended.get(key)
            self._ended.put(key, (how, message_id))
        if before is None:
            self._saw(fate, reason)


class ObservingFeedbacks:
    """`relayd.ports.Feedbacks`: what SES's events are about, and nothing follows from them."""

    def __init__(self, real: Feedbacks, saw: Saw) -> None:
        self._real = real
        self._saw = saw
        self._lock = threading.Lock()
        self._seen: _Memory[str, bool] = _Memory()

    def match(self, feedback: Feedback) -> Match:
        return self._real.match(feedback)

    def apply(self, feedback: Feedback, effects: Sequence[Effect]) -> bool:
        if not any(not isinstance(effect, Confirm | EndPause) for effect in effects):
            # That a mail of ours was sent, or came: it may be told any number of times.
            return True
        with self._lock:
            if self._seen.get(feedback.feedback_id):
                return False
            self._seen.put(feedback.feedback_id, True)
        self._saw("apply_event", feedback.kind)
        return True


class ObservingNotices:
    """`relayd.ports.Notices`: nobody is told."""

    def __init__(self, clock: Clock, saw: Saw) -> None:
        self._clock = clock
        self._saw = saw
        self._lock = threading.Lock()
        self._told: _Memory[tuple[str, str, int], bool] = _Memory()

    def tell(self, notice: OwnerNotice) -> None:
        key = (notice.owner_id, notice.kind, int(self._clock.time()) // _SECONDS_A_DAY)
        with self._lock:
            if self._told.get(key):
                return
            self._told.put(key, True)
        self._saw("tell_owner", notice.kind)

    def waiting(self, limit: int, without: object = ()) -> list[PendingNotice]:  # noqa: ARG002
        """None: what waits in the database is for somebody else to send."""
        return []

    def ended(self, notice_id: str, outcome: str) -> None:
        """Nothing ever is."""


class ObservingMailer:
    """`relayd.ports.Mailer`: it takes everything, and sends nothing."""

    def send(self, mail: Outgoing) -> str:  # noqa: ARG002
        return NOT_SENT


class ObservedQueue:
    """`relayd.ports.Queue`: a queue of the observer's own, whose messages it receives and deletes. No dead letters: the
    mail is somebody else's to forward.
    """

    def __init__(self, real: Queue) -> None:
        self._real = real

    @property
    def name(self) -> str:
        return self._real.name

    def receive(self, limit: int, wait: float, visibility: float) -> list[Message]:
        return self._real.receive(limit, wait, visibility)

    def delete(self, handles: Sequence[str]) -> list[EntryError | None]:
        return self._real.delete(handles)

    def change_visibility(self, changes: Sequence[tuple[str, float]]) -> list[EntryError | None]:
        return self._real.change_visibility(changes)

    def dead_letter(self, message: Message, reason: str, detail: str) -> None:
        """Deleting it is all that becomes of it."""


class Unpaused:
    """`relayd.ports.Pauses` and `TracedMasks`: what operators hold back, they hold back from being sent."""

    def everything(self) -> bool:
        return False

    def held(self, domain: str, owner_id: str | None) -> bool:  # noqa: ARG002
        return False

    def owners(self) -> frozenset[str]:
        return frozenset()

    def traced(self, mask_id: str) -> bool:  # noqa: ARG002
        return False
