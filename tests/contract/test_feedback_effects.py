"""What the feedbacks' port promises of effects: each of them, all or nothing, and once what must not happen twice."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from relayd.adapters.database import Database
from relayd.model.address import Address
from relayd.model.delivery import Busy, Claim, Lost, Settled
from relayd.model.feedback import (
    Alert,
    Confirm,
    DisableMask,
    Effect,
    EndPause,
    Fail,
    Feedback,
    FlagOwner,
    NoteComplaint,
    PauseMailbox,
    QuarantineSpam,
    Tell,
)
from relayd.model.mask import Mask, Pause
from relayd.model.notice import OwnerNotice
from relayd.ops.owner_views import show_owner
from tests.contract.deliveries import CONCERN, DRAFT, KEY, TTL, ask, doubt, send, take
from tests.contract.races import race
from tests.contract.stores import SqlStores, Stores
from tests.fakes.clock import VirtualClock
from tests.fakes.usage import Counts

SENT = Settled("sent", "sent")
EVENT = Feedback("send", "event-1", "ses-1")


def now(stores: Stores) -> Mask:
    found = stores.directory.lookup(Address.parse("shop@mask.example"))
    assert isinstance(found, Mask)
    return found


def confirm(stores: Stores, claim: Claim, ses_id: str = "ses-1") -> bool:
    return stores.feedbacks.apply(EVENT, [Confirm(claim.delivery_id, ses_id)])


def given_up(stores: Stores, clock: VirtualClock) -> Claim:
    """A delivery that two sends left in doubt, and which failed for it."""
    doubt(stores.ledger, clock)
    claim = doubt(stores.ledger, clock)
    lost = ask(stores.ledger)
    assert isinstance(lost, Lost)
    stores.ledger.failed(lost.claim, "in_doubt", message_id="m1")
    return claim


def claimed_again(stores: Stores, clock: VirtualClock) -> Claim:
    """The next attempt after a doubt has begun, and has not sent yet."""
    return doubt(stores.ledger, clock) and take(stores.ledger)


def sending(stores: Stores, _: VirtualClock) -> Claim:
    claim = take(stores.ledger)
    stores.ledger.begin_send(claim, DRAFT, ttl=TTL)
    return claim


def in_doubt(stores: Stores, clock: VirtualClock) -> Claim:
    return doubt(stores.ledger, clock)


@pytest.mark.parametrize("row", [claimed_again, sending, in_doubt, given_up])
def test_a_confirmed_delivery_is_sent(
    stores: Stores, clock: VirtualClock, row: Callable[[Stores, VirtualClock], Claim]
) -> None:
    """Whatever nobody knew of it: no other message sends it again, and it is counted once."""
    claim = row(stores, clock)
    for _ in range(2):
        assert confirm(stores, claim)
    assert ask(stores.ledger) == ask(stores.ledger, message="redriven") == SENT
    stores.ledger.sent(claim, "ses-1")
    assert stores.counted("mask1") == Counts("owner1", mails=1, bytes=1000)
    assert stores.feedbacks.match(EVENT).sent is not None, "it is known by SES's id from now on"


def test_a_confirmation_leaves_a_known_send_alone(stores: Stores) -> None:
    """The id that was recorded stays, so that threads do."""
    claim = send(stores.ledger, draft=replace(DRAFT, original_message_id="one@sender.example"))
    assert confirm(stores, claim, "ses-of-the-first-try")
    assert [link.ses_id for link in stores.ledger.threads("mask1", ["one@sender.example"])] == ["ses-1"]
    assert stores.counted("mask1") == Counts("owner1", mails=1, bytes=1000)


def test_a_confirmation_changes_no_discard(stores: Stores, clock: VirtualClock) -> None:
    """Policy was against the mail in the end, though an attempt before had sent it."""
    claim = doubt(stores.ledger, clock)
    stores.ledger.refused(take(stores.ledger), "loop")
    assert confirm(stores, claim)
    assert ask(stores.ledger) == Settled("discarded", "loop")


@pytest.mark.parametrize("reason", ["ses_rejected", "ses_rejected_virus", "killed"])
def test_a_confirmation_changes_no_known_failure(stores: Stores, reason: str) -> None:
    """Only a failure for not knowing is settled by knowing."""
    claim = take(stores.ledger)
    stores.ledger.failed(claim, reason, message_id="m1")
    assert confirm(stores, claim)
    assert ask(stores.ledger) == Settled("failed", reason)


def test_a_rejection_stays_one(stores: Stores) -> None:
    """SES took the mail, found a virus in it and said so; its Send event comes late."""
    claim = send(stores.ledger)
    reject = replace(EVENT, kind="reject", feedback_id="event-2")
    assert stores.feedbacks.apply(reject, [Fail(claim.delivery_id, "ses_rejected_virus")])
    assert ask(stores.ledger) == Settled("failed", "ses_rejected_virus")
    assert confirm(stores, claim)
    assert ask(stores.ledger) == Settled("failed", "ses_rejected_virus")


def test_an_unknown_delivery_is_no_error(stores: Stores) -> None:
    """It was pruned between the match and its effects."""
    assert stores.feedbacks.apply(EVENT, [Confirm("unknown", "ses-1")])
    assert stores.feedbacks.apply(EVENT, [Fail("unknown", "ses_rejected_virus")])


def test_a_pause_begins_and_ends(stores: Stores, clock: VirtualClock) -> None:
    """Another one replaces it; a delivery ends it, and its count."""
    box = stores.directory.add("shop@mask.example", "me@example.org", "other@example.org").mailboxes[0].mailbox_id
    until = clock.time() + 1000
    stores.feedbacks.apply(replace(EVENT, feedback_id="1"), [PauseMailbox(box, "soft", until, 0)])
    assert [one.pause for one in now(stores).mailboxes] == [Pause("soft", until), None]
    stores.feedbacks.apply(replace(EVENT, feedback_id="2"), [PauseMailbox(box, "hard", until + 1, 2)])
    assert [one.pause for one in now(stores).mailboxes] == [Pause("hard", until + 1), None]
    for _ in range(2):
        assert stores.feedbacks.apply(EVENT, [EndPause(box)])
        assert [one.pause for one in now(stores).mailboxes] == [None, None]


def test_each_effect_reaches_whom_it_is_for(stores: Stores) -> None:
    """A complaint's, all at once; and nobody else."""
    mask = stores.directory.add("shop@mask.example", spam_handling="forward")
    other = stores.directory.add("other@mask.example", "other@example.org", spam_handling="forward")
    owner_id = mask.owner.owner_id
    notice = OwnerNotice(owner_id, "mask_disabled", {"mask": "shop@mask.example"})
    effects: list[Effect] = [
        QuarantineSpam(owner_id),
        NoteComplaint(owner_id, 12.0),
        DisableMask(mask.mask_id),
        FlagOwner(owner_id, "complaint"),
        Tell(notice),
        Alert("suppressed", owner_id),
    ]
    assert stores.feedbacks.apply(EVENT, effects)
    found = now(stores)
    assert (found.enabled, found.owner.spam_handling, found.owner.flagged) == (False, "quarantine", True)
    assert [pending.notice for pending in stores.notices.waiting(10)] == [notice]
    assert stores.directory.lookup(other.address) == other


def test_a_notice_of_an_event_is_one_a_day(stores: Stores) -> None:
    """As any other; the event's other effects happen all the same."""
    mask = stores.directory.add("shop@mask.example")
    notice = OwnerNotice(mask.owner.owner_id, "mask_disabled")
    stores.notices.tell(notice)
    assert stores.feedbacks.apply(EVENT, [Tell(notice), DisableMask(mask.mask_id)])
    assert not now(stores).enabled
    assert len(stores.notices.waiting(10)) == 1


def test_what_must_not_happen_twice_happens_once(stores: Stores, clock: VirtualClock) -> None:
    """SNS delivers an event twice, and between the two an operator made good what it had led to."""
    mask = stores.directory.add("shop@mask.example")
    effects: list[Effect] = [
        PauseMailbox(mask.mailboxes[0].mailbox_id, "hard", clock.time() + 100, 1),
        DisableMask(mask.mask_id),
    ]
    assert stores.feedbacks.apply(EVENT, effects)
    stores.directory.set_mask("shop@mask.example", enabled=True)
    stores.feedbacks.apply(replace(EVENT, feedback_id="other"), [EndPause(mask.mailboxes[0].mailbox_id)])
    assert not stores.feedbacks.apply(EVENT, effects)
    assert (now(stores).enabled, now(stores).mailboxes[0].pause) == (True, None)
    assert stores.feedbacks.apply(replace(EVENT, feedback_id="event-2"), effects)
    assert not now(stores).enabled


def test_what_may_happen_again_is_not_remembered(stores: Stores) -> None:
    """A Delivery event repeats itself without harm; nothing at all has nothing to repeat."""
    claim = take(stores.ledger)
    box = stores.directory.add("shop@mask.example").mailboxes[0].mailbox_id
    for _ in range(3):
        assert stores.feedbacks.apply(EVENT, [Confirm(claim.delivery_id, "ses-1"), EndPause(box)])
        assert stores.feedbacks.apply(EVENT, [])
    assert stores.feedbacks.apply(EVENT, [DisableMask("unknown")]), "nothing was remembered"


def test_effects_happen_all_or_not_at_all(database: Database, clock: VirtualClock) -> None:
    """One that the database refuses takes the others with it, the memory of the event included."""
    stores = SqlStores(database)
    mask = stores.directory.add("shop@mask.example")
    claim = doubt(stores.ledger, clock)
    refused: Any = PauseMailbox(mask.mailboxes[0].mailbox_id, "hard", clock.time(), None)  # type: ignore[arg-type]
    good: list[Effect] = [Confirm(claim.delivery_id, "ses-1"), DisableMask(mask.mask_id)]
    with pytest.raises(Exception):  # noqa: B017 - which one is the database's business
        stores.feedbacks.apply(EVENT, [*good, refused])
    assert now(stores).enabled
    assert isinstance(ask(stores.ledger, doubt_seconds=60), Busy)
    assert stores.counted("mask1") is None
    assert stores.feedbacks.apply(EVENT, good)
    assert not now(stores).enabled


def test_a_race_of_one_event_has_its_effects_once(database: Database, clock: VirtualClock) -> None:
    """Eight workers get the same event at once: one applies it."""
    stores = SqlStores(database)
    mask = stores.directory.add("shop@mask.example")
    for number in range(10):
        event = replace(EVENT, feedback_id=f"event-{number}")
        answers = race([partial(stores.feedbacks.apply, event, [DisableMask(mask.mask_id)])] * 8)
        assert sorted(answers) == [False] * 7 + [True]


def test_a_race_of_confirmations_counts_one_mail(database: Database) -> None:
    """The worker's own record among them."""
    stores = SqlStores(database)
    for number in range(1, 11):
        key = replace(KEY, mail_id=f"mail-{number}")
        claim = take(stores.ledger, key, CONCERN)
        stores.ledger.begin_send(claim, DRAFT, ttl=TTL)
        event = [Confirm(claim.delivery_id, "ses-1")]
        calls = [partial(stores.feedbacks.apply, EVENT, event)] * 4 + [partial(stores.ledger.sent, claim, "ses-1")] * 4
        assert not [answer for answer in race(calls) if isinstance(answer, Exception)]
        assert stores.counted("mask1") == Counts("owner1", mails=number, bytes=1000 * number)


def test_a_flag_says_why(database: Database) -> None:
    """For the person who has to look into it."""
    stores = SqlStores(database)
    owner_id = stores.directory.add("shop@mask.example").owner.owner_id
    stores.feedbacks.apply(EVENT, [FlagOwner(owner_id, "complaint")])
    view, _, _ = show_owner(database, owner_id)
    assert (view.flagged, view.flag_reason) == (True, "complaint")
