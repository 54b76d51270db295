"""Mail that is held back: listed with all that a release needs, and sent on when relayd's own envelope says so."""

import json
from dataclasses import replace

import pytest

from relayd.model.delivery import DeliveryKey
from relayd.wire import own
from tests.engine.mailing import later, letter, received, run_out, running, sent_mail, sent_to, states, told
from tests.engine.world import SECRET, World
from tests.fakes.ledger_rows import HeldMail

HOUR = 3600.0
SPAM = letter("Prince <prince@spam.example>", fields="X-Secret-Field: y\r\n")


def only_held(world: World) -> HeldMail:
    (held,) = world.ledger.quarantine
    return held


def release(world: World, held: HeldMail, *reasons: str, secret: bytes = SECRET) -> None:
    """As `relayd quarantine release` does: the delivery is open again, and its message in the queue."""
    row = world.ledger.rows[held.key]
    if held.key.mailbox and row.state == "discarded":
        row.state, row.reason, row.token = "claimed", None, None
    text = held.held.notification
    released = reasons or (held.reason,)
    world.queue.publish(own.seal(text, released=released, secrets=(secret,), now=world.clock.time()))


def two_mailboxes() -> World:
    world = World()
    world.directory.add("two@mask.example", "me@owner.example", "work@owner.example", owner="me@owner.example")
    return world


def test_spam_is_held_and_not_even_fetched() -> None:
    """Whom it is from and what it is about is kept, for a person to choose by; its header is not."""
    world = World()
    received(world, SPAM, mail_id="spam", spam="FAIL")
    run_out(world)
    assert states(world) == [("discarded", "spam")]
    assert not world.mailer.sent
    assert not world.store.fetches
    held = only_held(world)
    assert (held.reason, held.mask_id, held.owner_id) == ("spam", world.mask.mask_id, world.mask.owner.owner_id)
    assert held.key == DeliveryKey("spam", "shop@mask.example")
    assert held.held.sender == "Prince <prince@spam.example>"
    assert held.held.subject == "hello"
    assert "X-Secret-Field" not in held.held.notification
    assert json.loads(held.held.notification)["receipt"]["recipients"] == ["shop@mask.example"]
    assert told(world) == []


def test_spam_comes_twice_and_is_listed_once() -> None:
    """SNS may tell of one mail twice."""
    world = World()
    for _ in range(2):
        received(world, SPAM, mail_id="spam", spam="FAIL")
    run_out(world)
    assert len(world.ledger.quarantine) == 1


def test_one_mail_to_two_masks_is_held_for_each() -> None:
    """Each is released by itself: the other's recipient is not in its notification."""
    world = World()
    world.directory.add("other@mask.example", "you@elsewhere.example")
    received(world, SPAM, "shop@mask.example", "other@mask.example", mail_id="spam", spam="FAIL")
    run_out(world)
    release(world, next(held for held in world.ledger.quarantine if held.key.recipient == "other@mask.example"))
    run_out(world)
    assert sent_to(world) == ["you@elsewhere.example"]


def test_released_spam_is_forwarded_marked() -> None:
    """The owner asked for it, and still sees what it is."""
    world = World()
    received(world, SPAM, mail_id="spam", spam="FAIL")
    run_out(world)
    release(world, only_held(world))
    run_out(world)
    assert sent_to(world) == ["me@owner.example"]
    assert sent_mail(world)["X-Relayd-Warning"] == "spam"
    release(world, only_held(world))
    run_out(world)
    assert len(world.mailer.sent) == 1, "released twice, sent once"


def test_what_is_released_is_judged_by_every_other_rule() -> None:
    """Its mask was disabled meanwhile; and its own header, which the list did not keep, shows a loop."""
    world = World()
    received(world, SPAM, mail_id="spam", spam="FAIL")
    looping = letter(fields="Received: by x\r\n" * 26)
    world.directory.add("two@mask.example", "me@owner.example")
    received(world, looping, "two@mask.example", mail_id="loop", spam="FAIL")
    run_out(world)
    world.directory.set_mask("shop@mask.example", enabled=False)
    for held in list(world.ledger.quarantine):
        release(world, held)
    run_out(world)
    assert not world.mailer.sent
    assert ("discarded", "loop") in states(world)
    assert not world.queue.dead_letters


def test_a_virus_is_not_released() -> None:
    """Nothing is above that rule, not even an operator's word."""
    world = World()
    received(world, SPAM, mail_id="spam", spam="FAIL")
    run_out(world)
    held = only_held(world)
    ill = json.loads(held.held.notification)
    ill["receipt"]["virusVerdict"] = {"status": "FAIL"}
    release(world, replace(held, held=replace(held.held, notification=json.dumps(ill))), "spam", "virus")
    run_out(world)
    assert not world.mailer.sent
    assert not world.queue.dead_letters


@pytest.mark.parametrize(
    "change",
    [
        {"Mac": "0" * 64},
        {"Released": ["spam", "bounce_pause"]},
        {"SentAt": 1.0},
        {"Message": json.dumps({"notificationType": "Received"})},
    ],
)
def test_a_forged_envelope_is_dead_lettered(change: dict[str, object]) -> None:
    """Whoever may write to the queue still cannot have a mail sent that SES, or the operator, did not send."""
    world = World()
    received(world, SPAM, mail_id="spam", spam="FAIL")
    run_out(world)
    text = only_held(world).held.notification
    sealed = json.loads(own.seal(text, released=["spam"], secrets=(SECRET,), now=5.0))
    world.queue.publish(json.dumps({**sealed, **change}))
    run_out(world)
    assert [dead.reason for dead in world.queue.dead_letters] == ["forged_signature"]
    assert not world.mailer.sent


def test_an_envelope_sealed_with_another_secret_is_dead_lettered() -> None:
    """As any forged one."""
    world = World()
    received(world, SPAM, mail_id="spam", spam="FAIL")
    run_out(world)
    release(world, only_held(world), secret=b"another secret of at least 32 bytes")
    run_out(world)
    assert [dead.reason for dead in world.queue.dead_letters] == ["forged_signature"]


def test_our_own_envelope_may_not_name_a_foreign_bucket() -> None:
    """The allow lists are another wall, for our own word as well."""
    world = World()
    received(world, SPAM, mail_id="spam", spam="FAIL")
    run_out(world)
    held = only_held(world)
    text = held.held.notification.replace('"bucketName": "mail"', '"bucketName": "other"')
    release(world, replace(held, held=replace(held.held, notification=text)))
    run_out(world)
    assert [dead.reason for dead in world.queue.dead_letters] == ["foreign_bucket"]


def test_a_hard_pause_of_the_only_mailbox_holds_the_mail() -> None:
    """For as long as it lasts; a release sends it all the same."""
    world = World()
    world.directory.pause("me@owner.example", "hard", world.clock.time() + 86_400)
    received(world, letter(), mail_id="held")
    run_out(world)
    assert states(world) == [("discarded", "bounce_pause")]
    assert not world.store.fetches
    assert only_held(world).key == DeliveryKey("held", "shop@mask.example")
    release(world, only_held(world))
    run_out(world)
    assert sent_to(world) == ["me@owner.example"]


def test_a_hard_pause_of_one_of_two_mailboxes_holds_its_copy() -> None:
    """The other one gets the mail at once; what is released goes to the one that did not."""
    world = two_mailboxes()
    world.directory.pause("work@owner.example", "hard", world.clock.time() + 86_400)
    received(world, letter(), "two@mask.example", mail_id="half")
    run_out(world)
    assert sent_to(world) == ["me@owner.example"]
    held = only_held(world)
    assert held.key == DeliveryKey("half", "two@mask.example", "work@owner.example")
    assert not world.queue.dead_letters
    release(world, held)
    run_out(world)
    assert sent_to(world) == ["me@owner.example", "work@owner.example"]


def test_after_the_pause_new_mail_arrives() -> None:
    """And what was held stays held, until somebody releases it."""
    world = World()
    world.directory.pause("me@owner.example", "hard", world.clock.time() + 600)
    with running(world):
        received(world, letter(), mail_id="held")
        world.clock.sleep(700)
        received(world, letter(), mail_id="new")
        assert world.until(lambda: not world.queue.left)
    assert [(row.key.mail_id, row.state) for row in world.ledger.rows.values()] == [
        ("held", "discarded"),
        ("new", "sent"),
    ]


def test_a_full_mailbox_is_waited_for() -> None:
    """Uncharged, in steps of at most an hour: the mail goes out soon after the pause has ended."""
    world = World(retry_hours=1.0)
    world.directory.pause("me@owner.example", "soft", world.clock.time() + 3 * HOUR)
    message = received(world, letter(), mail_id="waiting")
    with running(world):
        world.clock.sleep(3 * HOUR - 60)
        assert not world.mailer.sent
        assert world.until(lambda: not world.queue.left, within=180)
    assert len(world.mailer.sent) == 1
    assert "charge" not in world.ledger.calls
    assert not world.queue.dead_letters
    delays = [change.seconds for change in world.queue.changes]
    assert max(delays) <= HOUR
    assert world.queue.receive_count(message) <= 5


def test_a_mailbox_that_stays_full_ends_in_quarantine() -> None:
    """Six hours after the mail came, however often the mailbox was paused anew; never in the dead-letter queue."""
    world = World(retry_hours=1.0)
    received(world, letter(), mail_id="waiting")
    began = world.clock.time()
    with running(world):
        for hour in range(6):
            world.directory.pause("me@owner.example", "soft", began + (hour + 6) * HOUR)
            world.clock.sleep(HOUR - 60)
            assert not world.ledger.quarantine
        assert world.until(lambda: not world.queue.left, within=HOUR)
    assert 6 * HOUR <= world.clock.time() - began < 6 * HOUR + 120
    assert states(world) == [("discarded", "bounce_pause")]
    assert only_held(world).reason == "bounce_pause"
    assert not world.queue.dead_letters
    assert "charge" not in world.ledger.calls


def test_one_full_mailbox_does_not_hold_up_the_other() -> None:
    """The other copy goes out at once, and only once."""
    world = two_mailboxes()
    world.directory.pause("work@owner.example", "soft", world.clock.time() + 2 * HOUR)
    received(world, letter(), "two@mask.example", mail_id="half")
    with running(world):
        world.clock.sleep(60)
        assert sent_to(world) == ["me@owner.example"]
        assert later(world, lambda: not world.queue.left, 3 * HOUR)
    assert sent_to(world) == ["me@owner.example", "work@owner.example"]


def test_mail_for_an_unverified_mailbox_is_held() -> None:
    """Until it is shown to be its owner's; then a release sends it."""
    world = World()
    world.directory.set_verified("me@owner.example", False)
    received(world, letter(), mail_id="held")
    run_out(world)
    assert states(world) == [("discarded", "mailbox_unverified")]
    release(world, only_held(world))
    run_out(world)
    assert not world.mailer.sent
    world.directory.set_verified("me@owner.example", True)
    release(world, only_held(world))
    run_out(world)
    assert sent_to(world) == ["me@owner.example"]
