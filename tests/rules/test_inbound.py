"""The inbound table: one test a row, named after its reason, and the order of the rows."""

from dataclasses import replace
from itertools import combinations, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.model.address import Address
from relayd.model.decision import Discard, Forward, Quarantine, Reply, Waiting
from relayd.model.mask import Owner, Screening, Target, UnknownRecipient, Usage
from relayd.model.notification import Verdicts
from relayd.rules.evidence import Case, Evidence, Limits
from relayd.rules.inbound import LATER_REASONS, NO_RECIPIENT, REASONS, TABLE, WARNINGS, decide, needs_headers
from relayd.rules.loops import MAX_RECEIVED
from tests.rules.cases import (
    EVIDENCE,
    FROM_OWNER,
    FULL_DAY,
    MAILBOX,
    NOW,
    SECOND,
    SHOP,
    mask,
    owned_by,
    paused,
    ruled,
    token,
    verdict,
)

NOREPLY = Address.parse("noreply@mask.example")
GONE = paused(MAILBOX, "hard", 86_400)


def test_forward() -> None:
    """Ordinary mail goes on to every verified mailbox, without warnings, its hops counted on."""
    both = mask(MAILBOX, SECOND)
    assert ruled(both, replace(EVIDENCE, hops=1)) == Forward(both, (MAILBOX, SECOND), hops=1)


def test_no_recipient() -> None:
    """Nobody decides for a mail without a recipient of ours: the reason stands in no row, and is told all the same."""
    assert REASONS[0] == NO_RECIPIENT
    assert not any(NO_RECIPIENT in rule.reasons for rule in TABLE)


def test_noreply() -> None:
    """Nobody reads noreply, even where somebody made a mask of that name."""
    assert ruled(mask(), recipient=Address.parse("NoReply+x@mask.example")) == Discard("noreply")
    assert ruled(UnknownRecipient(), recipient=NOREPLY) == Discard("noreply")
    assert isinstance(ruled(mask(), recipient=Address.parse("noreply2@mask.example")), Forward)


def test_unknown_mask() -> None:
    """A recipient that nobody has is discarded."""
    assert ruled(UnknownRecipient()) == Discard("unknown_mask")


def test_rule_limit() -> None:
    """A domain rule that has made all its masks makes no other: as unknown, but the operator sees why."""
    assert ruled(UnknownRecipient(rule_exhausted=True)) == Discard("rule_limit")


def test_virus() -> None:
    """A virus goes nowhere, a reply's neither, and nobody may release it."""
    assert ruled(mask(), verdict(virus="FAIL")) == Discard("virus", mask())
    assert ruled(token(mask()), verdict(FROM_OWNER, virus="FAIL")) == Discard("virus", mask())
    released = replace(verdict(virus="FAIL"), released=frozenset({"virus", "spam"}))
    assert ruled(mask(), released) == Discard("virus", mask())


def test_reply() -> None:
    """Mail to a token is the owner's answer, or nothing: the rules for strangers' mail are not asked."""
    assert isinstance(ruled(token(mask()), FROM_OWNER), Reply)
    assert ruled(token(mask())) == Discard("reply_not_allowed", mask(), "reply_not_allowed")


def test_spam() -> None:
    """The owner says what becomes of spam; held back is the default."""
    spam = verdict(spam="FAIL")
    assert ruled(mask(), spam) == Quarantine("spam", mask())
    drop, forward = owned_by(spam_handling="drop"), owned_by(spam_handling="forward")
    assert ruled(drop, spam) == Discard("spam", drop)
    assert ruled(forward, spam) == Forward(forward, (MAILBOX,), warnings=("spam",))


@pytest.mark.parametrize("handling", ["quarantine", "drop"])
def test_spam_that_was_released_is_forwarded_marked(handling: Any) -> None:
    """A person wants to see it; that it is spam is still said."""
    target = owned_by(spam_handling=handling)
    released = replace(verdict(spam="FAIL"), released=frozenset({"spam"}))
    assert ruled(target, released) == Forward(target, (MAILBOX,), warnings=("spam",))
    other = replace(verdict(spam="FAIL"), released=frozenset({"bounce_pause"}))
    assert not isinstance(ruled(target, other), Forward)


def test_dmarc_reject() -> None:
    """The sender's domain asked for it."""
    assert ruled(mask(), verdict(dmarc="FAIL", dmarc_policy="reject")) == Discard("dmarc_reject", mask())


def test_dmarc_quarantine() -> None:
    """The owner says what becomes of mail that its sender's domain distrusts; a warning is the default."""
    failed = verdict(dmarc="FAIL", dmarc_policy="quarantine")
    assert ruled(mask(), failed) == Forward(mask(), (MAILBOX,), warnings=("dmarc",))
    strict = owned_by(dmarc_handling="discard")
    assert ruled(strict, failed) == Discard("dmarc_quarantine", strict)


@pytest.mark.parametrize("policy", [None, "none"])
def test_dmarc_failure_without_a_policy_goes_on(policy: Any) -> None:
    """A domain that only watches asks for nothing."""
    strict = owned_by(dmarc_handling="discard")
    assert ruled(strict, verdict(dmarc="FAIL", dmarc_policy=policy)) == Forward(strict, (MAILBOX,))


def test_dmarc_policy_counts_only_for_failures() -> None:
    """A policy beside a PASS is nobody's wish."""
    assert isinstance(ruled(mask(), verdict(dmarc="PASS", dmarc_policy="reject")), Forward)


@pytest.mark.parametrize("word", ["GRAY", "PROCESSING_FAILED", "DISABLED", "ABSENT", "PASS"])
def test_only_fail_decides(word: Any) -> None:
    """A verdict that SES could not reach stops no mail."""
    verdicts = Verdicts(word, word, word, word, word, "reject")
    assert ruled(mask(), replace(EVIDENCE, verdicts=verdicts)) == Forward(mask(), (MAILBOX,))


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


def test_bounce_pause() -> None:
    """A mailbox that does not exist gets nothing; where it is the only one, the mail is held back."""
    target = mask(GONE)
    assert ruled(target) == Quarantine("bounce_pause", target)


def test_bounce_pause_of_one_of_two_mailboxes() -> None:
    """The other one gets its mail; what is for the paused one is held."""
    target = mask(GONE, SECOND)
    assert ruled(target) == Forward(target, (SECOND,), held=(GONE,))


def test_a_full_mailbox_waits() -> None:
    """It is not the mail's fault, nor the mask's: the delivery is put off."""
    full = paused(MAILBOX, "soft", 600)
    target = mask(full)
    assert ruled(target) == Forward(target, (), waiting=(Waiting(full, 600.0),))


def test_mailbox_unverified() -> None:
    """Nothing is sent to an address that nobody has shown to be theirs; the mail waits for that to be done."""
    target = mask(replace(MAILBOX, verified=False))
    assert ruled(target) == Quarantine("mailbox_unverified", target)
    released = replace(EVIDENCE, released=frozenset({"mailbox_unverified", "bounce_pause"}))
    assert ruled(target, released) == Quarantine("mailbox_unverified", target)


def test_owner_inactive() -> None:
    """An owner who left gets no mail."""
    left = owned_by(active=False)
    assert ruled(left) == Discard("owner_inactive", left)


def test_owner_flagged() -> None:
    """An owner under review gets no mail."""
    held = owned_by(flagged=True)
    assert ruled(held) == Discard("owner_flagged", held)


@pytest.mark.parametrize(
    ("usage", "over"),
    [
        (Usage(9, 99, 0), False),
        (Usage(10, 0, 0), True),
        (Usage(0, 100, 0), True),
        # Replies have a limit of their own.
        (Usage(0, 0, 1000), False),
    ],
)
def test_over_limit(usage: Usage, over: bool) -> None:
    """So many mails and bytes a day, and not one more."""
    target = owned_by(usage=usage)
    limited = replace(EVIDENCE, limits=Limits(mails=10, bytes=100, replies=5))
    assert (ruled(target, limited) == Discard("over_limit", target)) is over


def test_mask_disabled() -> None:
    """A mask that was switched off takes no mail."""
    off = mask(enabled=False)
    assert ruled(off) == Discard("mask_disabled", off)


def test_sender_blocked() -> None:
    """Who stands on a block list, and who does not stand on the allow list."""
    assert ruled(mask(), screening=Screening(blocked=True)) == Discard("sender_blocked", mask())
    assert ruled(mask(), screening=Screening(unlisted=True)) == Discard("sender_blocked", mask())


def test_an_allow_list_waits_for_the_sender_to_be_known() -> None:
    """Where the notification's headers were cut before From, nobody can say that the sender is not on the list; who is
    blocked by the envelope is blocked.
    """
    cut = replace(EVIDENCE, authors=(), sole_author=None, complete=False)
    assert isinstance(ruled(mask(), cut, screening=Screening(unlisted=True)), Forward)
    assert ruled(mask(), cut, screening=Screening(blocked=True)) == Discard("sender_blocked", mask())
    known = replace(cut, complete=True)
    assert ruled(mask(), known, screening=Screening(unlisted=True)) == Discard("sender_blocked", mask())


@pytest.mark.parametrize(
    "header",
    [
        ("List-Id", "<x.y>"),
        ("LIST-UNSUBSCRIBE", "<https://x.example>"),
        ("List-Anything", ""),
        ("Precedence", " Bulk "),
        ("precedence", "list"),
    ],
)
def test_list_mail(header: tuple[str, str]) -> None:
    """Any word of a list, where the mask blocks lists."""
    strict, evidence = mask(block_lists=True), replace(EVIDENCE, headers=(header,))
    assert ruled(strict, evidence) == Discard("list_mail", strict)
    assert isinstance(ruled(mask(), evidence), Forward)


@pytest.mark.parametrize(
    "header", [("Feedback-ID", "1:2:3:x"), ("Precedence", "junk"), ("X-List-Id", "x"), ("Listen", "x")]
)
def test_a_password_reset_is_no_list_mail(header: tuple[str, str]) -> None:
    """Feedback-ID is no sign of a list, nor are words that only look like one."""
    assert isinstance(ruled(mask(block_lists=True), replace(EVIDENCE, headers=(header,))), Forward)


def test_warnings_add_up() -> None:
    """Mail may be suspicious twice."""
    owner = owned_by(spam_handling="forward")
    evidence = verdict(spam="FAIL", dmarc="FAIL", dmarc_policy="quarantine")
    assert ruled(owner, evidence) == Forward(owner, (MAILBOX,), warnings=WARNINGS)


# Each row's trouble, in the table's order: what makes the row take a mail that nothing else is wrong with.
TROUBLES: dict[str, dict[str, Any]] = {
    "noreply": {"recipient": NOREPLY},
    "unknown_mask": {"unknown": True},
    "virus": {"virus": "FAIL"},
    "reply_not_allowed": {"token": True},
    "spam": {"spam": "FAIL"},
    "dmarc_reject": {"dmarc": "FAIL", "dmarc_policy": "reject"},
    "loop": {"hops": 2},
    "bounce_pause": {"mailboxes": (GONE,)},
    "owner_inactive": {"active": False},
    "owner_flagged": {"flagged": True},
    "over_limit": {"usage": FULL_DAY},
    "mask_disabled": {"enabled": False},
    "sender_blocked": {"screening": Screening(blocked=True)},
    "list_mail": {"block_lists": True, "headers": (("Precedence", "bulk"),)},
}


def troubled(*names: str) -> Case:
    wrong: dict[str, Any] = {key: value for name in names for key, value in TROUBLES[name].items()}

    def some(*keys: str) -> dict[str, Any]:
        return {key: wrong[key] for key in keys if key in wrong}

    target: Target = mask(
        owner=Owner("owner-1", **some("active", "flagged", "usage")), **some("mailboxes", "enabled", "block_lists")
    )
    if "token" in wrong:
        target = token(mask(), MAILBOX)
    if "unknown" in wrong:
        target = UnknownRecipient()
    evidence = replace(verdict(**some("virus", "spam", "dmarc", "dmarc_policy")), **some("hops", "headers"))
    return Case(wrong.get("recipient", SHOP), target, evidence, **some("screening"))


def reason(case: Case) -> str:
    decision = decide(case)
    assert isinstance(decision, Discard | Quarantine)
    return decision.reason


def test_there_is_a_trouble_for_every_row() -> None:
    """The order tests below leave no row out, and follow the table."""
    rows = [next(index for index, rule in enumerate(TABLE) if name in rule.reasons) for name in TROUBLES]
    assert rows == list(range(len(TABLE)))


@pytest.mark.parametrize("name", TROUBLES)
def test_each_trouble_alone_is_its_row_s(name: str) -> None:
    """So that the pairs below show the order and nothing else."""
    assert reason(troubled(name)) == name


@pytest.mark.parametrize(("upper", "lower"), list(pairwise(TROUBLES)))
def test_of_two_neighbouring_rows_the_upper_decides(upper: str, lower: str) -> None:
    """A mail that both rows would take: the order is policy."""
    assert reason(troubled(upper, lower)) == upper


@pytest.mark.parametrize(("upper", "lower"), list(combinations(TROUBLES, 2)))
def test_of_any_two_rows_the_upper_decides(upper: str, lower: str) -> None:
    """The whole order, not only that of neighbours. A loop is looked for among replies, too: before who wrote them."""
    expected = "loop" if (upper, lower) == ("reply_not_allowed", "loop") else upper
    assert reason(troubled(upper, lower)) == expected


def test_the_order_of_the_reasons() -> None:
    """As MAIL's table has them; dead letters, metrics and documents are sorted by it."""
    assert list(REASONS) == [
        *("no_recipient", "noreply", "unknown_mask", "rule_limit", "virus", "reply_not_allowed", "spam"),
        *("dmarc_reject", "dmarc_quarantine", "loop", "bounce_pause", "mailbox_unverified", "owner_inactive"),
        *("owner_flagged", "over_limit", "mask_disabled", "sender_blocked", "list_mail", "reply_leak"),
    ]
    assert LATER_REASONS == ("reply_leak",)


def test_headers_that_were_cut_are_looked_at_again() -> None:
    """Only a forward or a reply can still turn out to be something else; what was refused stays refused."""
    cut = replace(EVIDENCE, complete=False)
    assert needs_headers(ruled(mask(), cut), cut)
    assert not needs_headers(ruled(mask()), EVIDENCE)
    refused = replace(verdict(spam="FAIL"), complete=False)
    assert not needs_headers(ruled(mask(), refused), refused)
    assert not needs_headers(ruled(UnknownRecipient(), cut), cut)
    answer = replace(FROM_OWNER, complete=False)
    assert needs_headers(ruled(token(mask()), answer), answer)
    assert not needs_headers(ruled(token(mask()), FROM_OWNER), FROM_OWNER)


@pytest.mark.parametrize(
    ("source", "header", "automatic"),
    [
        ("x@y.example", ("Auto-Submitted", "auto-replied"), True),
        ("x@y.example", ("auto-submitted", " Auto-Generated; x=y"), True),
        ("x@y.example", ("Auto-Submitted", "NO"), False),
        ("x@y.example", ("Auto-Submitted", "no; comment"), False),
        ("x@y.example", ("Precedence", "auto_reply"), True),
        ("x@y.example", ("Precedence", "junk"), True),
        ("x@y.example", ("Precedence", "bulk"), True),
        ("x@y.example", ("List-Id", "<x.y>"), True),
        ("x@y.example", ("Subject", "auto-replied"), False),
        ("", ("Subject", "x"), True),
    ],
)
def test_automatic_mail(source: str, header: tuple[str, str], automatic: bool) -> None:
    """Nobody is told about what no person wrote (RFC 3834, 2)."""
    assert replace(EVIDENCE, source=source, headers=(header,)).is_automatic is automatic


def test_only_a_known_recipient_has_a_mask() -> None:
    """A rule above its place in the table fails loudly."""
    with pytest.raises(LookupError):
        _ = Case(SHOP, UnknownRecipient(), EVIDENCE).mask


def test_evidence_does_not_show_in_repr() -> None:
    """Addresses and headers stay out of logs and tracebacks."""
    assert "sender" not in repr(EVIDENCE).replace("sender_owner", "")


words = st.sampled_from(["PASS", "FAIL", "GRAY", "PROCESSING_FAILED", "DISABLED", "ABSENT"])
evidences = st.builds(
    replace,
    st.sampled_from([EVIDENCE, FROM_OWNER]),
    verdicts=st.builds(
        Verdicts, words, words, words, words, words, st.sampled_from([None, "none", "quarantine", "reject"])
    ),
    source=st.text(max_size=30) | st.sampled_from(["me@home.example", "bounce@sender.example"]),
    headers=st.lists(
        st.tuples(st.sampled_from(["From", "Received", "Precedence", "List-Id"]), st.text(max_size=30)), max_size=30
    ).map(tuple),
    hops=st.integers(0, 3),
    sender_owner=st.sampled_from([None, "owner-1", "owner-2"]),
    complete=st.booleans(),
    received_at=st.sampled_from([0.0, NOW - 5, NOW - 1e6]),
    released=st.sets(st.sampled_from(["spam", "bounce_pause", "virus"])).map(frozenset),
)
owners = st.builds(
    Owner,
    owner_id=st.just("owner-1"),
    active=st.booleans(),
    flagged=st.booleans(),
    spam_handling=st.sampled_from(["quarantine", "drop", "forward"]),
    dmarc_handling=st.sampled_from(["forward", "discard"]),
    usage=st.sampled_from([Usage(), FULL_DAY]),
)
boxes = st.sampled_from([MAILBOX, SECOND, GONE, paused(SECOND, "soft", 60), replace(MAILBOX, verified=False)])
masks = st.builds(
    lambda owner, enabled, some: mask(*some, owner=owner, enabled=enabled),
    owners,
    st.booleans(),
    st.lists(boxes, min_size=1, max_size=3),
)
targets = st.one_of(masks, masks.map(token), st.sampled_from([UnknownRecipient(), UnknownRecipient(True)]))
screenings = st.builds(Screening, st.booleans(), st.booleans())


@given(st.sampled_from([SHOP, NOREPLY]), targets, evidences, screenings)
def test_every_mail_gets_a_decision_of_the_table(
    recipient: Address, target: Target, evidence: Evidence, screening: Screening
) -> None:
    """Whatever is known: a forward of a good mask's clean mail, a reply of its owner's, or a reason from the table."""
    decision = decide(Case(recipient, target, evidence, screening))
    if isinstance(decision, Discard | Quarantine):
        assert decision.reason in REASONS
        return
    assert decision.mask.owner.active
    assert not decision.mask.owner.flagged
    assert evidence.verdicts.virus != "FAIL"
    if isinstance(decision, Forward):
        assert decision.mask == target
        assert decision.mask.enabled
        assert not screening.blocked
        assert set(decision.warnings) <= set(WARNINGS)
        assert all(mailbox.verified for mailbox in (*decision.mailboxes, *decision.held))
        assert decision.mailboxes or decision.waiting
    else:
        assert "PASS" in (evidence.verdicts.dmarc, evidence.verdicts.spf)
        assert evidence.sole_author in {mailbox.address for mailbox in decision.owned if mailbox.verified}
