"""The route of one message, and the only room that knows its order.

receive -> decode -> (per recipient:) look up -> decide -> claim -> fetch -> rewrite -> send -> record -> settle

Each step takes the frozen result of the step before and returns its own, so that the type checker rejects another
order. Receiving and settling are the engine's (`relayd.runtime`); everything between is here, or in the room that knows
how: `deciding`, `writing`, `sending`.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import assert_never

import structlog

from relayd.attempt import Attempt, Worked
from relayd.debts import Debts
from relayd.deciding import Decider
from relayd.decoding import Decoder
from relayd.errors import (
    ClaimLostError,
    HoldError,
    LeaseLostError,
    PermanentError,
    StoppingError,
    TransientError,
)
from relayd.feedback import Listener
from relayd.fetching import Fetcher
from relayd.mail.replies import ReplyLeakError
from relayd.model.address import Address
from relayd.model.decision import Decision, Discard, Forward, Quarantine, Reply
from relayd.model.delivery import IN_DOUBT, Busy, Claim, Concern, DeliveryKey, Held, Lost, Settled
from relayd.model.feedback import Feedback
from relayd.model.mask import Mask
from relayd.model.message import Message
from relayd.model.notice import NoticeKind, OwnerNotice
from relayd.model.notification import Notice, Received, S3Content
from relayd.ports import Lease
from relayd.rules import inbound
from relayd.sending import Sender
from relayd.stages import Claimed, Decided, Decoded, Delivery, Fetched, Ports, RelaySettings
from relayd.telemetry import instruments, names, spans
from relayd.wire import compact
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
        self._doubt_seconds = doubt_seconds
        self._debts = Debts()
        self._decoder = Decoder(settings, ports.certificates)
        self._decider = Decider(ports.directory, ports.clock, settings)
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

    def _route(self, lease: Lease, attempt: Attempt) -> None:
        with ExitStack() as reserved:
            self._steps(lease, attempt, reserved)

    def _steps(self, lease: Lease, attempt: Attempt, reserved: ExitStack) -> None:
        decoded = self._decode(lease.message, attempt)
        match decoded:
            case Notice():
                attempt.discarded(decoded.kind)
                return
            case Feedback():
                self._listener.learn(decoded, attempt)
                return
        attempt.facts["mail_id"] = decoded.received.mail_id
        decided = self._decide(decoded)
        claimed = self._claim(decided, attempt)
        attempt.worked.add("database")
        if not claimed.deliveries:
            return
        # A mail that could not be sent any more need not be fetched.
        lease.fence(self._settings.send_seconds)
        fetched = self._fetcher.fetch(claimed, lease, reserved)
        if isinstance(decoded.received.content, S3Content):
            attempt.worked.add("s3")
        attempt.facts["bytes"] = fetched.letter.size
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
                instruments.trackers(forms.current.trackers)
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
            return Decoded(message, told, opened.text, opened.released) if isinstance(told, Received) else told

    def _decide(self, decoded: Decoded) -> Decided:
        with spans.step(names.DECIDE):
            instruments.verdicts(decoded.received.verdicts.by_name())
            return self._decider.decide(decoded)

    def _claim(self, decided: Decided, attempt: Attempt) -> Claimed:
        mail_id, message = decided.decoded.received.mail_id, decided.decoded.message
        deliveries: list[Delivery] = []
        with spans.step(names.CLAIM):
            self.pay_debts()
            if not decided.decisions:
                self._discard(DeliveryKey(mail_id, ""), Discard(inbound.NO_RECIPIENT), decided, attempt)
            for recipient, decision in decided.decisions:
                for key, concern, to, subject in self._wanted(mail_id, recipient, decision, decided, attempt):
                    claim = self._claim_one(key, concern, message, attempt)
                    if claim is not None and isinstance(decision, Forward | Reply):
                        deliveries.append(Delivery(claim, recipient, decision, to, subject))
        return Claimed(decided, tuple(deliveries))

    def _wanted(
        self, mail_id: str, recipient: Address, decision: Decision, decided: Decided, attempt: Attempt
    ) -> Iterator[tuple[DeliveryKey, Concern, Address, str]]:
        """The deliveries that a decision asks for. What it refuses, holds back or puts off is seen to on the way."""
        match decision:
            case Forward():
                concern = Concern("forward", decision.mask.mask_id, decision.mask.owner.owner_id)
                for waiting in decision.waiting:
                    attempt.postponed("mailbox_full", waiting.seconds)
                for mailbox in decision.held:
                    key = DeliveryKey(mail_id, recipient.full, mailbox.address.full)
                    self._discard(key, Quarantine("bounce_pause", decision.mask), decided, attempt)
                for mailbox in decision.mailboxes:
                    key = DeliveryKey(mail_id, recipient.full, mailbox.address.full)
                    yield key, concern, mailbox.address, mailbox.mailbox_id
            case Reply():
                concern = Concern("reply", decision.mask.mask_id, decision.mask.owner.owner_id)
                contact = decision.contact
                assert contact.address is not None  # promised by Reply
                key = DeliveryKey(mail_id, recipient.full, contact.address.full)
                yield key, concern, contact.address, contact.contact_id
            case Discard() | Quarantine():
                self._discard(DeliveryKey(mail_id, recipient.full), decision, decided, attempt)
            case _:
                assert_never(decision)

    def _claim_one(self, key: DeliveryKey, concern: Concern, message: Message, attempt: Attempt) -> Claim | None:
        answer = self._ports.ledger.claim(
            key,
            concern,
            message_id=message.message_id,
            ttl=self._settings.claim_seconds,
            trace=spans.traceparent(),
            doubt_seconds=self._doubt_seconds(),
        )
        match answer:
            case Claim():
                attempt.claimed(answer)
                if answer.previous_trace is not None:
                    spans.link(answer.previous_trace)
                if not answer.resend or self._settings.resend_doubts:
                    return answer
                instruments.in_doubt("given_up")
                attempt.failed(PermanentError(IN_DOUBT), answer)
            case Busy():
                attempt.busy(answer.seconds)
            case Settled():
                attempt.ended_before(answer)
            case Lost():
                if answer.reason == IN_DOUBT:
                    instruments.in_doubt("given_up")
                attempt.claimed(answer.claim)
                attempt.failed(PermanentError(answer.reason), answer.claim)
            case _:
                assert_never(answer)
        return None

    def _discard(self, key: DeliveryKey, decision: Discard | Quarantine, decided: Decided, attempt: Attempt) -> None:
        decoded, mask = decided.decoded, decision.mask
        held = self._held(decoded, key.recipient) if isinstance(decision, Quarantine) else None
        if isinstance(decision, Discard) and decision.tell is not None and mask is not None:
            self._tell(decision.tell, mask, decoded)
        concern = Concern("forward", mask.mask_id, mask.owner.owner_id) if mask else None
        message_id = decoded.message.message_id
        self._ports.ledger.discarded(key, decision.reason, message_id=message_id, concern=concern, held=held)
        attempt.discarded(decision.reason)

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

    # How deliveries end without having been sent.

    def _refuse(self, delivery: Delivery, decision: Discard | Quarantine, fetched: Fetched, attempt: Attempt) -> None:
        """Policy, asked again with the mail in hand, is against a delivery that was claimed."""
        decided = fetched.claimed.decided
        if isinstance(decision, Discard) and decision.tell is not None and not decided.evidence.is_automatic:
            self._tell(decision.tell, delivery.decision.mask, decided.decoded)
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
            self._tell(kind, delivery.decision.mask, decoded, size=str(attempt.facts.get("bytes", "")))
        attempt.failed(error, delivery.claim, held=self._held(decoded, delivery.recipient.full))

    def _held(self, decoded: Decoded, recipient: str) -> Held:
        sender, subject = compact.sender_and_subject(decoded.text)
        return Held(compact.compact(decoded.text, recipient), sender, subject)

    def _tell(self, kind: NoticeKind, mask: Mask, decoded: Decoded, **facts: str) -> None:
        sender, subject = compact.sender_and_subject(decoded.text)
        known = {"mask": mask.address.bare, "sender": sender, "subject": subject, **facts}
        shown = {name: value for name, value in known.items() if value}
        self._ports.notices.tell(OwnerNotice(mask.owner.owner_id, kind, shown))


def ends_attempt(error: Exception) -> bool:
    """Whether an error of one delivery is one of the whole message, so that the others need not be tried."""
    return isinstance(error, LeaseLostError | StoppingError) or (isinstance(error, HoldError) and error.wide)
