"""Watches from outside what relayd does: in the ledger, in the emulated SES and in the dead-letter queue.

The daemon's own word (its log) is not used: a sandbox that believed it could not find it wrong.
"""

import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import sqlalchemy as sa

from relayd.adapters.dead_letters import REASON
from relayd.adapters.schema import deliveries, masks, notices, quarantine
from relayd.sandbox.child import Sent
from relayd.sandbox.outcomes import DeadLetter, Ended

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

TURN_SECONDS = 0.1
SELDOM_SECONDS = 0.4
"""Between two looks at dead letters and notices."""
SETTLED_SECONDS = 15.0
"""How long a mail is watched after it came in, once it has an end: more ends of it may follow."""
OPEN_SECONDS = 900.0
OVERLAP_SECONDS = 5.0
"""A row may become visible later than it says: its time is taken before it is committed."""
MAX_WATCHED = 2000
CHUNK = 500
"""Mail ids in one query."""
FINAL = ("sent", "discarded", "failed")

_HELD = sa.and_(
    quarantine.c.released_at.is_(None),
    *(quarantine.c[name] == deliveries.c[name] for name in ("mail_id", "recipient", "mailbox")),
)
_ENDS = (
    sa.select(deliveries, masks.c.address.label("mask"), quarantine.c.quarantine_id.label("held"))
    .outerjoin(masks, masks.c.mask_id == deliveries.c.mask_id)
    .outerjoin(quarantine, _HELD)
    .where(deliveries.c.state.in_(FINAL))
)
_NOTICES = (
    sa.select(deliveries, notices.c.kind.label("notice"))
    .join(notices, deliveries.c.mail_id == sa.literal("notice-").concat(notices.c.notice_id))
    .where(deliveries.c.state.in_(FINAL))
)


class LedgerView:
    """The ledger's ends, read from its SQLite file."""

    def __init__(self, path: Path) -> None:
        self._engine = sa.create_engine(f"sqlite:///{path}", hide_parameters=True)

    def ends(self, mail_ids: Iterable[str], since: float = 0.0) -> list[Ended]:
        """Every delivery of these mails that has ended, and was touched at that time (epoch) or later."""
        wanted = list(mail_ids)
        found: list[Ended] = []
        with self._engine.connect() as connection:
            for first in range(0, len(wanted), CHUNK):
                chunk = wanted[first : first + CHUNK]
                query = _ENDS.where(deliveries.c.mail_id.in_(chunk), deliveries.c.updated_at >= since)
                found.extend(_ended(row) for row in connection.execute(query).mappings())
        return found

    def notices(self, since: float) -> list[Ended]:
        """Every mail of relayd's own to an owner that has ended at that time or later."""
        with self._engine.connect() as connection:
            rows = connection.execute(_NOTICES.where(deliveries.c.updated_at >= since)).mappings()
            return [_ended(row) for row in rows]

    def close(self) -> None:
        self._engine.dispose()


def _ended(row: sa.RowMapping) -> Ended:
    return Ended(
        delivery_id=row["delivery_id"],
        mail_id=row["mail_id"],
        recipient=row["recipient"],
        mailbox=row["mailbox"],
        state=row["state"],
        reason=row["reason"] or "",
        ses_id=row["ses_id"] or "",
        resends=row["resends"],
        at=row["updated_at"],
        kind=row["kind"],
        mask=row.get("mask") or "",
        held=row.get("held") or "",
        notice=row.get("notice") or "",
    )


class DeadLetterView:
    """Looks into the dead-letter queue and leaves everything in it."""

    def __init__(self, sqs: "SQSClient", url: str) -> None:
        self._sqs = sqs
        self._url = url
        self._seen: set[str] = set()
        self._depth = 0

    def new(self) -> list[DeadLetter]:
        """What has come since the last look. Messages are received only when there are more of them than before."""
        depth = queue_depth(self._sqs, self._url)
        in_view: set[str] = set()
        found: list[DeadLetter] = []
        if depth > self._depth:
            # Hidden for 2 s only: whoever else looks shall find them; long enough here to see each once in a row.
            while len(in_view) < depth and (letters := self._receive(visibility=2)):
                found.extend(letter for letter in letters if letter.message_id not in self._seen)
                in_view.update(letter.message_id for letter in letters)
                self._seen.update(in_view)
        if depth <= self._depth or len(in_view) >= depth:
            self._depth = depth
        return found

    def _receive(self, visibility: int) -> list[DeadLetter]:
        answer = self._sqs.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=10,
            VisibilityTimeout=visibility,
            WaitTimeSeconds=0,
            MessageAttributeNames=["All"],
        )
        return [
            DeadLetter(
                message["MessageId"],
                _reason(message),
                message["Body"],
            )
            for message in answer.get("Messages", [])
        ]


def _reason(message: "MessageTypeDef") -> str:
    attributes = message.get("MessageAttributes", {})
    return attributes[REASON].get("StringValue", "") if REASON in attributes else "unknown"


def queue_depth(sqs: "SQSClient", url: str) -> int:
    """Messages on the queue, those in flight included."""
    return sum(queue_counts(sqs, url))


def queue_counts(sqs: "SQSClient", url: str) -> tuple[int, int]:
    """Messages that wait, and messages in flight."""
    answer = sqs.get_queue_attributes(
        QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    )
    found = answer["Attributes"]
    return int(found["ApproximateNumberOfMessages"]), int(found["ApproximateNumberOfMessagesNotVisible"])


class Sink(Protocol):
    """Who is told."""

    def sent(self, sent: Sent) -> None: ...
    def ended(self, end: Ended) -> None: ...
    def dead(self, letter: DeadLetter) -> None: ...


class Watch:
    """Looks, and tells each thing once. `look` is one turn; `start` takes turns on a thread of its own."""

    def __init__(
        self,
        ledger: LedgerView,
        dead_letters: DeadLetterView,
        sends: Callable[[int], list[Sent]] | None,
        sink: Sink,
    ) -> None:
        """`sends` tells of SES's sends after a number; None where the emulator is not ours."""
        self._ledger = ledger
        self._dead_letters = dead_letters
        self._sends = sends
        self._sink = sink
        self._looking = threading.Lock()
        self._lock = threading.Lock()
        self._watched: dict[str, float] = {}
        self._told: dict[str, set[tuple[str, ...]]] = {}
        self._held: set[str] = set()
        self._last_send = 0
        self._newest_end = 0.0
        self._seldom_at = 0.0
        self._began = time.time()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.failure: Exception | None = None
        """Why watching ended by itself, if it did."""

    def follow(self, mail_id: str) -> None:
        """A mail came in: watch for its ends."""
        with self._lock:
            self._watched[mail_id] = time.monotonic()
            while len(self._watched) > MAX_WATCHED:
                self._drop(next(iter(self._watched)))

    def look(self) -> None:
        """One turn."""
        with self._looking:
            self._look()

    def _look(self) -> None:
        if self._sends is not None:
            while page := self._sends(self._last_send):
                for sent in page:
                    self._sink.sent(sent)
                self._last_send = page[-1].number
        with self._lock:
            watched = list(self._watched)
        # Of two thousand mails that are watched, few have ended since the last look.
        since = self._newest_end - OVERLAP_SECONDS
        self._tell(self._ledger.ends(watched, since) if watched else [])
        if time.monotonic() >= self._seldom_at:
            self._seldom_at = time.monotonic() + SELDOM_SECONDS
            self._tell(self._ledger.notices(self._began))
            for letter in self._dead_letters.new():
                self._sink.dead(letter)
        self._prune()

    def _tell(self, ends: Iterable[Ended]) -> None:
        for end in ends:
            self._newest_end = max(self._newest_end, end.at)
            fact = (end.delivery_id, end.state, end.reason, end.held, str(end.resends))
            with self._lock:
                if end.held:
                    # Somebody may still release it.
                    self._held.add(end.mail_id)
                told = self._told.setdefault(end.mail_id, set())
                new = fact not in told
                told.add(fact)
            if new:
                self._sink.ended(end)

    def _prune(self) -> None:
        now = time.monotonic()
        with self._lock:
            for mail_id, since in list(self._watched.items()):
                settled = mail_id in self._told and mail_id not in self._held
                if now - since > (SETTLED_SECONDS if settled else OPEN_SECONDS):
                    self._drop(mail_id)

    def _drop(self, mail_id: str) -> None:
        self._watched.pop(mail_id, None)
        self._told.pop(mail_id, None)
        self._held.discard(mail_id)

    def recheck(self, mail_ids: Iterable[str]) -> None:
        """Look at these mails once more, those included that are no longer watched."""
        wanted = list(mail_ids)
        for first in range(0, len(wanted), CHUNK):
            for mail_id in wanted[first : first + CHUNK]:
                self.follow(mail_id)
            with self._looking:
                self._look()
                self._tell(self._ledger.ends(wanted[first : first + CHUNK]))

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(TURN_SECONDS):
            try:
                self.look()
            except Exception as error:
                # At the end of the sandbox everything that is watched goes away, in any order.
                if not self._stop.is_set():
                    self.failure = error
                return

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(5)
        self._ledger.close()
