"""What every ledger promises of failures, discards and failed tries: the fake, SQLite and PostgreSQL alike."""

from dataclasses import replace

import pytest

from relayd.errors import ClaimLostError
from relayd.model.delivery import DeliveryKey, Draft, Lost, Settled, ThreadLink
from tests.contract.deliveries import CONCERN, DRAFT, KEY, TTL, ask, doubt, take
from tests.contract.stores import Ledger
from tests.fakes.clock import VirtualClock


def test_a_send_wins_over_a_failure(ledger: Ledger, clock: VirtualClock) -> None:
    """A mail that is out is `sent`, even where its delivery was given up meanwhile."""
    slow = doubt(ledger, clock)
    ledger.failed(take(ledger), "in_doubt", message_id="m1")
    ledger.sent(slow, "ses-1")
    assert ask(ledger, message="replay") == Settled("sent", "sent")


def test_a_failure_blocks_its_own_message_alone(ledger: Ledger) -> None:
    """The message that was dead-lettered is done; a redrive (another id) starts anew, attempts counted on."""
    ledger.failed(take(ledger), "refused", message_id="m1")
    assert ask(ledger) == Settled("failed", "refused")
    assert take(ledger, message="redriven").attempt == 2


def test_a_failure_may_be_recorded_twice(ledger: Ledger) -> None:
    """Whoever did not hear the first answer asks again, and is not told that its claim was lost."""
    claim = take(ledger)
    ledger.failed(claim, "refused", message_id="m1")
    ledger.failed(claim, "refused", message_id="m1")
    assert ask(ledger) == Settled("failed", "refused")


def test_a_new_generation_starts_without_deaths_and_doubts(ledger: Ledger, clock: VirtualClock) -> None:
    """What a redriven mail cost before is not held against it."""
    doubt(ledger, clock)
    take(ledger)
    clock.sleep(TTL)
    ledger.failed(take(ledger), "refused", message_id="m1")
    for _ in range(3):
        assert not take(ledger, message="redriven").resend
        clock.sleep(TTL)
    assert isinstance(ask(ledger, message="redriven"), Lost)


def test_a_discard_keeps_its_first_reason(ledger: Ledger) -> None:
    """A twin that decides otherwise, or later, changes nothing; a claim is refused with the reason."""
    key = replace(KEY, mailbox="")
    ledger.discarded(key, "spam", message_id="m1", concern=None)
    ledger.discarded(key, "virus", message_id="twin", concern=CONCERN)
    assert ask(ledger, key, message="other") == Settled("discarded", "spam")


def test_a_discard_wins_over_a_claim_before_the_send(ledger: Ledger) -> None:
    """A decision taken while a twin is fetching reaches the twin before it sends."""
    claim = take(ledger)
    ledger.discarded(KEY, "mask_disabled", message_id="twin", concern=CONCERN)
    with pytest.raises(ClaimLostError):
        ledger.begin_send(claim, DRAFT, ttl=TTL)
    assert ask(ledger) == Settled("discarded", "mask_disabled")


def test_policy_asked_again_discards_a_claimed_delivery(ledger: Ledger, clock: VirtualClock) -> None:
    """The claim's holder alone may do so; asked twice it is not told that its claim was lost."""
    lost = take(ledger)
    clock.sleep(TTL)
    claim = take(ledger)
    with pytest.raises(ClaimLostError):
        ledger.refused(lost, "loop")
    ledger.refused(claim, "loop")
    ledger.refused(claim, "loop")
    assert ask(ledger) == Settled("discarded", "loop")
    with pytest.raises(ClaimLostError):
        ledger.begin_send(claim, DRAFT, ttl=TTL)


def test_a_discard_leaves_a_send_under_way_alone(ledger: Ledger) -> None:
    """What is being sent this moment is recorded as what it becomes."""
    claim = take(ledger)
    ledger.begin_send(claim, DRAFT, ttl=TTL)
    ledger.discarded(KEY, "mask_disabled", message_id="twin", concern=CONCERN)
    ledger.sent(claim, "ses-1")
    assert ask(ledger) == Settled("sent", "sent")


def test_a_discard_never_unsends(ledger: Ledger) -> None:
    """`sent` is final."""
    claim = take(ledger)
    ledger.sent(claim, "ses-1")
    ledger.discarded(KEY, "spam", message_id="replay", concern=CONCERN)
    assert ask(ledger) == Settled("sent", "sent")


def test_a_redriven_failure_may_be_discarded(ledger: Ledger) -> None:
    """Policy may have changed since a mail failed."""
    ledger.failed(take(ledger), "refused", message_id="m1")
    ledger.discarded(KEY, "mask_disabled", message_id="redriven", concern=CONCERN)
    assert ask(ledger, message="redriven") == Settled("discarded", "mask_disabled")


def test_tries_are_counted_for_each_message(ledger: Ledger, clock: VirtualClock) -> None:
    """All failed tries are counted, those with a bug apart too, and the age counts from the first."""
    first = ledger.charge("m1", bug=False)
    assert (first.failures, first.bugs) == (1, 0)
    assert first.age == pytest.approx(0, abs=1e-3)
    clock.sleep(100)
    second = ledger.charge("m1", bug=True)
    assert (second.failures, second.bugs) == (2, 1)
    assert second.age == pytest.approx(100, abs=1e-3)
    assert ledger.charge("m1", bug=False).failures == 3
    assert ledger.charge("m2", bug=False).failures == 1


@pytest.mark.parametrize("odd", ["nul\0byte", "lone\udc80surrogate", "\u00fc" * 5_000, "x" * 5_000])
def test_whatever_strangers_wrote_is_stored(ledger: Ledger, odd: str) -> None:
    """Ids and recipients come from outside: NUL, broken Unicode and kilobytes are neither errors nor mixed up."""
    key = DeliveryKey(odd, odd + "@mask.example", "me@example.org")
    take(ledger, replace(key, recipient=odd + "@other.example"))
    claim = take(ledger, key)
    ledger.begin_send(claim, Draft(original_message_id=odd), ttl=TTL)
    ledger.sent(claim, "ses-1")
    assert ask(ledger, key) == Settled("sent", "sent")
    assert ledger.threads("mask1", [odd]) == (ThreadLink("forward", odd, "ses-1"),)
    ledger.discarded(replace(key, mailbox=odd), "spam", message_id=odd, concern=None)
    assert ledger.charge(odd, bug=True).bugs == 1
