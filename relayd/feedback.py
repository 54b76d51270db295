"""The route of SES's events about mail that we sent: they come on a queue of their own, or among the mail.

Only the database can hold them up: no trouble of S3 or SES, and no backlog of mail, delays what settles doubts and
pauses mailboxes.
"""

import random
from collections.abc import Callable
from typing import assert_never

import structlog

from relayd.attempt import Attempt, Worked
from relayd.debts import Debts
from relayd.decoding import Decoder
from relayd.errors import PermanentError
from relayd.model.feedback import Alert, Confirm, DisableMask, Effect, EndPause, Feedback, FlagOwner, PauseMailbox
from relayd.model.notification import Notice, Received
from relayd.ports import Certificates, Clock, Feedbacks, Lease, Ledger
from relayd.rules import feedback as rules
from relayd.stages import RelaySettings
from relayd.telemetry import instruments, names, spans

log = structlog.get_logger(__name__)


class Listener:
    """Takes an event to what follows from it."""

    def __init__(self, feedbacks: Feedbacks, clock: Clock) -> None:
        self._feedbacks = feedbacks
        self._clock = clock

    def learn(self, feedback: Feedback, attempt: Attempt) -> None:
        """Match, decide, apply. The event then counts as done, whatever it was."""
        with spans.step(names.DECIDE):
            match = self._feedbacks.match(feedback)
            effects = rules.decide(feedback, match, now=self._clock.time())
        with spans.step(names.RECORD):
            first = self._feedbacks.apply(feedback, effects)
        attempt.worked.add("database")
        # Not `event`: that is what structlog calls the line itself.
        attempt.facts["feedback"] = feedback.kind
        if match.sent is not None:
            attempt.facts["delivery"] = match.sent.delivery_id
            spans.delivery(match.sent.delivery_id)
        attempt.learned(f"event_{feedback.kind}" if first else "event_repeated")
        if first:
            # Only then: a queue that gives an event twice must not raise the rate of bounces.
            instruments.feedback(feedback.kind, matched=match.sent is not None, bounce_type=feedback.bounce_type)
            for effect in effects:
                tell_operator(effect)


class FeedbackRoute:
    """The route of one message of the events queue. Like `relayd.relay.Relay`, any number of workers may share one."""

    def __init__(
        self,
        feedbacks: Feedbacks,
        ledger: Ledger,
        certificates: Certificates,
        clock: Clock,
        settings: RelaySettings,
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._ledger = ledger
        self._settings = settings
        self._jitter = jitter
        self._decoder = Decoder(settings, certificates)
        self._listener = Listener(feedbacks, clock)
        self._debts = Debts()

    def work(self, lease: Lease) -> Worked:
        """Take one message from its decoding to its outcome. Raises nothing."""
        attempt = Attempt(
            lease.message,
            self._ledger,
            retry_seconds=self._settings.retry_seconds,
            doubt_seconds=0.0,
            jitter=self._jitter(),
            debts=self._debts,
        )
        try:
            self._route(lease, attempt)
        except Exception as error:
            attempt.failed_whole(error)
        return attempt.conclude()

    def pay_debts(self) -> None:
        """Nothing is claimed for an event, so nothing is ever owed."""

    def _route(self, lease: Lease, attempt: Attempt) -> None:
        with spans.step(names.DECODE):
            opened = self._decoder.decode(lease.message, fetched=lambda: attempt.worked.add("certificates"))
        told = opened.notification
        match told:
            case Feedback():
                self._listener.learn(told, attempt)
            case Notice():
                attempt.learned(told.kind)
            case Received():
                # A mail that nobody would forward from here: whoever wired the topics must see it.
                raise PermanentError("mail_on_events_queue")
            case _:
                assert_never(told)


def tell_operator(effect: Effect) -> None:
    """The effects that somebody may want to look into. Ids only."""
    match effect:
        case Alert():
            instruments.alert(effect.word)
            spans.surprise(effect.word)
            log.error("alert", word=effect.word, owner=effect.owner_id)
        case PauseMailbox():
            log.warning("mailbox_paused", mailbox=effect.mailbox_id, kind=effect.kind, bounces=effect.bounces)
        case DisableMask():
            log.warning("mask_disabled", mask=effect.mask_id)
        case FlagOwner():
            log.warning("owner_flagged", owner=effect.owner_id, reason=effect.reason)
        case Confirm() | EndPause():
            pass
        case _:
            log.info("feedback_applied", effect=type(effect).__name__)
