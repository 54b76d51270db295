"""Emptying the dead-letter queue into an archive: nothing leaves the queue before its record is durable."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Literal, Protocol

from relayd.errors import ConfigurationError, HoldError, RelaydError, TransientError
from relayd.model.notification import Received
from relayd.ops.archive import Added, Archive
from relayd.ops.archive_record import RawMail, Record
from relayd.ops.crew import Crew
from relayd.ops.dead_letters import BATCH, VISIBILITY, DeadLetters
from relayd.ops.failure_history import Asked, Past
from relayd.ops.letter_facts import DeadLetter, mail_of, trace_ids
from relayd.ops.mail_copies import MailCopies
from relayd.ports import Clock

STRIKES = 3
"""Batches in a row of which nothing could be archived or deleted, before the rest is left for another time."""
NOT_DELETED = "not_deleted"
BUG = "bug"

Ending = Literal["empty", "enough", "elsewhere", "timeout", "interrupted", "outage"]
"""`enough`: as many letters as were asked for. `elsewhere`: what is left is in somebody else's hands."""


@dataclass(slots=True)
class Counts:
    """Letters, each in one of these."""

    archived: int = 0
    already_there: int = 0
    """In the archive since an earlier run, or the second letter of one failure: only deleted now."""
    failed: int = 0
    """Not archived, or not deleted: in the queue still."""

    @property
    def read(self) -> int:
        """All of them."""
        return self.archived + self.already_there + self.failed


@dataclass(slots=True)
class Emptied:
    """What became of the letters that were read."""

    reasons: dict[str, Counts] = field(default_factory=lambda: defaultdict(Counts))
    """By what the letters say."""
    failures: Counter[str] = field(default_factory=Counter)
    """Why letters failed to be archived: as many as `failed` of all reasons together."""
    mails: Counter[str] = field(default_factory=Counter)
    """What became of the raw mails of all others, where they were asked for."""
    notes: list[str] = field(default_factory=list)
    """What else somebody should know."""

    def total(self) -> Counts:
        """Of all reasons together."""
        every = self.reasons.values()
        return Counts(
            sum(one.archived for one in every),
            sum(one.already_there for one in every),
            sum(one.failed for one in every),
        )


@dataclass(frozen=True, slots=True)
class _Job:
    letter: DeadLetter
    received: Received | None
    past: Past | None


@dataclass(frozen=True, slots=True)
class _Done:
    added: Added | None
    """None where it failed."""
    mail: RawMail | None = None
    error: RelaydError | None = None


class History(Protocol):
    """What `LedgerHistory` is here."""

    def of(self, asked: Sequence[Asked]) -> list[Past]: ...


class Emptying:
    """One run."""

    def __init__(
        self,
        letters: DeadLetters,
        archive: Archive,
        clock: Clock,
        *,
        history: History | None = None,
        mails: MailCopies | None = None,
        visibility: float = VISIBILITY,
    ) -> None:
        """With `mails`, each record's raw mail is archived, too. `visibility`: seconds of a letter's lease."""
        self._letters = letters
        self._archive = archive
        self._clock = clock
        self._history = history
        self._mails = mails
        self._visibility = visibility
        self._strikes = 0
        self.emptied = Emptied()

    def run(
        self,
        *,
        limit: int | None = None,
        stop: Callable[[], Literal["timeout", "interrupted"] | None] = lambda: None,
        shown: Callable[[], None] = lambda: None,
    ) -> Ending:
        """Return when the queue is empty, or when there is another reason to stop; closing the letters puts back what
        is in hand then. `stop` is asked several times a second; `shown` is told after each poll.

        Raises ConfigurationError for what a person must put right, TransientError where SQS is away for long.
        """
        with Crew(self._clock, BATCH, self._archived) as crew:
            try:
                for batch in self._letters.read(visibility=self._visibility, limit=limit):
                    if batch:
                        self._empty(batch, crew, lambda: stop() is not None)
                    shown()
                    if ending := stop():
                        return ending
                    if self._strikes >= STRIKES:
                        return "outage"
            except TransientError:
                # Whoever wanted it to stop does not care that SQS did not answer any more.
                if ending := stop():
                    return ending
                raise
        if self._letters.is_empty:
            return "empty"
        return "enough" if limit is not None and self.emptied.total().read >= limit else "elsewhere"

    def _empty(self, batch: Sequence[DeadLetter], crew: Crew[_Job, _Done], is_over: Callable[[], bool]) -> None:
        def tended() -> bool:
            self._letters.keep_all()
            return is_over()

        results = crew.do(self._jobs(batch), tended)
        done = [(letter, one) for letter, one in zip(batch, results, strict=True) if one is not None]
        error = next((one.error for _, one in done if isinstance(one.error, ConfigurationError)), None)
        safe = [(letter, one) for letter, one in done if one.added is not None]
        problems: list[str | None]
        try:
            problems = self._letters.delete([letter for letter, _ in safe])
        except ConfigurationError as refused:
            problems, error = [refused.reason] * len(safe), refused
        for (letter, one), problem in zip(safe, problems, strict=True):
            self._count(letter, one, NOT_DELETED if problem else None)
        for letter, one in done:
            if one.error is not None:
                self._count(letter, one, one.error.reason)
        if done:
            self._strikes = 0 if None in problems else self._strikes + 1
        if error is not None:
            # All others would meet it, too.
            raise error

    def _count(self, letter: DeadLetter, done: _Done, failure: str | None) -> None:
        counts = self.emptied.reasons[letter.reason]
        if failure is not None:
            counts.failed += 1
            self.emptied.failures[failure] += 1
            return
        if done.added == "archived":
            counts.archived += 1
        else:
            counts.already_there += 1
        if done.mail is not None:
            self.emptied.mails[done.mail.state] += 1

    def _jobs(self, batch: Sequence[DeadLetter]) -> list[_Job]:
        received = [mail_of(letter.message) for letter in batch]
        pasts: Sequence[Past | None] = [None] * len(batch)
        if self._history is not None:
            asked = [
                Asked(letter.original_message_id, mail.mail_id if mail is not None else None)
                for letter, mail in zip(batch, received, strict=True)
            ]
            try:
                pasts = self._history.of(asked)
            except (HoldError, TransientError) as error:
                self._history = None
                self.emptied.notes.append(f"the ledger answers no more ({error})")
        return [_Job(*row) for row in zip(batch, received, pasts, strict=True)]

    def _archived(self, job: _Job) -> _Done:
        """In a thread of the crew. Durable where it says so."""
        try:
            with ExitStack() as reserved:
                return self._add(self._record(job), job, reserved)
        except RelaydError as error:
            return _Done(None, error=error)
        except Exception as error:
            # A bug that one letter brings out must not keep the others in the queue.
            return _Done(None, error=RelaydError(BUG, type(error).__name__))

    def _add(self, record: Record, job: _Job, reserved: ExitStack) -> _Done:
        if self._mails is None:
            return _Done(self._archive.add(record))
        kept = self._archive.kept(record)
        if kept is not None and kept.mail is not None:
            return _Done("already_there", kept.mail)
        mail, data = self._mails.fetch(job.received, reserved)
        return _Done(self._archive.add(record.with_mail(mail), data), mail)

    def _record(self, job: _Job) -> Record:
        letter, past = job.letter, job.past
        traces = [*trace_ids(letter.message), *(past.trace_ids if past is not None else ())]
        return Record(
            letter,
            self._letters.name,
            self._clock.time(),
            mail_id=job.received.mail_id if job.received is not None else None,
            first_failed_at=_first_failure(letter, past),
            trace_ids=tuple(dict.fromkeys(traces)),
        )


def _first_failure(letter: DeadLetter, past: Past | None) -> float:
    if past is not None and past.first_failed_at:
        return past.first_failed_at
    # Only the ledger knows of more than one.
    return letter.failed_at if past is not None or letter.receive_count <= 1 else 0.0
