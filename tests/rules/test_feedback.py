"""The feedback table but for bounces: one test a row, and what no event may ever do."""

from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.model.address import Address
from relayd.model.delivery import DeliveryKind
from relayd.model.feedback import (
    Affected,
    Alert,
    Confirm,
    DisableMask,
    EndPause,
    Fail,
    Feedback,
    FeedbackKind,
    FlagOwner,
    MailboxStanding,
    Match,
    NoteComplaint,
    PauseMailbox,
    QuarantineSpam,
    SentMail,
    Tell,
)
from relayd.model.notice import NOTICE_KINDS, OwnerNotice
from relayd.rules.feedback import ALERTS, COMPLAINT_WINDOW, DAY, FAILURES, FLAGS, GONE, SUPPRESSED, decide
from tests.rules.events import FORWARD, HOME, MAILBOX, NOTICE, NOW, REPLY, bounce, complaint, event, ruled


def test_first_complaint() -> None:
    """Spam is held back from now on, and the complaint is remembered."""
    assert ruled(complaint()) == (QuarantineSpam("owner-1"), NoteComplaint("owner-1", NOW - 60))
    assert ruled(complaint("")) == (QuarantineSpam("owner-1"), NoteComplaint("owner-1", NOW - 60))


def test_second_complaint() -> None:
    """Within 30 days of the last one it costs the mask."""
    disabled = (
        DisableMask("mask-1"),
        Tell(OwnerNotice("owner-1", "mask_disabled", {"mask": FORWARD.mask})),
        NoteComplaint("owner-1", NOW - 60),
    )
    last = NOW - 60 - 30 * 86400
    assert ruled(complaint(), complained=last) == disabled
    assert ruled(complaint(), complained=last - 1) == ruled(complaint())


def test_second_complaint_about_a_mask_that_is_gone() -> None:
    """There is nothing left to disable."""
    gone = replace(FORWARD, mask_id=None, mask="")
    assert ruled(complaint(), gone, complained=NOW - DAY) == ruled(complaint())


@pytest.mark.parametrize(
    ("at", "last", "noted"),
    [(0.0, None, NOW), (9e9, None, NOW), (NOW - 5, NOW - 1, NOW - 1), (NOW - 2 * COMPLAINT_WINDOW, NOW, NOW)],
)
def test_complaint_out_of_time(at: float, last: float | None, noted: float) -> None:
    """An event without a time, from the future or out of order never moves the last complaint back or ahead."""
    assert ruled(replace(complaint(), at=at), complained=last)[-1] == NoteComplaint("owner-1", noted)


@pytest.mark.parametrize("complained", [None, NOW - DAY])
def test_complaint_about_a_reply(complained: float | None) -> None:
    """A person looks into it; the mask stays as it is."""
    assert ruled(complaint(), REPLY, complained=complained) == (FlagOwner("owner-1", "complaint"),)


@pytest.mark.parametrize("word", ["not-spam", "auth-failure"])
@pytest.mark.parametrize("sent", [FORWARD, REPLY, NOTICE, None])
def test_reports_that_are_no_complaints(sent: SentMail | None, word: str) -> None:
    """Somebody said the opposite, or a machine said something else."""
    assert ruled(complaint(word), sent, complained=NOW - DAY) == ()


@pytest.mark.parametrize("sent", [FORWARD, REPLY, NOTICE, None])
def test_complaint_that_nobody_made(sent: SentMail | None) -> None:
    """SES makes one up for an address on its suppression list."""
    feedback = complaint("", "OnAccountSuppressionList")
    assert ruled(feedback, sent, complained=NOW - DAY) == (Alert("suppressed", "owner-1"),)


@pytest.mark.parametrize("sent", [NOTICE, None])
def test_complaint_about_no_mask(sent: SentMail | None) -> None:
    """A notice is our own, and mail that is not known is not ours to judge."""
    assert ruled(complaint(), sent) == ()


@pytest.mark.parametrize("sent", [FORWARD, REPLY, NOTICE])
def test_send_settles_a_delivery(sent: SentMail) -> None:
    """SES has it: whatever doubt there was has ended."""
    assert ruled(event("send"), sent) == (Confirm("delivery-1", "ses-1"),)
    assert ruled(event("send"), sent, replace(MAILBOX, bounces=1, paused=True)) == (Confirm("delivery-1", "ses-1"),)


@pytest.mark.parametrize("changes", [{"bounces": 1}, {"paused": True}, {"bounces": 3, "paused": True}])
def test_delivery_ends_a_pause(changes: dict[str, Any]) -> None:
    """Mail that arrived shows a mailbox, and the next bounce is a first one again."""
    standing = replace(MAILBOX, **changes)
    assert ruled(event("delivery"), FORWARD, standing) == (Confirm("delivery-1", "ses-1"), EndPause("mailbox-1"))
    assert ruled(event("delivery"), None, standing) == (EndPause("mailbox-1"),)
    assert ruled(event("delivery")) == (Confirm("delivery-1", "ses-1"),)


def test_reject() -> None:
    """The delivery failed after all; the owner is told, but not about a notice."""
    failed = Fail("delivery-1", "ses_rejected_virus")
    forward, reply = {"mask": FORWARD.mask}, {"mask": REPLY.mask, "contact": REPLY.recipient}
    assert ruled(event("reject")) == (failed, Tell(OwnerNotice("owner-1", "mail_refused", forward)))
    assert ruled(event("reject"), REPLY) == (failed, Tell(OwnerNotice("owner-1", "mail_refused", reply)))
    assert ruled(event("reject"), NOTICE) == (failed,)
    assert ruled(event("reject"), None) == ()


def test_rendering_failure() -> None:
    """relayd uses no templates, so a person must see who does."""
    assert ruled(event("rendering_failure")) == (Alert("rendering_failure", "owner-1"),)
    assert decide(event("rendering_failure"), Match(), now=NOW) == (Alert("rendering_failure", None),)


@pytest.mark.parametrize("kind", ["delay", "other"])
def test_no_effect(kind: FeedbackKind) -> None:
    """SES is still trying, or tells what nobody here asked."""
    assert ruled(event(kind, "Permanent", "NoEmail", status="5.1.1", says_spam=True)) == ()


def test_nothing_is_known() -> None:
    """An event about somebody else's mail and no mailbox of ours changes nothing."""
    for kind in get_args(FeedbackKind):
        feedback = event(kind, "Permanent", "NoEmail", status="5.1.1", says_spam=True)
        assert decide(feedback, Match(), now=NOW) == ((Alert("rendering_failure"),) if "render" in kind else ())


def test_an_erased_owner_is_not_told() -> None:
    """A delivery outlives its owner in the ledger; nothing is left to change but the delivery."""
    for kind in get_args(DeliveryKind):
        sent = replace(FORWARD, kind=kind, owner_id=None, mask="")
        assert decide(event("reject"), Match(sent), now=NOW) == (Fail("delivery-1", "ses_rejected_virus"),)
        assert decide(bounce("Permanent", "Suppressed"), Match(sent), now=NOW) == ()
        assert decide(bounce("Permanent", "General", "5.7.1", says_spam=True), Match(sent), now=NOW) == ()
        assert decide(complaint(), Match(sent), now=NOW) == ()


texts = st.sampled_from(["", "Permanent", "Transient", "General", "NoEmail", "MailboxFull", *SUPPRESSED, "abuse"])
affected = st.builds(
    Affected, st.none() | st.just(Address.parse(HOME)), st.sampled_from(["", "5.7.1", *GONE]), says_spam=st.booleans()
)
standings = st.builds(
    MailboxStanding,
    st.sampled_from(["mailbox-1", "mailbox-2"]),
    st.sampled_from(["owner-1", "owner-2"]),
    st.sampled_from([HOME, "no address"]),
    bounces=st.integers(0, 2**31),
    paused=st.booleans(),
)


@given(
    st.builds(
        Feedback,
        st.sampled_from(get_args(FeedbackKind)),
        st.just("feedback-1"),
        st.just("ses-1"),
        affected=st.lists(affected, max_size=3).map(tuple),
        bounce_type=texts,
        bounce_subtype=texts,
        at=st.floats(-1e12, 1e12),
    ),
    st.none() | st.sampled_from([FORWARD, REPLY, NOTICE, replace(FORWARD, owner_id=None)]),
    st.lists(standings, max_size=3).map(tuple),
    st.none() | st.floats(0, NOW),
)
def test_promises(
    feedback: Feedback, sent: SentMail | None, mailboxes: tuple[MailboxStanding, ...], complained: float | None
) -> None:
    """Whatever comes: only listed words, no pause by a reply, no mask lost but by a complaint about a forward."""
    for effect in decide(feedback, Match(sent, mailboxes, complained), now=NOW):
        match effect:
            case PauseMailbox():
                assert sent is None or sent.kind != "reply"
                assert effect.until - NOW in {6 * 3600.0, *(days * DAY for days in (1, 3, 7, 30))}
            case Alert():
                assert effect.word in ALERTS
            case Fail():
                assert effect.reason in FAILURES
            case FlagOwner():
                assert effect.reason in FLAGS
            case DisableMask() | QuarantineSpam() | NoteComplaint():
                assert sent is not None
                assert sent.kind == "forward"
                assert not isinstance(effect, DisableMask) or feedback.kind == "complaint"
            case Tell():
                assert effect.notice.kind in NOTICE_KINDS
                assert all(effect.notice.facts.values())
            case Confirm() | EndPause():
                assert feedback.kind in ("send", "delivery")
