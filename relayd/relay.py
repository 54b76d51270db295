"""The route of one message, and the only room that knows its order.

receive -> decode -> (per recipient:) look up -> decide -> claim -> fetch -> rewrite -> send -> record -> settle

Each step takes the frozen result of the step before and returns its own, so that the type checker rejects another
order. Receiving and settling are the engine's (`relayd.runtime`); everything between is here, or in the room that knows
how: `deciding`, `writing`, `sending`.
"""

import random
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

import structlog

from relayd.attempt import Attempt, Worked
from relayd.claiming import Claimer
from relayd.debts import Debts
from relayd.deciding import Decider
from relayd.decoding import Decoder
from relayd.errors import (
    ClaimLostError,
    HoldError,
    LeaseLostError,
    PausedError,
    PermanentError,
    StoppingError,
    TransientError,
)
from relayd.feedback import Listener
from relayd.fetching import Fetcher
from relayd.informing import held_mail, tell_owner
from relayd.mail.replies import ReplyLeakError
from relayd.model.address import Address
from relayd.model.decision import Discard, Forward, Quarantine, Reply
from relayd.model.feedback import Feedback
from relayd.model.mask import Mask
from relayd.model.message import Message
from relayd.model.notice import NoticeKind
from relayd.model.notification import Notice, Received, S3Content
from relayd.ports import Lease
from relayd.rules import inbound
from relayd.sending import Sender
from relayd.stages import Claimed, Decided, Decoded, Delivery, Fetched, Ports, RelaySettings
from relayd.telemetry import instruments, names, spans
from relayd.writing import REFUSED, TOO_LARGE, Forms, Writer

log = structlog.get_logger(__name__)

OWNER_TOLD: dict[str, NoticeKind] = {
    TOO_LARGE: "mail_too_large",
    REFUSED: "mail_refused",
    "ses_rejected": "mail_refused",
}
"""Permanent refusals that the owner is told about, and that stay listed to be tried again."""


class Relay:
    """The route. Any number of workers may share one; between messages it keeps only what it owes."""

    def __init__(
        self,
        ports: Ports,
        settings: RelaySettings,
        *,
        jitter: Callable[[], float] = random.random,
        doubt_seconds: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """`doubt_seconds` tells how long a send in doubt waits, beyond its own expiry, for SES's word on it."""
        self._ports = ports
        self._settings = settings
        self._jitter = jitter
        self._debts = Debts()
        self._decoder = Decoder(settings, ports.certificates)
        self._decider = Decider(ports.directory, ports.clock, settings)
        self._claimer = Claimer(ports, settings, self._debts, doubt_seconds)
        self._writer = Writer(ports.directory, ports.ledger, settings)
        self._fetcher = Fetcher(ports.store, ports.memory, settings.send_seconds)
        self._sender = Sender(ports, self._debts, settings.send_seconds)
        self._listener = Listener(ports.feedbacks, ports.clock)

    def work(self, lease: Lease) -> Worked:
        """Take one message from its decoding to its outcome. Raises nothing."""
        attempt = Attempt(
            lease.message,
            self._ports.ledger,
            retry_seconds=self._settings.retry_seconds,
            doubt_seconds=self._settings.send_seconds,
            jitter=self._jitter(),
            debts=self._debts,
        )
        try:
            self._route(lease, attempt)
        except Exception as error:
            attempt.failed_whole(error)
        return attempt.conclude()

    def pay_debts(self) -> None:
        """Make up for what the ledger could not be told while it was away. Raises what it raises while it still is."""
        self._debts.pay(self._ports.ledger)

    @property
    def owed(self) -> int:
        """Changes that the ledger could not be told yet."""
        return len(self._debts)

    def _route(self, lease: Lease, attempt: Attempt) -> None:
        with ExitStack() as reserved:
            self._steps(lease, attempt, reserved)

    def _steps(self, lease: Lease, attempt: Attempt, reserved: ExitStack) -> None:
        if self._ports.pauses.everything():
            # A poll that was open when the pause began brings mail still.
            raise PausedError
        decoded = self._decode(lease.message, attempt)
        match decoded:
            case Notice():
                attempt.learned(decoded.kind)
                return
            case Feedback():
                self._listener.learn(decoded, attempt)
                return
        attempt.facts["mail_id"] = decoded.received.mail_id
        if decoded.replay is not None:
            attempt.facts |= {"replay": decoded.replay.replay_id, "first_received_at": decoded.first_received_at}
        decided = self._decide(decoded)
        claimed = self._claimer.claim(decided, attempt)
        attempt.worked.add("database")
        if not claimed.deliveries:
            return
        # A mail that could not be sent any more need not be fetched.
        lease.fence(self._settings.send_seconds)
        fetched = self._fetcher.fetch(claimed, lease, reserved)
        if isinstance(decoded.received.content, S3Content):
            attempt.worked.add("s3")
        attempt.facts["bytes"] = fetched.letter.size
        instruments.mail_fetched(fetched.letter.size)
        judged = self._judge(fetched, attempt)
        recipient: Address | None = None
        forms: Forms | None = None
        for delivery in judged.claimed.deliveries:
            try:
                self._make(delivery.decision.mask)
                if forms is None or delivery.recipient != recipient:
                    # In place of the last recipient's: there is memory for one written mail, not for fifty.
                    recipient, forms = delivery.recipient, self._writer.forms(judged, delivery)
                ses_id = self._send(delivery, forms, judged, lease)
                attempt.worked.add("ses")
                self._count(delivery, forms, decoded)
                self._sender.record(delivery.claim, ses_id, lease, attempt)
                attempt.sent(delivery.claim, ses_id)
            except ReplyLeakError as error:
                self._refuse(delivery, Discard(error.reason, delivery.decision.mask, "reply_leak"), judged, attempt)
            except Exception as error:
                if ends_attempt(error):
                    raise
                self._failed(error, delivery, judged, attempt)

    # The steps, in order.

    def _decode(self, message: Message, attempt: Attempt) -> Decoded | Notice | Feedback:
        with spans.step(names.DECODE):
            opened = self._decoder.decode(message, fetched=lambda: attempt.worked.add("certificates"))
            told = opened.notification
            if not isinstance(told, Received):
                return told
            return Decoded(message, told, opened.text, opened.released, opened.replay, opened.first_received_at)

    def _decide(self, decoded: Decoded) -> Decided:
        with spans.step(names.DECIDE):
            instruments.verdicts(decoded.received.verdicts.by_name())
            decided = self._decider.decide(decoded)
            masks = (decision.mask for _, decision in decided.decisions)
            if any(mask is not None and self._ports.traced.traced(mask.mask_id) for mask in masks):
                spans.keep("traced")
            return decided

    def _judge(self, fetched: Fetched, attempt: Attempt) -> Fetched:
        """Decide again, on the mail's own headers, where SES had cut the notification's short."""
        decided = fetched.claimed.decided
        deliveries = fetched.claimed.deliveries
        if not any(inbound.needs_headers(delivery.decision, decided.evidence) for delivery in deliveries):
            return fetched
        with spans.step(names.DECIDE):
            decided = self._decider.with_mail(decided, fetched.letter.header_items())
            fetched = replace(fetched, claimed=replace(fetched.claimed, decided=decided))
            kept: list[Delivery] = []
            for delivery in deliveries:
                if self._claimer.paused(delivery.recipient, delivery.decision):
                    attempt.failed(PausedError(), delivery.claim)
                    continue
                decision = self._decider.again(delivery.recipient, delivery.decision, decided.evidence)
                if isinstance(decision, Forward | Reply):
                    kept.append(replace(delivery, decision=decision))
                else:
                    self._refuse(delivery, decision, fetched, attempt)
        return replace(fetched, claimed=Claimed(decided, tuple(kept)))

    def _make(self, mask: Mask) -> None:
        """A mask that a domain rule makes on its first mail is made now. Not before: nothing is made for a mail that is
        discarded.
        """
        if mask.rule_id is not None and not self._ports.directory.create(mask):
            # Somebody was quicker, with this address or with the rule's last mask: the next look-up knows.
            raise TransientError("mask_changed")

    def _send(self, delivery: Delivery, forms: Forms, fetched: Fetched, lease: Lease) -> str:
        """Send, in the next form where SES calls this one malformed."""
        while True:
            try:
                return self._sender.send(delivery, forms.current, lease, fetched.letter.message_id)
            except PermanentError as error:
                if error.reason != REFUSED or not forms.climb():
                    raise
                log.warning("mail_rebuilt", delivery=delivery.claim.delivery_id, rung=forms.current.rung)

    def _count(self, delivery: Delivery, forms: Forms, decoded: Decoded) -> None:
        received_at = decoded.received.received_at
        # A replay's mail was received long ago, and that is nobody's delay.
        told = received_at and decoded.replay is None
        instruments.mail_sent(
            "forward" if isinstance(delivery.decision, Forward) else "reply",
            len(forms.current.data),
            self._ports.clock.time() - received_at if told else None,
        )
        instruments.trackers(forms.current.trackers)

    # How deliveries end without having been sent.

    def _refuse(self, delivery: Delivery, decision: Discard | Quarantine, fetched: Fetched, attempt: Attempt) -> None:
        """Policy, asked again with the mail in hand, is against a delivery that was claimed."""
        decided = fetched.claimed.decided
        if isinstance(decision, Discard) and decision.tell is not None and not decided.evidence.is_automatic:
            tell_owner(self._ports.notices, decision.tell, delivery.decision.mask, decided.decoded)
        try:
            attempt.refused(delivery.claim, decision.reason)
        except ClaimLostError as error:
            attempt.failed(error, delivery.claim)

    def _failed(self, error: Exception, delivery: Delivery, fetched: Fetched, attempt: Attempt) -> None:
        kind = OWNER_TOLD.get(error.reason) if isinstance(error, PermanentError) else None
        if kind is None:
            attempt.failed(error, delivery.claim)
            return
        decided = fetched.claimed.decided
        decoded = decided.decoded
        # Of strangers' automatic mail the owner hears; who answers automatically is not answered.
        if isinstance(delivery.decision, Forward) or not decided.evidence.is_automatic:
            tell_owner(
                self._ports.notices, kind, delivery.decision.mask, decoded, size=str(attempt.facts.get("bytes", ""))
            )
        attempt.failed(error, delivery.claim, held=held_mail(decoded, delivery.recipient.full))


def ends_attempt(error: Exception) -> bool:
    """Whether an error of one delivery is one of the whole message, so that the others need not be tried."""
    return isinstance(error, LeaseLostError | StoppingError) or (isinstance(error, HoldError) and error.wide)
