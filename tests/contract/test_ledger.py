"""What every ledger promises: the fake, SQLite and PostgreSQL alike."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest
import sqlalchemy as sa

from relayd import ports
from relayd.adapters.database import Database
from relayd.adapters.ledger import SqlLedger
from relayd.adapters.schema import deliveries
from relayd.errors import ClaimLostError
from relayd.model.delivery import Busy, Claim, ClaimAnswer, DeliveryKey, Lost, Sent, Settled
from tests.contract.databases import beside, open_database, sqlite_url
from tests.contract.races import kinds, race
from tests.fakes.clock import VirtualClock
from tests.fakes.ledger import FakeLedger

KEY = DeliveryKey("mail-1", "shop@mask.example", "me@example.org")
TTL = 60.0
TRACE = "00-11111111111111111111111111111111-2222222222222222-01"


class Ledger(ports.Ledger, Protocol):
    """The port, and the daily cleaning."""

    def prune(self) -> int: ...


@pytest.fixture(params=["fake", "sqlite", "postgres"])
def ledger(request: pytest.FixtureRequest, clock: VirtualClock, tmp_path: Path) -> Iterator[Ledger]:
    if request.param == "fake":
        yield FakeLedger(clock)
        return
    url = sqlite_url(tmp_path) if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    database = open_database(url, clock)
    yield SqlLedger(database)
    database.close()


def ask(ledger: ports.Ledger, key: DeliveryKey = KEY, *, message: str = "m1", trace: str | None = None) -> ClaimAnswer:
    return ledger.claim(key, message_id=message, mask_id="mask1", ttl=TTL, trace=trace)


def take(ledger: ports.Ledger, key: DeliveryKey = KEY, *, message: str = "m1", trace: str | None = None) -> Claim:
    answer = ask(ledger, key, message=message, trace=trace)
    assert isinstance(answer, Claim)
    return answer


def doubt(ledger: ports.Ledger, clock: VirtualClock) -> Claim:
    """A claim whose send never came back, and which has expired."""
    claim = take(ledger)
    ledger.begin_send(claim, ttl=TTL)
    clock.sleep(TTL)
    return claim


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
    ledger.begin_send(claim, ttl=TTL)
    clock.sleep(50)
    answer = ask(ledger)
    assert isinstance(answer, Busy)
    assert answer.seconds == pytest.approx(10)


def test_a_sent_delivery_is_settled(ledger: Ledger) -> None:
    """Nobody sends again what was sent, no matter which message asks."""
    claim = take(ledger)
    ledger.begin_send(claim, ttl=TTL)
    ledger.sent(claim, Sent("ses-1"))
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
        ledger.begin_send(first, ttl=TTL)
    with pytest.raises(ClaimLostError):
        ledger.failed(first, "too_late", message_id="m1")
    ledger.give_back(first)
    ledger.begin_send(second, ttl=TTL)


def test_a_late_claim_that_nobody_took_still_sends(ledger: Ledger, clock: VirtualClock) -> None:
    """Expiry allows others to take over; as long as none did, the claim is its holder's."""
    claim = take(ledger)
    clock.sleep(TTL + 1)
    ledger.begin_send(claim, ttl=TTL)
    assert isinstance(ask(ledger), Busy)


def test_a_claim_given_back_is_free_at_once(ledger: Ledger) -> None:
    """Giving back costs nothing: any number of times, and never counted as a process that died."""
    for attempt in range(1, 6):
        claim = take(ledger)
        assert (claim.attempt, claim.resend) == (attempt, False)
        ledger.give_back(claim)


def test_a_send_that_certainly_failed_is_given_back(ledger: Ledger) -> None:
    """A refusal that is known to be one leaves no doubt behind."""
    claim = take(ledger)
    ledger.begin_send(claim, ttl=TTL)
    ledger.give_back(claim)
    assert not take(ledger).resend


def test_one_claim_may_send_twice(ledger: Ledger) -> None:
    """A mail that was refused is rebuilt and sent again under the same claim."""
    claim = take(ledger)
    ledger.begin_send(claim, ttl=TTL)
    ledger.begin_send(claim, ttl=TTL)
    ledger.sent(claim, Sent("ses-1"))
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
    ledger.give_back(told.claim)
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
    ledger.give_back(take(ledger))
    assert take(ledger).resend


def test_a_second_doubt_is_for_a_person(ledger: Ledger, clock: VirtualClock) -> None:
    """When the resend is in doubt as well, the delivery is lost, and can be recorded as failed."""
    doubt(ledger, clock)
    ledger.begin_send(take(ledger), ttl=TTL)
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
    ledger.sent(slow, Sent("ses-1", "original@sender.example"))
    with pytest.raises(ClaimLostError):
        ledger.begin_send(second, ttl=TTL)
    with pytest.raises(ClaimLostError):
        ledger.failed(second, "too_late", message_id="m1")
    ledger.give_back(second)
    assert isinstance(ask(ledger), Settled)


def test_the_first_of_two_sends_is_kept(ledger: Ledger, clock: VirtualClock) -> None:
    """A duplicate send never rewrites the record of the first."""
    slow = doubt(ledger, clock)
    second = take(ledger)
    ledger.begin_send(second, ttl=TTL)
    ledger.sent(second, Sent("ses-2", "original@sender.example"))
    ledger.sent(slow, Sent("ses-1", "original@sender.example"))
    assert ledger.threads("mask1", ["original@sender.example"]) == {"original@sender.example": "ses-2"}


def test_a_send_wins_over_a_failure(ledger: Ledger, clock: VirtualClock) -> None:
    """A mail that is out is `sent`, even where its delivery was given up meanwhile."""
    slow = doubt(ledger, clock)
    ledger.failed(take(ledger), "in_doubt", message_id="m1")
    ledger.sent(slow, Sent("ses-1"))
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
    ledger.discarded(key, "spam", message_id="m1", mask_id=None)
    ledger.discarded(key, "virus", message_id="twin", mask_id="mask1")
    assert ask(ledger, key, message="other") == Settled("discarded", "spam")


def test_a_discard_wins_over_a_claim_before_the_send(ledger: Ledger) -> None:
    """A decision taken while a twin is fetching reaches the twin before it sends."""
    claim = take(ledger)
    ledger.discarded(KEY, "mask_disabled", message_id="twin", mask_id="mask1")
    with pytest.raises(ClaimLostError):
        ledger.begin_send(claim, ttl=TTL)
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
        ledger.begin_send(claim, ttl=TTL)


def test_a_discard_leaves_a_send_under_way_alone(ledger: Ledger) -> None:
    """What is being sent this moment is recorded as what it becomes."""
    claim = take(ledger)
    ledger.begin_send(claim, ttl=TTL)
    ledger.discarded(KEY, "mask_disabled", message_id="twin", mask_id="mask1")
    ledger.sent(claim, Sent("ses-1"))
    assert ask(ledger) == Settled("sent", "sent")


def test_a_discard_never_unsends(ledger: Ledger) -> None:
    """`sent` is final."""
    claim = take(ledger)
    ledger.sent(claim, Sent("ses-1"))
    ledger.discarded(KEY, "spam", message_id="replay", mask_id="mask1")
    assert ask(ledger) == Settled("sent", "sent")


def test_a_redriven_failure_may_be_discarded(ledger: Ledger) -> None:
    """Policy may have changed since a mail failed."""
    ledger.failed(take(ledger), "refused", message_id="m1")
    ledger.discarded(KEY, "mask_disabled", message_id="redriven", mask_id="mask1")
    assert ask(ledger, message="redriven") == Settled("discarded", "mask_disabled")


def test_a_twin_of_a_delivery_in_doubt_is_a_marked_resend(ledger: Ledger, clock: VirtualClock) -> None:
    """Another SQS message of a mail that failed in doubt, a twin or a redrive: what it sends is a resend, and one more
    doubt is the end of it as well."""
    for _ in range(2):
        claim = take(ledger)
        ledger.begin_send(claim, ttl=TTL)
        clock.sleep(TTL + 1)
    lost = ask(ledger)
    assert isinstance(lost, Lost)
    ledger.failed(lost.claim, "in_doubt", message_id="m1")
    again = take(ledger, message="twin")
    assert again.resend
    ledger.begin_send(again, ttl=TTL)
    clock.sleep(TTL + 1)
    assert isinstance(ask(ledger, message="twin"), Lost)


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


def test_threads_are_found_by_mask(ledger: Ledger) -> None:
    """Original ids of mail that was sent for the mask, and of no other, map to what SES called it."""
    claim = take(ledger)
    ledger.sent(claim, Sent("ses-1", "one@sender.example"))
    ledger.sent(take(ledger, replace(KEY, mail_id="mail-2")), Sent("ses-2"))
    asked = ["one@sender.example", "never-seen@sender.example"]
    assert ledger.threads("mask1", asked) == {"one@sender.example": "ses-1"}
    assert ledger.threads("mask2", asked) == {}
    assert ledger.threads("mask1", []) == {}


def test_old_deliveries_are_forgotten(ledger: Ledger, clock: VirtualClock) -> None:
    """What nothing happened to for 60 days goes; what was touched since stays, however long ago it came."""
    ledger.sent(take(ledger), Sent("ses-1"))
    kept = replace(KEY, mail_id="mail-2")
    ledger.failed(take(ledger, kept), "refused", message_id="m1")
    ledger.charge("m1", bug=False)
    clock.sleep(59 * 86_400)
    assert ledger.prune() == 0
    ledger.sent(take(ledger, kept, message="replay"), Sent("ses-2"))
    clock.sleep(2 * 86_400)
    assert ledger.prune() == 1
    assert ask(ledger, kept) == Settled("sent", "sent")
    assert take(ledger).attempt == 1
    assert ledger.charge("m1", bug=False).failures == 1


@pytest.mark.parametrize("odd", ["nul\0byte", "lone\udc80surrogate", "\u00fc" * 5_000, "x" * 5_000])
def test_whatever_strangers_wrote_is_stored(ledger: Ledger, odd: str) -> None:
    """Ids and recipients come from outside: NUL, broken Unicode and kilobytes are neither errors nor mixed up."""
    key = DeliveryKey(odd, odd + "@mask.example", "me@example.org")
    take(ledger, replace(key, recipient=odd + "@other.example"))
    claim = take(ledger, key)
    ledger.begin_send(claim, ttl=TTL)
    ledger.sent(claim, Sent("ses-1", odd))
    assert ask(ledger, key) == Settled("sent", "sent")
    assert ledger.threads("mask1", [odd]) == {odd: "ses-1"}
    ledger.discarded(replace(key, mailbox=odd), "spam", message_id=odd, mask_id=None)
    assert ledger.charge(odd, bug=True).bugs == 1


@pytest.mark.parametrize("before", ["new", "expired", "given back", "failed"])
def test_a_race_has_one_winner(database: Database, clock: VirtualClock, before: str) -> None:
    """Eight threads of two processes that want the same delivery: one gets it, the others are told to wait."""
    ledger = SqlLedger(database)
    other = beside(database, clock)
    ledgers = [ledger, SqlLedger(other)] * 4
    for number in range(20):
        key = replace(KEY, mail_id=f"mail-{number}")
        if before != "new":
            claim = take(ledger, key)
            if before == "given back":
                ledger.give_back(claim)
            elif before == "failed":
                ledger.failed(claim, "refused", message_id="m1")
            else:
                clock.sleep(TTL)
        answers = race([partial(ask, one, key, message=f"m{index}") for index, one in enumerate(ledgers, 2)])
        assert kinds(answers) == {"Busy": 7, "Claim": 1}
    other.close()


def test_a_race_of_endings_has_one_end(database: Database) -> None:
    """Sending, discarding, failing and charging at once ends in a consistent row and in no foreign error."""
    ledger = SqlLedger(database)
    for number in range(20):
        key = replace(KEY, mail_id=f"mail-{number}")
        claim = take(ledger, key)
        answers = race(
            [
                partial(ledger.begin_send, claim, ttl=TTL),
                partial(ledger.sent, claim, Sent("ses")),
                partial(ledger.discarded, key, "spam", message_id="m2", mask_id=None),
                partial(ledger.charge, "m1", bug=False),
                partial(ask, ledger, key),
            ]
        )
        assert [answer for answer in answers if isinstance(answer, Exception)] in ([], [answers[0]])
        assert ask(ledger, key) == Settled("sent", "sent")
    assert ledger.charge("m1", bug=False).failures == 21


def test_sending_is_visible_to_others_before_the_call(database: Database) -> None:
    """When begin_send returns, another process sees `sending`: it is durable before anything is sent."""
    ledger = SqlLedger(database)
    ledger.begin_send(take(ledger), ttl=TTL)
    other = sa.create_engine(database.engine.url)
    with other.connect() as connection:
        assert connection.execute(sa.select(deliveries.c.state)).scalar_one() == "sending"
    other.dispose()


def test_resends_are_counted(database: Database, clock: VirtualClock) -> None:
    """Each send after one in doubt counts as one resend in its row, for who must explain a duplicate."""
    ledger = SqlLedger(database)
    doubt(ledger, clock)
    claim = take(ledger)
    ledger.begin_send(claim, ttl=TTL)
    ledger.begin_send(claim, ttl=TTL)
    ledger.sent(claim, Sent("ses-1"))
    with database.reading() as connection:
        row = connection.execute(sa.select(deliveries)).one()
    assert (row.resends, row.doubts, row.attempt, row.generation) == (1, 1, 2, 1)
