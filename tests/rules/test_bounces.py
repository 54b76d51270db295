"""The feedback table's bounces: one test a row, and what wins where two rows apply."""

from dataclasses import replace

import pytest

from relayd.model.address import Address
from relayd.model.feedback import (
    Affected,
    Alert,
    Feedback,
    MailboxStanding,
    Match,
    PauseMailbox,
    QuarantineSpam,
    SentMail,
    Tell,
)
from relayd.model.notice import OwnerNotice
from relayd.rules.feedback import SUPPRESSED, decide
from tests.rules.events import FORWARD, HOME, MAILBOX, NOTICE, NOW, REPLY, bounce, ruled

ELSEWHERE = Tell(OwnerNotice("owner-1", "mailbox_paused", {"mailbox": HOME, "days": "1"}))
BOUNCED = Tell(OwnerNotice("owner-1", "reply_bounced", {"mask": REPLY.mask, "contact": REPLY.recipient}))


def hard(days: int, bounces: int) -> PauseMailbox:
    return PauseMailbox("mailbox-1", "hard", NOW + days * 86400, bounces)


@pytest.mark.parametrize("sent", [FORWARD, NOTICE, None])
@pytest.mark.parametrize(
    ("subtype", "status"),
    [("NoEmail", ""), ("NoEmail", "5.7.1"), ("General", "5.1.1"), ("General", "5.1.2"), ("General", "5.1.10")],
)
def test_missing_mailbox_is_paused(subtype: str, status: str, sent: SentMail | None) -> None:
    """Whatever mail it was that showed it; the owner is told through another mailbox."""
    assert ruled(bounce("Permanent", subtype, status), sent) == (hard(1, 1), ELSEWHERE)


def test_status_counts_where_ses_is_undetermined() -> None:
    """The other side's code says that there is no mailbox, whatever SES could make of the rest."""
    assert ruled(bounce("Undetermined", "Undetermined", "5.1.1")) == (hard(1, 1), ELSEWHERE)
    assert ruled(bounce("Transient", "General", "5.1.1")) == ()


@pytest.mark.parametrize(("before", "days"), [(0, 1), (1, 3), (2, 7), (3, 30), (4, 30), (100, 30)])
def test_pauses_grow_with_bounces_in_a_row(before: int, days: int) -> None:
    """A day first; a mailbox that stays gone is asked after once a month."""
    standing = replace(MAILBOX, bounces=before)
    pause, told = ruled(bounce("Permanent", "NoEmail"), FORWARD, standing)
    assert pause == hard(days, before + 1)
    assert isinstance(told, Tell)
    assert told.notice.facts["days"] == str(days)


def test_mail_that_was_on_its_way_does_not_lengthen_a_pause() -> None:
    """Ten mails sent in a provider's bad minute bounce as one, not in a row."""
    assert ruled(bounce("Permanent", "NoEmail"), FORWARD, replace(MAILBOX, bounces=1, paused=True)) == ()


def test_missing_mailbox_ends_a_soft_pause() -> None:
    """A mailbox that was full is gone now."""
    assert ruled(bounce("Permanent", "NoEmail"), FORWARD, replace(MAILBOX, paused=True)) == (hard(1, 1), ELSEWHERE)


@pytest.mark.parametrize(
    ("kind_word", "subtype", "status"),
    [
        ("Permanent", "General", "5.7.1"),
        ("Permanent", "General", "5.1.3"),
        ("Permanent", "General", "5.1.0"),
        ("Permanent", "General", ""),
        ("Permanent", "A Word Of Tomorrow", "5.2.2"),
        ("Undetermined", "Undetermined", ""),
        ("Transient", "General", ""),
        ("Transient", "General", "4.4.7"),
        ("Transient", "MessageTooLarge", "5.3.4"),
        ("Transient", "ContentRejected", "5.6.0"),
        ("Transient", "AttachmentRejected", "5.7.1"),
        ("Transient", "NoEmail", ""),
        ("Permanent", "MailboxFull", ""),
        ("", "", ""),
    ],
)
@pytest.mark.parametrize("sent", [FORWARD, NOTICE, None])
def test_bounces_of_one_mail(sent: SentMail | None, kind_word: str, subtype: str, status: str) -> None:
    """A policy, an out-of-office answer or a size says nothing about the mailbox."""
    assert ruled(bounce(kind_word, subtype, status), sent) == ()


@pytest.mark.parametrize("sent", [FORWARD, NOTICE, None])
@pytest.mark.parametrize("feedback", [bounce("Permanent", word, "5.1.1") for word in sorted(SUPPRESSED)])
def test_suppressed(feedback: Feedback, sent: SentMail | None) -> None:
    """SES dropped it, so nothing is known about the mailbox, for all that SES writes 5.1.1 beside it."""
    assert ruled(feedback, sent) == (Alert("suppressed", "owner-1"),)


def test_suppressed_of_a_reply() -> None:
    """The contact got nothing: the operator can help, and the owner should know."""
    assert ruled(bounce("Permanent", "Suppressed", "5.1.1"), REPLY) == (Alert("suppressed", "owner-1"), BOUNCED)


@pytest.mark.parametrize("sent", [FORWARD, NOTICE, None])
def test_full_mailbox(sent: SentMail | None) -> None:
    """Six hours; the count of hard bounces stays what it was."""
    soft = PauseMailbox("mailbox-1", "soft", NOW + 6 * 3600, 2)
    feedback = bounce("Transient", "MailboxFull", "5.2.2")
    assert ruled(feedback, sent, replace(MAILBOX, bounces=2)) == (soft,)


@pytest.mark.parametrize("bounces", [0, 1])
def test_full_mailbox_keeps_a_pause(bounces: int) -> None:
    """A soft pause would shorten a hard one, and one after the other would never end."""
    standing = replace(MAILBOX, bounces=bounces, paused=True)
    assert ruled(bounce("Transient", "MailboxFull"), FORWARD, standing) == ()


@pytest.mark.parametrize(
    ("kind_word", "subtype", "status"),
    [("Permanent", "General", "5.7.1"), ("Permanent", "NoEmail", "5.7.1"), ("Transient", "ContentRejected", "")],
)
def test_mail_called_spam(kind_word: str, subtype: str, status: str) -> None:
    """Who reads the mail as spam has a mailbox; what would be called so again is held back from now on."""
    feedback = bounce(kind_word, subtype, status, says_spam=True)
    assert ruled(feedback) == (QuarantineSpam("owner-1"),)
    assert ruled(feedback, NOTICE) == ()
    assert ruled(feedback, None) == ()
    assert ruled(feedback, REPLY) == (BOUNCED,)


def test_spam_of_a_mailbox_that_is_gone_meanwhile() -> None:
    """The owner's setting does not hang on the mailbox."""
    feedback = bounce("Permanent", "General", "5.7.1", says_spam=True)
    assert decide(feedback, Match(FORWARD), now=NOW) == (QuarantineSpam("owner-1"),)


@pytest.mark.parametrize("status", ["5.1.1", "5.7.1"])
def test_bounce_of_a_reply(status: str) -> None:
    """The owner is told; no mailbox is paused, even where the contact is somebody's mailbox."""
    assert ruled(bounce("Permanent", "NoEmail", status), REPLY) == (BOUNCED,)
    assert ruled(bounce("Transient", "MailboxFull"), REPLY) == (BOUNCED,)
    assert ruled(bounce("Transient", "General", "4.4.7"), REPLY) == (BOUNCED,)


def test_out_of_office_answer_to_a_reply() -> None:
    """It did arrive. SES calls it a bounce, but has no delivery status to show for it."""
    assert ruled(bounce("Transient", "General"), REPLY) == ()


def test_only_the_mailbox_that_bounced_is_paused() -> None:
    """An event about several recipients says something else of each."""
    other = MailboxStanding("mailbox-2", "owner-2", "you@home.example")
    affected = (
        Affected(Address.parse("you@home.example"), "5.7.1"),
        Affected(None, "5.7.1"),
        Affected(Address.parse("Me@Home.example"), "5.1.1"),
    )
    feedback = replace(bounce("Permanent", "General"), affected=affected)
    assert ruled(feedback, None, other, MAILBOX) == (hard(1, 1), ELSEWHERE)


@pytest.mark.parametrize("address", ["you@elsewhere.example", None])
def test_bounce_that_names_the_last_stop(address: str | None) -> None:
    """A mailbox that forwards on to one that is gone takes no mail either."""
    affected = (Affected(Address.parse(address) if address else None, "5.1.1"),)
    feedback = replace(bounce("Permanent", "General"), affected=affected)
    assert ruled(feedback) == (hard(1, 1), ELSEWHERE)
