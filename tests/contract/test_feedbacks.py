"""What the feedbacks' port promises of finding out what an event is about: the fake, SQLite and PostgreSQL alike."""

from dataclasses import replace

import pytest

from relayd.model.address import Address
from relayd.model.delivery import Claim, Concern, DeliveryKey, DeliveryKind
from relayd.model.feedback import Affected, EndPause, Feedback, MailboxStanding, Match, NoteComplaint, PauseMailbox
from relayd.model.mask import Mask
from tests.contract.deliveries import KEY, send, take
from tests.contract.stores import Stores
from tests.fakes.clock import VirtualClock

EVENT = Feedback("bounce", "event-1", "ses-1")
STRANGER = Address.parse("seller@shop.example")


def affected(*addresses: str) -> tuple[Affected, ...]:
    return tuple(Affected(Address.parse(text)) for text in addresses)


def forwarded(stores: Stores, mask: Mask, key: DeliveryKey = KEY, kind: DeliveryKind = "forward") -> Claim:
    return send(stores.ledger, key, Concern(kind, mask.mask_id, mask.owner.owner_id))


def standing(mask: Mask, number: int = 0, bounces: int = 0, paused: bool = False) -> MailboxStanding:
    box = mask.mailboxes[number]
    return MailboxStanding(box.mailbox_id, mask.owner.owner_id, box.address.full, bounces, paused)


def test_a_delivery_is_found_by_its_tag(stores: Stores) -> None:
    """Even where SES's id is not known yet, or is another one: of a resend, the first send's events come too."""
    mask = stores.directory.add("shop@mask.example")
    claim = forwarded(stores, mask)
    other = take(stores.ledger, replace(KEY, mail_id="mail-2"), Concern("forward", mask.mask_id, mask.owner.owner_id))
    for found, ses_id in ((claim, "ses-1"), (claim, "ses-of-the-first-try"), (other, "ses-1")):
        sent = stores.feedbacks.match(replace(EVENT, delivery_id=found.delivery_id, ses_id=ses_id)).sent
        assert sent is not None
        assert sent.delivery_id == found.delivery_id


@pytest.mark.parametrize("delivery_id", [None, "pruned"])
def test_a_delivery_is_found_by_ses_s_id(stores: Stores, delivery_id: str | None) -> None:
    """An identity's notifications have no tags."""
    mask = stores.directory.add("shop@mask.example")
    claim = forwarded(stores, mask)
    sent = stores.feedbacks.match(replace(EVENT, delivery_id=delivery_id)).sent
    assert sent is not None
    assert (sent.delivery_id, sent.kind) == (claim.delivery_id, "forward")
    assert (sent.owner_id, sent.mask_id) == (mask.owner.owner_id, mask.mask_id)
    assert (sent.mask, sent.recipient) == ("shop@mask.example", "me@example.org")


def test_mail_that_nobody_knows_is_no_match(stores: Stores) -> None:
    """Pruned, or not ours: no delivery, and only mailboxes that it names."""
    mask = stores.directory.add("shop@mask.example")
    forwarded(stores, mask)
    unknown = replace(EVENT, ses_id="ses-unknown", delivery_id="unknown")
    assert stores.feedbacks.match(unknown) == Match()
    named = replace(unknown, affected=affected("stranger@else.example", "Me@Example.org"))
    assert stores.feedbacks.match(named) == Match(None, (standing(mask),))


def test_a_mailbox_with_a_tag_is_found_with_it_or_without(stores: Stores) -> None:
    """Some systems bounce to the plain address."""
    mask = stores.directory.add("shop@mask.example", "me+masks@example.org", "me@example.org")
    [second] = stores.feedbacks.match(replace(EVENT, affected=affected("me@example.org"))).mailboxes
    assert second == standing(mask, 1)
    both = stores.feedbacks.match(replace(EVENT, affected=affected("me+masks@example.org"))).mailboxes
    assert set(both) == {standing(mask, 0), standing(mask, 1)}


def test_a_forward_s_own_mailbox_is_meant_whatever_is_named(stores: Stores) -> None:
    """It may forward on, and then the event names the last stop."""
    mask = stores.directory.add("shop@mask.example", "me@example.org", "other@example.org")
    forwarded(stores, mask)
    for named in ((), affected("me@elsewhere.example"), affected("me@example.org"), (Affected(None),)):
        assert stores.feedbacks.match(replace(EVENT, affected=named)).mailboxes == (standing(mask),)


def test_a_reply_s_recipient_is_a_stranger(stores: Stores) -> None:
    """The contact, who is no mailbox of ours."""
    mask = stores.directory.add("shop@mask.example")
    key = DeliveryKey("mail-2", "token@mask.example", STRANGER.full)
    forwarded(stores, mask, key, "reply")
    match = stores.feedbacks.match(replace(EVENT, affected=affected(STRANGER.full)))
    assert match.mailboxes == ()
    assert match.sent is not None
    assert (match.sent.kind, match.sent.recipient, match.sent.mask) == ("reply", STRANGER.full, "shop@mask.example")


def test_a_contact_may_be_another_owner(stores: Stores) -> None:
    """Whose mailbox is meant only if the event names it."""
    mask = stores.directory.add("shop@mask.example")
    other = stores.directory.add("other@mask.example", "other@example.org")
    forwarded(stores, mask, DeliveryKey("mail-2", "token@mask.example", "other@example.org"), "reply")
    assert stores.feedbacks.match(EVENT).mailboxes == ()
    assert stores.feedbacks.match(replace(EVENT, affected=affected("other@example.org"))).mailboxes == (
        standing(other),
    )


def test_a_notice_has_no_mask(stores: Stores) -> None:
    """But an owner, and a mailbox that may be gone."""
    mask = stores.directory.add("shop@mask.example")
    send(stores.ledger, replace(KEY, recipient=""), Concern("notice", None, mask.owner.owner_id))
    match = stores.feedbacks.match(EVENT)
    assert match.sent is not None
    assert (match.sent.kind, match.sent.mask_id, match.sent.mask) == ("notice", None, "")
    assert match.sent.owner_id == mask.owner.owner_id
    assert match.mailboxes == (standing(mask),)


def test_a_removed_mask_is_still_named(stores: Stores) -> None:
    """Its last mails bounce after it went; a mask that is not there at all has no name."""
    mask = stores.directory.add("shop@mask.example")
    forwarded(stores, mask)
    send(stores.ledger, replace(KEY, mail_id="mail-2"), Concern("forward", "erased", "erased"), ses_id="ses-2")
    stores.directory.remove("shop@mask.example")
    found = [stores.feedbacks.match(replace(EVENT, ses_id=ses_id)).sent for ses_id in ("ses-1", "ses-2")]
    assert [sent and sent.mask for sent in found] == ["shop@mask.example", ""]


def test_how_a_mailbox_stands_is_told(stores: Stores, clock: VirtualClock) -> None:
    """How often it bounced, and whether a pause is in force this moment."""
    mask = stores.directory.add("shop@mask.example")
    named = replace(EVENT, affected=affected("me@example.org"))
    box = mask.mailboxes[0].mailbox_id
    stores.feedbacks.apply(EVENT, [PauseMailbox(box, "hard", clock.time() + 100, 3)])
    assert stores.feedbacks.match(named).mailboxes == (standing(mask, 0, 3, paused=True),)
    clock.sleep(100)
    assert stores.feedbacks.match(named).mailboxes == (standing(mask, 0, 3, paused=False),)
    stores.feedbacks.apply(EVENT, [EndPause(box)])
    assert stores.feedbacks.match(named).mailboxes == (standing(mask),)


def test_the_owner_s_last_complaint_is_told(stores: Stores) -> None:
    """With the delivery, whose owner it is."""
    mask = stores.directory.add("shop@mask.example")
    forwarded(stores, mask)
    assert stores.feedbacks.match(EVENT).owner_complained_at is None
    stores.feedbacks.apply(EVENT, [NoteComplaint(mask.owner.owner_id, 1234.5)])
    assert stores.feedbacks.match(EVENT).owner_complained_at == 1234.5


@pytest.mark.parametrize("odd", ["nul\0byte", "lone\udc80surrogate", "%", "x" * 5000])
def test_odd_events_are_no_errors(stores: Stores, odd: str) -> None:
    """Whatever an event says, it is looked up, and remembered."""
    mask = stores.directory.add("shop@mask.example")
    event = Feedback("bounce", odd, odd, odd, 1, (Affected(Address(odd, "x.example")), Affected(None)))
    assert stores.feedbacks.match(event) == Match()
    effects = [NoteComplaint(mask.owner.owner_id, 1.0)]
    assert [stores.feedbacks.apply(event, effects) for _ in range(2)] == [True, False]
