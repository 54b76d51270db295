"""What every ledger promises of threads: a mail that was sent is found by either of its names, in both directions."""

from dataclasses import replace

from relayd.model.delivery import Concern, DeliveryKey, Draft, ThreadLink
from tests.contract.deliveries import CONCERN, DRAFT, KEY, TTL, doubt, send, take
from tests.contract.stores import Ledger
from tests.fakes.clock import VirtualClock

ORIGINAL = "one@sender.example"
NAMED = Draft(1000, ORIGINAL)
LINK = ThreadLink("forward", ORIGINAL, "ses-1")
REPLY = Concern("reply", "mask1", "owner1")


def test_a_mail_is_found_by_either_name(ledger: Ledger) -> None:
    """By the id that it came with, and by the one that SES gave it, whatever stands behind the @."""
    send(ledger, draft=NAMED)
    for asked in (ORIGINAL, "ses-1@eu-west-1.amazonses.com", "ses-1@email.amazonses.com", "ses-1"):
        assert ledger.threads("mask1", [asked]) == (LINK,)


def test_both_directions_are_told_apart(ledger: Ledger, clock: VirtualClock) -> None:
    """A stranger's mail, the owner's answer and the stranger's next mail, in the order in which they were sent."""
    send(ledger, draft=NAMED)
    clock.sleep(1)
    answer = DeliveryKey("mail-2", "token@mask.example", "seller@shop.example")
    send(ledger, answer, REPLY, ses_id="ses-2", draft=Draft(1, "two@owner.example"))
    found = ledger.threads("mask1", ["ses-2@eu-west-1.amazonses.com", ORIGINAL])
    assert found == (LINK, ThreadLink("reply", "two@owner.example", "ses-2"))


def test_each_mailbox_has_its_own_id(ledger: Ledger, clock: VirtualClock) -> None:
    """One mail to three mailboxes was sent three times; asked for by one id of SES's, that one alone is meant."""
    for number in range(3):
        clock.sleep(1)
        send(ledger, replace(KEY, mailbox=f"box{number}@example.org"), ses_id=f"ses-{number}", draft=NAMED)
    assert [link.ses_id for link in ledger.threads("mask1", [ORIGINAL])] == ["ses-0", "ses-1", "ses-2"]
    assert [link.ses_id for link in ledger.threads("mask1", ["ses-1@eu-west-1.amazonses.com"])] == ["ses-1"]
    assert len(ledger.threads("mask1", [ORIGINAL, "ses-1@eu-west-1.amazonses.com"])) == 3


def test_no_other_mask_s_mail_is_found(ledger: Ledger) -> None:
    """Two owners may know the same stranger's mail."""
    send(ledger, draft=NAMED)
    assert ledger.threads("mask2", [ORIGINAL, "ses-1"]) == ()
    assert ledger.threads("mask1", ["never-seen@sender.example", "", "@"]) == ()
    assert ledger.threads("mask1", []) == ()


def test_what_was_not_sent_is_not_found(ledger: Ledger, clock: VirtualClock) -> None:
    """A draft alone is no mail, nor has one without a Message-ID a name to be known by."""
    doubt(ledger, clock, draft=NAMED)
    send(ledger, replace(KEY, mail_id="mail-2"), draft=DRAFT)
    assert ledger.threads("mask1", [ORIGINAL, "ses-1"]) == ()


def test_the_first_of_two_sends_is_kept(ledger: Ledger, clock: VirtualClock) -> None:
    """A duplicate send never rewrites the record of the first."""
    slow = doubt(ledger, clock, draft=NAMED)
    second = take(ledger)
    ledger.begin_send(second, NAMED, ttl=TTL)
    ledger.sent(second, "ses-2")
    ledger.sent(slow, "ses-1")
    assert ledger.threads("mask1", [ORIGINAL]) == (replace(LINK, ses_id="ses-2"),)


def test_many_ids_are_one_question(ledger: Ledger, clock: VirtualClock) -> None:
    """More than a query's parameters, oldest first over all of them."""
    many = [f"{number}@sender.example" for number in range(1200)]
    for number in (1100, 5, 700):
        clock.sleep(1)
        key = replace(KEY, mail_id=f"mail-{number}")
        send(ledger, key, CONCERN, ses_id=f"ses-{number}", draft=Draft(1, many[number]))
    assert [link.ses_id for link in ledger.threads("mask1", many)] == ["ses-1100", "ses-5", "ses-700"]


def test_a_stranger_s_everlasting_id_costs_a_bounded_answer(ledger: Ledger, clock: VirtualClock) -> None:
    """A program that gives all of its mails one Message-ID: the newest of them are enough."""
    for number in range(210):
        clock.sleep(1)
        send(ledger, replace(KEY, mail_id=f"mail-{number}"), ses_id=f"ses-{number}", draft=NAMED)
    found = [link.ses_id for link in ledger.threads("mask1", [ORIGINAL])]
    assert found == [f"ses-{number}" for number in range(10, 210)]
