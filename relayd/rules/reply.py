"""Whether a mail to a contact's reply token is sent on to the contact: only if the mask's owner wrote it."""

from relayd.model.decision import Discard, Reply
from relayd.model.mask import TokenRecipient
from relayd.rules import loops
from relayd.rules.evidence import Case, Evidence

NOT_ALLOWED = "reply_not_allowed"
REASONS = (NOT_ALLOWED,)


def decide(case: Case, target: TokenRecipient) -> Reply | Discard:
    """A reply, or why not. Without these checks a token would be an open relay."""
    mask, evidence = target.mask, case.evidence
    if loops.looped(evidence, mask.owner.owner_id):
        return Discard("loop", mask)
    owner = mask.owner
    allowed = (
        target.contact.address is not None
        and owner.active
        and not owner.flagged
        and owner.usage.replies < evidence.limits.replies
        and _from_owner(target, evidence)
        and _proven(evidence)
    )
    if allowed:
        return Reply(mask, target.contact, target.owned, evidence.hops)
    return Discard(NOT_ALLOWED, mask, tell=None if evidence.is_automatic else "reply_not_allowed")


def _from_owner(target: TokenRecipient, evidence: Evidence) -> bool:
    """One author, and that one a verified mailbox of the owner's; the tag is nobody's business."""
    if not evidence.authors and not evidence.complete:
        # Decided again once all of the header is there.
        return True
    own = {mailbox.address.bare for mailbox in target.owned if mailbox.verified}
    return evidence.sole_author is not None and evidence.sole_author.bare in own


def _proven(evidence: Evidence) -> bool:
    """DMARC says that the From domain sent it; or SPF says so of an envelope sender on the same domain. (DKIM alone
    says nothing: the notification does not tell whose signature it was.)
    """
    if evidence.verdicts.dmarc == "PASS":
        return True
    domain = evidence.source.rpartition("@")[2].lower().rstrip(".")
    same = evidence.sole_author is None or evidence.sole_author.domain == domain
    return evidence.verdicts.spf == "PASS" and bool(domain) and same
