"""The one irreversible step, and the record of it."""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from relayd.attempt import Attempt
from relayd.debts import Debts
from relayd.errors import HoldError, InDoubtError, PausedError, RelaydError, TransientError
from relayd.model.delivery import DELIVERY_TAG, Claim, Draft
from relayd.ports import Lease, Outgoing
from relayd.stages import Delivery, Ports, Ready
from relayd.telemetry import instruments, names, spans

log = structlog.get_logger(__name__)

THROTTLED = "ses_throttled"
RECORD_RETRY = 0.1
RECORD_RETRY_CAP = 5.0
"""Seconds between tries to record a send that SES accepted."""


class Sender:
    """Sends what was written, under a lease and a claim. Between sends it keeps only what the ledger is owed."""

    def __init__(self, ports: Ports, debts: Debts, send_seconds: float) -> None:
        self._mailer = ports.mailer
        self._pace = ports.pace
        self._pauses = ports.pauses
        self._ledger = ports.ledger
        self._clock = ports.clock
        self._debts = debts
        self._send_seconds = send_seconds

    def send(self, delivery: Delivery, ready: Ready, lease: Lease, message_id: str | None) -> str:
        """Send, and return SES's id. `message_id` is the Message-ID that the mail came with."""
        if not self._pace.wait(lambda: lease.left() - self._send_seconds):
            # A lease that was lost, or a stop, is the reason then, and not the pace.
            lease.fence(self._send_seconds)
            raise TransientError("ses_paced", charged=False)
        if self._pauses.held(delivery.recipient.domain, delivery.decision.mask.owner.owner_id):
            # The pause came during the fetch, or the wait.
            raise PausedError
        # Before the one irreversible step: enough lease for the call, the claim ours, and `sending` durable.
        lease.fence(self._send_seconds)
        draft = Draft(len(ready.data), message_id, ready.trackers)
        return self.send_claimed(delivery.claim, draft, outgoing(delivery, ready), delivery.subject)

    def send_claimed(self, claim: Claim, draft: Draft, mail: Outgoing, subject: str) -> str:
        """Send under the claim alone. `subject` is the id of whom the mail is for."""
        self._ledger.begin_send(claim, draft, ttl=self._send_seconds)
        if claim.resend:
            log.warning("in_doubt_resend", delivery=claim.delivery_id, attempt=claim.attempt)
            instruments.in_doubt("resend")
        try:
            with spans.measure("ses", "send"), about(subject):
                return self._mailer.send(mail)
        except RelaydError as error:
            if error.reason == THROTTLED:
                self._pace.throttled()
            raise
        except Exception as error:
            # A bug after the call began: nobody knows whether SES has the mail, so it must not simply be retried.
            log.error("message_bug", delivery=claim.delivery_id, exc_info=error)
            raise InDoubtError("send_bug") from error

    def record(self, claim: Claim, ses_id: str, lease: Lease, attempt: Attempt) -> None:
        """Write down a known send. From here on no failure may look like one of the delivery: the mail is out."""
        with spans.step(names.RECORD):
            pause = RECORD_RETRY
            while True:
                try:
                    self._ledger.sent(claim, ses_id)
                    attempt.worked.add("database")
                    return
                except (HoldError, TransientError) as error:
                    if lease.left() <= pause:
                        # The message may be deleted all the same: nothing needs to bring it back.
                        log.error("record_failed", delivery=claim.delivery_id, reason=error.reason)
                        self._debts.record(claim, ses_id)
                        attempt.note(error)
                        return
                except Exception:
                    log.exception("record_failed", delivery=claim.delivery_id, reason="bug")
                    return
                self._clock.sleep(pause)
                pause = min(pause * 2, RECORD_RETRY_CAP)


def outgoing(delivery: Delivery, ready: Ready) -> Outgoing:
    """The call that sends a delivery."""
    return Outgoing(ready.sender, delivery.to.full, ready.data, tags(delivery.claim))


def tags(claim: Claim) -> dict[str, str]:
    """What leads SES's events back to the delivery."""
    return {DELIVERY_TAG: f"{claim.delivery_id}-{claim.attempt}"}


@contextmanager
def about(subject: str) -> Iterator[None]:
    """Say of a HoldError which object or mailbox met it, so that one bad one cannot hold all the others."""
    try:
        yield
    except HoldError as error:
        error.subject = subject
        raise
