"""Dead letters as offers: what can be opened as the daemon opens it may be sealed anew, and nothing else."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from typing import cast

from relayd.adapters.dead_letters import FIRST_RECEIVED
from relayd.decoding import Decoder, Opened
from relayd.errors import HoldError, PermanentError
from relayd.model.message import Message
from relayd.model.notification import Received
from relayd.ops.archive import Archive, Damaged
from relayd.ops.dead_letters import VISIBILITY, DeadLetters
from relayd.ops.letter_facts import DeadLetter, mail_of
from relayd.ops.replay.offers import Offer, Standing
from relayd.ports import Clock
from relayd.wire import own, sns

_STRANGERS_SECONDS = VISIBILITY + 10.0
"""How long letters are waited for that somebody else holds: after a kill, those of the command before."""

DAMAGED = "record_damaged"
"""A file in an archive that is no record, or not whole."""
_PORTION = 50


class Opener:
    """Makes offers of dead letters. What strangers may have written into the queue is not sealed with our word."""

    def __init__(self, decoder: Decoder, clock: Clock) -> None:
        self._decoder = decoder
        self._clock = clock

    def offer(self, letter: DeadLetter) -> Offer:
        """Whatever is wrong with the letter is in the offer."""
        message = letter.message
        opened: Opened | None = None
        problem, doubt = "", ""
        try:
            opened = self._decoder.decode(message, fetched=lambda: None)
        except PermanentError as error:
            problem = error.reason
        except HoldError as error:
            # No certificate to be had from here. The daemon may have better luck, and refuses it where it is forged.
            doubt = error.reason
        received = mail_of(message) if opened is None else _mail(opened)
        first = self._first_received(letter, opened)
        return Offer(
            letter.reason,
            letter.failed_at or message.sent_at,
            _names(letter, received),
            text=opened.text if opened is not None else None,
            original=message.body if doubt else None,
            received=received,
            released=opened.released if opened is not None else frozenset(),
            replay_id=opened.replay.replay_id if opened is not None and opened.replay is not None else None,
            attributes=_attributes(message, first),
            trace_header=message.trace_header,
            first_received_at=first,
            doubt=doubt,
            problem=problem,
            token=letter,
        )

    def _first_received(self, letter: DeadLetter, opened: Opened | None) -> float | None:
        """What we sealed ourselves nobody has changed since; what is only written on the letter may be anything."""
        told = (opened.first_received_at if opened is not None else None) or letter.first_received_at
        return told if 0 < told <= self._clock.time() else None


class LetterSource:
    """The dead-letter queue. What is not done goes back there at the end."""

    def __init__(self, letters: DeadLetters, opener: Opener) -> None:
        self._letters = letters
        self._opener = opener

    def offers(self) -> Iterator[list[Offer]]:
        """See `Source`. Letters in other hands are waited for as long as a lease of a reader that was killed."""
        for batch in self._letters.read(strangers=_STRANGERS_SECONDS):
            yield [self._opener.offer(letter) for letter in batch]

    def total(self) -> int | None:
        """See `Source`."""
        return self._letters.depth().total

    def done(self, offers: Sequence[Offer]) -> Sequence[str | None]:
        """See `Source`: deletes them."""
        return self._letters.delete([cast("DeadLetter", offer.token) for offer in offers])

    def tend(self) -> None:
        """See `Source`: extends leases."""
        self._letters.keep_all()

    def close(self) -> None:
        """See `Source`."""
        self._letters.close()

    def remark(self) -> str:
        """See `Source`."""
        elsewhere = self._letters.elsewhere
        return f"about {elsewhere} in somebody else's hands" if elsewhere and not self._letters.is_empty else ""


class ArchiveSource(Standing):
    """An archive of dead letters. It stays as it is."""

    def __init__(self, archive: Archive, opener: Opener) -> None:
        self._archive = archive
        self._opener = opener

    def offers(self) -> Iterator[list[Offer]]:
        """See `Source`."""
        damaged: list[Damaged] = []
        records = self._archive.records(damaged.append)
        while portion := list(islice(records, _PORTION)):
            yield [self._opener.offer(record.letter) for record in portion]
        yield [Offer(DAMAGED, 0.0, frozenset({one.name}), problem=DAMAGED) for one in damaged]


def _mail(opened: Opened) -> Received | None:
    return opened.notification if isinstance(opened.notification, Received) else None


def _names(letter: DeadLetter, received: Received | None) -> frozenset[str]:
    ids = {letter.message.message_id, letter.original_message_id}
    return frozenset(ids | ({received.mail_id} if received is not None else set()))


def _attributes(message: Message, first_received_at: float | None) -> dict[str, str]:
    """What links the next try to what was before it. SNS's envelope holds the trace context of its own message; a
    sealed one has no place for it.
    """
    kept: dict[str, str] = {}
    traceparent = message.attributes.get("traceparent")
    if not own.is_own(message.body):
        with suppress(PermanentError):
            traceparent = sns.open_envelope(message.body, message.attributes).traceparent
    if traceparent:
        kept["traceparent"] = traceparent
    if first_received_at:
        kept[FIRST_RECEIVED] = datetime.fromtimestamp(first_received_at, UTC).isoformat(timespec="seconds")
    return kept
