"""Events and what they may be about, for the feedback table's tests."""

from typing import Any

from relayd.model.address import Address
from relayd.model.feedback import Affected, Effect, Feedback, FeedbackKind, MailboxStanding, Match, SentMail
from relayd.rules.feedback import decide

NOW = 1.7e9
HOME = "me@home.example"
FORWARD = SentMail("delivery-1", "forward", "owner-1", "mask-1", "shop@mask.example", HOME)
REPLY = SentMail("delivery-1", "reply", "owner-1", "mask-1", "shop@mask.example", "stranger@sender.example")
NOTICE = SentMail("delivery-1", "notice", "owner-1", None, "", HOME)
MAILBOX = MailboxStanding("mailbox-1", "owner-1", HOME)


def event(kind: FeedbackKind, kind_word: str = "", subtype: str = "", **affected: Any) -> Feedback:
    who = Affected(Address.parse(HOME), **affected)
    return Feedback(kind, "feedback-1", "ses-1", "delivery-1", 1, (who,), kind_word, subtype, NOW - 60)


def bounce(kind_word: str, subtype: str, status: str = "", *, says_spam: bool = False) -> Feedback:
    return event("bounce", kind_word, subtype, status=status, says_spam=says_spam)


def complaint(word: str = "abuse", subtype: str = "") -> Feedback:
    return event("complaint", word, subtype)


def ruled(
    feedback: Feedback, sent: SentMail | None = FORWARD, *mailboxes: MailboxStanding, complained: float | None = None
) -> tuple[Effect, ...]:
    return decide(feedback, Match(sent, mailboxes or (MAILBOX,), complained), now=NOW)
