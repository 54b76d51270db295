"""The inbound table: one test a row, named after its reason, and the order of the rows."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.model.address import Address
from relayd.model.decision import Decision, Discard, Forward, Quarantine
from relayd.model.mask import Contact, Mailbox, Mask, Owner, Target, TokenRecipient, UnknownRecipient
from relayd.model.notification import Verdicts
from relayd.rules.inbound import MAX_RECEIVED, REASONS, WARNINGS, Case, Evidence, decide, needs_headers

SHOP = Address.parse("shop@mask.example")
CLEAN = Verdicts(spam="PASS", virus="PASS", spf="PASS", dkim="PASS", dmarc="PASS")
EVIDENCE = Evidence(CLEAN, "stranger@sender.example", (("From", "stranger@sender.example"),), 0, None, complete=True)


def mask(*, enabled: bool = True, **owner: Any) -> Mask:
    mailbox = Mailbox("mailbox-1", Address.parse("me@home.example"))
    return Mask("mask-1", SHOP, Owner("owner-1", **owner), (mailbox,), enabled)


def token(target: Mask) -> TokenRecipient:
    return TokenRecipient(Contact("contact-1", target.mask_id, "abcdefghijklmnopqrst"), target)


def verdict(**changes: Any) -> Evidence:
    return replace(EVIDENCE, verdicts=replace(CLEAN, **changes))


def ruled(target: Target, evidence: Evidence = EVIDENCE, recipient: Address = SHOP) -> Decision:
    return decide(recipient, target, evidence)


def test_forward() -> None:
    """Ordinary mail goes on, without warnings, its hops counted on."""
    assert ruled(mask(), replace(EVIDENCE, hops=1)) == Forward(mask(), (), 1)


def test_noreply() -> None:
    """Nobody reads noreply, even where somebody made a mask of that name."""
    assert ruled(mask(), recipient=Address.parse("NoReply+x@mask.example")) == Discard("noreply")
    assert ruled(UnknownRecipient(), recipient=Address.parse("noreply@mask.example")) == Discard("noreply")
    assert isinstance(ruled(mask(), recipient=Address.parse("noreply2@mask.example")), Forward)


def test_unknown_mask() -> None:
    """A recipient that nobody has is discarded, whatever else is known about the mail."""
    assert ruled(UnknownRecipient()) == Discard("unknown_mask")
    assert ruled(UnknownRecipient(), verdict(virus="FAIL")) == Discard("unknown_mask")


def test_virus() -> None:
    """A virus goes nowhere, a reply's neither."""
    assert ruled(mask(), verdict(virus="FAIL")) == Discard("virus", mask())
    assert ruled(token(mask()), verdict(virus="FAIL")) == Discard("virus", mask())


def test_reply_unavailable() -> None:
    """A token takes no mail before replies are built: unchecked, it would be an open relay."""
    assert ruled(token(mask())) == Discard("reply_unavailable", mask())


def test_spam() -> None:
    """The owner says what becomes of spam; held back is the default."""
    spam = verdict(spam="FAIL")
    assert ruled(mask(), spam) == Quarantine("spam", mask())
    drop, forward = mask(spam_handling="drop"), mask(spam_handling="forward")
    assert ruled(drop, spam) == Discard("spam", drop)
    assert ruled(forward, spam) == Forward(forward, ("spam",))


def test_dmarc_reject() -> None:
    """The sender's domain asked for it."""
    assert ruled(mask(), verdict(dmarc="FAIL", dmarc_policy="reject")) == Discard("dmarc_reject", mask())


def test_dmarc_quarantine() -> None:
    """The owner says what becomes of mail that its sender's domain distrusts; a warning is the default."""
    failed = verdict(dmarc="FAIL", dmarc_policy="quarantine")
    assert ruled(mask(), failed) == Forward(mask(), ("dmarc",))
    strict = mask(dmarc_handling="discard")
    assert ruled(strict, failed) == Discard("dmarc_quarantine", strict)


@pytest.mark.parametrize("policy", [None, "none"])
def test_dmarc_failure_without_a_policy_goes_on(policy: Any) -> None:
    """A domain that only watches asks for nothing."""
    assert ruled(mask(dmarc_handling="discard"), verdict(dmarc="FAIL", dmarc_policy=policy)) == Forward(
        mask(dmarc_handling="discard")
    )


def test_dmarc_policy_counts_only_for_failures() -> None:
    """A policy beside a PASS is nobody's wish."""
    assert isinstance(ruled(mask(), verdict(dmarc="PASS", dmarc_policy="reject")), Forward)


def test_loop_by_hops() -> None:
    """One relayd before us is a mask that forwards to a mask; two are a circle."""
    assert isinstance(ruled(mask(), replace(EVIDENCE, hops=1)), Forward)
    assert ruled(mask(), replace(EVIDENCE, hops=2)) == Discard("loop", mask())


def test_loop_by_received_fields() -> None:
    """Counted in any case of the name, and nothing else is counted."""
    fields = (("Received", "by a"), ("RECEIVED", "by b"), ("X-Received", "by c")) * MAX_RECEIVED
    most, one_more = fields[: MAX_RECEIVED // 2 * 3 + 1], fields[: MAX_RECEIVED // 2 * 3 + 2]
    assert isinstance(ruled(mask(), replace(EVIDENCE, headers=most)), Forward)
    assert ruled(mask(), replace(EVIDENCE, headers=one_more)) == Discard("loop", mask())


def test_loop_by_sender() -> None:
    """An owner's mask that writes to another mask of the same owner would go on for ever; another owner's may write."""
    assert ruled(mask(), replace(EVIDENCE, sender_owner="owner-1")) == Discard("loop", mask())
    assert isinstance(ruled(mask(), replace(EVIDENCE, sender_owner="owner-2")), Forward)


@pytest.mark.parametrize(
    ("source", "sender"),
    [
        ("MAILER-DAEMON@amazonses.com", ""),
        ("mailer-daemon@eu-west-1.amazonses.com", ""),
        ("", "MAILER-DAEMON@amazonses.com"),
        ("", '"Mail Delivery" <MAILER-DAEMON@eu-west-1.amazonses.com>'),
    ],
)
def test_loop_by_the_daemon_of_ses(source: str, sender: str) -> None:
    """SES's bounces of what we sent must not be sent again."""
    assert ruled(mask(), replace(EVIDENCE, source=source, headers=(("From", sender),))) == Discard("loop", mask())


@pytest.mark.parametrize(
    ("source", "sender"),
    [
        ("mailer-daemon@example.org", ""),
        ("mailer-daemon@amazonses.com.example.org", ""),
        ("mailer-daemon@notamazonses.com", ""),
        ("x-mailer-daemon@amazonses.com", ""),
        ("0101-abc@eu-west-1.amazonses.com", "MAILER-DAEMON@amazonses.com"),
        ("", "mailer-daemon@example.org"),
        ("", ""),
    ],
)
def test_other_bounces_and_senders_go_on(source: str, sender: str) -> None:
    """A stranger's bounce is mail, and so is what a stranger sends through SES."""
    assert isinstance(ruled(mask(), replace(EVIDENCE, source=source, headers=(("From", sender),))), Forward)


def test_owner_inactive() -> None:
    """An owner who left gets no mail."""
    left = mask(active=False)
    assert ruled(left) == Discard("owner_inactive", left)


def test_owner_flagged() -> None:
    """An owner under review gets no mail."""
    held = mask(flagged=True)
    assert ruled(held) == Discard("owner_flagged", held)


def test_mask_disabled() -> None:
    """A mask that was switched off takes no mail."""
    off = mask(enabled=False)
    assert ruled(off) == Discard("mask_disabled", off)


def test_warnings_add_up() -> None:
    """Mail may be suspicious twice."""
    owner = mask(spam_handling="forward")
    evidence = verdict(spam="FAIL", dmarc="FAIL", dmarc_policy="quarantine")
    assert ruled(owner, evidence) == Forward(owner, WARNINGS)


@pytest.mark.parametrize("word", ["GRAY", "PROCESSING_FAILED", "DISABLED", "ABSENT", "PASS"])
def test_only_fail_decides(word: Any) -> None:
    """A verdict that SES could not reach stops no mail."""
    verdicts = Verdicts(word, word, word, word, word, "reject")
    assert ruled(mask(), replace(EVIDENCE, verdicts=verdicts)) == Forward(mask())


def test_the_order_of_the_rows() -> None:
    """With everything against a mail, taking away what decided shows the next row, down to the forward."""
    target = mask(enabled=False, spam_handling="drop", dmarc_handling="discard", active=False, flagged=True)
    evidence = replace(
        EVIDENCE, verdicts=Verdicts("FAIL", "FAIL", "FAIL", "FAIL", "FAIL", "reject"), hops=2, sender_owner="owner-1"
    )
    noreply = Address.parse("noreply@mask.example")
    no_virus = replace(evidence, verdicts=replace(evidence.verdicts, virus="PASS"))
    no_spam = replace(no_virus, verdicts=replace(no_virus.verdicts, spam="PASS"))
    softer = replace(no_spam, verdicts=replace(no_spam.verdicts, dmarc_policy="quarantine"))
    looping = replace(softer, verdicts=CLEAN)
    active = replace(target, owner=replace(target.owner, active=True))
    steps: list[tuple[Address, Target, Evidence]] = [
        (noreply, UnknownRecipient(), evidence),
        (SHOP, UnknownRecipient(), evidence),
        (SHOP, token(target), evidence),
        (SHOP, token(target), no_virus),
        (SHOP, target, no_virus),
        (SHOP, target, no_spam),
        (SHOP, target, softer),
        (SHOP, target, looping),
        (SHOP, target, EVIDENCE),
        (SHOP, active, EVIDENCE),
        (SHOP, replace(active, owner=replace(active.owner, flagged=False)), EVIDENCE),
    ]
    decisions = [decide(*step) for step in steps]
    assert ["no_recipient", *(d.reason for d in decisions if not isinstance(d, Forward))] == list(REASONS)


def test_headers_that_were_cut_are_looked_at_again() -> None:
    """Only a forward can still turn out to be a loop; what was refused stays refused."""
    cut = replace(EVIDENCE, complete=False)
    assert needs_headers(ruled(mask(), cut), cut)
    assert not needs_headers(ruled(mask()), EVIDENCE)
    refused = replace(verdict(spam="FAIL"), complete=False)
    assert not needs_headers(ruled(mask(), refused), refused)
    assert not needs_headers(ruled(UnknownRecipient(), cut), cut)


def test_only_a_known_recipient_has_a_mask() -> None:
    """A rule above its place in the table fails loudly."""
    with pytest.raises(LookupError):
        _ = Case(SHOP, UnknownRecipient(), EVIDENCE).mask


def test_evidence_does_not_show_in_repr() -> None:
    """Addresses and headers stay out of logs and tracebacks."""
    assert "sender.example" not in repr(EVIDENCE)


words = st.sampled_from(["PASS", "FAIL", "GRAY", "PROCESSING_FAILED", "DISABLED", "ABSENT"])
evidences = st.builds(
    Evidence,
    verdicts=st.builds(
        Verdicts, words, words, words, words, words, st.sampled_from([None, "none", "quarantine", "reject"])
    ),
    source=st.text(max_size=30),
    headers=st.lists(st.tuples(st.sampled_from(["From", "Received", "X"]), st.text(max_size=30)), max_size=30).map(
        tuple
    ),
    hops=st.integers(0, 3),
    sender_owner=st.sampled_from([None, "owner-1", "owner-2"]),
    complete=st.booleans(),
)
owners = st.builds(
    Owner,
    owner_id=st.just("owner-1"),
    active=st.booleans(),
    flagged=st.booleans(),
    spam_handling=st.sampled_from(["quarantine", "drop", "forward"]),
    dmarc_handling=st.sampled_from(["forward", "discard"]),
)
masks = st.builds(lambda owner, enabled: replace(mask(enabled=enabled), owner=owner), owners, st.booleans())
targets = st.one_of(masks, masks.map(token), st.just(UnknownRecipient()))


@given(st.sampled_from([SHOP, Address.parse("noreply@mask.example")]), targets, evidences)
def test_every_mail_gets_a_decision_of_the_table(recipient: Address, target: Target, evidence: Evidence) -> None:
    """Whatever is known, the answer is a forward of a good mask's clean mail, or a reason that the table lists."""
    decision = decide(recipient, target, evidence)
    if isinstance(decision, Forward):
        assert decision.mask == target
        assert decision.mask.enabled
        assert decision.mask.owner.active
        assert not decision.mask.owner.flagged
        assert evidence.verdicts.virus != "FAIL"
        assert set(decision.warnings) <= set(WARNINGS)
    else:
        assert decision.reason in REASONS
