"""What every ledger promises of mail that is held back for a person to decide about."""

from dataclasses import replace

import pytest

from relayd.errors import ClaimLostError
from relayd.model.delivery import Concern, Held, Settled
from tests.contract.deliveries import CONCERN, KEY, TTL, ask, send, take
from tests.contract.stores import Stores
from tests.fakes.clock import VirtualClock
from tests.fakes.ledger_rows import HeldMail

WHOLE = replace(KEY, mailbox="")
HELD = Held('{"a": 1}', "seller@shop.example", "Your order")


def test_a_discard_may_be_held(stores: Stores, clock: VirtualClock) -> None:
    """With whose it is, why, since when, and all that a release needs."""
    stores.ledger.discarded(WHOLE, "spam", message_id="m1", concern=CONCERN, held=HELD)
    assert stores.quarantine() == [HeldMail(WHOLE, "mask1", "owner1", "spam", HELD, clock.time())]
    assert ask(stores.ledger, WHOLE) == Settled("discarded", "spam")


def test_a_discard_is_held_once(stores: Stores) -> None:
    """A twin that decides the same, or otherwise, changes nothing."""
    stores.ledger.discarded(WHOLE, "spam", message_id="m1", concern=CONCERN, held=HELD)
    stores.ledger.discarded(WHOLE, "bounce_pause", message_id="twin", concern=CONCERN, held=Held("other"))
    assert [(one.reason, one.held) for one in stores.quarantine()] == [("spam", HELD)]


def test_a_discard_is_not_held_by_itself(stores: Stores) -> None:
    """Nor is one that came first and was not held made so by a twin."""
    stores.ledger.discarded(WHOLE, "virus", message_id="m1", concern=CONCERN)
    stores.ledger.discarded(WHOLE, "spam", message_id="twin", concern=CONCERN, held=HELD)
    assert stores.quarantine() == []


def test_what_was_sent_is_not_held(stores: Stores) -> None:
    """A twin that decides later, when the owner wants no spam any more, holds back what went out."""
    send(stores.ledger)
    stores.ledger.discarded(KEY, "spam", message_id="twin", concern=CONCERN, held=HELD)
    assert stores.quarantine() == []


def test_each_mailbox_is_held_apart(stores: Stores) -> None:
    """One of a mask's mailboxes may be paused while the others get the mail."""
    other = replace(KEY, mailbox="you@example.org")
    for key in (KEY, other):
        stores.ledger.discarded(key, "bounce_pause", message_id="m1", concern=CONCERN, held=HELD)
    assert {one.key for one in stores.quarantine()} == {KEY, other}


def test_a_failure_may_be_held(stores: Stores) -> None:
    """A mail that SES refused, so that its owner may have it after all; told twice it is held once."""
    claim = take(stores.ledger)
    stores.ledger.failed(claim, "ses_rejected", message_id="m1", held=HELD)
    stores.ledger.failed(claim, "ses_rejected", message_id="m1", held=HELD)
    assert [(one.key, one.reason, one.held) for one in stores.quarantine()] == [(KEY, "ses_rejected", HELD)]


def test_a_failure_of_a_lost_claim_is_not_held(stores: Stores, clock: VirtualClock) -> None:
    """Its new holder may still send it."""
    lost = take(stores.ledger)
    clock.sleep(TTL)
    take(stores.ledger)
    with pytest.raises(ClaimLostError):
        stores.ledger.failed(lost, "ses_rejected", message_id="m1", held=HELD)
    assert stores.quarantine() == []


def test_a_release_that_fails_again_is_held_again(stores: Stores, clock: VirtualClock) -> None:
    """One entry for one delivery, with the newest reason and time."""
    stores.ledger.failed(take(stores.ledger), "too_large", message_id="m1", held=HELD)
    clock.sleep(100)
    again = take(stores.ledger, message="released")
    stores.ledger.failed(again, "ses_rejected", message_id="released", held=replace(HELD, notification="newer"))
    [entry] = stores.quarantine()
    assert (entry.reason, entry.at, entry.held.notification) == ("ses_rejected", clock.time(), "newer")


def test_a_discard_is_whose_mask_it_is_now(stores: Stores) -> None:
    """Where the delivery was begun for another one, and failed."""
    claim = take(stores.ledger, concern=Concern("forward", "mask0", "owner0"))
    stores.ledger.failed(claim, "refused", message_id="m1")
    stores.ledger.discarded(KEY, "spam", message_id="redriven", concern=CONCERN, held=HELD)
    assert [(one.mask_id, one.owner_id) for one in stores.quarantine()] == [("mask1", "owner1")]
    assert stores.counted("mask0") is None


def test_nobody_s_mail_is_not_held(stores: Stores) -> None:
    """There is nobody to list it for."""
    stores.ledger.discarded(WHOLE, "spam", message_id="m1", concern=Concern("forward", None, None), held=HELD)
    assert stores.quarantine() == []


def test_whatever_strangers_wrote_is_held(stores: Stores) -> None:
    """NUL, broken Unicode and a subject of kilobytes are no errors."""
    odd = "nul\0 lone\udc80 " + "x" * 5000
    stores.ledger.discarded(WHOLE, "spam", message_id="m1", concern=CONCERN, held=Held("{}", odd, odd))
    [entry] = stores.quarantine()
    assert entry.held.subject.startswith("nul")
