"""What SNS and SES tell about a mail, in our words."""

from dataclasses import dataclass, field
from typing import Literal

from relayd.model.feedback import Feedback

Verdict = Literal["PASS", "FAIL", "GRAY", "PROCESSING_FAILED", "DISABLED", "ABSENT"]
"""SES's verdicts; ABSENT (ours) is a verdict that the notification does not have, or one of an unknown word."""


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What SES found. Only FAIL ever decides; the rest goes on and is counted."""

    spam: Verdict = "ABSENT"
    virus: Verdict = "ABSENT"
    spf: Verdict = "ABSENT"
    dkim: Verdict = "ABSENT"
    dmarc: Verdict = "ABSENT"
    dmarc_policy: Literal["none", "quarantine", "reject"] | None = None
    """The sender domain's policy. SES tells it only when DMARC failed."""

    def by_name(self) -> dict[str, Verdict]:
        """`spam`, `virus`, `spf`, `dkim` and `dmarc`, for counting."""
        return {"spam": self.spam, "virus": self.virus, "spf": self.spf, "dkim": self.dkim, "dmarc": self.dmarc}


@dataclass(frozen=True, slots=True)
class S3Content:
    """The mail lies in S3; its size is not in the notification."""

    bucket: str
    key: str


@dataclass(frozen=True, slots=True)
class InlineContent:
    """The mail came with the notification (SNS action, up to 150 KB)."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Received:
    """A mail that SES received for us: the `Received` notification of a receipt rule."""

    mail_id: str
    """SES's mail.messageId: half of a delivery's key. It survives redrives and replays."""
    source: str = field(repr=False)
    """MAIL FROM of the SMTP envelope; empty for a bounce (`<>`)."""
    recipients: tuple[str, ...] = field(repr=False)
    """RCPT TO of the SMTP envelope, as SES gave them. Never the To header."""
    verdicts: Verdicts
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    """The mail's header fields as SES parsed them, in order. Incomplete when `headers_truncated`."""
    headers_truncated: bool
    content: S3Content | InlineContent
    received_at: float = 0.0
    """When SES received the mail, in seconds since the epoch; 0 when the notification does not say."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that may reach the queue and asks for nothing: a confirmation, a test or a setup event."""

    kind: str
    """A reason word: `subscription_confirmation`, `unsubscribe_confirmation`, `setup_notification`, `test_event`."""


Notification = Received | Notice | Feedback


@dataclass(frozen=True, slots=True)
class Envelope:
    """An SNS envelope, or a raw delivery that came without one (`signed` is None then)."""

    text: str = field(repr=False)
    """The notification inside: JSON as text."""
    kind: str = "Notification"
    """`Notification`, `SubscriptionConfirmation` or `UnsubscribeConfirmation`."""
    topic_arn: str | None = None
    message_id: str | None = None
    """SNS's id: the same in every delivery of one publish."""
    published_at: str | None = None
    traceparent: str | None = None
    """The producer's W3C trace context, when it sent one as a message attribute."""
    signed: "Signed | None" = None


@dataclass(frozen=True, slots=True)
class Signed:
    """What is needed to check an SNS signature."""

    version: str
    """`1` (SHA1withRSA) or `2` (SHA256withRSA)."""
    signature: bytes = field(repr=False)
    certificate_url: str
    canonical: bytes = field(repr=False)
    """The string that SNS signed, as bytes."""
