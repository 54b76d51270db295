"""A send whose answer was lost: SES's own event settles it, or the window passes. Fakes, virtual time."""

import pytest

from tests.engine.faults import before
from tests.engine.mailing import complained, event, later, letter, only_row, received, running, states
from tests.engine.world import World

WINDOW = 300.0
HOUR = 3600.0


def doubtful(*, window: float | None = WINDOW, answers: int = 1) -> World:
    """A mail that SES took, and did not say so."""
    world = World(in_doubt_seconds=window)
    world.mailer.lose_answers(answers)
    received(world, letter(), mail_id="doubtful")
    return world


def resent_after(world: World) -> float:
    """Seconds between the two sends."""
    first, second = world.mailer.sent
    return second.at - first.at


def test_a_send_event_settles_it() -> None:
    """Sent once, known as sent, and the message is gone long before the window has passed."""
    world = doubtful()
    with running(world, listens=True):
        assert world.until(lambda: bool(world.mailer.sent))
        world.clock.sleep(60)
        row = only_row(world)
        assert row.state == "sending"
        world.events.publish(event(row, "Send"))
        assert world.until(lambda: not world.queue.left, within=WINDOW)
        world.clock.sleep(HOUR)
    assert len(world.mailer.sent) == 1
    assert states(world) == [("sent", None)]
    assert row.ses_id == "ses-1"
    assert row.resends == 0


def test_a_delivery_event_settles_it_too() -> None:
    """What was delivered was sent."""
    world = doubtful()
    with running(world, listens=True):
        assert world.until(lambda: bool(world.mailer.sent))
        world.events.publish(event(only_row(world), "Delivery"))
        world.clock.sleep(HOUR)
    assert len(world.mailer.sent) == 1
    assert not world.queue.left


def test_a_complaint_does_not_settle_it() -> None:
    """Only what says that SES took it does; anything else may be of another attempt."""
    world = doubtful()
    with running(world, listens=True):
        assert world.until(lambda: bool(world.mailer.sent))
        world.events.publish(complained(only_row(world)))
        world.clock.sleep(HOUR)
    assert len(world.mailer.sent) == 2


def test_without_an_event_it_is_sent_again_after_the_window() -> None:
    """Not before: its claim, then the window, in which an event may be late. Then once, and marked."""
    world = doubtful()
    with running(world, listens=True):
        assert world.until(lambda: not world.queue.left)
        world.clock.sleep(HOUR)
    assert world.send_seconds + WINDOW <= resent_after(world) <= world.send_seconds + WINDOW + 120
    assert only_row(world).resends == 1
    assert states(world) == [("sent", None)]
    assert not world.queue.dead_letters


def test_without_an_events_queue_it_is_sent_again_at_once() -> None:
    """At the expiry of its claim: nobody would come to tell."""
    world = doubtful(window=None)
    with running(world):
        assert world.until(lambda: not world.queue.left)
    assert world.send_seconds <= resent_after(world) <= world.send_seconds + 20


def test_while_nobody_reads_the_events_the_window_does_not_pass() -> None:
    """For an hour the events' engine is away: nothing is sent again. Once it has read them, it is."""
    world = doubtful()
    with running(world):
        world.clock.sleep(HOUR)
        assert len(world.mailer.sent) == 1
        listener = world.listener()
        listener.start()
        assert world.until(lambda: len(world.mailer.sent) == 2, within=WINDOW + 600)
        assert listener.stop()
    assert resent_after(world) > HOUR


def test_an_event_that_waited_for_its_reader_settles_it() -> None:
    """It was in the queue all the time."""
    world = doubtful()
    with running(world):
        assert world.until(lambda: bool(world.mailer.sent))
        world.events.publish(event(only_row(world), "Send"))
        world.clock.sleep(HOUR)
        listener = world.listener()
        listener.start()
        assert world.until(lambda: not world.queue.left, within=WINDOW + 600)
        assert listener.stop()
    assert len(world.mailer.sent) == 1


def test_a_backlog_of_events_is_no_silence() -> None:
    """Ten windows' worth of older events stand before the one that settles it: it is waited for."""
    world = doubtful()
    with running(world, listens=True):
        assert world.until(lambda: bool(world.mailer.sent))
        row = only_row(world)
        before(world.feedbacks, "match", lambda: world.clock.sleep(50))
        for number in range(120):
            world.events.publish(event(row, "Open", {"ipAddress": str(number)}))
        world.events.publish(event(row, "Send"))
        world.clock.sleep(2 * WINDOW)
        assert world.events.left
        assert later(world, lambda: not world.queue.left, 10 * WINDOW + HOUR)
    assert len(world.mailer.sent) == 1
    assert states(world) == [("sent", None)]


def test_events_that_cannot_be_read_do_not_hold_it_for_ever() -> None:
    """After the time that a mail is tried for, nobody waits for an event any more."""
    world = doubtful()
    with running(world):
        assert later(world, lambda: not world.queue.left, 26 * HOUR)
    assert 24 * HOUR <= resent_after(world) <= 25 * HOUR
    assert world.queue.receive_count("message-1") < 300


def test_a_second_doubt_is_for_a_person() -> None:
    """Sent twice at most: then it is dead-lettered, and a late event still says that it arrived."""
    world = doubtful(answers=2)
    with running(world, listens=True):
        assert world.until(lambda: not world.queue.left)
        assert [dead.reason for dead in world.queue.dead_letters] == ["in_doubt"]
        assert states(world) == [("failed", "in_doubt")]
        world.events.publish(event(only_row(world), "Send"))
        assert world.until(lambda: not world.events.left)
    assert len(world.mailer.sent) == 2
    assert states(world) == [("sent", None)]


@pytest.mark.parametrize("listens", [True, False])
def test_a_killed_process_leaves_a_doubt_like_any_other(listens: bool) -> None:
    """Another daemon takes over after the claim and, where events are listened to, the window."""
    world = World(in_doubt_seconds=WINDOW if listens else None)
    world.mailer.latency = 1e9  # the first daemon is as good as dead once it sends
    received(world, letter(), mail_id="doubtful")
    dead = world.daemon()
    dead.start()
    assert world.until(lambda: world.mailer.open_sends == 1)
    world.mailer.latency = 0.06
    began = world.clock.monotonic()
    with running(world, listens=listens):
        assert world.until(lambda: len(world.mailer.sent) == 1)
    waited = world.clock.monotonic() - began
    assert waited >= world.send_seconds + (WINDOW if listens else 0)
    assert only_row(world).resends == 1
