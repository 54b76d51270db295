"""What every ledger promises of replays: each opens a settled delivery once, and `again` alone opens what was sent."""

from dataclasses import replace
from functools import partial

import pytest
import sqlalchemy as sa

from relayd.adapters.database import Database
from relayd.adapters.ledger import SqlLedger
from relayd.adapters.schema import deliveries
from relayd.errors import ClaimLostError
from relayd.model.delivery import IN_DOUBT, SENT, Claim, Held, Lost, Replay, Settled
from relayd.model.feedback import Confirm, Fail, Feedback
from tests.contract.databases import beside
from tests.contract.deliveries import CONCERN, DRAFT, KEY, TTL, ask, doubt, send, take
from tests.contract.races import kinds, race
from tests.contract.stores import Stores
from tests.fakes.clock import VirtualClock
from tests.fakes.usage import Counts

FIRST, SECOND = Replay("replay-1"), Replay("replay-2")
AGAIN, ONCE_MORE = Replay("again-1", again=True), Replay("again-2", again=True)
SENT_BEFORE = Settled("sent", "sent")


def discard(stores: Stores, reason: str = "bounce_pause", *, message: str = "m1", by: Replay | None = None) -> None:
    """Held back for one mailbox."""
    stores.ledger.discarded(KEY, reason, message_id=message, concern=CONCERN, held=Held(reason), replay=by)


def told(stores: Stores) -> list[tuple[int, str, str | None, str | None]]:
    return [(one.attempt, one.reason, one.replay_id, one.ses_id) for one in stores.attempts()]


# What a replay opens.


def test_a_replay_of_a_mail_that_is_new_is_as_any_mail(stores: Stores) -> None:
    """A restored database, or one that has forgotten: it is sent, and its redelivery is not."""
    assert send(stores.ledger, message="r1", replay=FIRST).attempt == 1
    assert ask(stores.ledger, message="r1", replay=FIRST) == SENT_BEFORE


@pytest.mark.parametrize("replay", [FIRST, AGAIN], ids=["plain", "again"])
def test_a_replay_opens_what_failed(stores: Stores, replay: Replay) -> None:
    """Even where it comes as the message that failed: an archive may be worked off in place."""
    stores.ledger.failed(take(stores.ledger), "refused", message_id="m1")
    assert ask(stores.ledger) == Settled("failed", "refused")
    assert take(stores.ledger, message="m1", replay=replay).attempt == 2


@pytest.mark.parametrize("replay", [FIRST, AGAIN], ids=["plain", "again"])
def test_a_replay_opens_what_was_discarded(stores: Stores, replay: Replay) -> None:
    """Nothing else does."""
    discard(stores)
    assert ask(stores.ledger, message="redriven") == Settled("discarded", "bounce_pause")
    assert take(stores.ledger, message="r1", replay=replay).attempt == 1
    assert told(stores) == [(0, "bounce_pause", None, None)]


def test_a_replay_does_not_send_what_was_sent(stores: Stores, clock: VirtualClock) -> None:
    """Unless it says so, and then the send of before is on record; else it leaves no trace."""
    send(stores.ledger)
    at = clock.time()
    clock.sleep(5)
    assert ask(stores.ledger, message="r1", replay=FIRST) == SENT_BEFORE
    assert stores.attempts() == []
    claim = take(stores.ledger, message="r2", replay=AGAIN)
    assert (claim.attempt, claim.resend) == (2, False)
    assert told(stores) == [(1, SENT, None, "ses-1")]
    assert stores.attempts()[0].ended_at == pytest.approx(at, abs=1e-3)


def test_a_replay_waits_for_who_is_at_work(stores: Stores, clock: VirtualClock) -> None:
    """A live claim, and a send that SES may still have a word on, are nobody else's."""
    claim = take(stores.ledger)
    assert ask(stores.ledger, message="r1", replay=AGAIN) != SENT_BEFORE
    stores.ledger.begin_send(claim, DRAFT, ttl=TTL)
    clock.sleep(TTL + 1)
    assert not isinstance(ask(stores.ledger, message="r1", replay=AGAIN, doubt_seconds=300), Claim)
    assert take(stores.ledger, message="r1", replay=AGAIN).resend


def test_a_new_generation_starts_without_deaths_and_doubts(stores: Stores, clock: VirtualClock) -> None:
    """Whatever the delivery had cost before it was settled."""
    doubt(stores.ledger, clock)
    take(stores.ledger)
    clock.sleep(TTL)
    send(stores.ledger)
    for _ in range(3):
        assert not take(stores.ledger, message="r1", replay=AGAIN).resend
        clock.sleep(TTL)
    assert isinstance(ask(stores.ledger, message="r1", replay=AGAIN), Lost)


def test_a_replay_of_a_doubt_is_a_marked_resend(stores: Stores, clock: VirtualClock) -> None:
    """It may arrive twice, as with a redrive."""
    doubt(stores.ledger, clock)
    doubt(stores.ledger, clock)
    lost = ask(stores.ledger)
    assert isinstance(lost, Lost)
    stores.ledger.failed(lost.claim, IN_DOUBT, message_id="m1")
    assert take(stores.ledger, message="m1", replay=FIRST).resend


# Once only.


def test_a_redelivery_of_a_replay_sends_nothing(stores: Stores) -> None:
    """Whatever its message is called: SQS may deliver twice, and whoever sent it may have sent it twice."""
    send(stores.ledger)
    send(stores.ledger, message="r1", replay=AGAIN, ses_id="ses-2")
    for message in ("r1", "twin"):
        assert ask(stores.ledger, message=message, replay=AGAIN) == SENT_BEFORE


def test_twins_of_the_original_stay_blocked(stores: Stores) -> None:
    """SNS may deliver its notification once more at any time."""
    send(stores.ledger)
    send(stores.ledger, message="r1", replay=AGAIN, ses_id="ses-2")
    assert ask(stores.ledger, message="twin") == SENT_BEFORE
    discard(stores, message="twin")
    assert ask(stores.ledger) == SENT_BEFORE


def test_an_older_replay_stays_blocked_by_a_newer_one(stores: Stores) -> None:
    """A message whose delete failed comes back after the operator has replayed the mail once more."""
    send(stores.ledger)
    send(stores.ledger, message="r1", replay=AGAIN, ses_id="ses-2")
    send(stores.ledger, message="r2", replay=ONCE_MORE, ses_id="ses-3")
    for message, by in (("r1", AGAIN), ("r2", ONCE_MORE)):
        assert ask(stores.ledger, message=message, replay=by) == SENT_BEFORE
    assert told(stores) == [(1, SENT, None, "ses-1"), (2, SENT, "again-1", "ses-2")]


def test_a_replay_that_was_given_back_goes_on(stores: Stores) -> None:
    """What was opened stays open, for its redelivery, and for a twin of the original that comes in between."""
    send(stores.ledger)
    stores.ledger.give_back(take(stores.ledger, message="r1", replay=AGAIN), "s3_timeout")
    send(stores.ledger, message="twin", ses_id="ses-2")
    assert ask(stores.ledger, message="r1", replay=AGAIN) == SENT_BEFORE
    assert told(stores) == [(1, SENT, None, "ses-1"), (2, "s3_timeout", "again-1", None)]


def test_a_replay_that_failed_again_is_done(stores: Stores) -> None:
    """For its own message; a redrive of its dead letter has another, and may try as ever."""
    stores.ledger.failed(take(stores.ledger), "refused", message_id="m1")
    stores.ledger.failed(take(stores.ledger, message="r1", replay=FIRST), "refused", message_id="r1")
    assert ask(stores.ledger, message="r1", replay=FIRST) == Settled("failed", "refused")
    assert take(stores.ledger, message="redriven", replay=FIRST).attempt == 3


def test_a_replay_that_was_refused_again_is_done(stores: Stores) -> None:
    """By policy that saw the mail: this replay is answered, and another one asks anew."""
    stores.ledger.refused(take(stores.ledger), "loop")
    stores.ledger.refused(take(stores.ledger, message="r1", replay=FIRST), "loop")
    assert ask(stores.ledger, message="r1", replay=FIRST) == Settled("discarded", "loop")
    assert take(stores.ledger, message="r2", replay=SECOND).attempt == 3
    assert stores.counted("mask1") == Counts("owner1", discards=2)


# Discards.


def test_a_replayed_mail_may_be_discarded_again(stores: Stores) -> None:
    """For the reason of now, listed anew; its redelivery changes nothing more."""
    discard(stores)
    discard(stores, "over_limit", message="twin")
    assert ask(stores.ledger) == Settled("discarded", "bounce_pause")
    for reason in ("mailbox_unverified", "over_limit"):
        discard(stores, reason, message="r1", by=FIRST)
    discard(stores, "over_limit", message="twin")
    assert ask(stores.ledger) == Settled("discarded", "mailbox_unverified")
    assert [(one.reason, one.held.notification) for one in stores.quarantine()] == [("mailbox_unverified",) * 2]
    assert stores.counted("mask1") == Counts("owner1", discards=2)
    # That replay is answered; the next one is not.
    assert ask(stores.ledger, message="r1", replay=FIRST) == Settled("discarded", "mailbox_unverified")
    assert isinstance(ask(stores.ledger, message="r2", replay=SECOND), Claim)


def test_a_discard_never_unsends_for_a_replay_either(stores: Stores) -> None:
    """The mask was disabled since: the mail is out all the same."""
    send(stores.ledger)
    discard(stores, message="r1", by=AGAIN)
    assert ask(stores.ledger) == SENT_BEFORE
    assert stores.quarantine() == []


# The second send.


def test_the_second_send_is_counted(stores: Stores) -> None:
    """It went through the mask, and through the owner's day. Recorded twice, it still counts once."""
    send(stores.ledger)
    claim = send(stores.ledger, message="r1", replay=AGAIN, ses_id="ses-2")
    stores.ledger.sent(claim, "ses-2")
    assert stores.counted("mask1") == Counts("owner1", mails=2, bytes=2 * DRAFT.size)


@pytest.mark.parametrize("tagged", [True, False], ids=["tag", "no tag"])
def test_news_of_the_first_send_is_none_of_the_second(stores: Stores, tagged: bool) -> None:
    """SES confirms the first one late, while the second is under way: that is sent all the same, and once."""
    first = send(stores.ledger)
    claim = take(stores.ledger, message="r1", replay=AGAIN)
    event = Feedback("delivery", "event-1", "ses-1", first.delivery_id if tagged else None, 1 if tagged else None)
    assert stores.feedbacks.apply(event, [Confirm(first.delivery_id, "ses-1")])
    stores.ledger.begin_send(claim, DRAFT, ttl=TTL)
    assert stores.feedbacks.apply(event, [Confirm(first.delivery_id, "ses-1")])
    stores.ledger.begin_send(claim, DRAFT, ttl=TTL)
    stores.ledger.sent(claim, "ses-2")
    assert stores.counted("mask1") == Counts("owner1", mails=2, bytes=2 * DRAFT.size)


def test_a_second_send_in_doubt_is_settled_by_its_own_event_alone(stores: Stores, clock: VirtualClock) -> None:
    """The first one's word would lose it, and without its own it would be doubled."""
    first = send(stores.ledger)
    claim = take(stores.ledger, message="r1", replay=AGAIN)
    stores.ledger.begin_send(claim, DRAFT, ttl=TTL)
    clock.sleep(TTL)
    for attempt, ses_id, counted in ((1, "ses-1", 1), (2, "ses-2", 2)):
        event = Feedback("send", f"event-{attempt}", ses_id, first.delivery_id, attempt)
        assert stores.feedbacks.apply(event, [Confirm(first.delivery_id, ses_id)])
        assert stores.counted("mask1") == Counts("owner1", mails=counted, bytes=counted * DRAFT.size)
    assert ask(stores.ledger, message="r1", replay=AGAIN) == SENT_BEFORE


def test_a_second_send_is_confirmed_however_late(stores: Stores, clock: VirtualClock) -> None:
    """When the replay is being tried once more already; the word of before it stays without effect."""
    first = send(stores.ledger)
    claim = take(stores.ledger, message="r1", replay=AGAIN)
    stores.ledger.begin_send(claim, DRAFT, ttl=TTL)
    clock.sleep(TTL)
    resend = take(stores.ledger, message="r1", replay=AGAIN)
    for attempt, ses_id in ((1, "ses-1"), (2, "ses-2")):
        assert ask(stores.ledger, message="r1", replay=AGAIN) != SENT_BEFORE
        event = Feedback("send", f"event-{attempt}", ses_id, first.delivery_id, attempt)
        assert stores.feedbacks.apply(event, [Confirm(first.delivery_id, ses_id)])
    with pytest.raises(ClaimLostError):
        stores.ledger.begin_send(resend, DRAFT, ttl=TTL)
    assert ask(stores.ledger, message="r1", replay=AGAIN) == SENT_BEFORE


def test_a_doubt_of_before_is_settled_as_ever(stores: Stores, clock: VirtualClock) -> None:
    """A replay of what failed in doubt: the late word of the first send says that the mail is out."""
    first = doubt(stores.ledger, clock)
    stores.ledger.failed(take(stores.ledger), IN_DOUBT, message_id="m1")
    claim = take(stores.ledger, message="r1", replay=FIRST)
    event = Feedback("send", "event-1", "ses-1", first.delivery_id, 1)
    assert stores.feedbacks.apply(event, [Confirm(first.delivery_id, "ses-1")])
    with pytest.raises(ClaimLostError):
        stores.ledger.begin_send(claim, DRAFT, ttl=TTL)
    assert ask(stores.ledger, message="r1", replay=FIRST) == SENT_BEFORE


def test_a_late_record_of_the_first_send_is_none_of_the_second(stores: Stores) -> None:
    """The daemon did not hear that its record was made, and makes it once more when the database is back."""
    first = send(stores.ledger)
    claim = take(stores.ledger, message="r1", replay=AGAIN)
    stores.ledger.sent(first, "ses-1")
    stores.ledger.begin_send(claim, DRAFT, ttl=TTL)
    stores.ledger.sent(first, "ses-1")
    stores.ledger.sent(claim, "ses-2")
    assert stores.counted("mask1") == Counts("owner1", mails=2, bytes=2 * DRAFT.size)


def test_what_ses_took_back_is_taken_back_once(stores: Stores) -> None:
    """SES finds the virus of the first send when the second one is out already."""
    first = send(stores.ledger)
    event = Feedback("reject", "event-1", "ses-1", first.delivery_id, 1)
    assert stores.feedbacks.apply(event, [Fail(first.delivery_id, "ses_rejected_virus")])
    send(stores.ledger, message="r1", replay=FIRST, ses_id="ses-2")
    assert told(stores) == [(1, "ses_rejected_virus", None, "ses-1")]
    late = replace(event, feedback_id="event-2")
    assert stores.feedbacks.apply(late, [Fail(first.delivery_id, "ses_rejected_virus")])
    assert ask(stores.ledger, message="m2") == SENT_BEFORE
    own = Feedback("reject", "event-3", "ses-2", first.delivery_id, 2)
    assert stores.feedbacks.apply(own, [Fail(first.delivery_id, "ses_rejected_virus")])
    assert ask(stores.ledger, message="r1", replay=FIRST) == Settled("failed", "ses_rejected_virus")


@pytest.mark.parametrize("before", ["sent", "discarded", "failed"])
def test_a_race_of_one_replay_has_one_winner(database: Database, clock: VirtualClock, before: str) -> None:
    """Eight threads of two processes with the same replay: one may send, and when it has, nobody may."""
    ledger = SqlLedger(database)
    other = beside(database, clock)
    ledgers = [ledger, SqlLedger(other)] * 4
    for number in range(8):
        key = replace(KEY, mail_id=f"mail-{number}")
        if before == "sent":
            send(ledger, key)
        elif before == "failed":
            ledger.failed(take(ledger, key), "refused", message_id="m1")
        else:
            ledger.discarded(key, "spam", message_id="m1", concern=CONCERN)
        ask_it = [partial(ask, one, key, message=f"r{index}", replay=AGAIN) for index, one in enumerate(ledgers)]
        answers = race(ask_it)
        assert kinds(answers) == {"Busy": 7, "Claim": 1}
        (claim,) = (answer for answer in answers if isinstance(answer, Claim))
        ledger.begin_send(claim, DRAFT, ttl=TTL)
        ledger.sent(claim, "ses-2")
        assert kinds(race(ask_it)) == {"Settled": 8}
    other.close()


def test_each_opening_is_a_generation(database: Database) -> None:
    """For who must explain why a mail arrived twice: that was asked for, and is no resend."""
    ledger = SqlLedger(database)
    ledger.discarded(KEY, "spam", message_id="m1", concern=CONCERN)
    ledger.discarded(KEY, "spam", message_id="r0", concern=CONCERN, replay=SECOND)
    ledger.failed(take(ledger, message="r1", replay=FIRST), "refused", message_id="r1")
    send(ledger, message="m2")
    send(ledger, message="r2", replay=AGAIN, ses_id="ses-2")
    with database.reading() as connection:
        row = connection.execute(sa.select(deliveries)).one()
    assert (row.generation, row.attempt, row.resends, row.replay_id) == (5, 3, 0, AGAIN.replay_id)
