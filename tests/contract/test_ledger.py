"""What every ledger promises of claims and sends: the fake, SQLite and PostgreSQL alike."""

from dataclasses import replace

import pytest

from relayd.errors import ClaimLostError
from relayd.model.delivery import Busy, Claim, DeliveryKey, Lost, Settled
from tests.contract.deliveries import DRAFT, KEY, TRACE, TTL, ask, doubt, take
from tests.contract.stores import Ledger
from tests.fakes.clock import VirtualClock


def test_a_new_delivery_is_claimed(ledger: Ledger) -> None:
    """The first claim of a delivery is attempt 1, no resend, and has no attempt before it."""
    claim = take(ledger)
    assert (claim.key, claim.attempt, claim.resend, claim.previous_trace) == (KEY, 1, False, None)
    assert claim.delivery_id.isalnum()


@pytest.mark.parametrize(
    "other",
    [
        replace(KEY, mail_id="mail-2"),
        replace(KEY, recipient="shop+tag@mask.example"),
        replace(KEY, mailbox="other@example.org"),
        replace(KEY, mailbox=""),
    ],
    ids=["mail", "recipient", "mailbox", "no mailbox"],
)
def test_each_part_of_the_key_makes_another_delivery(ledger: Ledger, other: DeliveryKey) -> None:
    """Deliveries of other mails, recipients and mailboxes do not stand in each other's way."""
    assert take(ledger).delivery_id != take(ledger, other).delivery_id


def test_a_twin_meets_a_live_claim(ledger: Ledger, clock: VirtualClock) -> None:
    """While a claim lives, every other claimer is told for how long still, whatever its message."""
    take(ledger)
    clock.sleep(20)
    answer = ask(ledger, message="twin")
    assert isinstance(answer, Busy)
    assert answer.seconds == pytest.approx(TTL - 20)


def test_a_sending_claim_is_busy_until_its_own_expiry(ledger: Ledger, clock: VirtualClock) -> None:
    """begin_send sets a new expiry, which counts from that moment."""
    claim = take(ledger)
    clock.sleep(50)
    ledger.begin_send(claim, DRAFT, ttl=TTL)
    clock.sleep(50)
    answer = ask(ledger)
    assert isinstance(answer, Busy)
    assert answer.seconds == pytest.approx(10)


def test_a_sent_delivery_is_settled(ledger: Ledger) -> None:
    """Nobody sends again what was sent, no matter which message asks."""
    claim = take(ledger)
    ledger.begin_send(claim, DRAFT, ttl=TTL)
    ledger.sent(claim, "ses-1")
    assert ask(ledger) == ask(ledger, message="replay") == Settled("sent", "sent")


def test_an_expired_claim_is_taken_over(ledger: Ledger, clock: VirtualClock) -> None:
    """The next one gets the same delivery as its second attempt, and the first one's trace to link to."""
    first = take(ledger, trace=TRACE)
    clock.sleep(TTL)
    second = take(ledger)
    assert (second.delivery_id, second.attempt, second.resend) == (first.delivery_id, 2, False)
    assert second.previous_trace == TRACE
    assert second.token != first.token


def test_the_loser_of_a_claim_cannot_send(ledger: Ledger, clock: VirtualClock) -> None:
    """Whoever was slow finds its claim lost before the send, and does no harm to the new holder's."""
    first = take(ledger)
    clock.sleep(TTL)
    second = take(ledger)
    with pytest.raises(ClaimLostError):
        ledger.begin_send(first, DRAFT, ttl=TTL)
    with pytest.raises(ClaimLostError):
        ledger.failed(first, "too_late", message_id="m1")
    ledger.give_back(first, "lease_lost")
    ledger.begin_send(second, DRAFT, ttl=TTL)


def test_a_late_claim_that_nobody_took_still_sends(ledger: Ledger, clock: VirtualClock) -> None:
    """Expiry allows others to take over; as long as none did, the claim is its holder's."""
    claim = take(ledger)
    clock.sleep(TTL + 1)
    ledger.begin_send(claim, DRAFT, ttl=TTL)
    assert isinstance(ask(ledger), Busy)


def test_a_claim_given_back_is_free_at_once(ledger: Ledger) -> None:
    """Giving back costs nothing: any number of times, and never counted as a process that died."""
    for attempt in range(1, 6):
        claim = take(ledger)
        assert (claim.attempt, claim.resend) == (attempt, False)
        ledger.give_back(claim, "s3_timeout")


def test_a_send_that_certainly_failed_is_given_back(ledger: Ledger) -> None:
    """A refusal that is known to be one leaves no doubt behind."""
    claim = take(ledger)
    ledger.begin_send(claim, DRAFT, ttl=TTL)
    ledger.give_back(claim, "s3_timeout")
    assert not take(ledger).resend


def test_one_claim_may_send_twice(ledger: Ledger) -> None:
    """A mail that was refused is rebuilt and sent again under the same claim."""
    claim = take(ledger)
    ledger.begin_send(claim, DRAFT, ttl=TTL)
    ledger.begin_send(claim, DRAFT, ttl=TTL)
    ledger.sent(claim, "ses-1")
    assert isinstance(ask(ledger), Settled)


def test_the_third_death_is_the_last(ledger: Ledger, clock: VirtualClock) -> None:
    """Two processes may die over a mail; after the third it is lost, with a claim to record that by."""
    for attempt in (1, 2, 3):
        assert take(ledger).attempt == attempt
        clock.sleep(TTL)
    answer = ask(ledger)
    assert isinstance(answer, Lost)
    assert answer.reason == "killed"
    ledger.failed(answer.claim, "killed", message_id="m1")
    assert ask(ledger) == Settled("failed", "killed")


def test_a_lost_delivery_stays_lost_until_recorded(ledger: Ledger, clock: VirtualClock) -> None:
    """Whether the one who was told gives back or dies itself, the next one is told the same."""
    for _ in range(3):
        take(ledger)
        clock.sleep(TTL)
    told = ask(ledger)
    assert isinstance(told, Lost)
    ledger.give_back(told.claim, "database_busy")
    assert isinstance(ask(ledger), Lost)
    clock.sleep(TTL)
    assert isinstance(ask(ledger), Lost)


def test_a_send_in_doubt_is_sent_once_more(ledger: Ledger, clock: VirtualClock) -> None:
    """A claim that expired while sending comes back marked as a resend."""
    doubt(ledger, clock)
    claim = take(ledger)
    assert (claim.attempt, claim.resend) == (2, True)


def test_a_resend_given_back_is_still_a_resend(ledger: Ledger, clock: VirtualClock) -> None:
    """The first send stays in doubt, whatever becomes of the attempts after it."""
    doubt(ledger, clock)
    ledger.give_back(take(ledger), "ses_throttled")
    assert take(ledger).resend


def test_a_second_doubt_is_for_a_person(ledger: Ledger, clock: VirtualClock) -> None:
    """When the resend is in doubt as well, the delivery is lost, and can be recorded as failed."""
    doubt(ledger, clock)
    ledger.begin_send(take(ledger), DRAFT, ttl=TTL)
    clock.sleep(TTL)
    answer = ask(ledger)
    assert isinstance(answer, Lost)
    assert answer.reason == "in_doubt"
    ledger.failed(answer.claim, "in_doubt", message_id="m1")
    assert ask(ledger) == Settled("failed", "in_doubt")


def test_doubts_and_deaths_are_counted_apart(ledger: Ledger, clock: VirtualClock) -> None:
    """One doubt and two deaths make neither end; the third death does."""
    doubt(ledger, clock)
    for _ in range(3):
        assert take(ledger).resend
        clock.sleep(TTL)
    answer = ask(ledger)
    assert isinstance(answer, Lost)
    assert answer.reason == "killed"


def test_a_known_send_is_recorded_after_the_claim_was_lost(ledger: Ledger, clock: VirtualClock) -> None:
    """The slow sender's answer settles the delivery, and the one who took over does not send."""
    slow = doubt(ledger, clock)
    second = take(ledger)
    ledger.sent(slow, "ses-1")
    with pytest.raises(ClaimLostError):
        ledger.begin_send(second, DRAFT, ttl=TTL)
    with pytest.raises(ClaimLostError):
        ledger.failed(second, "too_late", message_id="m1")
    ledger.give_back(second, "lease_lost")
    assert isinstance(ask(ledger), Settled)


def test_a_twin_of_a_delivery_in_doubt_is_a_marked_resend(ledger: Ledger, clock: VirtualClock) -> None:
    """Another SQS message of a mail that failed in doubt, a twin or a redrive: what it sends is a resend, and one more
    doubt is the end of it as well."""
    for _ in range(2):
        claim = take(ledger)
        ledger.begin_send(claim, DRAFT, ttl=TTL)
        clock.sleep(TTL + 1)
    lost = ask(ledger)
    assert isinstance(lost, Lost)
    ledger.failed(lost.claim, "in_doubt", message_id="m1")
    again = take(ledger, message="twin")
    assert again.resend
    ledger.begin_send(again, DRAFT, ttl=TTL)
    clock.sleep(TTL + 1)
    assert isinstance(ask(ledger, message="twin"), Lost)


def test_a_doubt_waits_for_word_of_ses(ledger: Ledger, clock: VirtualClock) -> None:
    """While its events may still come, a send in doubt is Busy, to the second; then it is sent once more."""
    doubt(ledger, clock)
    assert ask(ledger, doubt_seconds=300) == Busy(300)
    clock.sleep(200)
    assert ask(ledger, doubt_seconds=300) == Busy(100)
    clock.sleep(100)
    answer = ask(ledger, doubt_seconds=300)
    assert isinstance(answer, Claim)
    assert answer.resend


def test_a_second_doubt_waits_as_well(ledger: Ledger, clock: VirtualClock) -> None:
    """It is given up only when no event about it can be expected any more."""
    doubt(ledger, clock)
    doubt(ledger, clock)
    assert ask(ledger, doubt_seconds=300) == Busy(300)
    clock.sleep(300)
    assert isinstance(ask(ledger, doubt_seconds=300), Lost)


def test_a_doubt_may_wait_for_ever(ledger: Ledger, clock: VirtualClock) -> None:
    """Who cannot tell how long waits until somebody can."""
    doubt(ledger, clock)
    clock.sleep(30 * 86_400)
    answer = ask(ledger, doubt_seconds=float("inf"))
    assert isinstance(answer, Busy)
    assert answer.seconds > 365 * 86_400
    assert isinstance(ask(ledger, doubt_seconds=86_400), Claim)


def test_a_dead_claim_waits_for_no_word_of_ses(ledger: Ledger, clock: VirtualClock) -> None:
    """Nothing had been sent under it."""
    take(ledger)
    clock.sleep(TTL)
    answer = ask(ledger, doubt_seconds=300)
    assert isinstance(answer, Claim)
    assert not answer.resend
