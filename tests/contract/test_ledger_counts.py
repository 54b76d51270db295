"""What every ledger promises of usage: each mail is counted once, for its mask and its owner's day."""

from dataclasses import replace

import pytest

from relayd.model.delivery import Concern, Draft, Lost
from relayd.model.feedback import Confirm, Feedback
from relayd.model.mask import Mask, Usage
from tests.contract.deliveries import CONCERN, KEY, TTL, ask, doubt, send, take
from tests.contract.stores import Stores
from tests.fakes.clock import VirtualClock
from tests.fakes.usage import Counts

DRAFT = Draft(1000, "one@sender.example", 3)
REPLY = replace(CONCERN, kind="reply")


def usage_of(stores: Stores, mask: Mask) -> Usage:
    found = stores.directory.lookup(mask.address)
    assert isinstance(found, Mask)
    return found.owner.usage


def test_a_send_is_counted_once(stores: Stores) -> None:
    """With its bytes and the trackers taken out; that its record was lost and made again changes nothing."""
    claim = send(stores.ledger, draft=DRAFT)
    stores.ledger.sent(claim, "ses-1")
    stores.ledger.sent(claim, "ses-2")
    assert stores.counted("mask1") == Counts("owner1", mails=1, bytes=1000, trackers=3)


def test_the_form_that_was_sent_is_counted(stores: Stores) -> None:
    """SES refused the first one, and the second one is smaller."""
    claim = take(stores.ledger)
    stores.ledger.begin_send(claim, Draft(5000, None, 9), ttl=TTL)
    stores.ledger.begin_send(claim, DRAFT, ttl=TTL)
    stores.ledger.sent(claim, "ses-1")
    assert stores.counted("mask1") == Counts("owner1", mails=1, bytes=1000, trackers=3)


def test_a_resend_and_what_it_repeats_are_one_mail(stores: Stores, clock: VirtualClock) -> None:
    """Both were accepted in the end: the owner asked for one."""
    slow = doubt(stores.ledger, clock, draft=DRAFT)
    again = take(stores.ledger)
    stores.ledger.begin_send(again, DRAFT, ttl=TTL)
    stores.ledger.sent(again, "ses-2")
    stores.ledger.sent(slow, "ses-1")
    assert stores.counted("mask1") == Counts("owner1", mails=1, bytes=1000, trackers=3)


def test_a_delivery_given_up_in_doubt_is_counted_when_ses_confirms_it(stores: Stores, clock: VirtualClock) -> None:
    """Not before: and once, though both sends are confirmed, and the worker's own record comes after that."""
    first = doubt(stores.ledger, clock, draft=DRAFT)
    second = doubt(stores.ledger, clock, draft=DRAFT)
    lost = ask(stores.ledger)
    assert isinstance(lost, Lost)
    stores.ledger.failed(lost.claim, "in_doubt", message_id="m1")
    assert stores.counted("mask1") is None
    for ses_id in ("ses-1", "ses-2"):
        event = Feedback("send", f"event-{ses_id}", ses_id, first.delivery_id)
        assert stores.feedbacks.apply(event, [Confirm(first.delivery_id, ses_id)])
    stores.ledger.sent(second, "ses-2")
    assert stores.counted("mask1") == Counts("owner1", mails=1, bytes=1000, trackers=3)


def test_replies_are_counted_apart(stores: Stores) -> None:
    """An owner's own mail uses up no room for strangers' mail."""
    send(stores.ledger, concern=REPLY, draft=Draft(1000))
    assert stores.counted("mask1") == Counts("owner1", replies=1)


def test_notices_are_not_counted(stores: Stores) -> None:
    """They are our mail, and no mask's."""
    send(stores.ledger, replace(KEY, recipient=""), Concern("notice", None, "owner1"))
    send(stores.ledger, replace(KEY, mail_id="mail-2"), Concern("notice", "mask1", "owner1"))
    assert stores.counted("mask1") is None


def test_a_discard_is_counted_once(stores: Stores) -> None:
    """Whichever way it was recorded, and however often that was said; of nobody's mask it is nobody's."""
    for message in ("m1", "twin"):
        stores.ledger.discarded(replace(KEY, mailbox=""), "spam", message_id=message, concern=CONCERN)
    assert stores.counted("mask1") == Counts("owner1", discards=1)
    claim = take(stores.ledger, replace(KEY, mail_id="mail-2"))
    stores.ledger.refused(claim, "loop")
    stores.ledger.refused(claim, "loop")
    assert stores.counted("mask1") == Counts("owner1", discards=2)
    stores.ledger.discarded(replace(KEY, mail_id="mail-3"), "unknown_mask", message_id="m1", concern=None)
    assert stores.counted("mask1") == Counts("owner1", discards=2)


def test_a_failure_is_no_usage(stores: Stores) -> None:
    """Nothing was sent."""
    claim = take(stores.ledger)
    stores.ledger.begin_send(claim, DRAFT, ttl=TTL)
    stores.ledger.failed(claim, "ses_rejected", message_id="m1")
    assert stores.counted("mask1") is None


def test_an_owner_s_usage_is_today_s_of_all_masks(stores: Stores, clock: VirtualClock) -> None:
    """Midnight, UTC, begins a new one; nobody else's is in it."""
    shop, bank = stores.directory.add("shop@mask.example"), stores.directory.add("bank@mask.example")
    other = stores.directory.add("other@mask.example", "other@example.org")
    for number, (mask, kind) in enumerate([(shop, "forward"), (bank, "forward"), (shop, "reply"), (other, "forward")]):
        concern = Concern(kind, mask.mask_id, mask.owner.owner_id)  # type: ignore[arg-type]
        send(stores.ledger, replace(KEY, mail_id=f"mail-{number}"), concern, draft=DRAFT)
    assert usage_of(stores, shop) == usage_of(stores, bank) == Usage(2, 2000, 1)
    assert usage_of(stores, other) == Usage(1, 1000, 0)
    clock.sleep(86_400 - clock.time() % 86_400 - 1)
    assert usage_of(stores, shop) == Usage(2, 2000, 1)
    clock.sleep(1)
    assert usage_of(stores, shop) == Usage()
    concern = Concern("forward", shop.mask_id, shop.owner.owner_id)
    send(stores.ledger, replace(KEY, mail_id="tomorrow"), concern, draft=DRAFT)
    assert usage_of(stores, shop) == Usage(1, 1000, 0)


def test_a_token_s_mask_tells_usage_too(stores: Stores) -> None:
    """The limit of replies goes by it."""
    shop = stores.directory.add("shop@mask.example")
    send(stores.ledger, concern=Concern("reply", shop.mask_id, shop.owner.owner_id))
    contact = stores.directory.contact(shop.mask_id, shop.address)
    found = stores.directory.lookup(replace(shop.address, local=contact.token))
    assert getattr(found, "mask", shop).owner.usage == Usage(replies=1)


@pytest.mark.parametrize("size", [0, 41_000_000])
def test_sizes_add_up(stores: Stores, size: int) -> None:
    """Also beyond what 32 bits hold."""
    for number in range(60):
        send(stores.ledger, replace(KEY, mail_id=f"mail-{number}"), draft=Draft(size))
    assert stores.counted("mask1") == Counts("owner1", mails=60, bytes=60 * size)
