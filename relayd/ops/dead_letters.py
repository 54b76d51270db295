"""The dead-letter queue, read through: each message once, kept while it is worked on, until nothing is left."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from relayd.adapters.dead_letter_queue import ReceivedLetter, SqsLetterQueue
from relayd.adapters.queue_depth import QueueDepth
from relayd.errors import RelaydError, TransientError
from relayd.ops.letter_facts import MAX_RECEIVES, DeadLetter, letter_of
from relayd.ops.patience import PATIENCE, patiently
from relayd.ports import Clock, EntryError
from relayd.runtime.clock import SystemClock

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

__all__ = ["MAX_RECEIVES", "DeadLetter", "DeadLetters", "LetterQueue"]

BATCH = 10
"""SQS: messages in one call."""
WAIT = 1.0
"""Seconds of one poll. Any wait has SQS ask all of its servers, and a poll that finds something does not wait."""
VISIBILITY = 60.0
"""Seconds of a lease. It is extended at half of them, and lapses so soon after a kill."""
SECONDS_EACH = 0.02
"""Of a lease, for every letter in hand: extending very many takes longer than half a short lease, ten in a call of a
tenth of a second at worst."""
LOOKS = 3
"""So many polls in a row must find nothing, and the queue's counts agree each time: they are approximate."""
STRANGERS_SECONDS = 300.0
"""How long messages are waited for that are counted and do not come: in flight with somebody else, or not there."""
MOST_HELD = 119_000
"""Leases at a time, a little below SQS's limit of 120,000, at which a poll comes back empty and says nothing."""
CLOSING_PATIENCE = 2.0
"""Seconds: whoever is leaving does not wait out an outage. Leases lapse by themselves."""

_BatchCall = Callable[[Sequence[str]], list[EntryError | None]]
_PAUSES = (0.0, 0.2, 1.0)
"""Seconds before each try of what SQS would not do to one message of a batch."""


class LetterQueue(Protocol):
    """What `SqsLetterQueue` is here."""

    @property
    def name(self) -> str: ...
    def receive(self, limit: int, wait: float, visibility: float) -> list[ReceivedLetter]: ...
    def delete(self, handles: Sequence[str]) -> list[EntryError | None]: ...
    def change_visibility(self, changes: Sequence[tuple[str, float]]) -> list[EntryError | None]: ...
    def depth(self) -> QueueDepth: ...


@dataclass(slots=True)
class _Hold:
    """Our newest lease of a message."""

    handle: str
    ends_at: float


class DeadLetters:
    """One reading of a dead-letter queue, by one thread. Leaving its context puts back what is still in hand, so that
    whoever only looks, or is interrupted, leaves the queue as it was (but for SQS's count of receives).

    Every method raises ConfigurationError for what a person must put right; `read` and `depth` raise TransientError
    for an outage that outlasts their patience.
    """

    def __init__(self, queue: LetterQueue, clock: Clock) -> None:
        self._queue = queue
        self._clock = clock
        self._visibility = VISIBILITY
        # By SQS's id, the lease that ends first in front.
        self._held: OrderedDict[str, _Hold] = OrderedDict()
        self._seen: set[str] = set()
        self._done_with: set[str] = set()
        self.elsewhere = 0
        """Messages that the queue counted as in flight at the last look and that are not in our hands."""
        self.is_empty = False
        """Whether `read` ended because nothing is left but what is in our hands."""

    @classmethod
    def at(cls, url: str, client: "SQSClient | None" = None) -> Self:
        """Those in the queue of this URL."""
        return cls(SqsLetterQueue(url, client), SystemClock())

    @property
    def name(self) -> str:
        """The queue's short name."""
        return self._queue.name

    @property
    def in_hand(self) -> int:
        """Messages that are leased to us."""
        return len(self._held)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read(
        self,
        *,
        wait: float = WAIT,
        visibility: float = VISIBILITY,
        limit: int | None = None,
        strangers: float = STRANGERS_SECONDS,
    ) -> Iterator[list[DeadLetter]]:
        """Batches of up to ten letters, each letter once however often SQS delivers it, until the queue has shown empty
        over several polls or `limit` letters have come. What is yielded is leased, and kept so by each further step;
        whoever takes longer over a batch calls `keep_all` meanwhile.

        Empty batches come, too, one a poll: so that the caller may show what is waited for, and stop. It ends
        without `is_empty` after `limit`, after `MOST_HELD`, and where counted messages have not come for `strangers`
        seconds. `wait` and `visibility` are seconds, whole ones.
        """
        self._visibility = visibility
        looks, count, came_at = 0, 0, self._clock.monotonic()
        while (limit is None or count < limit) and self.in_hand < MOST_HELD:
            self.keep_all()
            room = BATCH if limit is None else min(BATCH, limit - count)
            received = patiently(self._clock, partial(self._queue.receive, room, wait, self._lease))
            letters = self._take(received)
            count += len(letters)
            looks = looks + 1 if not received and self._shows_empty() else 0
            self.is_empty = looks >= LOOKS
            yield letters
            if received:
                # Only now: the time that the caller took is nobody's absence.
                came_at = self._clock.monotonic()
            elif self.is_empty or self._clock.monotonic() > came_at + strangers:
                return

    def delete(self, letters: Sequence[DeadLetter]) -> list[str | None]:
        """Delete letters whose work is done. In their order: None, or why a letter is in the queue still.

        A letter whose lease has ended counts as deleted: it is in somebody else's hands, or comes again, and then goes
        unseen.
        """
        ids = [letter.message.message_id for letter in letters]
        self._done_with.update(ids)
        for letter in letters:
            # Its lease ended, or it is no letter of this reading: SQS may still know the handle.
            self._held.setdefault(letter.message.message_id, _Hold(letter.message.receipt_handle, 0.0))
        problems = self._settle(list(dict.fromkeys(ids)), self._queue.delete)
        return [problems.get(one) for one in ids]

    def put_back(self, letters: Sequence[DeadLetter]) -> None:
        """Let these be received again at once. While `read` goes on, better leave that to the end: it would receive
        them itself, keep them once more, and not yield them again.
        """
        self._put_back([letter.message.message_id for letter in letters])

    def keep(self, letters: Sequence[DeadLetter], seconds: float) -> None:
        """Have the leases of these letters end in so many seconds."""
        self._keep([one for letter in letters if (one := letter.message.message_id) in self._held], seconds)

    def keep_all(self) -> None:
        """Extend every lease that is half over. Cheap, so it may be called often."""
        due = self._clock.monotonic() + self._lease / 2
        ids: list[str] = []
        for message_id, hold in self._held.items():
            if hold.ends_at > due:
                break
            ids.append(message_id)
        self._keep(ids, self._lease)

    def depth(self) -> QueueDepth:
        """What the queue says it holds."""
        return patiently(self._clock, self._queue.depth)

    def close(self) -> None:
        """Put back what is still in hand; what was done with and could not be deleted is tried once more. Where that
        fails, the leases lapse by themselves.
        """
        with suppress(RelaydError):
            self._settle([one for one in self._held if one in self._done_with], self._queue.delete, CLOSING_PATIENCE)
        with suppress(RelaydError):
            self._put_back(list(self._held), CLOSING_PATIENCE)
        self._held.clear()

    @property
    def _lease(self) -> float:
        """Seconds of a lease that is taken, or extended, now."""
        return max(self._visibility, SECONDS_EACH * self.in_hand)

    def _take(self, received: Sequence[ReceivedLetter]) -> list[DeadLetter]:
        """Hold all of them, delete what was done with before, and answer what is new."""
        new: list[DeadLetter] = []
        again: list[str] = []
        ends_at = self._clock.monotonic() + self._lease
        for one in received:
            message_id = one.message.message_id
            # Only the newest handle settles a message.
            self._held[message_id] = _Hold(one.message.receipt_handle, ends_at)
            self._held.move_to_end(message_id)
            if message_id in self._done_with:
                again.append(message_id)
            elif message_id not in self._seen:
                self._seen.add(message_id)
                new.append(letter_of(one))
        self._settle(list(dict.fromkeys(again)), self._queue.delete)
        return new

    def _shows_empty(self) -> bool:
        depth = self.depth()
        self.elsewhere = max(0, depth.in_flight - self.in_hand)
        return depth.visible + depth.delayed + self.elsewhere == 0

    def _put_back(self, ids: Sequence[str], patience: float = PATIENCE) -> None:
        ours = [one for one in dict.fromkeys(ids) if one in self._held]
        self._settle(ours, self._show, patience)

    def _show(self, handles: Sequence[str]) -> list[EntryError | None]:
        return self._queue.change_visibility([(handle, 0.0) for handle in handles])

    def _settle(self, ids: Sequence[str], call: _BatchCall, patience: float = PATIENCE) -> dict[str, str]:
        """Let go of these, in calls of ten with a few tries each. Answers those that would not go, and why."""
        problems: dict[str, str] = {}
        for start in range(0, len(ids), BATCH):
            try:
                problems |= self._settle_batch(ids[start : start + BATCH], call, patience)
            except TransientError as error:
                # The rest would meet the same, each with all of its tries.
                return problems | dict.fromkeys(ids[start:], error.reason)
        return problems

    def _settle_batch(self, ids: Sequence[str], call: _BatchCall, patience: float) -> dict[str, str]:
        problems: dict[str, str] = {}
        left = list(ids)
        for pause in _PAUSES:
            if pause:
                self._clock.sleep(pause)
            answers = patiently(self._clock, partial(call, [self._held[one].handle for one in left]), seconds=patience)
            problems = {}
            for one, answer in zip(left, answers, strict=True):
                if answer is None or answer.gone:
                    del self._held[one]
                else:
                    problems[one] = answer.code
            left = list(problems)
            if not left:
                break
        return problems

    def _keep(self, ids: Sequence[str], seconds: float) -> None:
        for start in range(0, len(ids), BATCH):
            some = ids[start : start + BATCH]
            ends_at = self._clock.monotonic() + seconds
            try:
                answers = self._queue.change_visibility([(self._held[one].handle, seconds) for one in some])
            except TransientError:
                # They stay in front, for the next time.
                return
            for one, answer in zip(some, answers, strict=True):
                if answer is None:
                    self._held[one].ends_at = ends_at
                    self._held.move_to_end(one)
                elif answer.gone:
                    del self._held[one]
