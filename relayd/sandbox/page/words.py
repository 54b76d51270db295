"""What a word of relayd's means, in a sentence for somebody who sees it for the first time."""

from collections.abc import Mapping
from types import MappingProxyType

from relayd.model.notice import NoticeKind

REASONS: Mapping[str, str] = MappingProxyType(
    {
        # Discarded: policy, not failure. The mail stays in S3.
        "unknown_mask": "No mask has this address.",
        "mask_disabled": "The mask is switched off.",
        "owner_inactive": "The mask's owner is not active.",
        "owner_flagged": "The mask's owner is flagged for abuse.",
        "noreply": "Nobody reads the answers to this address.",
        "spam": "SES found it to be spam, and its owner does not want spam forwarded.",
        "virus": "SES found a virus in it.",
        "dmarc_reject": "DMARC failed, and the sender's domain asks to reject such mail.",
        "dmarc_quarantine": "DMARC failed, and the owner does not want such mail.",
        "loop": "It has come through here, or through too many servers, before.",
        "no_recipient": "It came to no address of ours.",
        "rule_limit": "A domain rule covers this address, but has made as many masks as it may.",
        "over_limit": "The mask's owner has had as much mail today as one may.",
        "sender_blocked": "The mask's owner has blocked this sender.",
        "list_mail": "It comes from a mailing list, and the mask takes none.",
        "reply_not_allowed": "Only the mask's owner may write to this address, and nothing proves that they did.",
        "reply_leak": "The answer would have told the stranger who the owner is, so it went to nobody.",
        # Held back: they wait for a person to release them.
        "bounce_pause": "The mailbox bounced not long ago, so nothing is sent to it for a while.",
        "mailbox_unverified": "Nobody has shown that the mailbox is the owner's.",
        "released": "It was released, and went through the queue once more.",
        # Dead-lettered: relayd cannot or must not do anything with it. It waits for a person.
        "not_json": "The message on the queue is no JSON.",
        "unknown_type": "The message is none that SES or SNS sends.",
        "unknown_shape": "The message lacks what SES always says.",
        "foreign_bucket": "It names a bucket that is not on the allow list, so nothing was fetched.",
        "foreign_topic": "It came over a topic that is not on the allow list.",
        "forged_signature": "Its signature is not SNS's: somebody else wrote it.",
        "foreign_certificate": "It wants to be checked with a certificate that is not SNS's.",
        "unsigned": "It carries no signature at all.",
        "unknown_signature_version": "It is signed in a way that SNS does not.",
        "retries_exhausted": "It was tried for as long as RELAYD_RETRY_HOURS says, and failed each time.",
        "mail_too_large": "It is larger than SES will send.",
        "too_large": "It is larger than relayd will work on.",
        "ses_refused_malformed": "SES called it malformed, in each form that relayd could give it.",
        "ses_rejected": "SES refused it.",
        "ses_rejected_virus": "SES took it, and then found a virus in it.",
        "mail_on_events_queue": "It tells of a mail that came in, on the queue of events about mail that went out.",
        "client_side_encrypted": "The receipt rule encrypts mail, and only the bucket should.",
        "too_many_recipients": "It names more recipients than SES lets in.",
        "in_doubt": "Nobody knows whether SES has sent it, twice in a row.",
        "killed": "The process died three times while it worked on it.",
    }
)


NOTICES: Mapping[NoticeKind, str] = MappingProxyType(
    {
        "mask_disabled": "A mask was switched off, because its mail was called spam twice",
        "reply_not_allowed": "A reply was not sent, as nothing proved who wrote it",
        "reply_leak": "A reply was not sent, as it would have told the stranger who wrote it",
        "reply_bounced": "A reply came back",
        "mail_too_large": "A mail was too large to be forwarded",
        "mail_refused": "A mail could not be forwarded",
        "mailbox_paused": "A mailbox bounced, and is given a rest",
    }
)
"""What a notice to an owner is about."""


def subject_of(notice: str) -> str:
    """The line in the list for a notice."""
    return f"Notice: {NOTICES.get(notice, notice)}"  # type: ignore[call-overload]


def meaning(reason: str) -> str:
    """The sentence; empty for a word without one."""
    return REASONS.get(reason, "")
