"""`relayd drain --dead-letters`: empties the dead-letter queue into an archive, and says what came of it."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import click

from relayd.commands.draining import lasting
from relayd.commands.exits import DONE, FAILURES, INTERRUPTED, NOT_FINISHED
from relayd.commands.showing import plain, print_json, print_table

if TYPE_CHECKING:
    from relayd.adapters.queue_depth import QueueDepth
    from relayd.commands.progress import Bar
    from relayd.ops.dead_letters import DeadLetters
    from relayd.ops.emptying import Counts, Emptied, Emptying, Ending
    from relayd.ops.failure_history import LedgerHistory
    from relayd.ops.mail_copies import MailCopies
    from relayd.ports import Clock
    from relayd.runtime.signals import StopSignals
    from relayd.settings import DeadLetterSettings

LINE_SECONDS = 30.0
"""Between two lines where there is no bar."""
_AGAIN = "What is left stays in the queue: run the same command again."
_ENDINGS: Mapping[str, str] = {
    "empty": "The dead-letter queue is empty.",
    "enough": "As many were read as --max-messages allows.",
    "elsewhere": f"Not finished: the rest is in somebody else's hands, or does not come. {_AGAIN}",
    "timeout": f"Not finished: --timeout was over first. {_AGAIN}",
    "interrupted": f"Stopped. {_AGAIN}",
    "outage": f"Given up: nothing could be archived any more. {_AGAIN}",
    "error": f"Ended by an error. {_AGAIN}",
}
_MAILS: Mapping[str, str] = {"archived": "beside their records", "gone": "gone from the bucket", "no_mail": "no mail"}
_HINTS: Mapping[str, str] = {
    "access_denied": "allow s3:GetObject on the mails, and s3:ListBucket on their bucket, or leave out --with-mail",
    "configuration": "what stands against it is said below",
    "bug": "this is relayd's own mistake: please report it",
    "disk_full": "make room, or name another place with --to",
    "not_deleted": "these are archived, and only the queue has them still: the next run deletes them",
}


def empty_dead_letters(
    *, to: str | None, with_mail: bool, max_messages: int | None, timeout: float | None, as_json: bool
) -> int:
    """Do it, print what came of it, and answer the exit code. `timeout`: seconds."""
    if to is None:
        raise click.UsageError("--dead-letters needs --to: a folder, or s3://bucket/prefix.")
    from relayd.adapters.dead_letter_queue import dead_letter_url
    from relayd.adapters.queue_facts import region_of
    from relayd.ops.archive import archive_at
    from relayd.ops.dead_letters import DeadLetters
    from relayd.ops.emptying import Emptying
    from relayd.runtime.clock import SystemClock
    from relayd.runtime.signals import stop_signals
    from relayd.settings import DeadLetterSettings

    clock = SystemClock()
    began = clock.monotonic()
    with stop_signals() as signals:
        settings = DeadLetterSettings.load(os.environ, mails=with_mail)
        url = settings.dead_letter_url or dead_letter_url(settings.queue_url or "")
        archive = archive_at(to, making=True, default_region=region_of(url))
        letters = DeadLetters.at(url)
        mails = _mails(settings, region_of(url), clock) if with_mail else None
        notes: list[str] = []
        with _history(settings, notes) as history:
            emptying = Emptying(
                letters, archive, clock, history=history, mails=mails, visibility=settings.visibility_seconds
            )
            emptying.emptied.notes += notes
            ending: Ending | Literal["error"] = "error"
            try:
                ending = _work(emptying, letters, clock, signals, max_messages, timeout and began + timeout)
            finally:
                result = Result(ending, archive.place, emptying.emptied, _left(letters), clock.monotonic() - began)
                result.show(as_json)
    return result.exit_code


@contextmanager
def _history(settings: "DeadLetterSettings", notes: list[str]) -> "Iterator[LedgerHistory | None]":
    """The ledger, if it can be asked; why not, as a note."""
    from relayd.ops.failure_history import open_history

    found = open_history(settings.database_url)
    if isinstance(found, str):
        notes.append(f"the ledger was not asked ({found}): records do not tell of earlier attempts")
        yield None
        return
    with closing(found):
        yield found


def _work(
    emptying: "Emptying",
    letters: "DeadLetters",
    clock: "Clock",
    signals: "StopSignals",
    limit: int | None,
    ends_at: float | None,
) -> "Ending":
    from relayd.commands.progress import progress

    def stop() -> Literal["timeout", "interrupted"] | None:
        if signals.wait(0):
            return "interrupted"
        return "timeout" if ends_at is not None and clock.monotonic() >= ends_at else None

    with letters:
        total = letters.depth().total
        with progress("archive", total if limit is None else min(total, limit)) as bar:
            teller = Teller(bar, emptying.emptied, letters, total, clock.monotonic, limit=limit)
            ending = emptying.run(limit=limit, stop=stop, shown=teller)
        # Without the bar: a second signal ends the process, and must not leave a terminal without its cursor.
        if ending in ("interrupted", "timeout") and letters.in_hand:
            _say("Stopping: what is in hand goes back into the queue. Ctrl-C (once more) stops at once.")
    return ending


def _mails(settings: "DeadLetterSettings", region: str | None, clock: "Clock") -> "MailCopies":
    from relayd.adapters import aws
    from relayd.adapters.s3 import S3MailStore
    from relayd.ops.dead_letters import BATCH
    from relayd.ops.mail_copies import MailCopies
    from relayd.runtime.memory import MemoryBudget

    timeouts = aws.Timeouts(settings.s3_connect_seconds, settings.s3_read_seconds)
    client = aws.client("s3", pool=BATCH, timeouts=timeouts, session=aws.new_session(default_region=region))
    memory = MemoryBudget(clock, settings.memory_budget_mb * 1024 * 1024)
    return MailCopies(S3MailStore(client, clock=clock), memory, settings.buckets, clock)


def _left(letters: "DeadLetters") -> "QueueDepth | None":
    from relayd.errors import RelaydError

    try:
        return letters.depth()
    except RelaydError:
        return None


class Teller:
    """Shows how far it is: on the bar, or where there is none, a line now and then."""

    def __init__(
        self,
        bar: "Bar",
        emptied: "Emptied",
        letters: "DeadLetters",
        total: int,
        now: Callable[[], float],
        *,
        limit: int | None,
    ) -> None:
        self._bar = bar
        self._emptied = emptied
        self._letters = letters
        self._total = total
        self._now = now
        self._limit = limit
        self._lines = not sys.stderr.isatty()
        self._next_line = now() + LINE_SECONDS
        self._waiting = 0
        self._read = -1

    def __call__(self) -> None:
        counts = self._emptied.total()
        total = max(self._total, counts.read)
        elsewhere = self._letters.elsewhere
        note = f"{counts.failed} failed" if counts.failed else ""
        if elsewhere:
            note = f"{elsewhere} in flight elsewhere"
        elif counts.read == self._read:
            note = "empty, making sure"
        self._read = counts.read
        self._bar.at(counts.read, total if self._limit is None else min(total, self._limit), note)
        if not self._lines:
            return
        if elsewhere and not self._waiting:
            _say(f"Waiting for {elsewhere} in flight elsewhere: with another reader, or with one that was killed.")
        self._waiting = elsewhere
        if self._now() >= self._next_line:
            self._next_line = self._now() + LINE_SECONDS
            _say(f"{counts.read} of {total} read{f'; {note}' if note else ''}")


@dataclass(frozen=True, slots=True)
class Result:
    """How an emptying ended."""

    ending: "Ending | Literal['error']"
    place: str
    emptied: "Emptied"
    left: "QueueDepth | None"
    """What the queue holds now; None where it does not answer."""
    seconds: float

    def verdict(self) -> str:
        """In a sentence or two."""
        if self.ending == "empty" and self.emptied.failures:
            return f"Nothing is left in the dead-letter queue but what failed. {_AGAIN}"
        return _ENDINGS[self.ending]

    @property
    def exit_code(self) -> int:
        """What scripts go by."""
        if self.ending == "interrupted":
            return INTERRUPTED
        if self.ending in ("timeout", "elsewhere"):
            return NOT_FINISHED
        return FAILURES if self.emptied.failures or self.ending == "outage" else DONE

    def show(self, as_json: bool) -> None:
        """On standard output, for programs or for people."""
        if as_json:
            print_json(self.document())
        else:
            self._print()

    def _print(self) -> None:
        """For people: the counts on standard output, what to do about failures on standard error."""
        counts = self.emptied.total()
        if counts.read:
            head = ("REASON", "READ", "ARCHIVED", "ALREADY THERE", "FAILED")
            rows = sorted(self.emptied.reasons.items(), key=lambda row: (-row[1].read, row[0]))
            print_table(head, [_row(*row) for row in (*rows, ("all", counts))])
            click.echo()
        rate = f", {counts.read / self.seconds:.0f}/s" if counts.read >= 100 else ""
        click.echo(f"{self.verdict()} {counts.read} read in {lasting(self.seconds)}{rate}; the archive is:")
        click.echo(plain(self.place))
        if self.emptied.mails:
            told = ", ".join(f"{count} {_MAILS.get(state, state)}" for state, count in self.emptied.mails.most_common())
            click.echo(f"Raw mails: {told}.")
        if self.left is not None and self.left.total:
            click.echo(
                f"The queue still has {self.left.visible + self.left.delayed}, and {self.left.in_flight} in flight."
            )
        for line in self._troubles():
            _say(line)

    def document(self) -> dict[str, Any]:
        """For programs."""
        left = self.left
        return {
            "ended": self.ending,
            "to": self.place,
            **_document(self.emptied.total()),
            "reasons": {reason: _document(counts) for reason, counts in sorted(self.emptied.reasons.items())},
            "failures": dict(self.emptied.failures),
            "mails": dict(self.emptied.mails),
            "notes": list(self.emptied.notes),
            "queue": left and {"visible": left.visible, "delayed": left.delayed, "in_flight": left.in_flight},
            "seconds": round(self.seconds, 2),
        }

    def _troubles(self) -> Iterator[str]:
        for reason, count in self.emptied.failures.most_common():
            hint = _HINTS.get(reason)
            yield f"{count} failed: {reason}{f' ({hint})' if hint else ''}"
        yield from (f"Note: {note}." for note in self.emptied.notes)


def _row(reason: str, counts: "Counts") -> tuple[str, ...]:
    return reason, str(counts.read), str(counts.archived), str(counts.already_there), str(counts.failed)


def _document(counts: "Counts") -> dict[str, int]:
    return {
        "read": counts.read,
        "archived": counts.archived,
        "already_there": counts.already_there,
        "failed": counts.failed,
    }


def _say(text: str) -> None:
    sys.stderr.write(f"{plain(text)}\n")
    sys.stderr.flush()
