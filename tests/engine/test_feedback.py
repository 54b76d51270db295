"""SES's events on a queue of their own: what they lead to, and that nothing but the database holds them up."""

import json
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from relayd.errors import HoldError
from relayd.model.feedback import Feedback, Match
from relayd.model.mask import Pause
from tests.engine.faults import DATABASE_AWAY, before, failing
from tests.engine.mailing import (
    answer,
    bounced,
    complained,
    event,
    later,
    letter,
    only_row,
    received,
    rows,
    run_out,
    running,
    sent_to,
    sns,
    states,
    token_of,
    told,
)
from tests.engine.world import World, notification
from tests.fakes.ledger_rows import Row

DAY = 86_400.0


def pause_of(world: World) -> Pause | None:
    return next(iter(world.directory.boxes.values())).mailbox.pause


def forwarded(world: World | None = None, number: int = 1) -> tuple[World, Row]:
    """A world in which a mail was forwarded."""
    world = world or World()
    received(world, letter(), mail_id=f"mail-{number}")
    run_out(world)
    return world, next(row for row in rows(world) if row.key.mail_id == f"mail-{number}")


def replied() -> tuple[World, Row]:
    """A world in which an owner's answer was sent."""
    world = World()
    answer(world, token_of(world))
    run_out(world)
    return world, only_row(world, "reply")


def happens(world: World, *events: str, on_mail_queue: bool = False) -> None:
    for one in events:
        (world.queue if on_mail_queue else world.events).publish(one)
    run_out(world, listens=True)
    assert not world.queue.dead_letters
    assert not world.events.dead_letters


def test_a_hard_bounce_pauses_the_mailbox() -> None:
    """For a day; what comes meanwhile is held, and the owner is told (through another mailbox, if there is one)."""
    world, row = forwarded()
    happens(world, bounced(row))
    pause = pause_of(world)
    assert pause is not None
    assert pause.kind == "hard"
    assert pause.until == pytest.approx(world.clock.time() + DAY, abs=60)
    assert told(world) == ["mailbox_paused"]
    received(world, letter(), mail_id="mail-2")
    run_out(world)
    assert len(world.mailer.sent) == 1
    assert [held.reason for held in world.ledger.quarantine] == ["bounce_pause"]


def test_bounces_in_a_row_pause_for_longer_until_a_delivery() -> None:
    """One, three, seven, thirty days; a delivery ends it all."""
    world, row = forwarded()
    for number, days in enumerate((1, 3, 7, 30, 30), 1):
        happens(world, bounced(row, number=number))
        pause = pause_of(world)
        assert pause is not None
        assert pause.until == pytest.approx(world.clock.time() + days * DAY, abs=60)
        world.clock.sleep(pause.until - world.clock.time() + 1)
        world, row = forwarded(world, number + 1)
    happens(world, event(row, "Delivery", {"recipients": [row.key.mailbox]}))
    assert pause_of(world) is None
    happens(world, bounced(row, number=9))
    pause = pause_of(world)
    assert pause is not None
    assert pause.until == pytest.approx(world.clock.time() + DAY, abs=60)


def test_the_same_bounce_told_twice_counts_once() -> None:
    """SNS may deliver an event twice, also hours later."""
    world, row = forwarded()
    happens(world, bounced(row), bounced(row))
    world.clock.sleep(DAY + 60)
    happens(world, bounced(row))
    assert next(iter(world.directory.boxes.values())).bounces == 1


@pytest.mark.parametrize(
    ("subtype", "kind", "status", "paused"),
    [
        ("General", "Permanent", "5.7.1", None),
        ("General", "Permanent", "5.1.10", "hard"),
        ("MailboxFull", "Transient", "", "soft"),
        ("General", "Transient", "", None),
        ("ContentRejected", "Transient", "", None),
        ("Suppressed", "Permanent", "5.1.1", None),
        ("SomethingNew", "Undetermined", "", None),
    ],
)
def test_which_bounces_pause(subtype: str, kind: str, status: str, paused: str | None) -> None:
    """A policy, an out-of-office answer, SES's own suppression: the mailbox is there."""
    world, row = forwarded()
    happens(world, bounced(row, subtype, kind, status=status))
    pause = pause_of(world)
    assert (pause.kind if pause else None) == paused


def test_a_complaint_and_another() -> None:
    """The first changes how the owner's spam is handled; the second within thirty days costs the mask."""
    world = World()
    world.directory.set_owner(world.mask.owner.owner_id, spam_handling="forward")
    world, row = forwarded(world)
    happens(world, complained(row))
    assert world.directory.people[world.mask.owner.owner_id].owner.spam_handling == "quarantine"
    assert told(world) == []
    world.clock.sleep(20 * DAY)
    world, row = forwarded(world, 2)
    happens(world, complained(row, number=2, at=world.clock.time()))
    assert not world.directory.masks["shop@mask.example"].enabled
    assert told(world) == ["mask_disabled"]
    received(world, letter(), mail_id="mail-3")
    run_out(world)
    assert ("discarded", "mask_disabled") in states(world)


def test_a_complaint_long_after_the_first_is_a_first_one() -> None:
    """Thirty days without one are a fresh start."""
    world, row = forwarded()
    happens(world, complained(row))
    world.clock.sleep(31 * DAY)
    world, row = forwarded(world, 2)
    happens(world, complained(row, number=2, at=world.clock.time()))
    assert world.directory.masks["shop@mask.example"].enabled


def test_a_complaint_about_a_reply() -> None:
    """A person looks into it: the owner is held for review, the mask stays as it is."""
    world, row = replied()
    happens(world, complained(row), complained(row, number=2))
    person = world.directory.people[world.mask.owner.owner_id]
    assert person.owner.flagged
    assert person.flag_reason == "complaint"
    assert world.directory.masks["shop@mask.example"].enabled
    answer(world, token_of(world), mail_id="another")
    run_out(world)
    assert ("discarded", "reply_not_allowed") in states(world)


def test_a_bounce_of_a_reply_is_told() -> None:
    """To the owner, with the contact's address; nobody's mailbox is paused for it, not even one of that address."""
    world, row = replied()
    world.directory.add("other@mask.example", row.key.mailbox)
    happens(world, bounced(row))
    assert told(world) == ["reply_bounced"]
    assert world.notices.told[0].notice.facts["contact"] == row.key.mailbox
    assert all(box.mailbox.pause is None for box in world.directory.boxes.values())


def test_an_out_of_office_answer_to_a_reply_is_not_told() -> None:
    """It reaches SES as a bounce, and is none."""
    world, row = replied()
    happens(world, bounced(row, "General", "Transient", status=""))
    assert told(world) == []


def test_a_mail_that_ses_found_a_virus_in() -> None:
    """After it had taken it: the delivery failed all the same."""
    world, row = forwarded()
    happens(world, event(row, "Reject", {"reason": "Bad content"}))
    assert states(world) == [("failed", "ses_rejected_virus")]
    assert told(world) == ["mail_refused"]


@pytest.mark.parametrize("listens", [True, False])
def test_an_event_has_a_line_of_its_own(listens: bool) -> None:
    """As each message has, on whichever queue it came: what it was, and which delivery it was about."""
    world, row = forwarded()
    (world.events if listens else world.queue).publish(bounced(row))
    with capture_logs() as lines:
        run_out(world, listens=listens)
    (line,) = (line for line in lines if line["event"] == "message_settled")
    assert (line["reason"], line["feedback"], line["delivery"]) == ("event_bounce", "bounce", row.delivery_id)
    assert not [line for line in lines if line["event"] == "settle_failed"]


def test_events_on_the_mail_queue_are_understood_too() -> None:
    """Whoever has but one queue loses nothing."""
    world, row = forwarded()
    happens(world, bounced(row), on_mail_queue=True)
    assert pause_of(world) is not None
    assert world.mailer.calls == 1


def test_an_event_without_a_tag_is_matched_by_the_id() -> None:
    """The notifications of an identity know no tags."""
    world, row = forwarded()
    happens(world, event(row, "Complaint", {"complainedRecipients": []}, tagged=False))
    assert world.directory.people[world.mask.owner.owner_id].complained_at is not None


@pytest.mark.parametrize("kind", ["Open", "Click", "SomethingNew", "DeliveryDelay", "Rendering Failure"])
def test_events_without_an_effect_are_accepted(kind: str) -> None:
    """Types of tomorrow harm nobody."""
    world, row = forwarded()
    happens(world, event(row, kind))
    assert states(world) == [("sent", None)]


def test_an_event_about_nobody_s_mail_is_accepted() -> None:
    """Somebody else sends from the same account."""
    world, row = forwarded()
    world.ledger.rows.clear()
    happens(world, complained(row), event(row, "Send"), event(row, "Delivery"))
    assert told(world) == []


def _s3(world: World) -> None:
    before(world.store, "fetch", failing(HoldError("s3", "s3_denied")))


def _ses(world: World) -> None:
    before(world.mailer, "send", failing(HoldError("ses", "ses_sending_paused")))


def _slow(world: World) -> None:
    world.store.latency = 100.0


@pytest.mark.parametrize("trouble", [_s3, _ses, _slow])
def test_no_trouble_with_mail_holds_up_events(trouble: Callable[[World], None]) -> None:
    """SES held, S3 held, every slot busy with a backlog of mail: a bounce is acted on within a poll."""
    world, row = forwarded()
    trouble(world)
    with running(world, listens=True):
        for number in range(50):
            received(world, letter(), mail_id=f"backlog-{number}")
        world.clock.sleep(600)
        world.events.publish(bounced(row))
        assert world.until(lambda: not world.events.left, within=30)
        assert pause_of(world) is not None
        assert world.queue.left


def test_the_database_holds_up_events_and_loses_none() -> None:
    """While it is away nothing is charged and nothing dead-lettered; afterwards each has its effect."""
    world, row = forwarded()
    before(world.feedbacks, "match", failing(DATABASE_AWAY, times=3))
    with running(world, listens=True):
        world.events.publish(bounced(row))
        world.clock.sleep(1)
        assert pause_of(world) is None
        assert world.until(lambda: not world.events.left, within=1800)
    assert pause_of(world) is not None
    assert not world.events.dead_letters


def test_a_bug_in_an_event_is_its_own() -> None:
    """It ends in the dead-letter queue after ten tries; the others go on."""
    world, row = forwarded()
    real = world.feedbacks.match

    def match(feedback: Feedback) -> Match:
        if feedback.kind == "complaint":
            raise ZeroDivisionError
        return real(feedback)

    world.feedbacks.match = match  # type: ignore[method-assign]
    with running(world, listens=True):
        world.events.publish(complained(row))
        world.events.publish(bounced(row))
        assert world.until(lambda: pause_of(world) is not None, within=30)
        assert later(world, lambda: not world.events.left, 4 * 3600)
    assert [dead.reason for dead in world.events.dead_letters] == ["bug"]


def test_a_mail_on_the_events_queue_is_dead_lettered() -> None:
    """Nobody would forward it from there: whoever wired the topics must see it. A confirmation may come by."""
    world = World()
    world.events.publish(notification("lost"))
    world.events.publish(sns(json.dumps({"notificationType": "AmazonSnsSubscriptionSucceeded"})))
    run_out(world, listens=True)
    assert [dead.reason for dead in world.events.dead_letters] == ["mail_on_events_queue"]
    assert sent_to(world) == []
