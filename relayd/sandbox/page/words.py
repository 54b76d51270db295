"""What a reason word means, in a sentence for somebody who sees it for the first time."""

from collections.abc import Mapping
from types import MappingProxyType

REASONS: Mapping[str, str] = MappingProxyType(
    {
        # Discarded: policy, not failure. The mail stays in S3.
        "unknown_mask": "No mask has this address.",
        "mask_disabled": "The mask is switched off.",
        "owner_inactive": "The mask's owner is not active.",
        "owner_flagged": "The mask's owner is flagged for abuse.",
        "noreply": "Nobody reads the answers to this address.",
        "spam": "SES found it to be spam, and the owner does not want spam.",
        "virus": "SES found a virus in it.",
        "dmarc_reject": "DMARC failed, and the sender's domain asks to reject such mail.",
        "dmarc_quarantine": "DMARC failed, and the owner does not want such mail.",
        "loop": "It has come through here, or through too many servers, before.",
        "reply_unavailable": "It answers a forwarded mail, and sending answers on is not built yet.",
        "no_recipient": "It came to no address of ours.",
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
        "ses_refused_malformed": "SES called it malformed.",
        "in_doubt": "Nobody knows whether SES has sent it, twice in a row.",
        "killed": "The process died three times while it worked on it.",
    }
)


def meaning(reason: str) -> str:
    """The sentence; empty for a word without one."""
    return REASONS.get(reason, "")
