"""Claiming: which deliveries a decision asks for, and which of them are this attempt's to make."""

from collections.abc import Callable, Iterator
from typing import assert_never

from relayd.attempt import Attempt
from relayd.debts import Debts
from relayd.errors import PausedError, PermanentError
from relayd.informing import held_mail, tell_owner
from relayd.model.address import Address
from relayd.model.decision import Decision, Discard, Forward, Quarantine, Reply
from relayd.model.delivery import IN_DOUBT, Busy, Claim, Concern, DeliveryKey, Lost, Settled
from relayd.rules import inbound
from relayd.stages import Claimed, Decided, Decoded, Delivery, Ports, RelaySettings
from relayd.telemetry import instruments, names, spans
from relayd.telemetry.pseudonyms import pseudonym


class Claimer:
    """Asks the ledger for each delivery. Any number of workers may share one."""

    def __init__(self, ports: Ports, settings: RelaySettings, debts: Debts, doubt_seconds: Callable[[], float]) -> None:
        """`doubt_seconds` tells how long a send in doubt waits, beyond its own expiry, for SES's word on it."""
        self._ports = ports
        self._settings = settings
        self._debts = debts
        self._doubt_seconds = doubt_seconds

    def claim(self, decided: Decided, attempt: Attempt) -> Claimed:
        """The deliveries that are this attempt's to make. Discards are recorded on the way."""
        mail_id = decided.decoded.received.mail_id
        deliveries: list[Delivery] = []
        with spans.step(names.CLAIM):
            self._debts.pay(self._ports.ledger)
            if not decided.decisions:
                self._discard(DeliveryKey(mail_id, ""), Discard(inbound.NO_RECIPIENT), decided, attempt)
            masks = [self._pseudonym(recipient, decision) for recipient, decision in decided.decisions]
            spans.masks(masks)
            for mask, (recipient, decision) in zip(masks, decided.decisions, strict=True):
                attempt.about(mask)
                if self.paused(recipient, decision):
                    attempt.failed(PausedError())
                    continue
                for key, concern, to, subject in self._wanted(mail_id, recipient, decision, decided, attempt):
                    claim = self._claim_one(key, concern, decided.decoded, attempt)
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

    def _pseudonym(self, recipient: Address, decision: Decision) -> str:
        """Of the mask, where there is one: what comes for a reply token is that of its mask, too."""
        mask = recipient if decision.mask is None else decision.mask.address
        return pseudonym(mask.bare, self._settings.secrets[0])

    def _claim_one(self, key: DeliveryKey, concern: Concern, decoded: Decoded, attempt: Attempt) -> Claim | None:
        answer = self._ports.ledger.claim(
            key,
            concern,
            message_id=decoded.message.message_id,
            ttl=self._settings.claim_seconds,
            trace=spans.traceparent(),
            doubt_seconds=self._doubt_seconds(),
            replay=decoded.replay,
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
        held = held_mail(decoded, key.recipient) if isinstance(decision, Quarantine) else None
        if isinstance(decision, Discard) and decision.tell is not None and mask is not None:
            tell_owner(self._ports.notices, decision.tell, mask, decoded)
        concern = Concern("forward", mask.mask_id, mask.owner.owner_id) if mask else None
        self._ports.ledger.discarded(
            key,
            decision.reason,
            message_id=decoded.message.message_id,
            concern=concern,
            held=held,
            replay=decoded.replay,
        )
        attempt.discarded(decision.reason)

    def paused(self, recipient: Address, decision: Decision) -> bool:
        """Asked before anything is recorded of a recipient, for a discard would be for good: what is paused is decided
        again when it comes back.
        """
        owner_id = decision.mask.owner.owner_id if decision.mask else None
        return self._ports.pauses.held(recipient.domain, owner_id)
