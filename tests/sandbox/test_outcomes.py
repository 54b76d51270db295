"""The tally: what came, held against what should have come, in any order."""

import threading
from dataclasses import replace

import pytest

from relayd.sandbox.child import Sent
from relayd.sandbox.contents import Contents
from relayd.sandbox.outcomes import DeadLetter, Ended, Summary, Tally
from relayd.sandbox.samples import Expected, Sample

MAIL = "m" * 40
TWO_BOXES = Expected(frozenset({("team@mask.example", "a@home.example"), ("team@mask.example", "b@home.example")}))
ONE_BOX = Expected(frozenset({("team@mask.example", "a@home.example")}))
SPAM = Expected(discards=frozenset({("team@mask.example", "spam")}))


def sample(expected: Expected, number: int = 1) -> Sample:
    return Sample(number, "plain", expected, b"")


def end(
    mailbox: str = "a@home.example", state: str = "sent", reason: str = "", mail: str = MAIL, **more: object
) -> Ended:
    given = {"delivery_id": f"d-{mailbox}", "ses_id": "s", "resends": 0, "at": 10.5} | more
    return Ended(mail_id=mail, recipient="team@mask.example", mailbox=mailbox, state=state, reason=reason, **given)  # type: ignore[arg-type]


def sent(number: int, delivery: str = "d-a@home.example", at: float = 10.2) -> Sent:
    return Sent(number, f"ses-{number}", "", (), {"relayd-delivery": f"{delivery}-1"}, at)


def told(expected: Expected, *facts: Ended | Sent | DeadLetter, recorded: bool = True) -> Summary:
    """One mail published at 10.0, and what was seen of it."""
    tally = Tally(recorded=recorded)
    tally.expect(MAIL, sample(expected), 10.0)
    for fact in facts:
        {Ended: tally.ended, Sent: tally.sent, DeadLetter: tally.dead}[type(fact)](fact)  # type: ignore[operator]
    return tally.summary()


def test_all_as_expected() -> None:
    """Both mailboxes got it once: the mail counts once, and its latency is SES's acceptance."""
    summary = told(
        TWO_BOXES,
        sent(1),
        end(),
        sent(2, "d-b@home.example", at=10.4),
        end("b@home.example", delivery_id="d-b@home.example"),
    )
    assert summary.ok
    assert summary.as_json() == {
        "sent": 1,
        "forwarded": 1,
        "replied": 0,
        "discarded": {},
        "quarantined": 0,
        "dead_lettered": 0,
        "duplicates": 0,
        "lost": 0,
        "p50_ms": 200.0,
        "p99_ms": 400.0,
    }
    assert summary.deliveries == 2
    assert summary.slowest == MAIL


def test_a_second_send_is_a_duplicate() -> None:
    """The ledger shows one delivery; SES saw two sends of it."""
    summary = told(ONE_BOX, sent(1), sent(2, at=11.0), end())
    assert summary.duplicates == 1
    assert not summary.ok
    assert summary.p50_ms == 200.0


def test_without_a_recorder_the_ledgers_resends_count() -> None:
    """With somebody else's emulator the ledger is believed."""
    summary = told(ONE_BOX, end(resends=2), recorded=False)
    assert summary.duplicates == 2
    assert summary.p50_ms == 500.0


def test_a_send_to_nobody_expected_is_wrong() -> None:
    """A mail that should have been discarded and was forwarded."""
    summary = told(SPAM, sent(1), end())
    assert not summary.ok
    assert summary.forwarded == 1
    assert "expected team@mask.example discarded (spam); came: team@mask.example forwarded" in summary.wrong[0]


@pytest.mark.parametrize(
    ("fact", "right"),
    [
        (end(mailbox="", state="discarded", reason="spam"), True),
        (end(mailbox="", state="discarded", reason="loop"), False),
    ],
)
def test_a_discard_must_have_the_right_reason(fact: Ended, right: bool) -> None:
    """The reason is part of the expectation."""
    summary = told(SPAM, fact)
    assert summary.discarded == {fact.reason: 1}
    assert summary.ok is right


def test_what_never_ends_is_lost() -> None:
    """A mail without any end is lost; one mailbox of two missing is wrong."""
    assert told(ONE_BOX).lost == 1
    partly = told(TWO_BOXES, sent(1), end())
    assert (partly.lost, partly.ok) == (0, False)


def test_a_dead_letter_is_found_by_the_id_in_it() -> None:
    """The message's body mentions the mail; anything may stand around the id."""
    body = '{"Message": "{\\"messageId\\":\\"' + MAIL + '\\"}"}'
    summary = told(Expected(dead_letter="not_json"), DeadLetter("sqs-1", "not_json", body))
    assert (summary.ok, summary.dead_lettered) == (True, 1)
    assert not told(ONE_BOX, DeadLetter("sqs-1", "bug", body)).ok
    assert told(ONE_BOX, DeadLetter("sqs-1", "bug", "n" * 40)).lost == 1


def test_a_dead_letter_is_waited_for() -> None:
    """A message that is to be dead-lettered is open until it lies there, whatever the ledger says of it."""
    tally = Tally(recorded=True)
    tally.expect(MAIL, sample(Expected(dead_letter="foreign_bucket")), 10.0)
    tally.ended(end(state="failed", reason="foreign_bucket"))
    assert tally.open == 1
    tally.dead(DeadLetter("sqs-1", "foreign_bucket", MAIL))
    assert tally.open == 0
    assert tally.summary().ok


def test_ends_may_be_seen_before_the_mail_is_expected() -> None:
    """The daemon can be quicker than the door's answer to the sender."""
    tally = Tally(recorded=True)
    tally.ended(end())
    tally.expect(MAIL, sample(ONE_BOX), 10.0)
    assert tally.open == 0
    assert tally.summary().forwarded == 1


def test_a_refused_sample_is_lost_and_named() -> None:
    """A sample that the door did not take fails the run."""
    tally = Tally(recorded=True)
    tally.refused(sample(ONE_BOX, 7), "451")
    summary = tally.summary()
    assert (summary.sent, summary.lost, summary.ok) == (1, 1, False)
    assert summary.wrong[0].startswith("7 plain")


def test_waiting_for_room() -> None:
    """A feeder waits until enough mails have ended, and is woken by the end that makes room."""
    tally = Tally(recorded=True)
    tally.expect(MAIL, sample(ONE_BOX), 10.0)
    assert not tally.wait_below(1, 0.001)
    threading.Thread(target=tally.ended, args=(end(),)).start()
    assert tally.wait_below(1, 5)


def test_nothing_forwarded_has_no_latency() -> None:
    """None, not a zero that looks like a measurement."""
    summary = told(SPAM, end(mailbox="", state="discarded", reason="spam"))
    assert (summary.p50_ms, summary.p99_ms, summary.slowest) == (None, None, None)


def test_percentiles_are_nearest_rank() -> None:
    """Of a hundred sends the 50th and the 99th."""
    tally = Tally(recorded=True)
    for number in range(1, 101):
        mail = f"{number:040d}"
        tally.expect(mail, sample(ONE_BOX, number), 0.0)
        tally.ended(end(mail=mail, delivery_id=f"d{number}"))
        tally.sent(sent(number, f"d{number}", at=number / 1000))
    summary = tally.summary()
    assert (summary.p50_ms, summary.p99_ms) == (50.0, 99.0)


def test_replies_and_what_is_held_back_are_counted_among_the_others() -> None:
    """A reply was sent on, a quarantined mail was not: the sums stay what they were."""
    reply = told(ONE_BOX, sent(1), end(kind="reply"))
    assert (reply.ok, reply.forwarded, reply.replied) == (True, 1, 1)
    held = told(SPAM, end(mailbox="", state="discarded", reason="spam", held="q1"))
    assert (held.ok, held.discarded, held.quarantined) == (True, {"spam": 1}, 1)


def test_a_notice_is_no_mail() -> None:
    """relayd's own mail to an owner belongs to no sample: it is neither one too many nor a duplicate."""
    summary = told(
        ONE_BOX, sent(1), end(), end(mail="notice-1", kind="notice", delivery_id="n", notice="reply_leak"), sent(2, "n")
    )
    assert (summary.ok, summary.sent, summary.deliveries) == (True, 1, 1)


@pytest.mark.parametrize(
    ("data", "wrong"),
    [
        (b"Subject: x\r\n\r\nfrom your MASK, all clean\r\n", []),
        (b"Subject: x\r\n\r\nall clean\r\n", ["1 plain: mask is not in it"]),
        (b"Subject: Tracker\r\n\r\nmask\r\n", ["1 plain: tracker is still in it"]),
        (b"Content-Transfer-Encoding: base64\r\n\r\nbWFzayB0cmFja2Vy\r\n", ["1 plain: tracker is still in it"]),
        (b"X-Name: mask\r\n\r\n", ["1 plain: mask is not in it"]),
        (b"", []),
    ],
)
def test_what_is_inside_is_looked_at(data: bytes, wrong: list[str]) -> None:
    """The mail as SES was given it: what must be read in it, and what must be nowhere. Bytes that were let go tell
    nothing.
    """
    tally = Tally(recorded=True)
    tally.expect(MAIL, replace(sample(ONE_BOX), contents=Contents(("mask",), ("tracker",))), 10.0)
    tally.sent(sent(4))
    tally.ended(end())
    assert list(tally.summary({4: data}.__getitem__).wrong) == wrong
