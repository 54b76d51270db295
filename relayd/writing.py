"""The mail as it will be sent: rewritten, and where SES refuses that, rebuilt or attached: a ladder, climbed one rung
at a time.
"""

from collections.abc import Iterator, Sequence
from typing import assert_never

from relayd.deciding import parsed
from relayd.errors import PermanentError
from relayd.mail import hops, rebuild, replies, rewrite
from relayd.mail.banner import Banner
from relayd.mail.plans import ForwardPlan, Rewritten
from relayd.mail.replies import ReplyPlan
from relayd.model.address import Address
from relayd.model.decision import Forward, Reply
from relayd.ports import Directory, Ledger
from relayd.rules import threads
from relayd.stages import Delivery, Fetched, Ready, RelaySettings
from relayd.telemetry import names, spans

REFUSED = "ses_refused_malformed"
"""The reason of a send that another form of the same mail may mend."""
TOO_LARGE = "too_large"


class Writer:
    """Writes mails. It asks the directory and the ledger for what stands in them, and holds nothing."""

    def __init__(self, directory: Directory, ledger: Ledger, settings: RelaySettings) -> None:
        self._directory = directory
        self._ledger = ledger
        self._settings = settings

    def forms(self, fetched: Fetched, delivery: Delivery) -> "Forms":
        """The forms in which a mail may be sent. One mask's mailboxes all get the same bytes."""
        match delivery.decision:
            case Forward():
                return Forms(self._forward_forms(fetched, delivery.recipient, delivery.decision))
            case Reply():
                return Forms(self._reply_forms(fetched, delivery, delivery.decision))
            case _:
                assert_never(delivery.decision)

    def _forward_forms(self, fetched: Fetched, recipient: Address, decision: Forward) -> Iterator[Ready]:
        with spans.step(names.REWRITE) as span:
            plan = self._forward_plan(fetched, recipient, decision)
            rewritten = rewrite.forward(fetched.letter, plan)
            span.set_attribute(names.REPAIRED_PARTS, rewritten.repaired_parts)
        if not rebuild.would_be_refused(fetched.letter, rewritten):
            # What SES is known to refuse is not tried: the strict form carries it otherwise.
            yield _ready(plan.reply_address, rewritten, "rewritten")
        # Of a large mail there is memory for one form, not for all of them.
        del rewritten
        with spans.step(names.REWRITE):
            rebuilt = rebuild.strict(fetched.letter, plan, fetched.letter.raw())
        yield _ready(plan.reply_address, rebuilt, "rebuilt")
        del rebuilt
        if rebuild.fits(fetched.letter.size):
            with spans.step(names.REWRITE):
                attached = rebuild.as_attachment(fetched.letter, plan, fetched.letter.raw())
            yield _ready(plan.reply_address, attached, "attached")

    def _forward_plan(self, fetched: Fetched, recipient: Address, decision: Forward) -> ForwardPlan:
        mask, source = decision.mask, fetched.claimed.decided.decoded.received.source
        author = fetched.letter.sender
        sender = (author and author.address) or parsed(source)
        contact = self._directory.contact(mask.mask_id, sender)
        shown = sender.full if sender is not None else ""
        return ForwardPlan(
            mask=mask.address,
            tag=recipient.tag,
            reply_address=f"{contact.token}@{mask.address.domain}",
            envelope_source=source,
            hops=hops.sign(decision.hops + 1, self._settings.secrets),
            warnings=decision.warnings,
            threads=self._threads(mask.mask_id, fetched.letter.references, "forward"),
            banner=Banner(mask.address.bare, shown, mask.owner.language) if mask.banner else None,
            trackers=self._settings.trackers if mask.remove_trackers else None,
            tracker_warning=self._settings.tracker_warning,
        )

    def _reply_forms(self, fetched: Fetched, delivery: Delivery, decision: Reply) -> Iterator[Ready]:
        """One form alone: an answer that SES refuses is better written again by its author than sent in pieces."""
        with spans.step(names.REWRITE) as span:
            mask = decision.mask
            addressed = [one for one in replies.addressed(fetched.letter) if one.domain in self._settings.mail_domains]
            known = self._directory.correspondents(mask.owner.owner_id, [one.local for one in addressed])
            plan = ReplyPlan(
                mask=mask.address,
                display_name=mask.display_name,
                contact=delivery.to.full,
                recipients={
                    one.bare: str(contact.address)
                    for one in addressed
                    if (contact := known.get(one.local)) is not None and contact.address is not None
                },
                owned=tuple(mailbox.address for mailbox in decision.owned),
                hops=hops.sign(decision.hops + 1, self._settings.secrets),
                threads=self._threads(mask.mask_id, fetched.letter.references, "reply"),
            )
            rewritten = replies.reply(fetched.letter, plan)
            span.set_attribute(names.REPAIRED_PARTS, rewritten.repaired_parts)
        yield _ready(mask.address.bare, rewritten, "rewritten")

    def _threads(self, mask_id: str, ids: Sequence[str], towards: threads.Towards) -> threads.Threads:
        links = self._ledger.threads(mask_id, ids) if ids else ()
        return threads.mapped(links, towards, self._settings.ses_domain)


class Forms:
    """The forms of one mail, each written when it is first asked for."""

    def __init__(self, source: Iterator[Ready]) -> None:
        self._source = source
        self._current: Ready | None = None
        self._error: PermanentError | None = None

    @property
    def current(self) -> Ready:
        """The plainest form that SES has not refused."""
        if self._error is not None and self._current is None:
            raise self._error
        if self._current is None:
            self.climb()
        assert self._current is not None  # there is a first form, or writing it raised
        return self._current

    def climb(self) -> bool:
        """Go on to the next form. False when there is none."""
        try:
            found = next(self._source, None)
        except PermanentError as error:
            # A generator that raised has ended; the mask's next mailbox asks again.
            self._error = error
            raise
        self._current = found or self._current
        return found is not None


def _ready(sender: str, rewritten: Rewritten, rung: str) -> Ready:
    if len(rewritten.data) > rebuild.MAX_MESSAGE:
        raise PermanentError(TOO_LARGE, f"{len(rewritten.data)} bytes")
    return Ready(sender, rewritten.data, rewritten.repaired_parts, rewritten.trackers, rung)
