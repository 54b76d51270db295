"""The route of one message, and the only room that knows its order.

receive -> decode -> (per recipient:) look up -> decide -> claim -> fetch -> rewrite -> send -> record -> settle

Each step takes the frozen result of the step before and returns its own, so that the type checker rejects another
order. Receiving and settling are the engine's (`relayd.runtime`); everything between is here.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import assert_never

import structlog

from relayd.attempt import Attempt, Worked
from relayd.debts import Debts
from relayd.decoding import Decoder
from relayd.errors import (
    ClaimLostError,
    HoldError,
    InDoubtError,
    LeaseLostError,
    PermanentError,
    RelaydError,
    StoppingError,
    TransientError,
)
from relayd.mail import hops, letter, rewrite
from relayd.mail.rewrite import ForwardPlan
from relayd.model.address import Address
from relayd.model.decision import Discard, Forward, Quarantine
from relayd.model.delivery import DELIVERY_TAG, IN_DOUBT, Busy, Claim, DeliveryKey, Lost, Sent, Settled
from relayd.model.mask import Mask, Target, TokenRecipient, UnknownRecipient
from relayd.model.message import Message
from relayd.model.notification import InlineContent, Notice, Received, S3Content
from relayd.ports import Lease, Outgoing
from relayd.rules import inbound, recipients
from relayd.rules.inbound import Evidence
from relayd.stages import Claimed, Decided, Decoded, Delivery, Fetched, Ports, Ready, RelaySettings
from relayd.telemetry import instruments, names, spans

log = structlog.get_logger(__name__)

RECORD_RETRY = 0.1
RECORD_RETRY_CAP = 5.0
"""Seconds between tries to record a send that SES accepted."""


class Relay:
    """The route. Any number of workers may share one; between messages it keeps only what it owes."""

    def __init__(self, ports: Ports, settings: RelaySettings, *, jitter: Callable[[], float] = random.random) -> None:
        self._ports = ports
        self._settings = settings
        self._jitter = jitter
        self._decoder = Decoder(settings, ports.certificates)
        self._debts = Debts()

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
        decoded = self._decode(lease.message, attempt)
        if isinstance(decoded, Notice):
            attempt.discarded(decoded.kind)
            return
        attempt.facts["mail_id"] = decoded.received.mail_id
        decided = self._decide(decoded)
        claimed = self._claim(decided, attempt)
        attempt.worked.add("database")
        if not claimed.deliveries:
            return
        # A mail that could not be sent any more need not be fetched.
        lease.fence(self._settings.send_seconds)
        fetched = self._fetch(claimed)
        if isinstance(decoded.received.content, S3Content):
            attempt.worked.add("s3")
        attempt.facts["bytes"] = fetched.size
        judged = self._judge(fetched, attempt)
        ready: dict[Address, Ready] = {}
        for delivery in judged.claimed.deliveries:
            try:
                # One mask's mailboxes all get the same bytes.
                if delivery.recipient not in ready:
                    ready[delivery.recipient] = self._rewrite(judged, delivery)
                ses_id = self._send(delivery, ready[delivery.recipient], lease)
                attempt.worked.add("ses")
                self._record(delivery, Sent(ses_id, judged.letter.message_id), lease, attempt)
                attempt.sent(delivery.claim, ses_id)
            except Exception as error:
                if ends_attempt(error):
                    raise
                attempt.failed(error, delivery.claim)

    # The steps, in order.

    def _decode(self, message: Message, attempt: Attempt) -> Decoded | Notice:
        with spans.step(names.DECODE):
            told = self._decoder.decode(message, fetched=lambda: attempt.worked.add("certificates"))
            return told if isinstance(told, Notice) else Decoded(message, told)

    def _decide(self, decoded: Decoded) -> Decided:
        received = decoded.received
        with spans.step(names.DECIDE):
            evidence = self._evidence(received, received.headers, complete=not received.headers_truncated)
            ours = recipients.ours(received.recipients, self._settings.mail_domains)
            decisions = tuple(
                (recipient, inbound.decide(recipient, self._ports.directory.lookup(recipient), evidence))
                for recipient in ours
            )
            return Decided(decoded, evidence, decisions)

    def _claim(self, decided: Decided, attempt: Attempt) -> Claimed:
        mail_id = decided.decoded.received.mail_id
        deliveries: list[Delivery] = []
        with spans.step(names.CLAIM):
            self.pay_debts()
            if not decided.decisions:
                self._discard(DeliveryKey(mail_id, ""), Discard(inbound.NO_RECIPIENT), decided.decoded.message, attempt)
            for recipient, decision in decided.decisions:
                if not isinstance(decision, Forward):
                    key = DeliveryKey(mail_id, recipient.full)
                    self._discard(key, decision, decided.decoded.message, attempt)
                    continue
                for mailbox in decision.mask.mailboxes:
                    key = DeliveryKey(mail_id, recipient.full, mailbox.address.full)
                    claim = self._claim_one(key, decision.mask, decided.decoded.message, attempt)
                    if claim is not None:
                        deliveries.append(Delivery(claim, recipient, decision, mailbox))
        return Claimed(decided, tuple(deliveries))

    def _claim_one(self, key: DeliveryKey, mask: Mask, message: Message, attempt: Attempt) -> Claim | None:
        answer = self._ports.ledger.claim(
            key,
            message_id=message.message_id,
            mask_id=mask.mask_id,
            ttl=self._settings.claim_seconds,
            trace=spans.traceparent(),
        )
        match answer:
            case Claim():
                attempt.claimed(answer)
                if answer.previous_trace is not None:
                    spans.link(answer.previous_trace)
                return answer
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

    def _discard(self, key: DeliveryKey, decision: Discard | Quarantine, message: Message, attempt: Attempt) -> None:
        mask_id = decision.mask.mask_id if decision.mask else None
        self._ports.ledger.discarded(key, decision.reason, message_id=message.message_id, mask_id=mask_id)
        attempt.discarded(decision.reason)

    def _fetch(self, claimed: Claimed) -> Fetched:
        content = claimed.decided.decoded.received.content
        match content:
            case InlineContent():
                data = content.data
            case S3Content():
                with spans.step(
                    names.FETCH, {names.BUCKET: content.bucket, names.KEY: content.key}, measure=("s3", "fetch")
                ) as span:
                    with about(f"{content.bucket}/{content.key}"):
                        data = self._ports.store.fetch(content, admit_any)
                    span.set_attribute(names.MAIL_BYTES, len(data))
            case _:
                assert_never(content)
        return Fetched(claimed, letter.parse(data), len(data))

    def _judge(self, fetched: Fetched, attempt: Attempt) -> Fetched:
        """Decide again, on the mail's own headers, where SES had cut the notification's short."""
        decided = fetched.claimed.decided
        deliveries = fetched.claimed.deliveries
        if not any(inbound.needs_headers(delivery.forward, decided.evidence) for delivery in deliveries):
            return fetched
        received = decided.decoded.received
        with spans.step(names.DECIDE):
            evidence = self._evidence(received, fetched.letter.header_items(), complete=True)
            kept: list[Delivery] = []
            for delivery in deliveries:
                decision = inbound.decide(delivery.recipient, delivery.forward.mask, evidence)
                if isinstance(decision, Forward):
                    kept.append(replace(delivery, forward=decision))
                    continue
                try:
                    attempt.refused(delivery.claim, decision.reason)
                except ClaimLostError as error:
                    attempt.failed(error, delivery.claim)
        return replace(fetched, claimed=Claimed(replace(decided, evidence=evidence), tuple(kept)))

    def _rewrite(self, fetched: Fetched, delivery: Delivery) -> Ready:
        mask, source = delivery.forward.mask, fetched.claimed.decided.decoded.received.source
        with spans.step(names.REWRITE) as span:
            sender = fetched.letter.sender
            contact = self._ports.directory.contact(mask.mask_id, (sender and sender.address) or parsed(source))
            threads = self._ports.ledger.threads(mask.mask_id, fetched.letter.references)
            plan = ForwardPlan(
                mask=mask.address,
                tag=delivery.recipient.tag,
                reply_address=f"{contact.token}@{mask.address.domain}",
                envelope_source=source,
                hops=hops.sign(delivery.forward.hops + 1, self._settings.secrets),
                warnings=delivery.forward.warnings,
                threads={known: f"{ses_id}@{self._settings.ses_domain}" for known, ses_id in threads.items()},
            )
            rewritten = rewrite.forward(fetched.letter, plan)
            span.set_attribute(names.REPAIRED_PARTS, rewritten.repaired_parts)
            return Ready(plan.reply_address, rewritten)

    def _send(self, delivery: Delivery, ready: Ready, lease: Lease) -> str:
        claim = delivery.claim
        # Before the one irreversible step: enough lease for the call, the claim ours, and `sending` durable.
        lease.fence(self._settings.send_seconds)
        self._ports.ledger.begin_send(claim, ttl=self._settings.send_seconds)
        if claim.resend:
            log.warning("in_doubt_resend", delivery=claim.delivery_id, attempt=claim.attempt)
            instruments.in_doubt("resend")
        mail = Outgoing(
            sender=ready.reply_address,
            recipient=delivery.mailbox.address.full,
            data=ready.rewritten.data,
            tags={DELIVERY_TAG: f"{claim.delivery_id}-{claim.attempt}"},
        )
        try:
            with spans.measure("ses", "send"), about(delivery.mailbox.mailbox_id):
                return self._ports.mailer.send(mail)
        except RelaydError:
            raise
        except Exception as error:
            # A bug after the call began: nobody knows whether SES has the mail, so it must not simply be retried.
            log.error("message_bug", delivery=claim.delivery_id, exc_info=error)
            raise InDoubtError("send_bug") from error

    def _record(self, delivery: Delivery, sent: Sent, lease: Lease, attempt: Attempt) -> None:
        """Write down a known send. From here on no failure may look like one of the delivery: the mail is out."""
        with spans.step(names.RECORD):
            pause = RECORD_RETRY
            while True:
                try:
                    self._ports.ledger.sent(delivery.claim, sent)
                    attempt.worked.add("database")
                    return
                except (HoldError, TransientError) as error:
                    if lease.left() <= pause:
                        # The message may be deleted all the same: nothing needs to bring it back.
                        log.error("record_failed", delivery=delivery.claim.delivery_id, reason=error.reason)
                        self._debts.record(delivery.claim, sent)
                        attempt.note(error)
                        return
                except Exception:
                    log.exception("record_failed", delivery=delivery.claim.delivery_id, reason="bug")
                    return
                self._ports.clock.sleep(pause)
                pause = min(pause * 2, RECORD_RETRY_CAP)

    def _evidence(self, received: Received, headers: tuple[tuple[str, str], ...], *, complete: bool) -> Evidence:
        hop_values = [value for name, value in headers if name.lower() == hops.HEADER.lower()]
        return Evidence(
            verdicts=received.verdicts,
            source=received.source,
            headers=headers,
            hops=hops.count(hop_values, self._settings.secrets),
            sender_owner=self._owner_of(received.source),
            complete=complete,
        )

    def _owner_of(self, source: str) -> str | None:
        """The owner behind an envelope sender on one of our domains: a mask that writes to a mask is a loop."""
        address = parsed(source)
        if address is None or address.domain not in self._settings.mail_domains:
            return None
        target: Target = self._ports.directory.lookup(address)
        match target:
            case Mask():
                return target.owner.owner_id
            case TokenRecipient():
                return target.mask.owner.owner_id
            case UnknownRecipient():
                return None
            case _:
                assert_never(target)


def ends_attempt(error: Exception) -> bool:
    """Whether an error of one delivery is one of the whole message, so that the others need not be tried."""
    return isinstance(error, LeaseLostError | StoppingError) or (isinstance(error, HoldError) and error.wide)


@contextmanager
def about(subject: str) -> Iterator[None]:
    """Say of a HoldError which object or mailbox met it, so that one bad one cannot hold all the others."""
    try:
        yield
    except HoldError as error:
        error.subject = subject
        raise


def admit_any(size: int) -> None:
    """Every size that the store's own bound lets through."""


def parsed(address: str) -> Address | None:
    """The address, if it is one."""
    try:
        return Address.parse(address)
    except ValueError:
        return None
