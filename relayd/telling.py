"""Sending what owners are to be told. It waits in the database and goes out beside the mail, so that no trouble of SES
holds up the work that found it out.
"""

import structlog

from relayd.debts import Debts
from relayd.errors import ClaimLostError, HoldError, InDoubtError, PermanentError, TransientError
from relayd.mail import hops
from relayd.model.delivery import Busy, Claim, Concern, DeliveryKey, Draft, Lost, Settled
from relayd.model.notice import PendingNotice
from relayd.ports import Outgoing
from relayd.sending import Sender, tags
from relayd.stages import Ports, RelaySettings
from relayd.telemetry import instruments, names, spans

log = structlog.get_logger(__name__)

AT_ONCE = 50
"""Notices looked at in one round."""
OLDEST = 3 * 86_400.0
"""Seconds after which a notice that could not be sent is news no more."""


class Teller:
    """Sends notices. The ledger sees to it that of several replicas one does, and that a crash sends none twice
    without a mark.
    """

    def __init__(self, ports: Ports, settings: RelaySettings) -> None:
        self._notices = ports.notices
        self._pauses = ports.pauses
        self._domain = settings.notice_from.rpartition("@")[2]
        self._ledger = ports.ledger
        self._settings = settings
        self._debts = Debts()
        self._sender = Sender(ports, self._debts, settings.send_seconds)
        self._stopping = False

    @property
    def owed(self) -> int:
        """Changes that the ledger could not be told yet."""
        return len(self._debts)

    def stop(self) -> None:
        """Begin no other send."""
        self._stopping = True

    def tell(self) -> None:
        """Send what waits. What stands in the way of one does so for all, unless it is about its mailbox alone. A pause
        of the owner, or of the domain that notices come from, holds them back, too.
        """
        self._debts.pay(self._ledger)
        for pending in self._notices.waiting(AT_ONCE, without=self._pauses.owners()):
            if self._stopping:
                return
            if self._pauses.held(self._domain, pending.notice.owner_id):
                # The pause came during this round.
                continue
            try:
                with spans.step(names.NOTICE):
                    outcome = self._told(pending)
            except (HoldError, TransientError, InDoubtError, ClaimLostError) as error:
                log.warning("notice_deferred", notice=pending.notice_id, reason=error.reason)
                if isinstance(error, HoldError) and not error.wide:
                    continue
                return
            if outcome is not None:
                self._notices.ended(pending.notice_id, outcome)
                instruments.notice(pending.notice.kind, outcome)
                log.info("notice_ended", notice=pending.notice_id, kind=pending.notice.kind, outcome=outcome)

    def _told(self, pending: PendingNotice) -> str | None:
        """How the notice ended; None when it has to wait on."""
        if pending.mailbox is None:
            # Of a pause the mailbox that it is about is never told, and there is no other one.
            about_it = pending.notice.kind == "mailbox_paused"
            return "no_mailbox" if about_it or pending.age >= OLDEST else None
        key = DeliveryKey(f"notice-{pending.notice_id}", "", pending.mailbox)
        answer = self._ledger.claim(
            key,
            Concern("notice", None, pending.notice.owner_id),
            message_id=key.mail_id,
            ttl=self._settings.claim_seconds,
            trace=None,
        )
        match answer:
            case Claim():
                return self._send(pending, answer, pending.mailbox)
            case Busy():
                return None
            case Settled():
                return answer.state
            case Lost():
                self._ledger.failed(answer.claim, answer.reason, message_id=key.mail_id)
                return answer.reason

    def _send(self, pending: PendingNotice, claim: Claim, mailbox: str) -> str:
        if pending.age >= OLDEST:
            self._ledger.failed(claim, "too_late", message_id=claim.key.mail_id)
            return "too_late"
        # Late, because its templates are needed by few daemons on few days.
        from relayd.mail import notices

        try:
            data = notices.write(
                pending.notice,
                language=pending.language,
                sender=self._settings.notice_from,
                recipient=mailbox,
                hops=hops.sign(1, self._settings.secrets),
            )
            mail = Outgoing(self._settings.notice_from, mailbox, data, tags(claim))
            ses_id = self._sender.send_claimed(claim, Draft(len(data)), mail, pending.notice.owner_id)
        except PermanentError as error:
            self._ledger.failed(claim, error.reason, message_id=claim.key.mail_id)
            return error.reason
        except (HoldError, TransientError) as error:
            self._ledger.give_back(claim, error.reason)
            raise
        try:
            self._ledger.sent(claim, ses_id)
        except (HoldError, TransientError):
            self._debts.record(claim, ses_id)
            raise
        return "sent"
