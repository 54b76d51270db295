"""Mail that an operator has go through once more: what was sent stays sent, unless `again` says otherwise, and then it
is sent once, however often the word of it arrives.
"""

import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from relayd.errors import PermanentError, TransientError
from relayd.telemetry.pseudonyms import pseudonym
from relayd.wire import own
from tests.engine.faults import DATABASE_AWAY, before, failing
from tests.engine.mailing import STRANGER, answer, event, only_row, received, run_out, sent_to, states, token_of
from tests.engine.world import MAIL, SECRET, World, notification

FIRST_RECEIVED = 1_700_000_000.5


def sealed(world: World, act: str, *, again: bool = False, mail_id: str = "one") -> str:
    """What `relayd replay` puts into the queue."""
    text = json.loads(notification(mail_id))["Message"]
    return own.seal(
        text, secrets=(SECRET,), now=world.clock.time(), replay=act, again=again, first_received_at=FIRST_RECEIVED
    )


def settled(world: World, **engine: bool) -> list[dict[str, Any]]:
    """Run until the queues are empty: the last line of each message."""
    with capture_logs() as lines:
        run_out(world, **engine)
    return [dict(line) for line in lines if line["event"] == "message_settled"]


def ends(lines: list[dict[str, Any]]) -> list[tuple[str, bool]]:
    """How the mail ended at last, message by message, and whether it had before."""
    last = [line for line in lines if line["outcome"] == "accepted" and "deliveries" in line]
    return sorted((line["reason"], "before" in line["deliveries"][0]) for line in last)


def test_a_mail_that_was_sent_is_sent_again_only_with_again() -> None:
    """Without it nothing is sent, with it once, though each replay comes three times."""
    world = World()
    world.mail("one")
    assert ends(settled(world)) == [("forwarded", False)]
    for again, sends in ((False, 1), (True, 2)):
        body = sealed(world, f"act-{again}", again=again)
        for _ in range(3):
            world.queue.publish(body)
        assert ends(settled(world)) == [("forwarded", False)] * again + [("forwarded", True)] * (3 - again)
        assert len(world.mailer.sent) == sends
        world.queue.publish(body)
        assert ends(settled(world)) == [("forwarded", True)]
        # SNS may tell of the mail once more at any time.
        world.queue.publish(notification("one"))
        assert ends(settled(world)) == [("forwarded", True)]
        assert len(world.mailer.sent) == sends
    assert states(world) == [("sent", None)]


def test_a_late_event_of_the_first_send_does_not_stop_the_second() -> None:
    """It comes while the second one waits for S3: the mail that the operator asked for is sent all the same."""
    world = World(in_doubt_seconds=300)
    world.mail("one")
    run_out(world, listens=True)
    row = only_row(world)
    late = event(row, "Delivery", {"recipients": ["me@owner.example"]})

    def arrives() -> None:
        world.events.publish(late)
        assert world.until(lambda: not world.events.left)

    before(world.store, "fetch", arrives)
    world.queue.publish(sealed(world, "act", again=True))
    assert ends(settled(world, listens=True)) == [("forwarded", False)]
    assert len(world.mailer.sent) == 2
    assert (row.state, row.ses_id) == ("sent", "ses-2")


def test_what_failed_goes_through_and_is_told_so() -> None:
    """Its line names the replay, and when what it replays came first: that is older than any of SQS's own times."""
    world = World()
    before(world.mailer, "send", failing(PermanentError("ses_rejected"), times=1))
    world.mail("one")
    run_out(world)
    assert states(world) == [("failed", "ses_rejected")]
    world.queue.publish(sealed(world, "act"))
    (line,) = settled(world)
    assert (line["reason"], line["replay"], line["first_received_at"]) == ("forwarded", "act", FIRST_RECEIVED)
    assert states(world) == [("sent", None)]
    assert [(one.attempt, one.reason) for one in world.ledger.attempts] == [(1, "ses_rejected")]


def test_what_was_discarded_is_decided_again() -> None:
    """Twice: it is discarded again while nothing has changed, and forwarded when the mask is enabled."""
    world = World()
    world.directory.set_mask("shop@mask.example", enabled=False)
    world.mail("one")
    run_out(world)
    world.queue.publish(sealed(world, "act-1"))
    assert [line["reason"] for line in settled(world)] == ["mask_disabled"]
    world.directory.set_mask("shop@mask.example", enabled=True)
    world.queue.publish(sealed(world, "act-2"))
    assert [line["reason"] for line in settled(world)] == ["forwarded"]
    assert len(world.mailer.sent) == 1


def test_what_was_held_back_for_a_mailbox_goes_to_it() -> None:
    """A delivery of its own was discarded then; a redelivery leaves it so, a replay opens it."""
    world = World()
    world.directory.pause("me@owner.example", "hard", world.clock.time() + 3600)
    world.mail("one")
    run_out(world)
    world.clock.sleep(3600)
    assert not world.mailer.sent
    world.queue.publish(sealed(world, "act"))
    run_out(world)
    assert len(world.mailer.sent) == 1


def test_what_is_held_back_again_is_listed_again() -> None:
    """The mailbox is still paused; whoever took the mail off the list, and replays it, finds it there once more."""
    world = World()
    world.directory.pause("me@owner.example", "hard", world.clock.time() + 3600)
    world.directory.add("two@mask.example", "me@owner.example", "work@owner.example", owner="me@owner.example")
    received(world, MAIL, "two@mask.example", mail_id="one")
    run_out(world)
    world.ledger.quarantine.clear()
    received(world, MAIL, "two@mask.example", mail_id="one")
    run_out(world)
    assert not world.ledger.quarantine, "a twin of the original asks nothing"
    text = json.loads(notification("one", ("two@mask.example",)))["Message"]
    world.queue.publish(own.seal(text, secrets=(SECRET,), now=world.clock.time(), replay="act"))
    run_out(world)
    assert [one.key.mailbox for one in world.ledger.quarantine] == ["me@owner.example"]
    assert sent_to(world) == ["work@owner.example"]


def test_what_could_not_be_given_back_at_once_says_why_later() -> None:
    """The ledger was away just then."""
    world = World()
    before(world.store, "fetch", failing(TransientError("s3_timeout", dependency="s3"), times=1))
    before(world.ledger, "give_back", failing(DATABASE_AWAY, times=1))
    world.mail("one")
    run_out(world)
    assert [(one.attempt, one.reason) for one in world.ledger.attempts] == [(1, "s3_timeout")]
    assert states(world) == [("sent", None)]


def test_an_attempt_that_ended_without_a_send_says_why() -> None:
    """S3 was slow, then SES; and then it went through."""
    world = World()
    before(world.store, "fetch", failing(TransientError("s3_timeout", dependency="s3"), times=1))
    before(world.mailer, "send", failing(TransientError("ses_throttled", charged=False), times=1))
    world.mail("one")
    run_out(world)
    assert [(one.attempt, one.reason) for one in world.ledger.attempts] == [(1, "s3_timeout"), (2, "ses_throttled")]
    assert states(world) == [("sent", None)]


def test_each_delivery_s_line_names_its_mask() -> None:
    """By its hash: what is sent, what is discarded, what came for an address that is no mask, and what has to wait."""
    world = World()
    world.directory.add("paused@mask.example", "full@owner.example")
    world.directory.pause("full@owner.example", "soft", world.clock.time() + 300)
    recipients = ("shop+tag@mask.example", "nobody@mask.example", "paused@mask.example")
    received(world, MAIL, *recipients, mail_id="one")
    lines = settled(world)
    masks = {one["mask"]: one["state"] for one in lines[0]["deliveries"]}
    assert masks == {
        pseudonym("shop@mask.example", SECRET): "sent",
        pseudonym("nobody@mask.example", SECRET): "discarded",
        pseudonym("paused@mask.example", SECRET): "open",
    }
    assert all("mask" in one for line in lines for one in line["deliveries"])
    assert not any(address in str(lines) for address in ("shop", "nobody@", "paused@"))


def test_a_reply_names_the_mask_that_it_is_sent_from() -> None:
    """Not the token that it came for: whose correspondence it is, is asked by the mask."""
    world = World()
    answer(world, token_of(world))
    (line,) = settled(world)
    assert [one["mask"] for one in line["deliveries"]] == [pseudonym("shop@mask.example", SECRET)]
    assert sent_to(world) == [STRANGER]


@pytest.mark.parametrize("reason", ["s3_timeout", "bug"])
def test_what_fails_after_the_claim_names_its_mask(reason: str) -> None:
    """And what ends the message as a whole before any claim names none, as nobody's."""
    world = World()
    error = TransientError(reason) if reason != "bug" else ValueError("shop@mask.example")
    before(world.store, "fetch", failing(error, times=1))
    world.mail("one")
    world.queue.publish("{}")
    lines = {line["outcome"]: line for line in settled(world)}
    (told,) = lines["deferred"]["deliveries"]
    assert (told["reason"], told["mask"]) == (reason, pseudonym("shop@mask.example", SECRET))
    assert "deliveries" not in lines["rejected"]
