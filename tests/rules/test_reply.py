"""Who may answer through a token: the owner, proven, and nobody else."""

from dataclasses import replace
from typing import Any

import pytest

from relayd.model.address import Address
from relayd.model.decision import Decision, Discard, Reply
from relayd.model.mask import Mailbox, Owner, TokenRecipient, Usage
from relayd.rules.evidence import Evidence, Limits
from relayd.rules.loops import MAX_RECEIVED
from tests.rules.cases import (
    EVIDENCE,
    FROM_OWNER,
    HOME,
    MAILBOX,
    SECOND,
    STRANGER,
    TOKEN,
    WORK,
    mask,
    owned_by,
    ruled,
    token,
    verdict,
)

SPF_ONLY = verdict(FROM_OWNER, dmarc="GRAY")


def answered(target: TokenRecipient | None = None, evidence: Evidence = FROM_OWNER) -> Decision:
    return ruled(target or token(mask()), evidence, TOKEN)


def refused(target: TokenRecipient | None = None, evidence: Evidence = FROM_OWNER) -> bool:
    return answered(target, evidence) == Discard(
        "reply_not_allowed", (target or token(mask())).mask, "reply_not_allowed"
    )


def written_by(*authors: Address, sole: Address | None = None, **changes: Any) -> Evidence:
    return replace(FROM_OWNER, authors=authors, sole_author=sole, **changes)


def test_reply_allowed() -> None:
    """The owner, proven by DMARC: the contact gets it, and every address of the owner's is known to who writes it."""
    target = token(mask(), MAILBOX, SECOND)
    expected = Reply(target.mask, target.contact, (MAILBOX, SECOND), hops=1)
    assert answered(target, replace(FROM_OWNER, hops=1)) == expected


def test_any_of_the_owner_s_mailboxes_may_answer() -> None:
    """One that the mask does not forward to, as well, and whatever its tag."""
    target = token(mask(MAILBOX), MAILBOX, SECOND)
    assert isinstance(answered(target, written_by(WORK, sole=WORK)), Reply)
    tagged = Address.parse("me+list@work.example")
    assert isinstance(answered(target, written_by(tagged, sole=tagged)), Reply)


def test_an_owner_s_mailbox_with_a_tag_may_answer_without_it() -> None:
    """The tag is nobody's business on either side."""
    tagged = Mailbox("mailbox-1", Address.parse("me+masks@home.example"))
    assert isinstance(answered(token(mask(tagged))), Reply)


def test_reply_by_spf() -> None:
    """Without DMARC: SPF PASS of an envelope on the From domain itself."""
    assert isinstance(answered(evidence=SPF_ONLY), Reply)
    for source in ("anybody@HOME.example", "x@home.example."):
        assert isinstance(answered(evidence=replace(SPF_ONLY, source=source)), Reply)


@pytest.mark.parametrize("source", ["thief@evil.example", "x@sub.home.example", "x@example", "home.example@x", "", "@"])
def test_spf_of_another_domain_proves_nothing(source: str) -> None:
    """Whoever sends from a domain of their own passes SPF."""
    assert not isinstance(answered(evidence=replace(SPF_ONLY, source=source)), Reply)


@pytest.mark.parametrize("spf", ["FAIL", "GRAY", "PROCESSING_FAILED", "DISABLED", "ABSENT"])
@pytest.mark.parametrize("dmarc", ["FAIL", "GRAY", "PROCESSING_FAILED", "DISABLED", "ABSENT"])
def test_reply_not_proven(spf: Any, dmarc: Any) -> None:
    """Only PASS proves anything; DKIM alone does not, for nobody says whose signature it was."""
    assert refused(evidence=verdict(FROM_OWNER, spf=spf, dmarc=dmarc, dkim="PASS"))


def test_reply_of_a_stranger() -> None:
    """A token is no secret: everybody who gets an answer sees it. A proven stranger is a stranger."""
    assert refused(evidence=EVIDENCE)


@pytest.mark.parametrize(
    "evidence",
    [
        written_by(HOME, sole=None),
        written_by(HOME, STRANGER, sole=None),
        written_by(STRANGER, HOME, sole=STRANGER),
        written_by(sole=None),
    ],
)
def test_reply_with_an_author_in_doubt(evidence: Evidence) -> None:
    """Where From could be read differently, the proof may be somebody else's."""
    assert refused(evidence=evidence)


def test_reply_from_an_unverified_mailbox() -> None:
    """It may be anybody's."""
    assert refused(token(mask(), replace(MAILBOX, verified=False)))


def test_reply_from_the_same_name_elsewhere() -> None:
    """Another domain, or one below, is another address."""
    for text in ("me@sub.home.example", "me@home.example.evil.example", "me.x@home.example"):
        other = Address.parse(text)
        assert refused(evidence=written_by(other, sole=other)), text


def test_reply_to_nobody() -> None:
    """A contact whose mail named no sender cannot be answered."""
    assert refused(token(mask(), address=None))


@pytest.mark.parametrize("owner", [{"active": False}, {"flagged": True}])
def test_reply_of_an_owner_who_may_not(owner: Any) -> None:
    """Who left or is under review sends nothing."""
    assert refused(token(owned_by(**owner)))


@pytest.mark.parametrize(
    ("usage", "over"), [(Usage(0, 0, 4), False), (Usage(0, 0, 5), True), (Usage(99, 99, 0), False)]
)
def test_reply_over_limit(usage: Usage, over: bool) -> None:
    """Replies are counted by themselves: forwards do not use up their limit."""
    limited = replace(FROM_OWNER, limits=Limits(mails=10, bytes=10, replies=5))
    assert refused(token(owned_by(usage=usage)), limited) is over


def test_a_disabled_mask_may_be_written_from() -> None:
    """It takes no strangers' mail; its owner may still answer what came before."""
    assert isinstance(answered(token(mask(enabled=False))), Reply)


def test_reply_in_a_loop() -> None:
    """Looked for as among strangers' mail, and nobody is told."""
    received = (("Received", "by x"),) * (MAX_RECEIVED + 1)
    for evidence in (
        replace(FROM_OWNER, hops=2),
        replace(FROM_OWNER, sender_owner="owner-1"),
        replace(FROM_OWNER, headers=received),
    ):
        assert answered(evidence=evidence) == Discard("loop", mask())


@pytest.mark.parametrize(
    "changes", [{"headers": (("Auto-Submitted", "auto-replied"),)}, {"source": ""}, {"headers": (("List-Id", "x"),)}]
)
def test_nobody_is_told_about_automatic_mail(changes: Any) -> None:
    """Two programs would talk to each other for ever."""
    assert answered(evidence=replace(EVIDENCE, **changes)) == Discard("reply_not_allowed", mask())


def test_reply_whose_author_was_cut_off() -> None:
    """The From field did not fit into the notification: allowed so far, for it is decided again. Its proof is asked
    for at once, as far as there can be one.
    """
    cut = written_by(complete=False)
    assert isinstance(answered(evidence=cut), Reply)
    assert refused(evidence=verdict(cut, spf="FAIL", dmarc="FAIL"))
    assert refused(evidence=replace(cut, complete=True))
    assert refused(evidence=written_by(STRANGER, sole=STRANGER, complete=False))


def test_the_other_owner_s_mailbox_is_a_stranger() -> None:
    """Whoever has an account here is nobody to this mask."""
    assert refused(token(mask(owner=Owner("owner-2")), SECOND))
